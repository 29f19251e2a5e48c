"""What ranks do under tensor parallelism, compared with the same on one rank."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import flambeau as fb
import flambeau.distributed as dist
from flambeau import nn
from flambeau.distributed.plan.workloads import gpt
from flambeau.distributed.tensor import (
    ColumnParallelEmbedding,
    ColumnParallelLinear,
    Replicate,
    RowParallelLinear,
    Shard,
    VocabularyParallelEmbedding,
)
from flambeau.distributed.tensor.exchange import enter, redistribute
from flambeau.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    PrepareModuleInputOutput,
    PrepareModuleOutput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from flambeau.distributed.tensor.placements import Partial
from flambeau.nn import functional as F
from tests.distributed.models_of_plan import close, made, trained


def setup() -> None:
    dist.init_process_group("cpu:mpi,strict:mpi", timeout=60)


def _raises(kind: type[Exception], words: str, call: Callable[[], object]) -> None:
    try:
        call()
    except kind as error:
        assert words in str(error), str(error)
    else:
        raise AssertionError(f"no {kind.__name__} with {words!r}")


def _part(x: fb.Tensor, dim: int) -> fb.Tensor:
    return x.chunk(dist.get_world_size(), dim)[dist.get_rank()]


def _same(a: fb.Tensor | None, b: fb.Tensor | None) -> None:
    assert a is not None and b is not None
    assert tuple(a.shape) == tuple(b.shape), f"{tuple(a.shape)} is not {tuple(b.shape)}"
    assert fb.allclose(a, b, rtol=1e-5, atol=1e-6), f"{(a - b).abs().max()}"


def _plain(kind: Callable[[], nn.Module], *inputs: fb.Tensor) -> tuple[nn.Module, fb.Tensor]:
    fb.manual_seed(1)
    layer = kind()
    return layer, layer(*inputs)


# -- layers ------------------------------------------------------------------------------------------
def case_linears_in_a_row() -> None:
    fb.manual_seed(0)
    x = fb.randn(3, 8, requires_grad=True)
    whole = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 4))
    divided = nn.Sequential(ColumnParallelLinear(8, 12), nn.GELU(), RowParallelLinear(12, 4))
    divided.load_state_dict(whole.state_dict())
    n = dist.get_world_size()
    assert tuple(divided[0].weight.shape) == (12 // n, 8)
    assert tuple(divided[2].weight.shape) == (4, 12 // n)
    y = x.detach().requires_grad_()
    whole(x).square().sum().backward()
    divided(y).square().sum().backward()
    _same(y.grad, x.grad)
    _same(divided[0].weight.grad, _part(whole[0].weight.grad, 0))
    _same(divided[0].bias.grad, _part(whole[0].bias.grad, 0))
    _same(divided[2].weight.grad, _part(whole[2].weight.grad, 1))
    _same(divided[2].bias.grad, whole[2].bias.grad)


def case_a_linear_by_columns_gathers() -> None:
    fb.manual_seed(0)
    x, whole = fb.randn(2, 3, 8), nn.Linear(8, 12, bias=False)
    divided = ColumnParallelLinear(8, 12, bias=False, gather_output=True)
    divided.load_state_dict(whole.state_dict())
    _same(divided(x), whole(x))
    whole(x).cos().sum().backward()
    divided(x).cos().sum().backward()
    _same(divided.weight.grad, _part(whole.weight.grad, 0))


def case_a_linear_by_rows_takes_all() -> None:
    fb.manual_seed(0)
    x, whole = fb.randn(2, 8, requires_grad=True), nn.Linear(8, 3)
    divided = RowParallelLinear(8, 3, input_is_parallel=False)
    divided.load_state_dict(whole.state_dict())
    y = x.detach().requires_grad_()
    whole(x).cos().sum().backward()
    divided(y).cos().sum().backward()
    _same(y.grad, x.grad)


def case_embeddings() -> None:
    for kind, dim in ((VocabularyParallelEmbedding, 0), (ColumnParallelEmbedding, 1)):
        fb.manual_seed(0)
        tokens, whole = fb.randint(12, (3, 5)), nn.Embedding(12, 8, padding_idx=7)
        options = {"gather_output": True} if kind is ColumnParallelEmbedding else {}
        divided = kind(12, 8, padding_idx=7, **options)
        divided.load_state_dict(whole.state_dict())
        _same(divided(tokens), whole(tokens))
        whole(tokens).cos().sum().backward()
        divided(tokens).cos().sum().backward()
        _same(divided.weight.grad, _part(whole.weight.grad, dim))


def case_state_dicts_are_whole() -> None:
    layer = ColumnParallelLinear(4, 8)
    state = layer.state_dict()
    assert {name: tuple(t.shape) for name, t in state.items()} == {"weight": (8, 4), "bias": (8,)}
    other = RowParallelLinear(4, 8)
    other.load_state_dict(state)
    _same(other.state_dict()["weight"], state["weight"])
    _same(other.bias, state["bias"])
    nn.Linear(4, 8).load_state_dict(state)
    _same(copy.deepcopy(layer).state_dict()["weight"], state["weight"])
    _raises(RuntimeError, "weight", lambda: other.load_state_dict({**state, "weight": fb.ones(3, 3)}))


def case_all_ranks_start_alike() -> None:
    fb.manual_seed(dist.get_rank())
    state = ColumnParallelLinear(4, 8).state_dict()
    fb.manual_seed(0)
    _same(state["weight"], nn.Linear(4, 8).weight)


def case_uneven_sizes_are_refused() -> None:
    n = dist.get_world_size()
    _raises(ValueError, f"out_features: {n + 1} cannot", lambda: ColumnParallelLinear(4, n + 1))
    _raises(ValueError, f"in_features: {n + 1} cannot", lambda: RowParallelLinear(n + 1, 4))
    _raises(ValueError, "num_embeddings", lambda: VocabularyParallelEmbedding(n + 1, 4))
    _raises(ValueError, "embedding_dim", lambda: ColumnParallelEmbedding(4, n + 1))
    plain = nn.Sequential(nn.Linear(4, n + 1))
    _raises(ValueError, "'0': Column", lambda: parallelize_module(plain, None, {"0": ColwiseParallel()}))
    assert type(plain[0]) is nn.Linear and tuple(plain[0].weight.shape) == (n + 1, 4)


# -- how tensors lie ---------------------------------------------------------------------------------
def case_redistributing_and_its_gradients() -> None:
    n, group = dist.get_world_size(), dist.group.WORLD
    assert group is not None
    fb.manual_seed(0)
    whole, weights = fb.randn(2 * n, 3 * n), fb.randn(2 * n, 3 * n)
    ways = [
        (Replicate(), Shard(0), whole, _part(whole, 0), _part(weights, 0), weights),
        (Shard(1), Replicate(), _part(whole, 1), whole, weights, _part(weights, 1)),
        (Shard(0), Shard(1), _part(whole, 0), _part(whole, 1), _part(weights, 1), _part(weights, 0)),
        (Partial(), Replicate(), whole / n, whole, weights, weights),
        (Partial(), Shard(1), whole / n, _part(whole, 1), _part(weights, 1), weights),
        (Shard(1), Shard(-1), _part(whole, 1), _part(whole, 1), _part(weights, 1), _part(weights, 1)),
    ]
    for held, wanted, x, expected, weight, grad in ways:
        x = x.detach().clone().requires_grad_()
        y = redistribute(x, group, held, wanted)
        _same(y, expected)
        (y * weight).sum().backward()
        _same(x.grad, grad)
    x = whole.clone().requires_grad_()
    enter(x, group).sum().backward()
    _same(x.grad, fb.full((2 * n, 3 * n), float(n)))
    x = _part(whole, 0).clone().requires_grad_()
    (enter(x, group, Shard(0)) * weights).sum().backward()
    _same(x.grad, n * _part(weights, 0))
    _raises(ValueError, "cannot become Partial", lambda: redistribute(whole, group, Replicate(), Partial()))
    odd = fb.ones(2 * n + 1, requires_grad=True)
    _raises(ValueError, "divided evenly", lambda: redistribute(odd, group, Replicate(), Shard(0)))


# -- plans -------------------------------------------------------------------------------------------
BLOCK: dict[str, ParallelStyle] = {
    **{f"*.{name}": ColwiseParallel() for name in ("query", "key", "value", "up")},
    "*.out": RowwiseParallel(),
    "*.down": RowwiseParallel(),
}
PLANS: dict[str, dict[str, ParallelStyle]] = {
    "gpt": BLOCK | {
        "0.tokens": RowwiseParallel(), "0.places": ColwiseParallel(output_layouts=Replicate()),
        "3.head": ColwiseParallel(output_layouts=Replicate()),
    },
    "lenet": {"6": ColwiseParallel(), "8": RowwiseParallel()},
    "lstm": {"1": ColwiseParallel(), "3": RowwiseParallel()},
}  # fmt: skip


def _trains_alike(name: str, plan: dict[str, ParallelStyle]) -> None:
    model, x, target = made(name)
    whole = copy.deepcopy(model)
    parallelize_module(model, None, plan)
    before = {n: tuple(t.shape) for n, t in whole.state_dict().items()}
    assert {n: tuple(t.shape) for n, t in model.state_dict().items()} == before
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in whole.parameters())
    close(trained(model, x, target), trained(whole, x, target))
    for key, value in model.state_dict().items():
        if key.endswith("key.bias"):  # has no gradient but rounding, since softmax leaves out what all scores share
            continue
        assert fb.allclose(value, whole.state_dict()[key], rtol=1e-4, atol=2e-5), key


def case_lenet_trains_as_on_one_rank() -> None:
    _trains_alike("lenet", PLANS["lenet"])


def case_lstm_trains_as_on_one_rank() -> None:
    _trains_alike("lstm", PLANS["lstm"])


def case_gpt_trains_as_on_one_rank() -> None:
    _trains_alike("gpt", PLANS["gpt"])


def case_gpt_trains_with_the_sequence_divided() -> None:
    """Tensors between the blocks lie in parts along the sequence, which 12 places divide among up to four ranks."""
    fb.manual_seed(5)
    model, x, target = gpt(16, 12, 16, 2, 4), fb.randint(16, (3, 12)), fb.randint(16, (36,))
    whole = copy.deepcopy(model)
    seq = Shard(1)

    plan: dict[str, ParallelStyle] = {
        "0": PrepareModuleOutput(output_layouts=Replicate(), desired_output_layouts=seq),
        "3.norm": SequenceParallel(),
        "3.head": ColwiseParallel(input_layouts=seq, output_layouts=Replicate()),
    }
    for block in ("1", "2"):
        plan |= {
            f"{block}.before": SequenceParallel(),
            f"{block}.between": SequenceParallel(),
            f"{block}.up": ColwiseParallel(input_layouts=seq),
            f"{block}.down": RowwiseParallel(output_layouts=seq),
            f"{block}.out": RowwiseParallel(output_layouts=seq),
        }
    for block in (model[1], model[2]):
        _divide_sequence(block)
    parallelize_module(model, None, plan)
    close(trained(model, x, target), trained(whole, x, target))


def _divide_sequence(block: nn.Module) -> None:
    """Views of a block count the steps of the whole sequence, of which its input has a part."""
    for name in ("query", "key", "value"):
        parallelize_module(block, None, {name: ColwiseParallel(input_layouts=Shard(1))})

    def forward(x: fb.Tensor) -> fb.Tensor:
        h = block.before(x)
        q, k, v = (
            layer(h).unflatten(-1, (-1, block.per_head)).transpose(1, 2)
            for layer in (block.query, block.key, block.value)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + block.out(seen.transpose(1, 2).flatten(2))
        return x + block.down(F.gelu(block.up(block.between(x))))

    block.forward = forward


def case_a_mesh_of_replicas_that_are_divided() -> None:
    """Two ranks share the layers, and replicas of them, where there are more ranks, average their gradients."""
    n = dist.get_world_size()
    mesh = dist.init_device_mesh("cpu", (n // 2, 2), mesh_dim_names=("data", "tensor"))
    model, x, target = made("gpt")
    whole = copy.deepcopy(model)
    _raises(ValueError, "one dimension, got 2", lambda: parallelize_module(model, mesh, PLANS["gpt"]))
    parallelize_module(model, mesh["tensor"], PLANS["gpt"])
    replica = nn.parallel.DistributedDataParallel(model, process_group=mesh["data"].get_group())
    rank = mesh.get_local_rank("data")
    found = trained(replica, x.chunk(n // 2)[rank], target.chunk(n // 2)[rank])
    total = fb.tensor(found, dtype=fb.float64)
    dist.all_reduce(total)
    close((total / n).tolist(), trained(whole, x, target))


def case_norms_of_gradients_are_of_the_whole() -> None:
    n = dist.get_world_size()
    mesh = dist.init_device_mesh("cpu", (n // 2, 2), mesh_dim_names=("data", "tensor"))
    model, x, target = made("lenet")
    whole = copy.deepcopy(model)
    parallelize_module(model, mesh["tensor"], PLANS["lenet"])
    replica = nn.parallel.DistributedDataParallel(model, process_group=mesh["data"].get_group())
    for m in (whole, replica):
        F.cross_entropy(m(x), target).backward()
    for order in (2.0, float("inf")):
        _same(nn.utils.clip_grad_norm_(replica.parameters(), 0.1, order), nn.utils.clip_grad_norm_(
            whole.parameters(), 0.1, order))  # fmt: skip
    _same(model[0].weight.grad, whole[0].weight.grad)
    rank = mesh.get_local_rank("tensor")
    _same(model[6].weight.grad, whole[6].weight.grad.chunk(2)[rank])
    assert model[6].weight.full_shape == tuple(whole[6].weight.shape)


def case_layers_on_several_backends() -> None:
    device = ("cpu", "strict")[dist.get_rank() % 2]
    whole, x, target = made("lenet")
    model = copy.deepcopy(whole).to(device)
    parallelize_module(model, None, PLANS["lenet"])
    close(trained(model, x.to(device), target.to(device)), trained(whole, x, target))


def case_inputs_and_outputs_are_prepared() -> None:
    fb.manual_seed(0)
    x = fb.randn(4, 8)

    class Twice(nn.Module):
        def forward(self, a: fb.Tensor, b: int, *, c: fb.Tensor) -> tuple[fb.Tensor, int]:
            assert tuple(a.shape) == tuple(c.shape) == (4, 8)
            return a * 2 + c, b

    part = _part(x, 0)
    for style in (
        [
            PrepareModuleInput(
                input_layouts=(Shard(0), None), desired_input_layouts=(Replicate(), None),
                input_kwarg_layouts={"c": Shard(0)}, desired_input_kwarg_layouts={"c": Replicate()},
            ),
            PrepareModuleOutput(output_layouts=(Replicate(), None), desired_output_layouts=(Shard(1), None)),
        ],
        [
            PrepareModuleInputOutput(
                input_layouts=(Shard(0), None), desired_input_layouts=(Replicate(), None),
                input_kwarg_layouts={"c": Shard(0)}, desired_input_kwarg_layouts={"c": Replicate()},
                output_layouts=(Replicate(), None), desired_output_layouts=(Shard(1), None),
            ),
        ],
    ):  # fmt: skip
        module: nn.Module = Twice()
        for one in style:
            module = parallelize_module(module, None, one)
        y, b = module(part, 3, c=part)
        assert b == 3
        _same(y, _part(3 * x, 1))
    _raises(ValueError, "layouts for 2 values, and 1", lambda: module(part, c=part))
    _raises(ValueError, "1 layouts are given", lambda: PrepareModuleInput(
        input_layouts=Shard(0), desired_input_layouts=(Shard(0), None)))  # fmt: skip


def case_weights_of_two_layers_stay_one() -> None:
    fb.manual_seed(0)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.head = nn.Embedding(12, 8), nn.Linear(8, 12, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, x: fb.Tensor) -> fb.Tensor:
            return self.head(self.tokens(x)).flatten(0, 1)

    model, x, target = Tied(), fb.randint(12, (3, 4)), fb.randint(12, (12,))
    whole = copy.deepcopy(model)
    plan = {"tokens": RowwiseParallel(), "head": ColwiseParallel(output_layouts=Replicate())}
    parallelize_module(model, None, plan)
    assert model.head.weight is model.tokens.weight
    close(trained(model, x, target), trained(whole, x, target))


def case_plans_that_do_not_fit() -> None:
    model = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 8))

    class Own(nn.Linear):
        def forward(self, input: fb.Tensor) -> fb.Tensor:
            return super().forward(input) + 1

    _raises(NotImplementedError, "got LayerNorm", lambda: parallelize_module(model, None, {"0": ColwiseParallel()}))
    _raises(NotImplementedError, "of its own", lambda: parallelize_module(Own(4, 8), None, ColwiseParallel()))
    _raises(TypeError, "must be a ParallelStyle", lambda: parallelize_module(model, None, {"1": "columns"}))
    _raises(TypeError, "must be a ParallelStyle", lambda: parallelize_module(model, None, 3))
    _raises(NotImplementedError, "max_norm", lambda: parallelize_module(
        nn.Embedding(8, 8, max_norm=1.0), None, RowwiseParallel()))  # fmt: skip
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        parallelize_module(model, None, {"2.x": ColwiseParallel()})
        parallelize_module(model, None)
    assert ["no module '2.x'" in str(w.message) or "no plan" in str(w.message) for w in told] == [True, True]
    parallelize_module(model, None, {"1": ColwiseParallel()})
    _raises(ValueError, "divided already", lambda: parallelize_module(model, None, {"1": ColwiseParallel()}))
    assert isinstance(model[1], nn.Linear)
