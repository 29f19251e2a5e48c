"""What test_shard.py runs on several ranks: models whose parameters are cut over them, beside one rank alone."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import flambeau as fb
import flambeau.distributed as dist
from benchmarks.workloads import WORKLOADS, Training
from flambeau import nn
from flambeau.distributed.algorithms.join import Join
from flambeau.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from flambeau.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)
from flambeau.distributed.device_mesh import init_device_mesh
from flambeau.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    ShardingStrategy,
    StateDictType,
    fully_shard,
    register_fsdp_forward_method,
)
from flambeau.distributed.fsdp import FullyShardedDataParallel as FSDP
from flambeau.distributed.fsdp.wrap import ModuleWrapPolicy, size_based_auto_wrap_policy
from flambeau.distributed.optim import PostLocalSGDOptimizer, ZeroRedundancyOptimizer
from flambeau.distributed.pieces import Sharded
from flambeau.utils.checkpoint import checkpoint
from flambeau.utils.data import DistributedSampler

SIZES = {
    "gpt": dict(batch=8, vocabulary=64, length=8, width=16, layers=2, heads=2),
    "lenet": dict(side=10, width=4, hidden=16),
    "lstm": dict(length=6, features=8, hidden=16),
}
STEPS = 4
F = nn.functional


def setup() -> None:
    fb.set_num_threads(1)
    dist.init_process_group("cpu:mpi,strict:mpi", timeout=timedelta(seconds=30))


def rank() -> int:
    return dist.get_rank()


def ranks() -> int:
    return dist.get_world_size()


def own(t: Any) -> Any:
    """This rank's part of a batch."""
    count = t.shape[0] // ranks()
    return t[rank() * count : (rank() + 1) * count]


def mean(loss: Any) -> float:
    total = loss.detach().clone()
    dist.all_reduce(total)
    return float(total.item()) / ranks()


def close(a: Any, b: Any, tolerance: float = 1e-6) -> bool:
    return bool((a - b).abs().max() <= tolerance)


def units(name: str, model: Any) -> list[Any]:
    return {"gpt": lambda: [*model.blocks], "lenet": lambda: [model[0], model[6]], "lstm": lambda: [model.rnn]}[name]()


def sharded_training(name: str, **options: Any) -> tuple[Training, Any]:
    """A workload whose model is sharded, and its optimizer."""
    training = Training(fb, WORKLOADS[name], SIZES[name])
    for unit in units(name, training.model):
        fully_shard(unit, **options)
    fully_shard(training.model, **options)
    training.optimizer = WORKLOADS[name].optimizer(fb, training.model.parameters())
    return training, training.optimizer


def step(training: Training, after: Callable[[], Any] = lambda: None) -> float:
    """Train on this rank's part of the batch; the mean loss before that."""
    training.optimizer.zero_grad()
    loss = training.loss(own(training.x), own(training.target))
    loss.backward()
    after()
    training.optimizer.step()
    return mean(loss)


def alone(name: str, steps: int = STEPS) -> list[float]:
    """The losses of one rank with the whole batch."""
    training = Training(fb, WORKLOADS[name], SIZES[name])
    return [training.step() for _ in range(steps)]


def same(found: list[float], expected: list[float], tolerance: float = 1e-6) -> None:
    assert all(abs(a - b) <= tolerance for a, b in zip(found, expected, strict=True)), (found, expected)


def _sum_gradients(model: Any) -> None:
    for p in model.parameters():
        dist.all_reduce(p.grad)
        p.grad.div_(ranks())


def replicated_training(name: str) -> tuple[Training, Callable[[], None]]:
    """A workload whose optimizer's state is sharded, and what sums its gradients."""
    training = Training(fb, WORKLOADS[name], SIZES[name])
    group = training.optimizer.param_groups[0]
    options = {k: group[k] for k in ("lr", "weight_decay")}
    training.optimizer = ZeroRedundancyOptimizer(training.model.parameters(), type(training.optimizer), **options)
    return training, lambda: _sum_gradients(training.model)


