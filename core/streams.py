"""Streams and events of accelerators: in which order work on a device runs, and when it is done.

Work is put on the thread's current stream of a device. Work on one stream runs in order; between streams only events
and :meth:`Stream.wait_stream` say what comes first. Memory that is freed is used again only after every stream that
used it. A device without streams does everything in order and is done with it: there all of this waits for nothing.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Self

from flambeau.core import registry
from flambeau.core.accelerator import resolved
from flambeau.core.device import DeviceLike

_entered = threading.local()


class Stream:
    """A queue of work on a device; as a context manager the current one inside.

    ``priority`` is lower for more important work, 0 as a rule.

    >>> with Stream("cpu") as s:
    ...     s.query()
    True
    """

    __slots__ = ("_raw", "device", "priority")

    def __init__(self, device: DeviceLike = None, priority: int = 0):
        self.device, self.priority = resolved(device), priority
        backend = registry.resolve(self.device)
        self._raw: Any = backend.stream(self.device.number, priority) if backend.has("has_streams") else None

    def synchronize(self) -> None:
        """Wait until the work so far is done, and raise what went wrong late."""
        backend = registry.resolve(self.device)
        if self._raw is None:
            backend.synchronize(self.device.number)
        else:
            self._raw.synchronize()
        backend.check(self.device.number)

    def query(self) -> bool:
        """Whether the work so far is done."""
        return True if self._raw is None else bool(self._raw.done)

    def is_capturing(self) -> bool:
        """Whether work is written down rather than done; it never is.

        >>> Stream("cpu").is_capturing()
        False
        """
        return False

    def record_event(self, event: Event | None = None) -> Event:
        """An event (a new one by default) that is over when the work so far is done."""
        made = Event(self.device) if event is None else event
        made.record(self)
        return made

    def wait_event(self, event: Event) -> None:
        """Let the work from now on wait for an event."""
        if self._raw is not None and event._raw is not None:
            self._raw.wait_event(event._raw)

    def wait_stream(self, stream: Stream) -> None:
        """Let the work from now on wait for the work of another stream so far."""
        self.wait_event(stream.record_event())

    def __enter__(self) -> Self:
        stack = _entered.__dict__.setdefault("stack", [])
        stack.append(current_stream(self.device))
        set_stream(self)
        return self

    def __exit__(self, *exc: object) -> None:
        set_stream(_entered.stack.pop())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.device is other.device and self._raw == other._raw

    def __hash__(self) -> int:
        return hash((self.device, self._raw))

    def __repr__(self) -> str:
        return f"Stream(device={str(self.device)!r}, priority={self.priority})"


class Event:
    """A point in a stream's work, to wait for or to measure time by.

    ``enable_timing`` lets :meth:`elapsed_time` be asked for; of a device without streams it is always there.
    """

    __slots__ = ("_at", "_raw", "device", "enable_timing")

    def __init__(self, device: DeviceLike = None, *, enable_timing: bool = False):
        self.device, self.enable_timing = resolved(device), enable_timing
        backend = registry.resolve(self.device)
        self._raw: Any = backend.event(self.device.number, enable_timing) if backend.has("has_streams") else None
        self._at: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        """Stand after the work so far of a stream, by default the current one."""
        chosen = current_stream(self.device) if stream is None else stream
        if chosen.device is not self.device:
            raise ValueError(
                f"Event.record: the event is of {str(self.device)!r}, the stream of {str(chosen.device)!r}"
            )
        if self._raw is None:
            registry.resolve(self.device).synchronize(self.device.number)
        else:
            self._raw.record(chosen._raw)
        self._at = time.perf_counter()

    def wait(self, stream: Stream | None = None) -> None:
        """Let a stream, by default the current one, wait for the event."""
        (current_stream(self.device) if stream is None else stream).wait_event(self)

    def query(self) -> bool:
        """Whether the work that the event stands after is done; True before it was recorded."""
        return True if self._raw is None or self._at is None else bool(self._raw.done)

    def synchronize(self) -> None:
        """Wait for the work that the event stands after."""
        if self._raw is not None and self._at is not None:
            self._raw.synchronize()

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this event to ``end``; both recorded, over, and with ``enable_timing``."""
        if self._at is None or end._at is None:
            raise RuntimeError("Event.elapsed_time: both events must have been recorded")
        if self._raw is None:
            return (end._at - self._at) * 1e3
        if not (self.enable_timing and end.enable_timing):
            raise ValueError("Event.elapsed_time: make both events with enable_timing=True")
        return float(registry.resolve(self.device).elapsed(self._raw, end._raw))

    def __repr__(self) -> str:
        return f"Event(device={str(self.device)!r}, enable_timing={self.enable_timing})"


def current_stream(device: DeviceLike = None) -> Stream:
    """The stream on which this thread's work on a device (by default the accelerator) goes."""
    where = resolved(device)
    backend = registry.resolve(where)
    found = object.__new__(Stream)
    found.device, found.priority = where, 0
    found._raw = backend.current_stream(where.number) if backend.has("has_streams") else None
    return found


def default_stream(device: DeviceLike = None) -> Stream:
    """The stream on which work on a device (by default the accelerator) goes unless a thread chose another."""
    found = current_stream(device)
    if found._raw is not None:
        found._raw = registry.resolve(found.device).default_stream(found.device.number)
    return found


def set_stream(stream: Stream) -> None:
    """Put this thread's work on the stream's device there from now on."""
    if not isinstance(stream, Stream):
        raise TypeError(f"set_stream: expected a Stream, got {stream!r}")
    if stream._raw is not None:
        registry.resolve(stream.device).set_stream(stream._raw, stream.device.number)
