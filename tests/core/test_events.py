"""Every op, its gradient and its writes are told to a recorder: kernels, writes, reads, arrays, numbers of the host."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core import dtype as dt
from flambeau.core import events
from flambeau.core.record import ELEMENTWISE, OPS
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb.run import as_tuple, dtypes_of, samples_of, to_tensors
from flambeau.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts
from tests.telling import told

NAMES = [name for name, op in opdb.load().items() if op.samples is not None]

#: Ops whose body takes tables of numpy's.
WITH_TABLES = {"pdist_grad", "fft_r2c", "fft_c2r"}


def _arguments(name: str) -> tuple[list[Any], dict[str, Any], list[Tensor]]:
    """One sample's, with the tensors among them, those of real numbers as leaves."""
    op = OPS[name]
    sample = next(s for d in (dt.float32, *dtypes_of(op)) if d in dtypes_of(op) for s in samples_of(op, d))
    args, kwargs = [to_tensors(a) for a in sample.args], to_tensors(sample.kwargs)
    tensors = [v for v in flatten([args, kwargs])[0] if isinstance(v, Tensor)]
    return args, kwargs, tensors


def _wants_gradients(name: str, args: list[Any]) -> None:
    """Make the operands leaves for which there is a rule: all, of a body of other ops."""
    op = OPS[name]
    with_rule = {i for g in op.gradients for i in g.inputs}
    for operand, value in zip(op.schema.operands, args, strict=False):
        for t in value if isinstance(value, list) else [value]:
            ruled = operand.name in with_rule or not with_rule
            if ruled and isinstance(t, Tensor) and t.dtype.category >= dt.FLOATING and op.differentiable:
                t.requires_grad_()


@pytest.mark.parametrize("name", NAMES)
def test_an_op_and_its_gradient(name: str) -> None:
    op = OPS[name]
    args, kwargs, tensors = _arguments(name)
    _wants_gradients(name, args)
    with warnings.catch_warnings(), told(*tensors, foreign=name in WITH_TABLES) as heard:
        warnings.simplefilter("ignore")
        found = [t for t in as_tuple(op.function(*args, **kwargs)) if isinstance(t, Tensor) and t.requires_grad]
        if found:
            fb.autograd.backward(found, [fb.ones_like(t) for t in found])
    assert heard.events


IN_PLACE = [n for n in NAMES if OPS[n].family is ELEMENTWISE and hasattr(Tensor, f"{n}_")]


@pytest.mark.parametrize("name", IN_PLACE)
def test_an_op_in_place_and_with_out(name: str) -> None:
    args, kwargs, tensors = _arguments(name)
    results = OPS[name].dtype.results
    if not args or not isinstance(args[0], Tensor):
        pytest.skip("its first operand is no tensor")
    wanted = OPS[name].function(*args, **kwargs)
    if tuple(wanted.shape) != tuple(args[0].shape) or not dt.can_cast(wanted.dtype, args[0].dtype):
        pytest.skip("its result does not go into its operand")
    out = fb.zeros_like(wanted)
    before = args[0].clone()
    with told(*tensors, out, before) as heard:
        if "out" in str(OPS[name].schema) or name in ("add", "mul", "exp"):
            OPS[name].function(*args, **kwargs, out=out)
        getattr(args[0], f"{name}_")(*args[1:], **kwargs)
        before.copy_(args[0])
    np.testing.assert_array_equal(before.numpy(), wanted.to(args[0].dtype).numpy())
    if results == ("same",):
        assert name in heard.events  # seen as the kernel that it is, not as a copy of a result


def _model(x: Tensor, w: Tensor) -> Tensor:
    return (x @ w).tanh().square().mean()


def test_indexing() -> None:
    x, at = fb.arange(24.0).reshape(4, 6).clone(), fb.tensor([2, 0])
    mask, value = x > 7, fb.ones(2, 6)
    with told(x, at, mask, value) as heard:
        x[0] = 1.0
        x[1, 2:4] += 3
        x[at] = value
        x[mask] = -1.0
        x[:, 1] = x[:, 2]
        x.T[0].fill_(5)
        x[at, at].sum()
        x.masked_fill_(mask, 2.0)
        x.index_add_(0, at, value)
        x.zero_()
    assert "write" in heard.events


