"""Ways that divide the model itself: tensor and pipeline parallelism, in groups of ranks that are replicas together."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.distributed.pipelining.orders import ORDERS, Action, Pass
from flambeau.distributed.plan.costs import sent_by_all_reduce, sent_by_gather
from flambeau.distributed.plan.profile import BACKWARD, FORWARD, Pair, Profile, Weight
from flambeau.distributed.plan.strategies import Prediction, Setting, backward_seconds, buckets, divisors, part_sizes
from flambeau.distributed.plan.workloads import PlanError

MOST = 64  #: ranks that tensor parallelism is tried with


def tensor(profile: Profile, s: Setting, degree: int) -> Prediction:
    """Linear layers are divided among ``degree`` ranks, and replicas of such groups are averaged as in DDP.

    Shoeybi et al., "Megatron-LM", arXiv:1909.08053: an all-reduce in the forward and one in the backward for each pair
    of layers by columns and by rows. They stand in the way of what comes next, so that nothing runs beside them.

    Raises:
        PlanError: the degree does not divide the ranks, or the features and heads of the model.
    """
    if s.ranks % degree:
        raise PlanError(f"tensor parallelism over {degree} ranks needs a multiple of them, got {s.ranks}")
    pairs = profile.divided(degree)
    if not pairs:
        raise PlanError(f"the model has no linear layers whose features and heads divide evenly by {degree}")
    batch, replicas = s.batch * degree, s.ranks // degree
    scale = batch / profile.batch
    divided, inside, cost, sent, saved = _divided(profile, pairs), set[int](), 0.0, 0.0, 0.0
    for pair in pairs:
        first, last = profile.calls[pair.columns[0]], profile.calls[pair.row if pair.row >= 0 else pair.columns[-1]]
        inside.update(profile.forward_of(pair), profile.backward_of(pair))
        result, back = last.gave * scale, first.took_bytes * scale if first.returned >= 0 else 0
        cost += s.link.all_reduce(back, degree) if back else 0.0
        sent += sent_by_all_reduce(back, degree)
        if pair.row >= 0:
            cost, sent = cost + s.link.all_reduce(result, degree), sent + sent_by_all_reduce(result, degree)
            between = range(pair.columns[0], pair.row)
            saved += sum(profile.kept.get(c, 0) for c in between) * scale * (1 - 1 / degree)
        else:
            cost, sent = cost + s.link.all_gather(result, degree), sent + sent_by_gather(result, degree)

    def share(place: int) -> float:
        return 1 / degree if place in inside else 1.0

    def held(w: Weight) -> float:
        return w.size / degree if w.name in divided else w.size

    local = sum(held(w) for w in profile.weights)
    found = buckets(profile.weights, s.bucket, held)
    backward = backward_seconds(profile, s, batch, found, lambda m: s.link.all_reduce(m, replicas), share)
    update = profile.update_seconds() * local / profile.gradient_bytes
    forward = profile.seconds(profile.phase(FORWARD), batch, share)
    compute = forward + profile.seconds(profile.phase(BACKWARD), batch, share) + update
    state = profile.frozen_bytes + 2 * local + profile.optimizer_bytes * local / profile.gradient_bytes
    return Prediction(
        "tensor", f"tensor {degree} x data {replicas}", forward + backward + update + cost, compute,
        sent + sent_by_all_reduce(local, replicas), state, profile.activations(batch) - saved,
    )  # fmt: skip


def _divided(profile: Profile, pairs: Sequence[Pair]) -> set[str]:
    """The parameters of which each rank has a part: all of layers by columns, the weights of those by rows."""
    found: set[str] = set()
    for pair in pairs:
        found.update(w.name for w in profile.weights if w.call in pair.columns)
        found.update(w.name for w in profile.weights if w.call == pair.row and w.name.endswith("weight"))
    return found


def stages_of(seconds: Sequence[float], stages: int) -> list[range]:
    """Cut a row of parts so that the slowest stage is as fast as can be.

    >>> stages_of([1.0, 1.0, 3.0, 1.0], 2)
    [range(0, 2), range(2, 4)]
    """
    count, total = len(seconds), [0.0]
    for part in seconds:
        total.append(total[-1] + part)
    best = [[math.inf] * (count + 1) for _ in range(stages + 1)]
    cut = [[0] * (count + 1) for _ in range(stages + 1)]
    best[0][0] = 0.0
    for k in range(1, stages + 1):
        for end in range(k, count + 1):
            for start in range(k - 1, end):
                slowest = max(best[k - 1][start], total[end] - total[start])
                if slowest < best[k][end]:
                    best[k][end], cut[k][end] = slowest, start
    found, end = [], count
    for k in range(stages, 0, -1):
        found.append(range(cut[k][end], end))
        end = cut[k][end]
    return found[::-1]


def pipeline(profile: Profile, s: Setting, stages: int, order: str = "1F1B") -> Prediction:
    """The model is cut into ``stages`` of parts that run microbatches in turn, and replicas are averaged after that.

    Without a number of microbatches the fastest of one, two, four and eight for each stage is taken. The order of each
    stage is played through. Where all stages take as long and messages nothing, that is the formula
    of Huang et al., "GPipe", arXiv:1811.06965: of m + stages - 1 steps, stages - 1 are idle.

    Raises:
        PlanError: the stages do not divide the ranks, or are more than the model has parts; an order that is unknown.
    """
    if s.ranks % stages:
        raise PlanError(f"a pipeline of {stages} stages needs a multiple of {stages} ranks, got {s.ranks}")
    if stages > len(profile.parts):
        raise PlanError(f"the model has {len(profile.parts)} parts in a row, too few for {stages} stages")
    if order not in ORDERS:
        raise PlanError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    samples = s.batch * stages
    tried = [s.microbatches] if s.microbatches else [stages * i for i in (1, 2, 4, 8)]
    found = [_pipeline(profile, s, stages, order, min(count, samples)) for count in tried]
    return min(found, key=lambda p: p.seconds)


def _pipeline(profile: Profile, s: Setting, stages: int, order: str, count: int) -> Prediction:
    """One of ``count`` microbatches."""
    samples, replicas = s.batch * stages, s.ranks // stages
    each = samples / count
    forward, backward = (
        [profile.seconds(places, each) for places in profile.kernels_of_parts(phase)] for phase in (FORWARD, BACKWARD)
    )
    cuts = stages_of([f + b for f, b in zip(forward, backward, strict=True)], stages)
    times = [(sum(forward[i] for i in cut), sum(backward[i] for i in cut)) for cut in cuts]
    handed = [profile.given_by(cut[-1]) * each / profile.batch for cut in cuts[:-1]]
    orders = [ORDERS[order](i, stages, count) for i in range(stages)]
    ends = played(orders, times, [s.link.message(m) for m in handed])
    sizes = part_sizes(profile)
    local = [sum(sizes[i] for i in cut) for cut in cuts]
    states = [2 * m + profile.optimizer_bytes * m / profile.gradient_bytes for m in local]
    kept = _kept_by_part(profile)
    alive = [_most_alive(o) for o in orders]
    activations = [
        sum(kept[i] for i in cut) * each / profile.batch * n + extra
        for cut, n, extra in zip(cuts, alive, [_passing(profile, each)] * stages, strict=True)
    ]
    updates = [profile.update_seconds() * m / profile.gradient_bytes for m in local]
    over = [e + s.link.all_reduce(m, replicas) + u for e, m, u in zip(ends, local, updates, strict=True)]
    sent = [
        count * sum(handed[max(0, i - 1) : i + 1]) + sent_by_all_reduce(m, replicas) for i, m in enumerate(local)
    ]  # fmt: skip
    state, passing = max(zip(states, activations, strict=True), key=sum)
    return Prediction(
        f"pipeline {order}", f"pipeline {stages} x data {replicas}, {count} microbatches", max(over),
        max(count * (f + b) + u for (f, b), u in zip(times, updates, strict=True)), max(sent),
        profile.frozen_bytes + state, passing,
    )  # fmt: skip


def _kept_by_part(profile: Profile) -> list[float]:
    found = [0.0] * len(profile.parts)
    for call, size in profile.kept.items():
        found[profile.part_of[call] if call >= 0 else -1] += size
    return found


def _passing(profile: Profile, batch: float) -> float:
    """Bytes that a backward needs beside what the forward kept and the gradients."""
    return profile.activations(batch) - sum(profile.kept.values()) * batch / profile.batch


def _most_alive(order: Sequence[Action]) -> int:
    """The most microbatches that have run forward and not yet backward."""
    now = most = 0
    for action in order:
        now += 1 if action.what is Pass.FORWARD else -1
        most = max(most, now)
    return most


def played(
    orders: Sequence[Sequence[Action]], times: Sequence[tuple[float, float]], messages: Sequence[float]
) -> list[float]:
    """When each stage is done, where ``messages`` are the seconds from each stage to the next and back.

    >>> orders = [ORDERS["GPipe"](i, 2, 3) for i in range(2)]
    >>> max(played(orders, [(1.0, 1.0)] * 2, [0.0]))
    8.0
    """
    done: dict[tuple[int, Action], float] = {}
    now, at = [0.0] * len(orders), [0] * len(orders)
    moved = True
    while moved:
        moved = False
        for stage, order in enumerate(orders):
            while at[stage] < len(order):
                action = order[at[stage]]
                before = _needed(stage, action, len(orders))
                if before is not None and (before, action) not in done:
                    break
                there = 0.0 if before is None else done[before, action] + messages[min(stage, before)]
                now[stage] = max(now[stage], there) + times[stage][action.what is Pass.BACKWARD]
                done[stage, action] = now[stage]
                at[stage] += 1
                moved = True
    if any(i < len(order) for i, order in zip(at, orders, strict=True)):
        raise PlanError("the orders of the stages wait for each other")
    return now


def _needed(stage: int, action: Action, stages: int) -> int | None:
    """The stage that must have done the same action before."""
    before = stage - 1 if action.what is Pass.FORWARD else stage + 1
    return before if 0 <= before < stages else None


def fastest(profile: Profile, s: Setting, memory: float | None, degrees: dict[str, int | None]) -> list[Prediction]:
    """Tensor and pipeline parallelism, each of the degree that is given, or of that which fits and is the fastest."""

    def chosen(found: list[Prediction]) -> list[Prediction]:
        fit = [p for p in found if memory is None or p.memory <= memory] or found
        return [min(fit, key=lambda p: p.seconds)] if found else []

    given = degrees.get("tensor")
    tried = [given] if given else [d for d in divisors(s.ranks, MOST) if profile.divided(d)]
    rows = chosen([tensor(profile, s, d) for d in tried])
    given = degrees.get("pipeline")
    tried = [given] if given else list(divisors(s.ranks, len(profile.parts)))
    for order in ORDERS:
        rows += chosen([pipeline(profile, s, d, order) for d in tried])
    return rows
