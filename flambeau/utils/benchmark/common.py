"""What was timed, and how long it took."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from flambeau.core.threads import get_num_threads, set_num_threads

__all__ = [
    "Measurement", "TaskSpec", "ordered_unique", "select_unit", "set_torch_threads", "trim_sigfig", "unit_to_english",
]  # fmt: skip

_UNITS: Final = {
    "ns": ("nanosecond", 1e-9),
    "us": ("microsecond", 1e-6),
    "ms": ("millisecond", 1e-3),
    "s": ("second", 1.0),
}
_IQR_WARN, _IQR_GROSS_WARN, _MIN_CONFIDENCE_INTERVAL = 0.1, 0.25, 25e-9


@dataclasses.dataclass(init=True, repr=False, eq=True, frozen=True)
class TaskSpec:
    """What was timed: the statement, its setup, how it is called in tables, and the number of threads."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """Its name in a heading."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        if "\n" not in self.stmt:
            return self.stmt + (f": {self.sub_label}" if self.sub_label else "")
        return f"stmt:{f' ({self.sub_label})' if self.sub_label else ''}\n{textwrap.indent(self.stmt, '  ')}"

    def setup_str(self) -> str:
        """Its setup as text."""
        if self.setup == "pass" or not self.setup:
            return ""
        return f"setup:\n{textwrap.indent(self.setup, '  ')}" if "\n" in self.setup else f"setup: {self.setup}"

    def summarize(self) -> str:
        """All of it as text."""
        parts = [self.title, self.description or "", self.setup_str(), self.global_setup]
        return "\n".join(p for p in parts if p)


@dataclasses.dataclass(init=True, repr=False)
class Measurement:
    """The times of one task: ``raw_times`` in seconds, each for ``number_per_run`` runs.

    >>> spec = TaskSpec("x + 1", "pass")
    >>> m = Measurement(2, [1.0, 2.0, 3.0], spec)
    >>> m.median, m.mean, m.iqr
    (1.0, 1.0, 0.5)
    """

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(TaskSpec, name) and name not in TaskSpec.__dataclass_fields__:
            raise AttributeError(f"Measurement has no attribute {name!r}")
        return getattr(self.task_spec, name)

    @property
    def times(self) -> list[float]:
        """Seconds of one run, of each measurement."""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def median(self) -> float:
        """Their median."""
        return statistics.median(self.times) if self.times else 0.0

    @property
    def mean(self) -> float:
        """Their mean."""
        return statistics.fmean(self.times) if self.times else 0.0

    def _quartiles(self) -> tuple[float, float]:
        if len(self.times) < 2:
            return (self.median, self.median)
        low, _, high = statistics.quantiles(self.times, n=4, method="inclusive")
        return low, high

    @property
    def iqr(self) -> float:
        """The distance of their quartiles."""
        low, high = self._quartiles()
        return high - low

    @property
    def significant_figures(self) -> int:
        """How many digits mean something, by the spread of the half in the middle: 1 to 4."""
        times, count = sorted(self.times), len(self.times)
        middle = times[count // 4 : math.ceil(3 * count / 4)]
        confidence = max(1.645 * statistics.pstdev(middle) / math.sqrt(len(middle)), _MIN_CONFIDENCE_INTERVAL)
        return min(max(math.floor(math.log10(self.median / confidence)), 1), 4) if self.median else 1

    @property
    def has_warnings(self) -> bool:
        """Whether the spread is so large that something disturbed the runs."""
        return not self.meets_confidence()

    def meets_confidence(self, threshold: float = _IQR_WARN) -> bool:
        """Whether the distance of the quartiles is below a share of the median."""
        return not self.median or self.iqr / self.median < threshold

    @property
    def title(self) -> str:
        """Its name in a heading."""
        return self.task_spec.title

    @property
    def env(self) -> str:
        """Its environment."""
        return "Unspecified env" if self.task_spec.env is None else self.task_spec.env

    @property
    def as_row_name(self) -> str:
        """Its name in a table."""
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """The times of equal tasks together, of one run each."""
        groups: dict[TaskSpec, list[Measurement]] = defaultdict(list)
        for m in measurements:
            groups[m.task_spec].append(m)
        return [Measurement(1, [t for m in ms for t in m.times], spec) for spec, ms in groups.items()]

    def __repr__(self) -> str:
        unit, scale = select_unit(self.median)
        count = len(self.raw_times)
        lines = [f"<flambeau.utils.benchmark.Measurement object at {hex(id(self))}>", self.task_spec.summarize()]
        lines.append(f"  {'Median: ' if count > 1 else ''}{self.median / scale:.2f} {unit}")
        if count > 3:
            low, high = self._quartiles()
            lines.append(f"  IQR:    {self.iqr / scale:.2f} {unit} ({low / scale:.2f} to {high / scale:.2f})")
        threads = self.task_spec.num_threads
        lines.append(
            f"  {count} measurement{'s' if count > 1 else ''}, {self.number_per_run} runs "
            f"{'per measurement,' if count > 1 else ','} {threads} thread{'s' if threads > 1 else ''}"
        )
        if self.has_warnings:
            lines.append(f"  WARNING: Interquartile range is {self.iqr / self.median:.1%} of the median measurement.")
            gross = not self.meets_confidence(_IQR_GROSS_WARN)
            text = (
                "This suggests significant environmental influence."
                if gross
                else "This could indicate system fluctuation."
            )
            lines.append(f"           {text}")
        return "\n".join(lines)


def select_unit(t: float) -> tuple[str, float]:
    """The unit in which a time is at least 1, and its length in seconds.

    >>> fb.utils.benchmark.select_unit(2e-5)
    ('us', 1e-06)
    """
    for name in ("s", "ms", "us"):
        if t >= _UNITS[name][1]:
            return name, _UNITS[name][1]
    return "ns", 1e-9


def unit_to_english(u: str) -> str:
    """A unit in words.

    >>> fb.utils.benchmark.unit_to_english("us")
    'microsecond'
    """
    return _UNITS[u][0]


def trim_sigfig(x: float, n: int) -> float:
    """A number rounded to its first ``n`` digits.

    >>> fb.utils.benchmark.trim_sigfig(1234.5, 2)
    1200.0
    """
    if x != int(x) and not math.isfinite(x) or not x:
        return x
    scale = 10.0 ** (math.ceil(math.log10(abs(x))) - n)
    return float(round(x / scale) * scale)


def ordered_unique(elements: Iterable[Any]) -> list[Any]:
    """Each element once, in the order of first appearance.

    >>> fb.utils.benchmark.ordered_unique([2, 1, 2])
    [2, 1]
    """
    return list(dict.fromkeys(elements))


@contextlib.contextmanager
def set_torch_threads(n: int) -> Iterator[None]:
    """A block in which the cpu backend computes with ``n`` threads.

    >>> with fb.utils.benchmark.set_torch_threads(1):
    ...     fb.get_num_threads()
    1
    """
    before = get_num_threads()
    try:
        set_num_threads(n)
        yield
    finally:
        set_num_threads(before)