def test_views_and_writes_to_them_with_gradients() -> None:
    x, y = fb.ones(3, 4, requires_grad=True), fb.ones(4)
    with told(x, y):
        z = x * 2
        z[1].mul_(3)
        z.T[0] = 1.0
        z.view(-1)[2:5].add_(y[:3], alpha=0.5)
        first, second = z.split(2, 1)
        (first * second).sum().backward()
    wanted = fb.ones(3, 4, requires_grad=True)
    z = wanted * 2
    z[1].mul_(3)
    z.T[0] = 1.0
    z.view(-1)[2:5].add_(y[:3], alpha=0.5)
    first, second = z.split(2, 1)
    (first * second).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), wanted.grad.numpy())  # type: ignore[union-attr]


@pytest.mark.parametrize("sizes", [((3, 1), (3, 4)), ((4,), (2, 3, 4)), ((), (2,))])
def test_what_backward_sums_and_expands(sizes: Any) -> None:
    a, b = (fb.ones(*s, requires_grad=True) for s in sizes)
    with told(a, b):
        (a * b).sum().backward()
        (a.expand(*b.shape) + b).mean().backward()


TRANSFORMED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "vmap": lambda x, w: fb.func.vmap(lambda r: (r @ w).relu() + 1)(x),
    "grad": lambda x, w: fb.func.grad(_model, argnums=1)(x, w),
    "jvp": lambda x, w: fb.func.jvp(lambda v: _model(x, v), (w,), (w,)),
    "hessian": lambda x, w: fb.func.hessian(lambda v: _model(x, v))(w),
    "vmap of grad": lambda x, w: fb.func.vmap(fb.func.grad(lambda r: _model(r, w)))(x.unsqueeze(1)),
    "in place under vmap": lambda x, w: fb.func.vmap(lambda r: r.clone().mul_(2).add_(1.5))(x),
    "autocast": lambda x, w: _autocast(x, w),
    "create_graph": lambda x, w: fb.autograd.grad(
        fb.autograd.grad(_model(x, w.requires_grad_()), w, create_graph=True)[0].sum(), w
    ),
    "checkpoint": lambda x, w: checkpoint(_dropped, x, w.requires_grad_()).sum().backward(),
    "kept by a policy": lambda x, w: checkpoint(
        _in_place, x, w.requires_grad_(), context_fn=lambda: create_selective_checkpoint_contexts([fb.mul, fb.matmul])
    ).sum().backward(),
    "profiler": lambda x, w: _profiled(x, w),
}  # fmt: skip


def _autocast(x: Tensor, w: Tensor) -> None:
    with fb.autocast("cpu", dtype=fb.bfloat16):
        _model(x, w.requires_grad_()).backward()


def _dropped(x: Tensor, w: Tensor) -> Tensor:
    return fb.nn.functional.dropout((x @ w).exp(), 0.5)


def _in_place(x: Tensor, w: Tensor) -> Tensor:
    return (x @ w).sin().mul_(x[:, :1]).tanh()


def _profiled(x: Tensor, w: Tensor) -> None:
    from flambeau.utils.flop_counter import FlopCounterMode

    with fb.profiler.profile(), FlopCounterMode(display=False) as counter:
        (x @ w).mul_(2.0).sum()
    assert counter.get_total_flops() == 2 * 5 * 3 * 2


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transforms_and_modes(name: str) -> None:
    x, w = fb.linspace(-1, 1, 15).reshape(5, 3).clone(), fb.linspace(0, 1, 6).reshape(3, 2).clone()
    with told(x, w):
        TRANSFORMED[name](x, w)


def test_what_a_policy_keeps_of_an_op_in_place() -> None:
    x, w = fb.linspace(-1, 1, 15).reshape(5, 3).clone(), fb.linspace(0, 1, 6).reshape(3, 2).clone().requires_grad_()
    _in_place(x, w).sum().backward()
    wanted, w.grad = w.grad, None
    keep = lambda: create_selective_checkpoint_contexts([fb.mul])  # noqa: E731
    checkpoint(_in_place, x, w, context_fn=keep).sum().backward()
    np.testing.assert_array_equal(w.grad.numpy(), wanted.numpy())


