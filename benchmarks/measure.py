"""Times of programs that take turns, and ratios of them with their spread.

A ratio is the median of those of the rounds, each of which measured both sides one after the other, so that what else
the machine does meets both; the quartiles say how the rounds scatter. One round, or two, say nothing about that: they
give no ratio here.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

LEAST = 3  # rounds, below which there is no spread

Program = Callable[[], object]


class TooFewRounds(ValueError):
    """A ratio was asked for of fewer than LEAST rounds."""


class Spread(NamedTuple):
    """A median between the quartiles."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """What the rounds of one case gave, on flambeau (``ours``) and, where PyTorch is installed, on it (``theirs``).

    Where there are more than these two, ``peers`` has the others by their names, instead of ``theirs``; the ratio is to
    the one named ``rival``, if any is.
    ``unit`` is "s" (seconds a call), "sample" (seconds a sample, shown as samples a second) or "B" (bytes). Less is
    better in each.
    """

    suite: str
    name: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...] | None = None
    unit: str = "s"
    threads: int = 1
    limit: float | None = None
    peers: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    rival: str = ""

    @classmethod
    def of(cls, suite: str, name: str, sides: Sequence[Sequence[float]], **rest: Any) -> Row:
        """Of one side, flambeau's, or of two."""
        ours, *theirs = map(tuple, sides)
        return cls(suite, name, ours, theirs[0] if theirs else None, **rest)

    @property
    def other(self) -> tuple[float, ...] | None:
        """What the ratio is to: the rival, or PyTorch."""
        return self.peers.get(self.rival, self.theirs)

    @property
    def ratio(self) -> Spread | None:
        """flambeau over the other; None without it, TooFewRounds where a round or two are all there is."""
        return None if self.other is None else paired(self.ours, self.other)

    @property
    def exceeds(self) -> bool:
        ratio = self.ratio
        return self.limit is not None and ratio is not None and ratio.median > self.limit


def enough(rounds: int) -> int:
    """``rounds``; TooFewRounds for a number that gives no ratio."""
    if rounds < LEAST:
        raise TooFewRounds(
            f"a ratio takes {LEAST} rounds or more, since fewer do not show how they scatter; got {rounds}"
        )
    return rounds


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """The median and the quartiles of the rounds' ratios; TooFewRounds, ValueError for unequal numbers of rounds."""
    if len(ours) != len(theirs):
        raise ValueError(f"rounds come in pairs: got {len(ours)} of flambeau and {len(theirs)} of PyTorch")
    enough(len(ours))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Spread(median, low, high)


def geometric_mean(ratios: Iterable[float]) -> float:
    """StatisticsError (a ValueError) of none."""
    return math.exp(statistics.fmean(map(math.log, ratios)))


def timed(program: Program, calls: int = 1) -> float:
    """Seconds a call."""
    start = time.perf_counter()
    for _ in range(calls):
        program()
    return (time.perf_counter() - start) / calls


def interleaved(
    programs: Sequence[Program], rounds: int, *, seconds: float = math.inf, burst: float = 0.004, pause: float = 0.0
) -> list[list[float]]:
    """Seconds a call of every program in each round; TooFewRounds.

    In a round each program runs for about ``burst`` seconds, at least once, and the order turns from round to round.
    After ``seconds``, and LEAST rounds, no new round begins. ``pause`` is slept before each burst: threads of a pool
    go on spinning for a while after the work of the program before.
    """
    enough(rounds)
    calls = [_calls(program, burst) for program in programs]
    times: list[list[float]] = [[] for _ in programs]
    start = time.perf_counter()
    for i in range(rounds):
        if i >= LEAST and time.perf_counter() - start > seconds:
            break
        for k in range(len(programs))[:: -1 if i % 2 else 1]:
            if pause:
                time.sleep(pause)
            times[k].append(timed(programs[k], calls[k]))
    return times


def _calls(program: Program, burst: float) -> int:
    """How often to call a program for it to take ``burst`` seconds. The first call builds what it needs."""
    program()
    calls = 1
    while (spent := timed(program, calls) * calls) < burst:
        calls = min(calls * 10, math.ceil(calls * 1.2 * burst / max(spent, 1e-9)))
    return calls