def check_losses(name: str) -> None:
    expected = alone(name)
    training, sums = replicated_training(name)
    same([step(training, sums) for _ in range(STEPS)], expected)
    for reshard in (False, True):
        training, _ = sharded_training(name, reshard_after_forward=reshard)
        same([step(training) for _ in range(STEPS)], expected)


def case_gpt() -> None:
    check_losses("gpt")


def case_lenet() -> None:
    check_losses("lenet")


def case_lstm() -> None:
    check_losses("lstm")


def _sizes(optimizer: Any) -> int:
    return sum(v.numel() for s in optimizer.state.values() for v in s.values() if isinstance(v, fb.Tensor) and v.ndim)


def case_state_is_one_nth() -> None:
    whole = Training(fb, WORKLOADS["gpt"], SIZES["gpt"])
    whole.step()
    training, optimizer = sharded_training("gpt")
    step(training)
    params = list(training.model.parameters())
    assert sum(p.numel() for p in params) * ranks() == sum(p.numel() for p in whole.model.parameters())
    assert sum(p.grad.numel() for p in params) * ranks() == sum(p.numel() for p in whole.model.parameters())
    assert _sizes(optimizer) * ranks() == _sizes(whole.optimizer)
    zero = ZeroRedundancyOptimizer(whole.model.parameters(), fb.optim.Adam, lr=1e-3)
    zero.step()
    total = 2 * sum(p.numel() for p in whole.model.parameters())
    assert _sizes(zero) * ranks() == total


def case_memory_goes_after_forward() -> None:
    """What the graph saved of the parameters is given up with them, views of them too."""

    class Transposed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(fb.randn(8, 8, generator=fb.Generator().manual_seed(0)))

        def forward(self, x: Any) -> Any:
            whole = self.weight
            seen.append(weakref.ref(whole._array))
            return (x @ whole.t() @ whole[:, :4]).sum(1)

    seen: list[Any] = []
    plain, model = Transposed(), fully_shard(Transposed(), reshard_after_forward=True)
    outer = fully_shard(nn.Sequential(model), reshard_after_forward=True)
    x = fb.ones(3, 8, requires_grad=True)
    y = outer(x)
    assert seen[-1]() is None
    y.sum().backward()
    other = fb.ones(3, 8, requires_grad=True)
    plain(other).sum().backward()
    assert close(x.grad, other.grad, 1e-5)
    assert close(model.weight.grad.full_tensor(), plain.weight.grad, 1e-5)
    kept = fully_shard(Transposed(), reshard_after_forward=False)
    y = kept(x)
    assert seen[-1]() is not None
    y.sum().backward()
    assert seen[-1]() is None


def _mlp() -> Any:
    model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 7), nn.Tanh(), nn.Linear(7, 3))
    generator = fb.Generator().manual_seed(3)
    with fb.no_grad():
        for p in model.parameters():
            p.copy_(fb.randn(*p.shape, generator=generator) * 0.4)
    return model


def _sharded_mlp(**options: Any) -> Any:
    model = _mlp()
    for i in (0, 2):
        fully_shard(model[i], **options)
    return fully_shard(model, **options)


def _batch() -> tuple[Any, Any]:
    generator = fb.Generator().manual_seed(4)
    return fb.randn(8, 6, generator=generator), fb.randn(8, 3, generator=generator)


def _gradients(model: Any) -> list[Any]:
    return [p.grad.full_tensor() if isinstance(p, Sharded) else p.grad for p in model.parameters()]


def _expected() -> list[Any]:
    model, (x, y) = _mlp(), _batch()
    F.mse_loss(model(x), y).backward()
    return _gradients(model)


def _check_gradients(model: Any, expected: list[Any], tolerance: float = 1e-6) -> None:
    for found, want in zip(_gradients(model), expected, strict=True):
        assert found.shape == want.shape
        assert close(found, want, tolerance), (found - want).abs().max()


