"""What every suite is handed, and what it does with a case on both frameworks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import frameworks
from benchmarks.measure import Program, Row, interleaved

#: A pool's threads spin for some milliseconds after a parallel loop, on cores that the other side needs.
PAUSE = 0.01


@dataclass
class Settings:
    """How to measure. ``failures`` collects in words what a suite finds to be wrong."""

    rounds: int = 21
    seconds: float = math.inf  #: after which a case begins no new round
    threads: tuple[int, ...] = (1,)
    wanted: Callable[[str], bool] = lambda name: True  #: whether to run the case of a name
    modules: list[Any] = field(default_factory=frameworks.modules)
    failures: list[str] = field(default_factory=list)

    def chosen(self, names: Mapping[str, Any]) -> list[str]:
        """The names of the cases to run."""
        return [name for name in names if self.wanted(name)]


Suite = Callable[[Settings], Iterator[Row]]


def measured(
    settings: Settings, suite: str, name: str, programs: Sequence[Program], *, threads: int = 1, per: int = 1,
    unit: str = "s", burst: float = 0.004, limit: float | None = None,
) -> Row:  # fmt: skip
    """The row of a case: of its program on flambeau and, if there are two, on PyTorch. A call is of ``per`` units."""
    pause = PAUSE if threads > 1 else 0.0
    times = interleaved(programs, settings.rounds, seconds=settings.seconds, burst=burst, pause=pause)
    sides = [[t / per for t in side] for side in times]
    return Row.of(suite, name, sides, unit=unit, threads=threads, limit=limit)


def leaves(value: Any) -> Iterator[Any]:
    """The tensors and numbers of nested lists and tuples."""
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from leaves(part)
    elif value is not None:
        yield value


def difference(ours: Any, theirs: Any, tolerance: float = 1e-3) -> str | None:
    """In words how far two results are apart, None if by less than the tolerance times the largest element."""
    mine, others = ([_host(v) for v in leaves(side)] for side in (ours, theirs))
    if [v.shape for v in mine] != [v.shape for v in others]:
        return f"shapes {[v.shape for v in mine]} and PyTorch's {[v.shape for v in others]}"
    for a, b in zip(mine, others, strict=True):
        finite = np.isfinite(b)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=b.dtype.kind in "fc"):
            return "other infinities or nan than PyTorch's"
        off = float(np.abs(a - b, where=finite, out=np.zeros(b.shape)).max(initial=0)) if finite.any() else 0.0
        scale = float(np.abs(b[finite]).max(initial=0))
        if not off <= tolerance * scale + 1e-6:
            return f"{off:.3g} apart where PyTorch's largest is {scale:.3g}"
    return None


def _host(value: Any) -> Any:
    if hasattr(value, "detach"):
        value = value.detach().resolve_conj().numpy()
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind in "biuf" else array
