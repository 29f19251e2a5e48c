"""Events and statistics that a program tells, and whoever has asked for them."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Sequence
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
    MEAN = 2
    COUNT = 3
    SUM = 4
    MAX = 5
    MIN = 6


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

    With ``max_samples`` it tells as soon as there are so many, and leaves out what the window brings after them. What
    is left is told at the end of a block, or when nobody holds the statistic any more.

    >>> import datetime
    >>> stat = fb.monitor.Stat("loss", [fb.monitor.Aggregation.MEAN], datetime.timedelta(seconds=60), max_samples=2)
    >>> stat.add(1.0); stat.add(3.0)
    >>> stat.get()
    {<Aggregation.MEAN: 2>: 2.0}
    """

    name: str
    _values: list[float]

    def __init__(
        self, name: str, aggregations: Sequence[Aggregation], window_size: timedelta, max_samples: int | None = None
    ):
        self.name, self._kinds, self._window, self._most = name, list(aggregations), window_size, max_samples
        self._values, self._full = [], False
        self._told = self._made()
        self._began = datetime.now()
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many values wait to be told."""
        return len(self._values)

    def add(self, v: float) -> None:
        """One value more."""
        with self._lock:
            if datetime.now() - self._began >= self._window:
                self._tell()
                self._full = False
            if self._full:
                return
            self._values.append(v)
            if self._most is not None and len(self._values) >= self._most:
                self._tell()
                self._full = True

    def get(self) -> dict[Aggregation, float]:
        """What was told last; zeros before."""
        return dict(self._told)

    def _made(self) -> dict[Aggregation, float]:
        """What is made of the values."""
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
        now = datetime.now()
        if self._values:
            self._told = self._made()
            data: dict[str, Value] = {f"{self.name}.{kind.name.lower()}": v for kind, v in self._told.items()}
            log_event(Event(STAT_EVENT, now, data))
        self._values, self._began = [], now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell()

    def __del__(self) -> None:
        if getattr(self, "_values", None):
            self._tell()


class TensorboardEventHandler:
    """A handler that writes the statistics to a summary writer as scalars."""

    def __init__(self, writer: Any):  # Any: a SummaryWriter
        self._writer = writer

    def __call__(self, event: Event) -> None:
        if event.name == STAT_EVENT:
            for name, value in event.data.items():
                self._writer.add_scalar(name, value, walltime=event.timestamp.timestamp())
