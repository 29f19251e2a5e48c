"""What a step takes under each way of dividing the work: time, bytes sent and memory of a rank.

Every way trains ``batch`` samples for each rank in a step, so that all lines of a table do the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from flambeau.distributed.plan.costs import Link, sent_by_all_reduce, sent_by_gather
from flambeau.distributed.plan.profile import BACKWARD, FORWARD, Profile, Weight
from flambeau.distributed.plan.workloads import PlanError

MiB: Final = 1 << 20


@dataclass(frozen=True)
class Setting:
    """Where and how: ``batch`` samples for each rank, ``microbatches`` in a pipeline (None: the fastest).

    ``overlap``: ranks communicate while they compute; ``bucket``: the bytes of gradients that go together.
    """

    ranks: int
    link: Link
    batch: int
    overlap: bool = True
    microbatches: int | None = None
    bucket: int = 25 * MiB

    def __post_init__(self) -> None:
        for name in ("ranks", "batch", "bucket", "microbatches"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PlanError(f"{name} must be at least 1, got {value}")


@dataclass(frozen=True)
class Prediction:
    """Of one rank, that which needs most: seconds of a step, those of them that it computes, bytes sent and held.

    ``state`` is of parameters, buffers, gradients and what the optimizer keeps, ``passing`` of what comes and goes in a
    step: activations, and parameters that are gathered.
    """

    strategy: str
    division: str
    seconds: float
    compute: float
    sent: float
    state: float
    passing: float

    @property
    def memory(self) -> float:
        """Bytes that the rank must have."""
        return self.state + self.passing

    @property
    def waiting(self) -> float:
        """Seconds in which the rank does not compute."""
        return max(0.0, self.seconds - self.compute)


Bucket = tuple[float, int]  # bytes, and the place of the kernel before which the last gradient of it is there


def buckets(weights: Sequence[Weight], limit: int, size: Callable[[Weight], float]) -> list[Bucket]:
    """Gradients together in the order in which they come, until ``limit`` bytes are reached."""
    found: list[Bucket] = []
    held = 0.0
    for i, w in enumerate(weights):
        held += size(w)
        if held >= limit or i == len(weights) - 1:
            found.append((held, w.arrived))
            held = 0.0
    return found


def backward_seconds(
    profile: Profile,
    setting: Setting,
    batch: float,
    found: Sequence[Bucket],
    cost: Callable[[float], float],
    share: Callable[[int], float] = lambda place: 1.0,
) -> float:
    """Seconds of a backward whose buckets are communicated, one at a time, as soon as they are full."""
    places, now, free, at = profile.phase(BACKWARD), 0.0, 0.0, 0
    for i in places:
        while setting.overlap and at < len(found) and found[at][1] <= i:
            free = max(free, now) + cost(found[at][0])
            at += 1
        now += profile.kernels[i].seconds(batch, share(i))
    for size, _ in found[at:]:
        free = max(free, now) + cost(size)
    return max(now, free)


def ddp(profile: Profile, s: Setting) -> Prediction:
    """Every rank has all parameters, and gradients are summed in buckets during the backward.

    Li et al., "PyTorch Distributed", VLDB 2020.
    """
    found = buckets(profile.weights, s.bucket, lambda w: w.size)
    backward = backward_seconds(profile, s, s.batch, found, lambda size: s.link.all_reduce(size, s.ranks))
    seconds = profile.seconds(profile.phase(FORWARD), s.batch) + backward + profile.update_seconds()
    memory = profile.parameter_bytes + profile.gradient_bytes + profile.optimizer_bytes
    return Prediction(
        "DDP", f"data {s.ranks}", seconds, profile.step(s.batch), sent_by_all_reduce(profile.gradient_bytes, s.ranks),
        memory, profile.activations(s.batch),
    )  # fmt: skip


def zero1(profile: Profile, s: Setting) -> Prediction:
    """DDP, where each rank updates its part of the parameters, which all gather: its optimizer's state is 1/n.

    Rajbhandari et al., "ZeRO", arXiv:1910.02054, section 5.1. The gradients are summed as in DDP, as under
    ZeroRedundancyOptimizer, so that 3/2 of DDP's bytes are sent.
    """
    whole, n = ddp(profile, s), s.ranks
    update = profile.update_seconds() / n
    seconds = whole.seconds - profile.update_seconds() + update + s.link.all_gather(profile.gradient_bytes, n)
    return Prediction(
        "ZeRO 1", f"data {n}", seconds, profile.step(s.batch) - profile.update_seconds() + update,
        whole.sent + sent_by_gather(profile.gradient_bytes, n),
        whole.state - profile.optimizer_bytes * (1 - 1 / n), whole.passing,
    )  # fmt: skip


def zero2(profile: Profile, s: Setting) -> Prediction:
    """Gradients are scattered as they are summed, so that they and the optimizer's state are 1/n; ZeRO, section 5.2."""
    n, size = s.ranks, profile.gradient_bytes
    found = buckets(profile.weights, s.bucket, lambda w: w.size)
    backward = backward_seconds(profile, s, s.batch, found, lambda m: s.link.reduce_scatter(m, n))
    forward, update = profile.seconds(profile.phase(FORWARD), s.batch), profile.update_seconds() / n
    memory = profile.parameter_bytes + (size + profile.optimizer_bytes) / n
    whole = max(m for m, _ in found) if n > 1 else 0.0  # the bucket whose sum is under way
    return Prediction(
        "ZeRO 2", f"data {n}", forward + backward + update + s.link.all_gather(size, n),
        profile.step(s.batch) - profile.update_seconds() + update, 2 * sent_by_gather(size, n),
        memory, whole + profile.activations(s.batch),
    )  # fmt: skip


