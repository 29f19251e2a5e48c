"""What ranks do in the tests of join, communication hooks, averaged models and SyncBatchNorm."""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import flambeau as fb
import flambeau.distributed as dist
from flambeau import nn
from flambeau.distributed.algorithms.join import Join, Joinable, JoinHook
from flambeau.nn.parallel import DistributedDataParallel as DDP
from tests.distributed.ddp_tools import (
    SMALL,
    batch,
    begin,
    close,
    gradients_are,
    losses,
    mean_gradients,
    mean_of,
    network,
    part,
    same_everywhere,
    trained,
    whole,
)


def setup() -> None:
    begin()


# -- uneven inputs -----------------------------------------------------------------------------------
def case_join() -> None:
    rank, size = dist.get_rank(), dist.get_world_size()
    rows = [batch(8)[i : i + 2] for i in range(3)]
    for by_all in (True, False):
        fb.manual_seed(5)
        ddp = DDP(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)), bucket_cap_mb=SMALL / 10)
        module = copy.deepcopy(ddp.module)
        optimizer = fb.optim.SGD(ddp.parameters(), lr=0.1)
        mine = rows[: 3 if rank == size - 1 else 1]
        with ddp.join(divide_by_initial_world_size=by_all):
            for x in mine:
                optimizer.zero_grad()
                ddp(x).square().mean().backward()
                optimizer.step()
        for t in (*ddp.parameters(), *ddp.buffers()):
            same_everywhere(t)
        optimizer = fb.optim.SGD(module.parameters(), lr=0.1)
        for i, x in enumerate(rows):  # what all that is: the same batch in each rank, then one rank alone
            optimizer.zero_grad()
            (module(x).square().mean() * (1 / size if by_all and i else 1)).backward()
            optimizer.step()
        for p, q in zip(ddp.parameters(), module.parameters(), strict=True):
            close(p.detach().numpy(), q.detach().numpy())


def case_what_join_asks_for() -> None:
    ddp = DDP(network())
    assert ddp.join_device == fb.device("cpu") and ddp.join_process_group is dist.group.WORLD
    assert isinstance(ddp.join_hook(), JoinHook) and isinstance(ddp, Joinable)
    with pytest.raises(ValueError, match="at least one joinable"):
        Join([])
    alone = [dist.new_group([r]) for r in range(dist.get_world_size())][dist.get_rank()]
    with pytest.raises(ValueError, match="one process group and one device"):
        Join([ddp, DDP(network(), process_group=alone)])


def case_join_without_any_batch_and_early_end() -> None:
    rank = dist.get_rank()
    ddp = DDP(network(), find_unused_parameters=True)
    with ddp.join():
        for _ in range(0 if rank == 0 else 3):
            ddp(part(batch())).sum().backward()
    for p in ddp.parameters():
        same_everywhere(p)
    with pytest.raises(RuntimeError, match="exhausted"), ddp.join(throw_on_early_termination=True):
        for _ in range(1 if rank == 0 else 3):
            ddp.zero_grad()
            ddp(part(batch())).sum().backward()


# -- communication hooks -----------------------------------------------------------------------------
def case_compression_hooks() -> None:
    from flambeau.distributed.algorithms.ddp_comm_hooks import DDPCommHookType, register_ddp_comm_hook
    from flambeau.distributed.algorithms.ddp_comm_hooks import default_hooks as hooks

    wanted = whole("gpt")
    for tolerance, hook in (
        (1e-6, hooks.allreduce_hook),
        (1e-3, hooks.fp16_compress_hook),
        (1e-3, hooks.bf16_compress_hook),
        (1e-3, hooks.fp16_compress_wrapper(hooks.allreduce_hook)),
        (1e-3, hooks.bf16_compress_wrapper(hooks.allreduce_hook)),
    ):

        def wrap(model: Any, hook: Any = hook) -> Any:
            ddp = DDP(model, bucket_cap_mb=SMALL)
            ddp.register_comm_hook(None, hook)
            return ddp

        close(losses("gpt", wrap), wanted, tolerance)
    ddp = DDP(network())
    register_ddp_comm_hook(DDPCommHookType.NOOP, ddp)
    ddp(part(batch())).square().mean().backward()
    gradients_are(ddp, mean_gradients(copy.deepcopy(ddp.module), part(batch())))


