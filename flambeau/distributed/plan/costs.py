"""What a collective costs on paper: the α-β model of messages.

A message of m bytes takes ``latency + m / bandwidth`` seconds between any two ranks, each rank sends and receives one
at a time. The formulas for n ranks are those of Thakur, Rabenseifner and Gropp, "Optimization of Collective
Communication Operations in MPICH", IJHPCA 19(1), 2005, without their term for the arithmetic of reductions. Where there
are several algorithms the cheapest counts, since MPI and NCCL choose by the size of the message.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Link:
    """The network between ranks: ``bandwidth`` in bytes per second, ``latency`` in seconds.

    >>> link = Link(bandwidth=1e9, latency=1e-6)
    >>> round(link.all_reduce(1_000_000, 4) * 1e6)
    1504

    Raises:
        ValueError: a bandwidth that is not positive, a latency that is negative, or one that is no finite number.
    """

    bandwidth: float
    latency: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bandwidth) and self.bandwidth > 0):
            raise ValueError(f"Link: bandwidth must be a positive number of bytes per second, got {self.bandwidth!r}")
        if not (math.isfinite(self.latency) and self.latency >= 0):
            raise ValueError(f"Link: latency must be a number of seconds of at least 0, got {self.latency!r}")

    def message(self, size: float) -> float:
        """Seconds of one message of ``size`` bytes, α + m/β."""
        return self.latency + size / self.bandwidth

    def all_gather(self, size: float, ranks: int) -> float:
        """Seconds until each has the ``size`` bytes of which each had its part.

        Recursive doubling: ⌈log₂ n⌉ α + (n-1)/n m/β; a ring has (n-1) α, and is never cheaper in this model.
        """
        if ranks < 2:
            return 0.0
        return math.ceil(math.log2(ranks)) * self.latency + (ranks - 1) / ranks * size / self.bandwidth

    def reduce_scatter(self, size: float, ranks: int) -> float:
        """Seconds until each has its part of the sum of ``size`` bytes; recursive halving costs what a gather costs."""
        return self.all_gather(size, ranks)

    def all_reduce(self, size: float, ranks: int) -> float:
        """Seconds until each has the sum of ``size`` bytes.

        The cheapest of a ring, 2(n-1) α + 2(n-1)/n m/β; of Rabenseifner's reduce-scatter and all-gather,
        2⌈log₂ n⌉ α + 2(n-1)/n m/β; and for short messages of recursive doubling, ⌈log₂ n⌉ (α + m/β).
        """
        if ranks < 2:
            return 0.0
        steps = math.ceil(math.log2(ranks))
        halves = self.reduce_scatter(size, ranks) + self.all_gather(size, ranks)
        return min(self.ring_all_reduce(size, ranks), halves, steps * self.message(size))

    def ring_all_reduce(self, size: float, ranks: int) -> float:
        """Seconds of an all-reduce around a ring: 2(n-1) α + 2(n-1)/n m/β, the way of NCCL's rings.

        >>> Link(bandwidth=4e6, latency=0.0).ring_all_reduce(4_000_000, 4)
        1.5
        """
        return 2 * (ranks - 1) * (self.latency + size / ranks / self.bandwidth)

    def broadcast(self, size: float, ranks: int) -> float:
        """Seconds until all have what one had: a binomial tree, or a scatter and an all-gather for long messages."""
        if ranks < 2:
            return 0.0
        steps = math.ceil(math.log2(ranks))
        scattered = steps * self.latency + (ranks - 1) / ranks * size / self.bandwidth
        return min(steps * self.message(size), scattered + self.all_gather(size, ranks))


def sent_by_all_reduce(size: float, ranks: int) -> float:
    """The bytes that each rank sends in an all-reduce of long messages: 2(n-1)/n of them."""
    return 2 * (ranks - 1) / ranks * size


def sent_by_gather(size: float, ranks: int) -> float:
    """The bytes that each rank sends in an all-gather or a reduce-scatter: (n-1)/n of the whole."""
    return (ranks - 1) / ranks * size
