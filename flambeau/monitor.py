"""Events and statistics that a program tells, and whoever has asked for them."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

__all__ = [
    "Aggregation", "Event", "EventHandlerHandle", "Stat", "TensorboardEventHandler", "log_event",
    "register_event_handler", "unregister_event_handler",
]  # fmt: skip

Value = str | int | float | bool


class Aggregation(enum.Enum):
    """What is made of the values of a statistic."""

    VALUE = 0
    MEAN = 1
    COUNT = 2
    SUM = 3
    MAX = 4
    MIN = 5


VALUE, MEAN, COUNT = Aggregation.VALUE, Aggregation.MEAN, Aggregation.COUNT
SUM, MAX, MIN = Aggregation.SUM, Aggregation.MAX, Aggregation.MIN
STAT_EVENT = "torch.monitor.Stat"  # the name of the events that statistics make, as PyTorch has it
data_value_t = Value


@dataclass
class Event:
    """Something that happened: its name, when, and values by name.

    >>> seen = []
    >>> handle = fb.monitor.register_event_handler(lambda e: seen.append(e.name))
    >>> import datetime
    >>> fb.monitor.log_event(fb.monitor.Event("start", datetime.datetime.now(), {"step": 1}))
    >>> fb.monitor.unregister_event_handler(handle)
    >>> seen
    ['start']
    """

    name: str
    timestamp: datetime
    data: dict[str, Value] = field(default_factory=dict)


class EventHandlerHandle:
    """Stands for a handler that was registered."""

    def __init__(self, handler: Callable[[Event], Any]):
        self.handler = handler


_handlers: list[EventHandlerHandle] = []


def register_event_handler(callback: Callable[[Event], Any]) -> EventHandlerHandle:
    """Call ``callback(event)`` for each event from now on."""
    handle = EventHandlerHandle(callback)
    _handlers.append(handle)
    return handle


def unregister_event_handler(handler: EventHandlerHandle) -> None:
    """Call it no more."""
    if handler in _handlers:
        _handlers.remove(handler)


def log_event(event: Event) -> None:
    """Tell an event to all handlers."""
    for handle in list(_handlers):
        handle.handler(event)


class Stat:
    """Gathers values, and tells what is made of them as an event after each window of time.

    ``max_samples`` ends a window early. As a block it tells what is left at its end.

    >>> import datetime
    >>> stat = fb.monitor.Stat("loss", [fb.monitor.Aggregation.MEAN], datetime.timedelta(seconds=60))
    >>> stat.add(1.0); stat.add(3.0)
    >>> stat.get()
    {<Aggregation.MEAN: 1>: 2.0}
    """

    name: str

    def __init__(
        self, name: str, aggregations: list[Aggregation], window_size: timedelta, max_samples: int | None = None
    ):
        self.name, self._kinds, self._window, self._most = name, list(aggregations), window_size, max_samples
        self._values: list[float] = []
        self._began = datetime.now()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many values this window has."""
        return len(self._values)

    def add(self, v: float) -> None:
        """One value more."""
        with self._lock:
            if self._values and datetime.now() - self._began >= self._window:
                self._tell()
            self._values.append(v)
            if self._most is not None and len(self._values) >= self._most:
                self._tell()

    def get(self) -> dict[Aggregation, float]:
        """What is made of the values of this window."""
        values = self._values
        made = {
            Aggregation.VALUE: values[-1] if values else 0.0,
            Aggregation.MEAN: sum(values) / len(values) if values else 0.0,
            Aggregation.COUNT: float(len(values)),
            Aggregation.SUM: float(sum(values)),
            Aggregation.MAX: max(values, default=0.0),
            Aggregation.MIN: min(values, default=0.0),
        }
        return {kind: made[kind] for kind in self._kinds}

    def _tell(self) -> None:
        data: dict[str, Value] = {f"{self.name}.{kind.name.lower()}": value for kind, value in self.get().items()}
        log_event(Event(STAT_EVENT, datetime.now(), data))
        self._values, self._began = [], datetime.now()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._values:
            self._tell()


class TensorboardEventHandler:
    """A handler that writes the statistics to a summary writer as scalars."""

    def __init__(self, writer: Any):  # Any: a SummaryWriter
        self._writer = writer

    def __call__(self, event: Event) -> None:
        if event.name == STAT_EVENT:
            for name, value in event.data.items():
                self._writer.add_scalar(name, value, walltime=event.timestamp.timestamp())