def case_shapes_that_do_not_divide() -> None:
    model, (x, y) = _sharded_mlp(), _batch()
    F.mse_loss(model(own(x)), own(y)).backward()
    _check_gradients(model, _expected())
    last = model[4].weight
    assert last.full_shape == (3, 7)
    assert last.shape[0] == max(0, min(-(-3 // ranks()), 3 - rank() * -(-3 // ranks())))
    for p, q in zip(model.parameters(), _mlp().parameters(), strict=True):
        assert close(p.full_tensor(), q, 0)


def case_other_dimension() -> None:
    model, (x, y) = _mlp(), _batch()
    fully_shard(model, shard_placement_fn=lambda p: 1 if p.ndim == 2 else None)
    assert model[0].weight.sharded_dim == 1
    F.mse_loss(model(own(x)), own(y)).backward()
    _check_gradients(model, _expected())


def case_accumulated_gradients() -> None:
    model, (x, y) = _sharded_mlp(), _batch()
    half = own(x).shape[0] // 2
    parts = [(own(x)[:half], own(y)[:half]), (own(x)[half:], own(y)[half:])]
    model.set_requires_gradient_sync(False)
    for i, (a, b) in enumerate(parts):
        if i == len(parts) - 1:
            model.set_requires_gradient_sync(True)
        assert all(p.grad is None for p in model.parameters())
        (F.mse_loss(model(a), b) / 2).backward()
    _check_gradients(model, _expected())
    model.zero_grad()
    for a, b in parts:  # summed over the ranks each time
        (F.mse_loss(model(a), b) / 2).backward()
    _check_gradients(model, _expected())


def case_clipped_gradients() -> None:
    plain, model, (x, y) = _mlp(), _sharded_mlp(), _batch()
    for norm in (1.0, 2.0, 3.0, float("inf")):
        plain.zero_grad()
        model.zero_grad()
        F.mse_loss(plain(x), y).backward()
        F.mse_loss(model(own(x)), own(y)).backward()
        a = nn.utils.clip_grad_norm_(plain.parameters(), 0.1, norm)
        b = nn.utils.clip_grad_norm_(model.parameters(), 0.1, norm)
        assert close(a, b, 1e-5), (norm, a, b)
        _check_gradients(model, [p.grad for p in plain.parameters()])
    assert close(nn.utils.get_total_norm([p.grad for p in model.parameters()]), b, 10)


def case_scaled_gradients() -> None:
    """An inf or nan on one rank, which may have no element of its own, lets all of them skip the step."""
    for bad in (float("inf"), float("nan"), 1.0):
        model = fully_shard(nn.Linear(1, 1))
        optimizer, scaler = fb.optim.SGD(model.parameters(), lr=0.1), fb.amp.GradScaler("cpu", init_scale=4.0)
        before = [p.detach().clone() for p in model.parameters()]
        scaler.scale(model(fb.full((1, 1), bad if rank() == ranks() - 1 else 1.0)).sum()).backward()
        assert all(p.grad.numel() == (rank() == 0) for p in model.parameters())
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == (4.0 if bad == 1.0 else 2.0)
        for p, b in zip(model.parameters(), before, strict=True):
            assert p.tolist() == b.tolist() if bad != 1.0 or rank() else p.tolist() != b.tolist()
        size = nn.utils.get_total_norm([p.grad for p in model.parameters()], float("inf")).item()
        assert str(size) == {"inf": "inf", "nan": "nan", "1.0": "1.0"}[str(bad)]


def case_mixed_precision() -> None:
    seen = []

    class Seen(nn.Linear):
        def forward(self, x: Any) -> Any:
            seen.append((x.dtype, self.weight.dtype))
            return super().forward(x)

    model = Seen(6, 4)
    policy = MixedPrecisionPolicy(param_dtype=fb.bfloat16, reduce_dtype=fb.float32, output_dtype=fb.float64)
    fully_shard(model, mp_policy=policy)
    y = model(fb.ones(2, 6))
    assert seen == [(fb.bfloat16, fb.bfloat16)]
    assert y.dtype is fb.float64
    y.sum().backward()
    assert model.weight.dtype is model.weight.grad.dtype is fb.float32
    assert close(model.weight.grad.full_tensor(), fb.full((4, 6), 2.0), 0)
    half = fully_shard(nn.Linear(6, 4), mp_policy=MixedPrecisionPolicy(param_dtype=fb.float16))
    half(fb.ones(2, 6)).sum().backward()
    assert close(half.weight.grad.full_tensor(), fb.full((4, 6), 2.0), 0)


class _Checkpointed(nn.Module):
    """A network whose first layer is computed again in backward."""

    def __init__(self, inner: Any, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = inner, reentrant

    def forward(self, x: Any) -> Any:
        x = checkpoint(self.inner[0], x, use_reentrant=self.reentrant)
        for layer in self.inner[1:]:
            x = layer(x)
        return x


def case_recomputed_in_backward() -> None:
    for reentrant in (False, True):
        model, (x, y) = _mlp(), _batch()
        for i in (0, 2):
            fully_shard(model[i])
        outer = fully_shard(_Checkpointed(model, reentrant))
        for _ in range(2):
            outer.zero_grad()
            first = own(x).clone().requires_grad_()
            F.mse_loss(outer(first), own(y)).backward()
            _check_gradients(outer, _expected())


def case_unused_and_frozen_parameters() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.frozen = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
            self.frozen.requires_grad_(False)

        def forward(self, x: Any) -> Any:
            return self.frozen(self.used(x))

    model = Partly()
    fully_shard(model.frozen)
    fully_shard(model)
    for _ in range(2):
        model.zero_grad()
        model(fb.ones(2, 6)).sum().backward()
        assert model.used.weight.grad is not None
        assert model.unused.weight.grad is None
        assert model.frozen.weight.grad is None
        assert all(isinstance(p, Sharded) for p in model.parameters())


def case_two_forwards_before_backward() -> None:
    plain, model, (x, y) = _mlp(), _sharded_mlp(), _batch()
    (F.mse_loss(plain(x), y) + plain(2 * x).sum()).backward()
    (F.mse_loss(model(own(x)), own(y)) + ranks() * model(2 * own(x)).sum()).backward()
    _check_gradients(model, [p.grad for p in plain.parameters()], 1e-4)


def case_evaluated_between_steps() -> None:
    """Parameters that a forward has gathered are never those of before a step or a load."""
    model, (x, y) = _sharded_mlp(), _batch()
    optimizer = fb.optim.SGD(model.parameters(), lr=0.5)
    F.mse_loss(model(own(x)), own(y)).backward()
    before = model(x)
    optimizer.step()
    with fb.no_grad():
        after = model(x)
        assert not close(before, after, 1e-3)
        fresh = get_model_state_dict(_mlp())
        set_model_state_dict(model, fresh)
        assert close(model(x), _mlp()(x), 1e-6)
        for p in model.parameters():
            p.mul_(0)
        assert close(model(x), fb.zeros(8, 3), 0)


def case_whole_by_hand() -> None:
    model = _sharded_mlp()
    assert isinstance(model, FSDPModule)
    assert isinstance(model, nn.Sequential)
    assert type(model[1:]) is nn.Sequential
    model[0].unshard()
    assert tuple(model[0].weight.shape) == (10, 6)
    assert close(model[0].weight, _mlp()[0].weight, 0)
    model[0].reshard()
    assert isinstance(model[0].weight, Sharded)
    handle = model[2].unshard(async_op=True)
    handle.wait()
    assert tuple(model[2].weight.shape) == (7, 10)
    state = model.state_dict()
    assert all(isinstance(v, Sharded) for v in state.values())

    class Two(nn.Linear):
        def twice(self, x: Any) -> Any:
            return 2 * nn.functional.linear(x, self.weight, self.bias)

    other = fully_shard(Two(4, 4))
    register_fsdp_forward_method(other, "twice")
    other.twice(fb.ones(2, 4)).sum().backward()
    assert close(other.weight.grad.full_tensor(), fb.full((4, 4), 4.0), 0)


def case_prefetched() -> None:
    model, (x, y) = _sharded_mlp(), _batch()
    model.set_modules_to_forward_prefetch([model[0]])
    model[0].set_modules_to_forward_prefetch([model[2]])
    model[2].set_modules_to_backward_prefetch([model[0]])
    for _ in range(2):
        model.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        _check_gradients(model, _expected())


def case_several_modules_as_one() -> None:
    model, (x, y) = _mlp(), _batch()
    fully_shard([model[0], model[2]])
    fully_shard(model)
    for _ in range(2):
        model.zero_grad()
        F.mse_loss(model(own(x)), own(y)).backward()
        _check_gradients(model, _expected())


def case_ignored_and_tied_parameters() -> None:
    model = _mlp()
    kept = model[0].weight
    fully_shard(model, ignored_params={kept})
    assert model[0].weight is kept
    assert isinstance(model[0].bias, Sharded)
    tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    tied[1].weight = tied[0].weight
    fully_shard(tied)
    assert tied[0].weight is tied[1].weight
    tied(fb.eye(4)).sum().backward()
    assert tied[0].weight.grad is not None
    apart = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    apart[1].weight = apart[0].weight
    fully_shard(apart[0])
    try:
        fully_shard(apart)
    except ValueError as error:
        assert "the same as 'weight' of a part that is sharded already" in str(error)
    else:
        raise AssertionError("tied parameters were taken apart")


def case_compiled_step() -> None:
    expected = alone("lenet", 6)
    training, _ = sharded_training("lenet")
    compiled = fb.compile(lambda: step(training))
    same([compiled() for _ in range(6)], expected)
    assert compiled.explain().replayed == 0
    assert "fully_shard" in str(compiled.explain())


def _losses_compiled(compiled: Callable[[Any], Any], shards: bool) -> list[float]:
    model, (x, y) = _mlp(), _batch()
    for module in compiled(model):
        module.compile()
    if shards:
        fully_shard(model[2])
        fully_shard(model)
        x, y = own(x), own(y)
    optimizer = fb.optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(mean(loss) if shards else float(loss.item()))
    return losses


def case_compiled_modules() -> None:
    """A compiled module in a sharded one, one that is sharded itself, and the whole: none is wrong."""
    expected = _losses_compiled(lambda model: [], False)
    for compiled in (lambda m: [m[0], m[3]], lambda m: [m[2]], lambda m: [m]):
        same(_losses_compiled(compiled, True), expected)


def case_offloaded() -> None:
    model, (x, y) = _sharded_mlp(offload_policy=CPUOffloadPolicy()), _batch()
    F.mse_loss(model(own(x)), own(y)).backward()
    _check_gradients(model, _expected())


def case_mesh_of_copies_and_shards() -> None:
    mesh = init_device_mesh("cpu", (2, ranks() // 2))
    model, (x, y) = _mlp(), _batch()
    for layer in (model[0], model[2], model):
        fully_shard(layer, mesh=mesh)
    assert model[0].weight.shape[0] == 10 * 2 // ranks()
    F.mse_loss(model(own(x)), own(y)).backward()
    _check_gradients(model, _expected())
    model.zero_grad()
    half = own(x).shape[0] // 2
    model.set_requires_all_reduce(False)
    (F.mse_loss(model(own(x)[:half]), own(y)[:half]) / 2).backward()
    assert all(p.grad is None for p in model.parameters())
    model.set_requires_all_reduce(True)
    (F.mse_loss(model(own(x)[half:]), own(y)[half:]) / 2).backward()
    _check_gradients(model, _expected())


def case_made_on_meta_and_cast() -> None:
    with fb.device("meta"):
        model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    fully_shard(model[0])
    fully_shard(model)
    model.to_empty(device="cpu")
    for layer in model:
        layer.reset_parameters()
    assert model(fb.ones(2, 8)).shape == (2, 8)
    model.double()
    assert all(isinstance(p, Sharded) and p.dtype is fb.float64 for p in model.parameters())
    assert model(fb.ones(2, 8).double()).dtype is fb.float64
    model.load_state_dict({k: v.to_local() for k, v in model.state_dict().items()}, assign=True)
    model(fb.ones(2, 8).double()).sum().backward()
    assert all(isinstance(p, Sharded) and p.grad is not None for p in model.parameters())


def case_older_wrapper() -> None:
    x, y = _batch()
    policy = ModuleWrapPolicy({nn.Linear})
    for strategy in (ShardingStrategy.FULL_SHARD, ShardingStrategy.SHARD_GRAD_OP, ShardingStrategy.NO_SHARD):
        model = FSDP(_mlp(), sharding_strategy=strategy, auto_wrap_policy=policy, sync_module_states=True)
        F.mse_loss(model(own(x)), own(y)).backward()
        _check_gradients(model, _expected())
        half = own(x).shape[0] // 2
        model.zero_grad()
        with model.no_sync():
            (F.mse_loss(model(own(x)[:half]), own(y)[:half]) / 2).backward()
        (F.mse_loss(model(own(x)[half:]), own(y)[half:]) / 2).backward()
        _check_gradients(model, _expected())
        state = model.state_dict()
        assert {k: tuple(v.shape) for k, v in state.items()} == {
            k: tuple(v.shape) for k, v in _mlp().state_dict().items()
        }
        model.load_state_dict({k: 2 * v for k, v in state.items()})
        with FSDP.summon_full_params(model), fb.no_grad():
            assert close(model[0].weight, 2 * _mlp()[0].weight, 0)
            model[0].weight.mul_(2)
        assert close(model.state_dict()["0.weight"], 4 * _mlp()[0].weight, 0)
        with FSDP.state_dict_type(model, StateDictType.SHARDED_STATE_DICT):
            assert all(isinstance(v, Sharded) for v in model.state_dict().values())
    small = fully_sharded_names(size_based_auto_wrap_policy)
    assert small == []
    assert fully_sharded_names(partial(size_based_auto_wrap_policy, min_num_params=50)) == ["0", "2"]


def fully_sharded_names(policy: Any) -> list[str]:
    model = FSDP(_mlp(), auto_wrap_policy=policy)
    return [n for n, m in model.module.named_modules() if n and isinstance(m, FSDPModule)]


def case_ranks_on_different_backends() -> None:
    for policy in (OffloadPolicy(), CPUOffloadPolicy()):
        device = "strict" if rank() == 0 else "cpu"
        model, (x, y) = _mlp().to(device), _batch()
        for layer in (model[0], model[2], model):
            fully_shard(layer, offload_policy=policy)
        optimizer = fb.optim.SGD(model.parameters(), lr=0.1)
        F.mse_loss(model(own(x).to(device)), own(y).to(device)).backward()
        for p, expected in zip(model.parameters(), _expected(), strict=True):
            assert p.device.type == p.grad.device.type == ("cpu" if isinstance(policy, CPUOffloadPolicy) else device)
            assert close(p.grad.full_tensor().cpu(), expected)
        optimizer.step()


def case_sampler_of_the_group() -> None:
    sampler = DistributedSampler(range(7), shuffle=False)
    assert (sampler.num_replicas, sampler.rank) == (ranks(), rank())
    assert list(sampler) == [i % 7 for i in range(rank(), len(sampler) * ranks(), ranks())]


def case_uneven_inputs() -> None:
    """A rank without batches steps on its share of the parameters, which the others wait for."""
    model = nn.parallel.DistributedDataParallel(_mlp())
    zero = ZeroRedundancyOptimizer(model.parameters(), fb.optim.SGD, lr=0.1)
    x, y = _batch()
    with Join([model, zero]):
        for _ in range(1 + rank()):
            zero.zero_grad()
            F.mse_loss(model(x), y).backward()
            zero.step()
    for p in model.parameters():
        first = p.detach().clone()
        dist.broadcast(first, 0)
        assert close(first, p.detach(), 0)
    assert not close(model.module[0].weight, _mlp()[0].weight, 1e-4)


def case_averaged_now_and_then() -> None:
    model = nn.Linear(2, 1, bias=False)
    with fb.no_grad():
        model.weight.fill_(0)
    averager = PeriodicModelAverager(period=2)
    optimizer = PostLocalSGDOptimizer(fb.optim.SGD(model.parameters(), lr=1.0), averager)
    for count in range(3):
        optimizer.zero_grad()
        (model(fb.ones(1, 2)) * -rank()).sum().backward()
        optimizer.step()
        averaged = (ranks() - 1) / 2
        expected = averaged if count == 0 else averaged + rank() if count == 1 else 3 * averaged
        assert close(model.weight, fb.full((1, 2), float(expected)), 1e-6), (count, model.weight)
    assert optimizer.state_dict()["step"] == 3


def case_parameters_of_other_optimizers() -> None:
    """Rules that need whole parameters get them, each on one rank; channels-last ones are cut as they lie."""
    for cls, options in ((fb.optim.Adafactor, {"lr": 1e-2}), (fb.optim.Adam, {"lr": 1e-2})):
        for views in (False, True):
            plain, model, (x, y) = _mlp(), _mlp(), _batch()
            one = cls(plain.parameters(), **options)
            zero = ZeroRedundancyOptimizer(model.parameters(), cls, parameters_as_bucket_view=views, **options)
            for _ in range(2):
                for m, optimizer in ((plain, one), (model, zero)):
                    optimizer.zero_grad()
                    F.mse_loss(m(x), y).backward()
                    optimizer.step()
            for a, b in zip(plain.parameters(), model.parameters(), strict=True):
                assert close(a, b)
    conv = nn.Conv2d(2, 4, 3).to(memory_format=fb.channels_last)
    with fb.no_grad():
        for p in conv.parameters():
            p.copy_(fb.arange(p.numel()).view(p.shape))
    before = conv.weight.detach().clone()
    zero = ZeroRedundancyOptimizer(conv.parameters(), fb.optim.SGD, lr=0.1)
    for p in conv.parameters():
        p.grad = fb.ones_like(p)
    zero.step()
    assert close(conv.weight, before - 0.1)


def case_full_state() -> None:
    training, optimizer = sharded_training("gpt")
    model = training.model
    step(training)
    full = get_state_dict(model, optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    assert bool(full.model) == (rank() == 0)
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    other, its_optimizer = sharded_training("gpt")
    set_state_dict(
        other.model, its_optimizer, model_state_dict=full.model, optim_state_dict=full.optimizers, options=options
    )
    expected = [step(training) for _ in range(2)]
    same([step(other) for _ in range(2)], expected, 0)
    if rank() == 0:
        one = Training(fb, WORKLOADS["gpt"], SIZES["gpt"])
        set_state_dict(one.model, one.optimizer, model_state_dict=full.model, optim_state_dict=full.optimizers)
        same([one.step() for _ in range(2)], expected)
    flat = get_state_dict(model, optimizer, options=StateDictOptions(flatten_optimizer_state_dict=True))
    assert "state.blocks.0.qkv.weight.exp_avg" in flat.optimizers
    set_state_dict(
        other.model, its_optimizer, model_state_dict=flat.model, optim_state_dict=flat.optimizers,
        options=StateDictOptions(flatten_optimizer_state_dict=True),
    )  # fmt: skip
    same([step(other)], [step(training)], 0)
