"""The older names of :mod:`flambeau.profiler`."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import ContextDecorator
from typing import Any, ClassVar, NoReturn, Self

from flambeau.profiler import FunctionEvent, record_function
from flambeau.profiler import profile as _profile
from flambeau.profiler.averages import Averages, FunctionEventAvg
from flambeau.profiler.averages import Averages as EventList

__all__ = [
    "EnforceUnique", "EventList", "FunctionEvent", "KinetoStepTracker", "MemRecordsAcc", "emit_itt", "emit_nvtx",
    "load_nvprof", "parse_nvprof_trace", "profile", "record_function",
]  # fmt: skip


class profile(_profile):
    """Watch the kernels that this thread runs inside the block; ``enabled=False`` watches nothing.

    The other arguments are accepted for PyTorch's sake; every device is watched, with shapes.

    >>> from flambeau.autograd.profiler import profile
    >>> with profile() as p:
    ...     _ = fb.ones(2).exp()
    >>> p.total_average().count >= 1
    True
    """

    def __init__(self, enabled: bool = True, *, with_stack: bool = False, **others: Any):  # Any: accepted and not used
        super().__init__(with_stack=with_stack)
        self.enabled = enabled

    def __enter__(self) -> Self:
        return super().__enter__() if self.enabled else self

    def __exit__(self, *exc: object) -> None:
        if self.enabled:
            super().__exit__(*exc)

    @property
    def function_events(self) -> Averages:
        """The events, one after the other."""
        return self.events()

    def total_average(self) -> FunctionEventAvg:
        """The sum of all."""
        return self.events().total_average()

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of all together."""
        return self.events().self_cpu_time_total


class _Nothing(ContextDecorator):
    """A block that marks nothing: the tool that would read the marks is not there."""

    def __init__(self, enabled: bool = True, record_shapes: bool = False):
        self.enabled, self.record_shapes = enabled, record_shapes

    def __enter__(self) -> Self | None:
        return self if self.enabled else None

    def __exit__(self, *exc: object) -> None:
        return None


class emit_nvtx(_Nothing):
    """Ops as ranges for a profiler of the driver's maker, as in a build without it: a block that marks nothing."""


class emit_itt(_Nothing):
    """Ops as ranges for a profiler of the processor's maker, as in a build without it: a block that marks nothing."""


def load_nvprof(path: str) -> NoReturn:
    """RuntimeError: files of that profiler are not read."""
    raise RuntimeError(f"load_nvprof: {path!r}: files of nvprof are not read; use flambeau.profiler.profile")


parse_nvprof_trace = load_nvprof


class EnforceUnique:
    """Raises where a key is seen twice."""

    def __init__(self) -> None:
        self.seen: set[Hashable] = set()

    def see(self, *key: Hashable) -> None:
        """A key; RuntimeError the second time."""
        if key in self.seen:
            raise RuntimeError(f"duplicate key: {key}")
        self.seen.add(key)


class KinetoStepTracker:
    """Counts steps that several parts of a program may tell of: the most that any has told."""

    _current_step: ClassVar[int] = 0
    _steps: ClassVar[dict[str, int]] = {}

    @classmethod
    def init_step_count(cls, requester: str) -> None:
        """One more that tells."""
        cls._steps[requester] = cls._current_step

    @classmethod
    def erase_step_count(cls, requester: str) -> bool:
        """One fewer; whether it was there."""
        return cls._steps.pop(requester, None) is not None

    @classmethod
    def increment_step(cls, requester: str) -> int:
        """A step of one of them, or of a new one; the number of steps."""
        cls._steps[requester] = cls._steps.get(requester, cls._current_step) + 1
        cls._current_step = max(cls._current_step, *cls._steps.values())
        return cls._current_step

    @classmethod
    def current_step(cls) -> int:
        """The number of steps."""
        return cls._current_step


class MemRecordsAcc:
    """Finds the records whose ``start_ns`` lies in an interval of nanoseconds."""

    def __init__(self, mem_records: Sequence[Any]):  # Any: pairs of such a record and whatever belongs to it
        self._records = sorted(mem_records, key=lambda r: r[0].start_ns())

    def in_interval(self, start_ns: int, end_ns: int) -> Iterator[Any]:
        """Those records."""
        return (r for r in self._records if start_ns <= r[0].start_ns() <= end_ns)
