"""What ranks do in the tests of DistributedDataParallel: each ``case_...`` runs on all ranks of one job."""

from __future__ import annotations

import copy
import dataclasses
import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import flambeau as fb
import flambeau.distributed as dist
from benchmarks.workloads import WORKLOADS, Training
from flambeau import nn
from flambeau.nn.parallel import DistributedDataParallel as DDP
from tests.distributed.ddp_tools import (
    SIZES,
    SMALL,
    batch,
    begin,
    close,
    gradients_are,
    losses,
    mean_gradients,
    network,
    part,
    same_everywhere,
    shared,
    trained,
    trained_once,
    whole,
)


def setup() -> None:
    begin()


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
                Training(fb, WORKLOADS["gpt"], SIZES["gpt"]),
                lambda m, options=options: DDP(m, bucket_cap_mb=SMALL, **options),
            )
            update = fb.compile(training.update, fullgraph=True) if compiled else training.update
            found.append([update(training.x, training.target).item() for _ in range(7)])
        assert found[0] == found[1], options
        assert update.captured.counts.replayed >= 3


def case_a_compiled_forward_alone_and_a_compiled_module_inside() -> None:
    found = []
    for wrap in (DDP, lambda model: fb.compile(DDP(model)), lambda model: DDP(fb.compile(model))):
        model = wrap(network(9))
        found.append(trained(model, part(batch()), 7))
        for p in model.parameters():
            same_everywhere(p)
    assert found[0] == found[1] == found[2]


def case_compiled_accumulation_and_unused_parameters() -> None:
    def step(ddp: Any, optimizer: Any, x: Any) -> Any:
        optimizer.zero_grad()
        with ddp.no_sync():
            ddp(x[:1])[0].square().mean().backward()
        loss = ddp(x[1:])[0].square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(ddp.parameters(), 0.1)
        optimizer.step()
        return loss

    found = []
    for compiled in (False, True):
        fb.manual_seed(10)
        ddp = DDP(Branches(), find_unused_parameters=True)
        run = partial(step, ddp, fb.optim.SGD(ddp.parameters(), lr=0.1))
        call = fb.compile(run) if compiled else run
        found.append([call(part(batch())).item() for _ in range(7)])
        assert ddp.module.never.weight.grad is None
    assert found[0] == found[1]


def case_compiled_buffers_and_sync_batch_norm() -> None:
    found = []
    for compiled in (False, True):
        fb.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.SyncBatchNorm(6), nn.Linear(6, 2))
        ddp = DDP(model)
        optimizer = fb.optim.SGD(ddp.parameters(), lr=0.1)

        step = partial(trained_once, ddp, optimizer)
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
    with pytest.raises(RuntimeError, match=r"2 of them and not 1|1 of them and not 2"):
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

    def order() -> list[int]:
        return [n for b in ddp.reducer.buckets for n in b.numbers]

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


def case_a_group_of_one_rank() -> None:
    from flambeau.distributed.algorithms.ddp_comm_hooks import default_hooks

    alone = [dist.new_group([r]) for r in range(dist.get_world_size())][dist.get_rank()]
    for options in ({}, {"gradient_as_bucket_view": True}, {"static_graph": True}, {"find_unused_parameters": True}):
        ddp = DDP(network(), process_group=alone, **options)
        wanted = mean_gradients(copy.deepcopy(ddp.module), part(batch()))
        for hooked in (False, True, True):
            if hooked and ddp.reducer.hook is None:
                ddp.register_comm_hook(alone, default_hooks.allreduce_hook)
            ddp.zero_grad()
            ddp(part(batch())).square().mean().backward()
            gradients_are(ddp, wanted)
    ddp = DDP(Branches(), process_group=alone)
    ddp(part(batch()))[0].sum().backward()
    with pytest.raises(RuntimeError, match=r"4 of 6 parameters: right.weight"):
        ddp(part(batch()))
    ddp = DDP(Branches(), process_group=alone, find_unused_parameters=True)
    for _ in range(2):
        ddp(part(batch()))[0].sum().backward()
    assert ddp.module.never.weight.grad is None


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
    for model, x in ((module, batch()), (ddp, part(batch()))):
        model({"x": x}, scale=2.0).values["y"].square().mean().backward()
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
