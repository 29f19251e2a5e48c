"""The network as the ranks of a job find it."""

from __future__ import annotations

import math
import statistics
import time

from flambeau.core.creation import zeros
from flambeau.distributed.collectives import all_reduce, barrier
from flambeau.distributed.groups import Group, member
from flambeau.distributed.plan.costs import Link
from flambeau.distributed.plan.workloads import PlanError


def measure_link(group: Group = None, size: int = 4 << 20, repeats: int = 10) -> Link:
    """The link that makes the cost of an all-reduce what it takes here; every rank of the group calls it.

    The latency is that of all-reduces of one number, which take ⌈log₂ n⌉ messages one after the other, the bandwidth
    that of ``size`` bytes, of which each rank sends 2(n-1)/n. All ranks get the mean of what they saw.

    Raises:
        PlanError: the group has one rank, or this rank is not in it.
    """
    found = member(group, "measure_link")
    if found is None or found.size() < 2:
        raise PlanError("measure_link: there is a link between two ranks or more")
    n, steps = found.size(), math.ceil(math.log2(found.size()))
    times = zeros(2)
    for i, numbers in enumerate((1, size // 4)):
        x, taken = zeros(numbers), []
        for _ in range(repeats):
            barrier(found)
            start = time.perf_counter()
            all_reduce(x, group=found)
            taken.append(time.perf_counter() - start)
        times[i] = statistics.fmean(taken)
    all_reduce(times, group=found)
    short, long = (times / n).tolist()
    rest = max(long - 2 * short, 1e-9)  # a reduce-scatter and an all-gather have the latency of a short one each
    return Link(bandwidth=2 * (n - 1) / n * size / rest, latency=short / steps)