def case_what_a_hook_is_given() -> None:
    seen = []

    def hook(state: list[Any], bucket: Any) -> Any:
        state.append((bucket.index(), bucket.is_last(), len(bucket.parameters()), bucket.buffer().numel()))
        assert sum(g.numel() for g in bucket.gradients()) == bucket.buffer().numel()
        assert [g.shape for g in bucket.gradients()] == [p.shape for p in bucket.parameters()]
        work = dist.all_reduce(bucket.buffer(), async_op=True)
        return work.get_future().then(lambda f: f.value()[0] * 2)

    ddp = DDP(network(), bucket_cap_mb=1e-4)
    ddp.register_comm_hook(seen, hook)
    wanted = mean_gradients(copy.deepcopy(ddp.module), batch())
    ddp(part(batch())).square().mean().backward()
    gradients_are(ddp, [g * 2 * dist.get_world_size() for g in wanted])
    assert [i for i, *_ in seen] == list(range(len(seen))) and [last for _, last, *_ in seen].index(True) == len(
        seen
    ) - 1
    assert sum(n for *_, n in seen) == sum(p.numel() for p in ddp.parameters())


def case_power_sgd() -> None:
    from flambeau.distributed.algorithms.ddp_comm_hooks import powerSGD_hook as power

    with pytest.raises(ValueError, match="start_powerSGD_iter > 1"):
        power.PowerSGDState(None, start_powerSGD_iter=1)
    wanted = whole("gpt", 8)
    ranks = {}
    for name, hook, options in (
        ("full", power.powerSGD_hook, dict(matrix_approximation_rank=64, min_compression_rate=0.1)),
        ("thin", power.powerSGD_hook, dict(matrix_approximation_rank=1)),
        ("together", power.powerSGD_hook, dict(matrix_approximation_rank=1, batch_tensors_with_same_shape=True)),
        ("steps", power.powerSGD_hook, dict(matrix_approximation_rank=1, orthogonalization_epsilon=1e-8)),
        ("square", power.batched_powerSGD_hook, dict(matrix_approximation_rank=2)),
    ):
        state = power.PowerSGDState(None, start_powerSGD_iter=2, **options)

        def wrap(model: Any, hook: Any = hook, state: Any = state) -> Any:
            ddp = DDP(model)
            ddp.register_comm_hook(state, hook)
            return ddp

        ranks[name] = losses("gpt", wrap, 8)
        assert state.iter == 8
    close(ranks["full"], wanted, 1e-5)
    close(ranks["together"], ranks["thin"], 1e-2)  # factors begin with other random numbers
    close(ranks["steps"], ranks["thin"], 1e-4)
    assert ranks["thin"][-1] < wanted[0] and ranks["square"][-1] < wanted[0]
    assert state.compression_stats()[0] > 2


def case_power_sgd_goes_on_from_a_checkpoint() -> None:
    from flambeau.distributed.algorithms.ddp_comm_hooks import powerSGD_hook as power

    def made(weights: Any = None, kept: Any = None) -> tuple[Any, Any]:
        ddp, state = DDP(network(6)), power.PowerSGDState(None, start_powerSGD_iter=2)
        if weights is not None:
            ddp.load_state_dict(weights)
            state.load_state_dict(kept)
        ddp.register_comm_hook(state, power.powerSGD_hook)
        return ddp, state

    ddp, state = made()
    trained(ddp, part(batch()), 4)
    weights = {name: t.clone() for name, t in ddp.state_dict().items()}
    kept = copy.deepcopy(state.state_dict())
    again, other = made(weights, kept)
    again.reducer.arrivals = list(ddp.reducer.arrivals)  # the buckets of a run that goes on
    x = part(batch())
    assert trained(ddp, x, 3) == trained(again, x, 3) and other.iter == state.iter
    with pytest.raises(ValueError, match="expects the entries"):
        state.load_state_dict({})


