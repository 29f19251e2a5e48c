"""Counts of instructions by function, as a tool such as valgrind writes them; none are collected here."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flambeau.utils.benchmark.common import TaskSpec

__all__ = ["CallgrindStats", "CopyIfCallgrind", "FunctionCount", "FunctionCounts"]


class FunctionCount(NamedTuple):
    """How many instructions a function took."""

    count: int  # type: ignore[assignment]  # PyTorch's name, which tuple has too
    function: str


@dataclasses.dataclass(repr=False, eq=False, frozen=True)
class FunctionCounts:
    """The counts of several functions.

    >>> counts = FunctionCounts((FunctionCount(3, "a"), FunctionCount(2, "b")), inclusive=True)
    >>> counts.sum(), len(counts.filter(lambda name: name == "a"))
    (5, 1)
    """

    _data: tuple[FunctionCount, ...]
    inclusive: bool
    truncate_rows: bool = True
    _linewidth: int | None = None

    def __iter__(self) -> Iterator[FunctionCount]:
        yield from self._data

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, item: int | slice) -> FunctionCount | FunctionCounts:
        found = self._data[item]
        return dataclasses.replace(self, _data=found) if isinstance(item, slice) else found  # type: ignore[return-value,arg-type]

    def __add__(self, other: FunctionCounts) -> FunctionCounts:
        return self._merged(other, 1)

    def __sub__(self, other: FunctionCounts) -> FunctionCounts:
        return self._merged(other, -1)

    def _merged(self, other: FunctionCounts, sign: int) -> FunctionCounts:
        if self.inclusive is not other.inclusive:
            raise AssertionError("Cannot merge inclusive and exclusive counts.")
        sums: dict[str, int] = defaultdict(int)
        for counts, factor in ((self, 1), (other, sign)):
            for count, function in counts:
                sums[function] += factor * count
        return self._from(sums)

    def _from(self, sums: dict[str, int]) -> FunctionCounts:
        data = tuple(sorted((FunctionCount(c, f) for f, c in sums.items() if c), reverse=True))
        return dataclasses.replace(self, _data=data)

    def transform(self, map_fn: Callable[[str], str]) -> FunctionCounts:
        """With other names for the functions; those of one name are added."""
        sums: dict[str, int] = defaultdict(int)
        for count, function in self:
            sums[map_fn(function)] += count
        return self._from(sums)

    def filter(self, filter_fn: Callable[[str], bool]) -> FunctionCounts:
        """Those of functions for which ``filter_fn`` holds."""
        return dataclasses.replace(self, _data=tuple(e for e in self if filter_fn(e.function)))

    def sum(self) -> int:
        """All together."""
        return sum(c for c, _ in self)

    def denoise(self) -> FunctionCounts:
        """Without the functions of Python's dicts, which come and go."""
        return self.filter(lambda name: "dictobject.c:lookdict_unicode" not in name)

    def __repr__(self) -> str:
        return "\n".join(f"{count:>12}  {function}" for count, function in self)


@dataclasses.dataclass(repr=False, frozen=True)
class CallgrindStats:
    """What such a tool found of one task."""

    task_spec: TaskSpec
    number_per_run: int
    built_with_debug_symbols: bool
    baseline_inclusive_stats: FunctionCounts
    baseline_exclusive_stats: FunctionCounts
    stmt_inclusive_stats: FunctionCounts
    stmt_exclusive_stats: FunctionCounts
    stmt_callgrind_out: str | None = None

    def stats(self, inclusive: bool = False) -> FunctionCounts:
        """The counts of the statement."""
        return self.stmt_inclusive_stats if inclusive else self.stmt_exclusive_stats

    def counts(self, *, denoise: bool = False) -> int:
        """All instructions of the statement."""
        return (self.stats().denoise() if denoise else self.stats()).sum()

    def delta(self, other: CallgrindStats, inclusive: bool = False) -> FunctionCounts:
        """What this one took more than another."""
        return self.stats(inclusive) - other.stats(inclusive)

    def as_standardized(self) -> CallgrindStats:
        """Without the folders in which a program and Python were built, and without the names of libraries."""
        fields = (
            "baseline_inclusive_stats", "baseline_exclusive_stats", "stmt_inclusive_stats", "stmt_exclusive_stats",
        )  # fmt: skip
        return dataclasses.replace(self, **{name: getattr(self, name).transform(_standard) for name in fields})


def _standard(function: str) -> str:
    for folder in ("build/../", "build/aten/", "Python/", "Objects/"):
        head, found, rest = function.rpartition(folder)
        if found and (head.endswith("/") or head and folder == "build/../"):
            function = folder + rest
    return re.sub(r"\s\[.+\]$", "", function)


class CopyIfCallgrind:
    """A global of a timed statement that such a tool's process would get a copy of."""

    def __init__(self, value: Any, *, setup: str | None = None):  # Any: whatever the statement uses
        self.value, self.setup = value, setup

    @staticmethod
    def unwrap_all(globals: dict[str, Any]) -> dict[str, Any]:
        """The values themselves."""
        return {k: v.value if isinstance(v, CopyIfCallgrind) else v for k, v in globals.items()}