# -- reads, and what cannot be told ----------------------------------------------------------------------
def test_numbers_read_are_those_of_the_recorder() -> None:
    x = fb.tensor([2.5])
    with told(x) as heard:
        number = x.item() * 2
        assert isinstance(number, float) and type(number) is not float
        assert not heard.looks
        y = x * number
        assert not heard.looks and bool(x > 1) and int(x) == 2
    assert heard.events.count("item") == 3 and y.item() == 12.5


TOLD: dict[str, Callable[[Tensor, Any], Any]] = {
    "sum": lambda x, n: n + x,
    "product": lambda x, n: x * n,
    "power": lambda x, n: x**n,
    "in place": lambda x, n: x.mul_(n),
    "scaled": lambda x, n: x.add_(x * 1, alpha=n),
    "difference": lambda x, n: fb.sub(x, x, alpha=n),
    "fill_": lambda x, n: x.fill_(n),
    "setitem": lambda x, n: x.__setitem__(0, n),
    "where": lambda x, n: fb.where(x > 1, n, x),
    "clamp": lambda x, n: x.clamp(min=n),
    "masked_fill": lambda x, n: x.masked_fill(x > 1, n),
    "lerp": lambda x, n: x.lerp(x, n),
    "compared": lambda x, n: x < n,
    "expression": lambda x, n: x * (1 - n**2) / (n + 1),
    "under vmap": lambda x, n: fb.func.vmap(lambda v: v * n)(x),
    "addcmul": lambda x, n: x.addcmul_(x * 1, x * 2, value=n),
}


@pytest.mark.parametrize("name", TOLD)
def test_numbers_that_were_told_reach_kernels(name: str) -> None:
    """As they are: nobody looks at their values, and no plain number changes with them."""
    scalars = []
    for value in (0.25, 300.5):
        x, number = fb.tensor([1.0, 3.0]), fb.tensor(value)
        wanted = fb.tensor([1.0, 3.0])
        with told(x, number) as heard:
            found = TOLD[name](x, number.item())
        wanted = TOLD[name](other := fb.tensor([1.0, 3.0]), value)
        pair = (x, other) if wanted is None else (found, wanted)
        np.testing.assert_array_equal(*(t.numpy() for t in pair))
        assert not heard.looks
        scalars.append(heard.scalars)
    assert scalars[0] == scalars[1]


