"""What ranks do in the tests of DistributedDataParallel: each ``case_...`` runs on all ranks of one job."""

from __future__ import annotations

import copy
import dataclasses
import gc
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb
import flambeau.distributed as dist
from benchmarks.workloads import WORKLOADS, Training
from flambeau import nn
from flambeau.nn.parallel import DistributedDataParallel as DDP

SIZES = {
    "lenet": dict(width=4, side=12, hidden=16),
    "gpt": dict(batch=8, vocabulary=17, length=8, width=16, layers=2, heads=2),
    "lstm": dict(features=4, length=6, hidden=8),
}
SMALL = 0.001  # MiB of a bucket: several of them in small models


def setup() -> None:
    dist.init_process_group()
    fb.set_num_threads(1)


def part(values: Any) -> Any:
    """This rank's part of a batch."""
    return values.chunk(dist.get_world_size())[dist.get_rank()]


def mean_of(value: float) -> float:
    """The mean over the ranks."""
    found = fb.tensor([value], dtype=fb.float64)
    dist.all_reduce(found)
    return found.item() / dist.get_world_size()


def shared(training: Training, wrap: Callable[[Any], Any]) -> Training:
    """A training of this rank's part of the batch, with a wrapped model."""
    training.model = wrap(training.model)
    training.x, training.target = part(training.x), part(training.target)
    return training


def losses(name: str, wrap: Callable[[Any], Any], steps: int = 5, optimizer: Any = None) -> list[float]:
    training = shared(Training(fb, WORKLOADS[name], SIZES[name]), wrap)
    return [mean_of(training.step()) for _ in range(steps)]


def whole(name: str, steps: int = 5) -> list[float]:
    """The losses of one rank with the whole batch."""
    training = Training(fb, WORKLOADS[name], SIZES[name])
    return [training.step() for _ in range(steps)]


def close(one: Any, other: Any, tolerance: float = 1e-6) -> None:
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=tolerance, atol=tolerance)


def same_everywhere(t: Any) -> None:
    """The tensor is the same in all ranks."""
    first = t.detach().clone()
    dist.broadcast(first, 0)
    assert bool((first == t).all()), (first, t)


def network(seed: int = 0) -> nn.Sequential:
    fb.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))


def batch(rows: int = 8) -> Any:
    return fb.tensor(np.random.default_rng(7).standard_normal((rows, 4), "f"))


def mean_gradients(model: Any, x: Any) -> list[Any]:
    """Those of one rank with the whole batch, of the mean of squares."""
    model.zero_grad()
    model(x).square().mean().backward()
    found = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    return found


def gradients_are(ddp: Any, wanted: list[Any]) -> None:
    for (name, p), other in zip(ddp.module.named_parameters(), wanted, strict=True):
        assert (p.grad is None) == (other is None), name
        if other is not None:
            close(p.grad.numpy(), other.numpy())


# -- losses ------------------------------------------------------------------------------------------
def case_losses_of_gpt() -> None:
    close(losses("gpt", lambda m: DDP(m, bucket_cap_mb=SMALL)), whole("gpt"))


def case_losses_of_lenet() -> None:
    close(losses("lenet", lambda m: DDP(m, bucket_cap_mb=SMALL, gradient_as_bucket_view=True)), whole("lenet"))


def case_losses_of_lstm() -> None:
    close(losses("lstm", lambda m: DDP(m, static_graph=True)), whole("lstm"))


def case_compiled_steps_equal_eager_ones() -> None:
    for options in ({}, {"gradient_as_bucket_view": True}, {"static_graph": True}):
        found = []
        for compiled in (False, True):
            training = shared(
                Training(fb, WORKLOADS["gpt"], SIZES["gpt"]), lambda m: DDP(m, bucket_cap_mb=SMALL, **options)
            )
            update = fb.compile(training.update, fullgraph=True) if compiled else training.update
            found.append([update(training.x, training.target).item() for _ in range(7)])
        assert found[0] == found[1], options
        assert update.captured.counts.replayed >= 3


