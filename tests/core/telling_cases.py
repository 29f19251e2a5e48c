"""What is done with the steps of a profiled program, and what a program tells of itself, in the torch API."""

from __future__ import annotations

import datetime
import time
from typing import Any

from tests.recorded import Case, collected

CASES: dict[str, Case] = {}
case = collected(CASES)
KINDS = ("VALUE", "MEAN", "COUNT", "SUM", "MAX", "MIN")
TIME = datetime.datetime(2024, 5, 6, 7, 8, 9, 123000)


def gathered(T: Any, *kinds: str, values: tuple[float, ...] = (3.0, -1.0, 4.0), **options: Any) -> Any:
    """A statistic of some values, and the events that are told of it."""
    monitor, events = T.monitor, []
    handle = monitor.register_event_handler(lambda event: events.append([event.name, dict(event.data)]))
    chosen = [getattr(monitor.Aggregation, kind) for kind in kinds]
    stat = monitor.Stat("loss", chosen, datetime.timedelta(hours=1), **options)
    for value in values:
        stat.add(value)
    found, count = stat.get(), stat.count
    del stat
    monitor.unregister_event_handler(handle)
    told = [[name, sorted(data.items())] for name, data in events]
    return [found[kind] for kind in chosen], count, told


@case
def ProfilerAction(T: Any) -> Any:
    action = T.profiler.ProfilerAction
    named = [action.NONE, action.WARMUP, action.RECORD, action.RECORD_AND_SAVE, action.DEVICE_STOPPED]
    plan = T.profiler.schedule(wait=2, warmup=1, active=2, repeat=2, skip_first=1)
    return [[a.name, a.value] for a in named], [plan(step).name for step in range(13)], plan(3) is action.WARMUP


@case
def ProfilerActivity(T: Any) -> Any:
    activity = T.profiler.ProfilerActivity
    named = [activity.CPU, activity.XPU, activity.MTIA, activity.CUDA, activity.HPU, activity.PrivateUse1]
    return (
        [[a.name, a.value] for a in named],
        len({*named, activity.CPU}),
        activity.CPU in T.profiler.supported_activities(),
    )


@case
def SUM(T: Any) -> Any:
    return gathered(T, "SUM")


@case
def MAX_and_MIN(T: Any) -> Any:
    return gathered(T, "MAX", "MIN"), T.monitor.Aggregation.MAX.name, T.monitor.Aggregation.MIN.name


@case
def aggregations_of_a_number_of_samples(T: Any) -> Any:
    return gathered(T, "MEAN", "COUNT", "SUM", "MAX", "MIN", values=(3.0, -1.0, 4.0, 7.0), max_samples=3)


@case
def aggregations_of_nothing(T: Any) -> Any:
    return gathered(T, "SUM", "MAX", "MIN", "MEAN", "COUNT", values=())


@case
def aggregations_of_windows(T: Any) -> Any:
    monitor, sums = T.monitor, []
    handle = monitor.register_event_handler(lambda event: sums.append(event.data["loss.sum"]))
    stat = monitor.Stat("loss", [monitor.Aggregation.SUM], datetime.timedelta(milliseconds=1))
    found = []
    for value in (1.0, 2.0, 4.0):
        stat.add(value)
        time.sleep(0.005)
        found.append([*stat.get().values(), stat.count])
    del stat
    monitor.unregister_event_handler(handle)
    return found, sums


@case
def Aggregation(T: Any) -> Any:
    return [[kind, getattr(T.monitor.Aggregation, kind).value] for kind in KINDS]


@case
def Event(T: Any) -> Any:
    event = T.monitor.Event("start", TIME, {"step": 1, "rate": 0.5, "text": "a"})
    event.timestamp = event.timestamp + datetime.timedelta(days=1)
    return event.name, event.timestamp.isoformat(), [event.data[k] for k in ("step", "rate", "text")]


@case
def EventHandlerHandle(T: Any) -> Any:
    monitor, seen = T.monitor, []
    handles = [
        monitor.register_event_handler(lambda e, i=i: seen.append([i, e.name, e.timestamp.year])) for i in (1, 2)
    ]
    kinds = [isinstance(h, monitor.EventHandlerHandle) for h in handles]
    monitor.log_event(monitor.Event("first", TIME, {}))
    monitor.unregister_event_handler(handles[0])
    monitor.log_event(monitor.Event("second", TIME, {}))
    monitor.unregister_event_handler(handles[1])
    monitor.log_event(monitor.Event("third", TIME, {}))
    return kinds, seen


@case
def TensorboardEventHandler(T: Any) -> Any:
    class Writer:
        def add_scalar(self, name: str, value: Any, walltime: float) -> None:
            written.append([name, value, walltime])

    written: list[Any] = []
    tell = T.monitor.TensorboardEventHandler(Writer())
    tell(T.monitor.Event("torch.monitor.Stat", TIME, {"loss.max": 4.0, "loss.sum": 6.0}))
    try:
        tell(T.monitor.Event("other", TIME, {"loss": 1.0}))
    except Exception:
        return "refused"
    return sorted([name, value] for name, value, _ in written), written[0][2] == TIME.timestamp()