def zero3(profile: Profile, s: Setting) -> Prediction:
    """Parameters too are 1/n: each part of the model is gathered before it runs, in both directions; ZeRO, section 5.3.

    With overlap the next part is gathered while one runs, so that two are whole at once.
    """
    n, size = s.ranks, profile.gradient_bytes
    sizes = part_sizes(profile)
    gathers = [s.link.all_gather(m, n) if m else 0.0 for m in sizes]
    scatters = [s.link.reduce_scatter(m, n) if m else 0.0 for m in sizes]
    forward, backward = (
        [profile.seconds(places, s.batch) for places in profile.kernels_of_parts(phase)]
        for phase in (FORWARD, BACKWARD)
    )
    update = profile.update_seconds() / n
    seconds = _gathered(forward, gathers, [0.0] * len(sizes), s.overlap)
    seconds += _gathered(backward[::-1], gathers[::-1], scatters[::-1], s.overlap)
    whole = sum(sorted(sizes)[-2:] if s.overlap else sorted(sizes)[-1:]) * (1 - 1 / n)
    memory = profile.frozen_bytes + (2 * size + profile.optimizer_bytes) / n
    return Prediction(
        "ZeRO 3", f"data {n}", seconds + update, profile.step(s.batch) - profile.update_seconds() + update,
        3 * sent_by_gather(size, n), memory, whole + profile.activations(s.batch),
    )  # fmt: skip


def part_sizes(profile: Profile) -> list[float]:
    """By part of the model: bytes of its parameters."""
    found = [0.0] * len(profile.parts)
    for w in profile.weights:
        found[profile.part_of[w.call] if w.call >= 0 else -1] += w.size
    return found


def _gathered(compute: list[float], gathers: list[float], after: list[float], overlap: bool) -> float:
    """Seconds of parts that run in a row, each after its gather; what comes ``after`` a part is communicated last."""
    if not overlap:
        return sum(compute) + sum(gathers) + sum(after)
    network, starts, now = gathers[0], 0.0, 0.0
    ready = network
    for i, seconds in enumerate(compute):
        starts = max(now, ready)
        if i + 1 < len(compute):  # the next gather begins with this part
            network = max(network, starts) + gathers[i + 1]
            ready = network
        now = starts + seconds
        if after[i]:
            network = max(network, now) + after[i]
    return max(now, network)


def divisors(number: int, most: int) -> Iterator[int]:
    """Those of a number from 2 on, up to ``most``.

    >>> list(divisors(12, 6))
    [2, 3, 4, 6]
    """
    return (d for d in range(2, min(number, most) + 1) if number % d == 0)