def case_compiled_buffers_and_sync_batch_norm() -> None:
    found = []
    for compiled in (False, True):
        fb.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.SyncBatchNorm(6), nn.Linear(6, 2))
        ddp = DDP(model)
        optimizer = fb.optim.SGD(ddp.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = ddp(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        run = fb.compile(step, fullgraph=True) if compiled else step
        found.append([run(part(batch())).item() for _ in range(7)] + model[1].running_mean.tolist())
    assert found[0] == found[1]
    assert run.captured.counts.replayed >= 3


# -- the start ---------------------------------------------------------------------------------------
def case_parameters_and_buffers_begin_as_those_of_rank_0() -> None:
    model = nn.Sequential(network(dist.get_rank()), nn.BatchNorm1d(2))
    model[1].running_mean.fill_(dist.get_rank() + 1.0)
    ddp = DDP(model)
    for t in (*ddp.parameters(), *ddp.buffers()):
        same_everywhere(t)
    assert model[1].running_mean.tolist() == [1.0, 1.0]
    before = network(dist.get_rank())
    kept = [p.clone() for p in before.parameters()]
    DDP(before, init_sync=False)
    assert all(bool((a == b).all()) for a, b in zip(kept, before.parameters(), strict=True))


def case_other_parameters_on_some_rank_are_named() -> None:
    odd = dist.get_rank() == dist.get_world_size() - 1
    with pytest.raises(RuntimeError, match=r"process \d+ has other parameters than process 0: 'weight'|has other"):
        DDP(nn.Linear(3 if odd else 2, 2))
    with pytest.raises(RuntimeError, match="2 of them and not 1|1 of them and not 2"):
        DDP(nn.Linear(2, 2, bias=not odd))


def case_wrong_arguments() -> None:
    with pytest.raises(RuntimeError, match="doesn't have any parameters that require a gradient"):
        DDP(nn.ReLU())
    with pytest.raises(RuntimeError, match=r"parameter 'weight' of a lazy module"):
        DDP(nn.LazyLinear(2))
    with pytest.raises(ValueError, match="device_ids is for a module on that one accelerator"):
        DDP(nn.Linear(2, 2), device_ids=[0])
    with pytest.raises(ValueError, match="more than 0 MiB"):
        DDP(nn.Linear(2, 2), bucket_cap_mb=0)
    with pytest.raises(ValueError, match="mixed_precision"):
        DDP(nn.Linear(2, 2), mixed_precision=object())
    ddp = DDP(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="must be callable, got int"):
        ddp.register_comm_hook(None, 3)
    ddp.register_comm_hook(None, lambda state, bucket: 3)
    with pytest.raises(RuntimeError, match="only be called once"):
        ddp.register_comm_hook(None, lambda state, bucket: 3)
    with pytest.raises(TypeError, match="returns a Future of the reduced tensor, got int"):
        ddp(fb.ones(2, 2)).sum().backward()


def case_names_in_state_dicts() -> None:
    ddp, other = DDP(network(1)), DDP(network(2))
    assert list(ddp.state_dict()) == [f"module.{name}" for name in ddp.module.state_dict()]
    other.load_state_dict(ddp.state_dict())
    close(other(batch()).detach().numpy(), ddp(batch()).detach().numpy())
    assert ddp.module[0].in_features == 4 and not hasattr(ddp, "in_features")


# -- buckets -----------------------------------------------------------------------------------------
def case_buckets_are_made_anew_in_the_order_of_arrival() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)

        def forward(self, x: Any) -> Any:
            return self.last(self.first(x).tanh())

    ddp = DDP(Crossed(), bucket_cap_mb=1e-5)
    order = lambda: [n for b in ddp.reducer.buckets for n in b.numbers]
    assert order() == [1, 0] and len(ddp.reducer.buckets) == 2
    wanted = mean_gradients(copy.deepcopy(ddp.module), batch())
    for _ in range(3):
        ddp.zero_grad()
        ddp(part(batch())).square().mean().backward()
        gradients_are(ddp, wanted)
    assert order() == [0, 1]


def case_gradients_are_views_of_the_buckets() -> None:
    ddp = DDP(network(), gradient_as_bucket_view=True, bucket_cap_mb=SMALL / 4)
    wanted = mean_gradients(copy.deepcopy(ddp.module), batch())
    for to_none in (True, False, True, False):
        ddp.zero_grad(set_to_none=to_none)
        ddp(part(batch())).square().mean().backward()
        gradients_are(ddp, wanted)
    storages = {b.flat.untyped_storage().data_ptr() for b in ddp.reducer.buckets}
    assert {p.grad.untyped_storage().data_ptr() for p in ddp.parameters()} == storages
    plain = DDP(network())
    plain(part(batch())).square().mean().backward()
    assert (
        plain.module[0].weight.grad.untyped_storage().data_ptr()
        != plain.reducer.buckets[0].flat.untyped_storage().data_ptr()
    )


def case_transposed_parameters_and_several_dtypes() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Parameter(fb.arange(12.0).reshape(4, 3).t())
            self.b = nn.Parameter(fb.ones(3, dtype=fb.float64))
            self.c = nn.Parameter(fb.ones(3, dtype=fb.complex64))

        def forward(self, x: Any) -> Any:
            return (x @ self.a.t()).double() * self.b * self.c.abs()

    for views in (False, True):
        ddp = DDP(Mixed(), gradient_as_bucket_view=views)
        assert [b.flat.dtype for b in ddp.reducer.buckets] == [fb.complex64, fb.float64, fb.float32]
        wanted = mean_gradients(copy.deepcopy(ddp.module), batch())
        for _ in range(2):
            ddp.zero_grad()
            ddp(part(batch())).square().mean().backward()
            for p, other in zip(ddp.parameters(), wanted, strict=True):
                close(p.grad.numpy(), other.numpy(), 1e-5)
        assert ddp.module.a.grad.stride() == ddp.module.a.stride()


# -- what backward does ------------------------------------------------------------------------------
def case_no_sync_adds_up() -> None:
    for views in (False, True):
        ddp = DDP(network(), gradient_as_bucket_view=views)
        wanted = mean_gradients(copy.deepcopy(ddp.module), batch())
        for _ in range(2):
            ddp.zero_grad()
            first, second = part(batch()).chunk(2)
            with ddp.no_sync():
                (ddp(first).square().mean() / 2).backward()
            (ddp(second).square().mean() / 2).backward()
            gradients_are(ddp, wanted)
        ddp.zero_grad()
        with ddp.no_sync():
            ddp(part(batch())).square().mean().backward()
        own = copy.deepcopy(ddp.module)
        gradients_are(ddp, mean_gradients(own, part(batch())))


class Branches(nn.Module):
    """Two branches, of which a forward uses some."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.never = nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Any, left: bool = True, right: bool = False) -> Any:
        return [m(x) for m, used in ((self.left, left), (self.right, right)) if used]


def case_unused_parameters_are_named() -> None:
    ddp = DDP(Branches())
    ddp(part(batch()))[0].sum().backward()
    with pytest.raises(
        RuntimeError, match=r"2 of 6|4 of 6 parameters: right.weight \(2\), right.bias \(3\), never.weight"
    ):
        ddp(part(batch()))


def case_unused_parameters_are_found() -> None:
    fb.manual_seed(0)
    ddp = DDP(Branches(), find_unused_parameters=True)
    rank = dist.get_rank()
    for _ in range(2):
        ddp.zero_grad()
        out = ddp(part(batch()), left=True, right=rank == 0)
        sum(o.sum() for o in out).backward()
        module = copy.deepcopy(ddp.module)
        module.zero_grad()
        total = [sum(o.sum() for o in module(part_of(batch(), r), True, r == 0)) for r in range(dist.get_world_size())]
        (sum(total) / len(total)).backward()
        gradients_are(ddp, [p.grad for p in module.parameters()])
        assert ddp.module.never.weight.grad is None and ddp.module.right.weight.grad is not None


def part_of(values: Any, rank: int) -> Any:
    return values.chunk(dist.get_world_size())[rank]


def case_a_static_graph_finds_unused_parameters() -> None:
    ddp = DDP(Branches(), static_graph=True)
    wanted = None
    for _ in range(3):
        ddp.zero_grad()
        ddp(part(batch()))[0].square().mean().backward()
        found = [None if p.grad is None else p.grad.tolist() for p in ddp.parameters()]
        assert found[2:] == [None] * 4 and (wanted is None or wanted == found)
        wanted = found
    same_everywhere(ddp.module.left.weight.grad)


class Reentrant(fb.autograd.Function):
    """A layer that runs again in backward, which calls backward inside of it."""

    @staticmethod
    def forward(ctx: Any, x: Any, layer: Any) -> Any:
        ctx.layer = layer
        ctx.save_for_backward(x)
        with fb.no_grad():
            return layer(x)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with fb.enable_grad():
            out = ctx.layer(x)
        out.backward(grad)
        return x.grad, None


def case_checkpoints() -> None:
    from flambeau.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self, times: int, run: Callable[..., Any]) -> None:
            super().__init__()
            self.layer, self.head, self.times, self.run = nn.Linear(4, 4), nn.Linear(4, 2), times, run

        def forward(self, x: Any) -> Any:
            x = x.clone().requires_grad_()
            for _ in range(self.times):
                x = self.run(self.layer, x).tanh()
            return self.head(x)

    def saving(layer: Any, x: Any) -> Any:
        return checkpoint(layer, x, use_reentrant=False)

    def reentrant(layer: Any, x: Any) -> Any:
        return Reentrant.apply(x, layer)

    for times, run, static in ((2, saving, False), (1, reentrant, False), (3, reentrant, True)):
        fb.manual_seed(1)
        ddp = DDP(Checkpointed(times, run), static_graph=static, bucket_cap_mb=1e-5)
        wanted = mean_gradients(copy.deepcopy(ddp.module), batch())
        for _ in range(3):
            ddp.zero_grad()
            ddp(part(batch())).square().mean().backward()
            gradients_are(ddp, wanted)
    ddp = DDP(Checkpointed(2, reentrant))
    with pytest.raises(RuntimeError, match=r"ready only once, but the gradient of 'layer"):
        ddp(part(batch())).square().mean().backward()


def case_double_use_frozen_parameters_and_containers() -> None:
    @dataclasses.dataclass
    class Result:
        values: dict[str, Any]
        extra: tuple[Any, ...]

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice, self.frozen, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.frozen.requires_grad_(False)

        def forward(self, inputs: dict[str, Any], *, scale: float) -> Any:
            y = self.twice(self.frozen(self.twice(inputs["x"])))
            return Result({"y": y * scale}, (y.sum(), "text", None))

    fb.manual_seed(2)
    ddp = DDP(Model(), find_unused_parameters=True)
    module = copy.deepcopy(ddp.module)
    loss = lambda m, x: (lambda r: r.values["y"].square().mean())(m({"x": x}, scale=2.0))
    loss(module, batch()).backward()
    loss(ddp, part(batch())).backward()
    gradients_are(ddp, [p.grad for p in module.parameters()])
    assert ddp.module.frozen.weight.grad is None and ddp.module.unused.weight.grad is None


def case_two_losses_and_a_forward_without_backward() -> None:
    fb.manual_seed(4)
    ddp = DDP(Branches())
    ddp.module.never.requires_grad_(False)
    ddp = DDP(ddp.module)
    ddp(part(batch()), True, True)  # nobody asks for its gradients
    left, right = ddp(part(batch()), True, True)
    left.square().mean().backward()
    right.square().mean().backward()
    module = copy.deepcopy(ddp.module)
    module.zero_grad()
    left, right = module(batch(), True, True)
    (left.square().mean() + right.square().mean()).backward()
    gradients_are(ddp, [p.grad for p in module.parameters()])


def case_second_derivatives_and_grad_scaler() -> None:
    ddp = DDP(network())
    loss = ddp(part(batch())).square().mean()
    loss.backward(create_graph=True)
    assert all(not p.grad.requires_grad or p.grad.grad_fn is not None for p in ddp.parameters())
    ddp.zero_grad()
    scaler, optimizer = fb.amp.GradScaler("cpu", init_scale=1024.0), fb.optim.SGD(ddp.parameters(), lr=0.1)
    before = [p.clone() for p in ddp.parameters()]
    x = part(batch())
    if dist.get_rank() == 0:
        x = x * float("inf")  # one rank overflows: all skip the step
    scaler.scale(ddp(x).square().mean()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert all(bool((a == b).all()) for a, b in zip(before, ddp.parameters(), strict=True))
    assert scaler.get_scale() == 512.0


def case_a_wrapper_that_is_gone_leaves_no_hooks() -> None:
    module = network()
    first = DDP(module)
    first(part(batch())).sum().backward()
    del first
    gc.collect()
    assert all(not p._node.post_hooks for p in module.parameters())
    second = DDP(module)
    wanted = mean_gradients(copy.deepcopy(module), batch())
    second.zero_grad()
    second(part(batch())).square().mean().backward()
    gradients_are(second, wanted)


# -- buffers -----------------------------------------------------------------------------------------
def case_buffers_are_those_of_rank_0_at_each_forward() -> None:
    for shares in (True, False):
        model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
        ddp = DDP(model, forward_sync_buffers=shares)
        for _ in range(2):
            ddp(part(batch()))
        found = model[1].running_mean.clone()
        ddp.eval()
        ddp(part(batch()))
        if shares:
            same_everywhere(model[1].running_mean)
            same_everywhere(model[1].num_batches_tracked)
        else:
            assert bool((model[1].running_mean == found).all())


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
        (1e-6, hooks.allreduce_hook), (1e-3, hooks.fp16_compress_hook), (1e-3, hooks.bf16_compress_hook),
        (1e-3, hooks.fp16_compress_wrapper(hooks.allreduce_hook)), (1e-3, hooks.bf16_compress_wrapper(hooks.allreduce_hook)),
    ):  # fmt: skip

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

    def steps(ddp: Any, count: int) -> list[float]:
        optimizer, found = fb.optim.SGD(ddp.parameters(), lr=0.1), []
        for _ in range(count):
            optimizer.zero_grad()
            loss = ddp(part(batch())).square().mean()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    def made(weights: Any = None, kept: Any = None) -> tuple[Any, Any]:
        ddp, state = DDP(network(6)), power.PowerSGDState(None, start_powerSGD_iter=2)
        if weights is not None:
            ddp.load_state_dict(weights)
            steps_without = DDP(network(6))
            steps_without(part(batch())).sum().backward()
            state.load_state_dict(kept)
        ddp.register_comm_hook(state, power.powerSGD_hook)
        return ddp, state

    ddp, state = made()
    steps(ddp, 4)
    weights = {name: t.clone() for name, t in ddp.state_dict().items()}
    kept = copy.deepcopy(state.state_dict())
    again, other = made(weights, kept)
    again.reducer.arrivals = list(ddp.reducer.arrivals)  # the buckets of a run that goes on
    assert steps(ddp, 3) == steps(again, 3) and other.iter == state.iter
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

    def steps(model: Any, x: Any) -> list[float]:
        optimizer, found = fb.optim.SGD(model.parameters(), lr=0.1), []
        for _ in range(5):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    wanted = steps(made(), batch())
    ours = steps(DDP(nn.SyncBatchNorm.convert_sync_batchnorm(made())), part(batch()))
    close([mean_of(value) for value in ours], wanted)