def case_averaged_models() -> None:
    from flambeau.distributed.algorithms.ddp_comm_hooks import post_localSGD_hook as local
    from flambeau.distributed.algorithms.model_averaging import averagers, hierarchical_model_averager, utils

    rank, size = dist.get_rank(), dist.get_world_size()
    p = nn.Parameter(fb.full((2,), float(rank)))
    p.grad = fb.zeros(2)
    averager = averagers.PeriodicModelAverager(period=2, warmup_steps=1)
    seen = []
    for _ in range(4):
        averager.average_parameters([p])
        seen.append(p[0].item())
    mean = (size - 1) / 2
    assert seen == [rank, mean, mean, mean]
    with fb.no_grad():
        p.fill_(rank)
    periods = OrderedDict([(2, 2), (4, size)]) if size > 2 else OrderedDict([(2, 2)])
    made = hierarchical_model_averager.HierarchicalModelAverager(periods, warmup_steps=1)
    for _ in range(4):
        made.average_parameters([{"params": [p]}])
    assert p[0].item() == (rank // 2 * 2 + 0.5)
    utils.average_parameters([p], None)
    assert p[0].item() == mean
    with pytest.raises(ValueError, match="period must be a positive value"):
        averagers.PeriodicModelAverager(0)
    with pytest.raises(ValueError, match="the last size must be"):
        hierarchical_model_averager.HierarchicalModelAverager(OrderedDict([(2, size + 1)]))
    alone = [dist.new_group([r]) for r in range(size)][rank]
    ddp = DDP(network())
    ddp.register_comm_hook(local.PostLocalSGDState(None, alone, 1), local.post_localSGD_hook)
    for wanted in (
        mean_gradients(copy.deepcopy(ddp.module), batch()),
        mean_gradients(copy.deepcopy(ddp.module), part(batch())),
    ):
        ddp.zero_grad()
        ddp(part(batch())).square().mean().backward()
        gradients_are(ddp, wanted)


# -- batch norms over ranks --------------------------------------------------------------------------
def case_sync_batch_norm_is_that_of_the_whole_batch() -> None:
    rank, size = dist.get_rank(), dist.get_world_size()
    rng = np.random.default_rng(0)
    for shape, options in (((9, 3, 4), {}), ((9, 3, 2, 2), {"affine": False}), ((9, 3), {"momentum": None})):
        x, g = rng.standard_normal(shape, "f") + 2, rng.standard_normal(shape, "f")
        cuts = [0, 6, 9] if size == 2 else [0, 3, 3, 5, 9]  # uneven, and nothing at all
        mine = slice(cuts[rank], cuts[rank + 1])
        norm = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)](3, **options)
        synced = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(norm))
        found = []
        for m, at in ((norm, slice(None)), (synced, mine)):
            leaf = fb.tensor(x[at]).requires_grad_()
            for _ in range(2):
                out = m(leaf)
            (out * fb.tensor(g[at])).sum().backward()
            found.append((out.detach().numpy(), leaf.grad.numpy()))
        for one, part_of_it in zip(*found, strict=True):
            close(part_of_it, one[mine], 5e-6)
        close(synced.running_mean.numpy(), norm.running_mean.numpy())
        close(synced.running_var.numpy(), norm.running_var.numpy())
        for p, q in zip(synced.parameters(), norm.parameters(), strict=True):
            dist.all_reduce(p.grad)
            close(p.grad.numpy(), q.grad.numpy(), 1e-5)
        close(synced.eval()(fb.tensor(x)).detach().numpy(), norm.eval()(fb.tensor(x)).detach().numpy())


def case_a_sync_batch_norm_trains_as_one_rank_does() -> None:
    def made() -> Any:
        fb.manual_seed(8)
        return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))

    wanted = trained(made(), batch(), 5)
    ours = trained(DDP(nn.SyncBatchNorm.convert_sync_batchnorm(made())), part(batch()), 5)
    close([mean_of(value) for value in ours], wanted)