READS: dict[str, Callable[[Tensor], Any]] = {
    "tolist": lambda x: x.tolist(), "repr": repr, "array": lambda x: np.array(x), "nonzero": lambda x: x.nonzero(),
    "masked_select": lambda x: x[x > 1], "unique": lambda x: x.unique(), "kthvalue": lambda x: x.kthvalue(1),
    "equal": lambda x: fb.equal(x, x + 0), "deepcopy": lambda x: __import__("pickle").dumps(x),
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_reads(name: str) -> None:
    x = fb.tensor([1.0, 3.0, 3.0])
    with told(x) as heard:
        READS[name](x)
    assert {"read", "item", "nonzero", "masked_select", "unique"} & set(heard.events), heard.events


SHARES: dict[str, Callable[[Tensor], Any]] = {
    "numpy": lambda x: x.numpy(), "numpy with force": lambda x: x.numpy(force=True), "asarray": np.asarray,
    "dlpack": np.from_dlpack, "data_ptr": lambda x: x.data_ptr(), "storage": lambda x: x.untyped_storage(),
    "share_memory_": lambda x: x.share_memory_(), "get_state": lambda x: fb.get_rng_state(),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARES)
def test_what_hands_out_memory_is_refused(name: str) -> None:
    x = fb.tensor([1.0, 3.0])
    with told(x, refusing=True) as heard:
        SHARES[name](x)
    assert len(set(heard.refused)) == 1


# -- arrays that no kernel makes --------------------------------------------------------------------------
def test_values_of_lists_are_copied() -> None:
    values, makes = [1.0, 2.0], []
    with told() as heard:
        heard.make, make = (lambda key, how: makes.append(how) or make(key, how)), heard.make  # type: ignore[method-assign, func-returns-value]
        fb.tensor(values)
        values[0] = 7
    np.testing.assert_array_equal(makes[0](), [1, 2])


def test_values_of_an_array_are_copied_whenever_it_runs() -> None:
    values = np.array([1.0, 2.0], np.float32)
    with told(foreign=True) as heard:
        t = fb.tensor(values)
    assert heard.events == ["clone"]
    values[0] = 7
    np.testing.assert_array_equal(t.numpy(), [1, 2])


def test_out_of_another_shape_is_made() -> None:
    x, out = fb.ones(3), fb.empty(0)
    with told(x, out) as heard:
        fb.add(x, x, out=out)
    assert {"make", "write"} <= set(heard.events) and out.tolist() == [2, 2, 2]


def test_a_move_is_a_kernel() -> None:
    x = fb.ones(3)
    with told(x) as heard:
        x.to("meta")
    assert heard.events == ["to_device"]


# -- numbers of the host ----------------------------------------------------------------------------------
DRAWS: dict[str, Callable[[Tensor], Any]] = {
    "rand": lambda x: fb.rand(3), "randn": lambda x: fb.randn(3), "randint": lambda x: fb.randint(0, 9, (3,)),
    "randperm": lambda x: fb.randperm(4), "bernoulli": lambda x: fb.bernoulli(x), "uniform_": lambda x: x.uniform_(),
    "normal_": lambda x: x.normal_(), "multinomial": lambda x: fb.multinomial(x, 2),
    "dropout": lambda x: fb.nn.functional.dropout(x), "exponential_": lambda x: x.exponential_(),
    "normal": lambda x: fb.distributions.Normal(x, 1.0).rsample(),
    "gamma": lambda x: fb.distributions.Gamma(x, x).sample(),
    "vmap": lambda x: fb.func.vmap(lambda v: v + fb.rand(1), randomness="different")(x),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWS)
def test_draws(name: str) -> None:
    """Where a draw begins in the stream of numbers reaches kernels by host numbers alone."""
    scalars = []
    for _ in range(2):
        x = fb.tensor([0.25, 0.5, 0.75])
        with told(x) as heard:
            DRAWS[name](x)
        assert "host" in heard.events and not heard.looks
        scalars.append(heard.scalars)
    if name != "gamma":  # which is drawn again until all are accepted
        assert scalars[0] == scalars[1]


def test_a_generator_in_a_recording() -> None:
    g = fb.Generator().manual_seed(3)
    fb.manual_seed(5)
    with told() as heard:
        with fb.random.fork_rng():
            fb.manual_seed(9)
            inside = fb.rand(2)
        outside = fb.rand(2)
        g.set_offset(4)
        g.state = g.clone_state().state
    assert not heard.looks and g.state == (3, 4)
    fb.manual_seed(9)
    assert fb.equal(inside, fb.rand(2))
    fb.manual_seed(5)
    assert fb.equal(outside, fb.rand(2))


def test_without_a_recorder() -> None:
    x = fb.zeros(2)
    events.write(x._key, x._array, fb.ones(2)._array)
    assert events.host(max, 1, 2) == 2 and events.item(x._key, x._array, lambda a: a[0]) == 1
    assert events.constant(x._key, 2.0).item() == 2
    assert events.recorder() is None
    events.refuse("nobody hears it")


# -- the checker itself ------------------------------------------------------------------------------------
def test_what_nobody_told_is_noticed() -> None:
    x, y = fb.ones(3), fb.ones(3)
    key = x._key
    with pytest.raises(AssertionError, match="nobody told of an array"), told(x):
        x + y
    with pytest.raises(AssertionError, match="nobody told what has changed"), told(x, y):
        key.backend.copy_into(x[1:]._array, y._array[1:] * 3)
        x + y
    with pytest.raises(AssertionError, match="the end"), told(x):
        key.add(x._array, y._array, out=x._array)
    with pytest.raises(AssertionError, match="an address"), told(x):
        x.data_ptr()
