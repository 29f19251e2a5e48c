"""What ranks on this machine take for a step, beside what the plan says."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import flambeau as fb
import flambeau.distributed as dist
from flambeau import nn
from flambeau.distributed import plan
from flambeau.distributed.fsdp import fully_shard
from flambeau.distributed.optim import ZeroRedundancyOptimizer
from flambeau.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from flambeau.distributed.plan.across import stages_of
from flambeau.distributed.plan.profile import BACKWARD, FORWARD, Profile
from flambeau.distributed.plan.workloads import Workload, workload_of
from flambeau.distributed.tensor import Replicate
from flambeau.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from flambeau.nn import functional as F

BATCH, REPEATS = 8, 7
Measured = tuple[float, int]  #: seconds, bytes


def _timed(step: Callable[[], object]) -> float:
    """The mean of steps that all ranks begin and end together."""
    taken = []
    for _ in range(REPEATS + 2):
        dist.barrier()
        start = time.perf_counter()
        step()
        dist.barrier()
        taken.append(time.perf_counter() - start)
    return _mean(sum(taken[2:]) / REPEATS)


def _mean(number: float) -> float:
    total = fb.tensor([number])
    dist.all_reduce(total)
    return total.item() / dist.get_world_size()


def _optimizer(model: nn.Module) -> fb.optim.Optimizer:
    weights = [*model.parameters()] or [fb.zeros(1, requires_grad=True)]
    return fb.optim.AdamW(weights, lr=1e-6)


def _whole(batch: int, name: str) -> Workload:
    fb.manual_seed(0)
    return workload_of(name)(batch)


def _step(model: nn.Module, optimizer: fb.optim.Optimizer, w: Workload) -> Measured:
    """Seconds of a step, and bytes that this rank holds between backward and update."""

    def step() -> None:
        optimizer.zero_grad()
        w.loss(model(w.inputs), w.target).backward()
        optimizer.step()

    seconds = _timed(step)
    return seconds, _held(model, optimizer)


def _held(model: nn.Module, optimizer: fb.optim.Optimizer) -> int:
    """Bytes of parameters, gradients and what the optimizer keeps."""
    weights = list(model.parameters())
    inner = getattr(optimizer, "optim", optimizer)  # of a ZeroRedundancyOptimizer
    kept = [t for s in inner.state.values() for t in s.values() if isinstance(t, fb.Tensor)]
    return sum(t.nbytes for t in (*weights, *(p.grad for p in weights if p.grad is not None), *kept))


def ddp(name: str) -> Measured:
    """DistributedDataParallel."""
    w = _whole(BATCH, name)
    model = nn.parallel.DistributedDataParallel(w.model)
    return _step(model, _optimizer(model), w)


def zero1(name: str) -> Measured:
    """DistributedDataParallel with an optimizer that is divided."""
    w = _whole(BATCH, name)
    model = nn.parallel.DistributedDataParallel(w.model)
    return _step(model, ZeroRedundancyOptimizer(model.parameters(), fb.optim.AdamW, lr=1e-6), w)


def zero3(name: str) -> Measured:
    """Each part of the model sharded."""
    w = _whole(BATCH, name)
    for part in w.model.children():
        if any(True for _ in part.parameters()):
            fully_shard(part)
    return _step(w.model, _optimizer(w.model), w)


def tensor(name: str, profile: Profile) -> Measured:
    """All pairs of linear layers that the plan divides divided."""
    n = dist.get_world_size()
    w = _whole(BATCH * n, name)
    styles = {}
    for pair in profile.divided(n):
        if pair.row < 0:
            styles[profile.calls[pair.columns[0]].name] = ColwiseParallel(output_layouts=Replicate())
        else:
            styles |= {profile.calls[c].name: ColwiseParallel() for c in pair.columns}
            styles[profile.calls[pair.row].name] = RowwiseParallel()
    model = parallelize_module(w.model, None, styles)
    return _step(model, _optimizer(model), w)


def pipeline(name: str, profile: Profile, kind: type[ScheduleGPipe | Schedule1F1B]) -> Measured:
    """As many stages as ranks, cut where the plan cuts them."""
    n, rank = dist.get_world_size(), dist.get_rank()
    w = _whole(BATCH * n, name)
    target = w.target.view(BATCH * n, -1)
    count = 2 * n
    times = [
        profile.seconds(f, BATCH * n / count) + profile.seconds(b, BATCH * n / count)
        for f, b in zip(profile.kernels_of_parts(FORWARD), profile.kernels_of_parts(BACKWARD), strict=True)
    ]
    ends = fb.tensor([0, *(cut.stop for cut in stages_of(times, n))])
    dist.broadcast(ends, 0)  # each rank measured other times
    part = w.model[ends[rank].item() : ends[rank + 1].item()]
    schedule = kind(PipelineStage(part, rank, n), count, lambda y, t: F.cross_entropy(y, t.flatten()))
    optimizer = _optimizer(part)

    def step() -> None:
        optimizer.zero_grad()
        schedule.step(*([w.inputs] if rank == 0 else []), target=target if rank == n - 1 else None)
        optimizer.step()

    seconds = _timed(step)
    return seconds, _held(part, optimizer)


Row = dict[str, float]


def compare(name: str) -> dict[str, Row]:
    """By strategy: milliseconds and bytes that are predicted, and that are found here.

    All ranks measure the kernels at the same time, as they will share the cores when they train.
    """
    dist.init_process_group(timeout=120)
    fb.set_num_threads(1)
    n = dist.get_world_size()
    dist.barrier()
    profile = plan.measure(workload_of(name), BATCH, repeats=REPEATS, of=statistics.fmean)
    link = plan.measure_link()
    setting = plan.Setting(n, link, BATCH, overlap=False, microbatches=2 * n)
    rows = [
        (plan.ddp(profile, setting), ddp(name)),
        (plan.zero1(profile, setting), zero1(name)),
        (plan.zero3(profile, setting), zero3(name)),
        (plan.pipeline(profile, setting, n, "GPipe"), pipeline(name, profile, ScheduleGPipe)),
        (plan.pipeline(profile, setting, n, "1F1B"), pipeline(name, profile, Schedule1F1B)),
    ]
    if profile.divided(n):
        rows.append((plan.tensor(profile, setting, n), tensor(name, profile)))
    found = {
        row.strategy: {
            "predicted": _mean(row.seconds) * 1e3, "taken": seconds * 1e3, "state": row.state, "held": held,
        }
        for row, (seconds, held) in rows
    }  # fmt: skip
    dist.destroy_process_group()
    return found
