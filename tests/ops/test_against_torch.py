"""Behaviour beside PyTorch's, where it is installed: inputs by Hypothesis, results and errors compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import flambeau as fb

torch = pytest.importorskip("torch")

DTYPES = (np.bool_, np.uint8, np.int16, np.int64, np.float32, np.float64, np.complex64)
SIDES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
FILLED = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3)  # torch does not look at indices of nothing


def to_torch(x: Any) -> Any:
    return torch.from_numpy(x.copy())


def outcome(fn: Callable[..., Any], maker: Callable[[Any], Any], arrays: tuple[Any, ...]) -> Any:
    """The result, or None where it raises."""
    try:
        return fn(*map(maker, arrays))
    except (RuntimeError, TypeError, ValueError, IndexError):
        return None


def assert_same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted, strict=True):
            assert_same(f, w)
    elif isinstance(wanted, torch.Tensor):
        assert found.dtype.name == str(wanted.dtype).removeprefix("torch.")
        assert tuple(found.shape) == tuple(wanted.shape)
        np.testing.assert_allclose(found.detach().numpy(), wanted.detach().resolve_conj().numpy(), 1e-5, 1e-5)
    else:
        assert found == wanted


def size_of(result: Any) -> int:
    return int((result[0] if isinstance(result, tuple) else result).numel())


def compare(fn: Callable[[Any], Callable[..., Any]], *arrays: Any, empty: bool = True) -> None:
    """``fn(library)`` of the arrays gives the same in both libraries, or raises in both.

    Without ``empty``, flambeau may raise where torch, which does not look at arguments then, returns no elements.
    """
    wanted = outcome(fn(torch), to_torch, arrays)
    found = outcome(fn(fb), fb.tensor, arrays)
    if not empty and found is None and wanted is not None and not size_of(wanted):
        return
    assert (found is None) == (wanted is None), f"flambeau {found}, torch {wanted}"
    if wanted is not None:
        assert_same(found, wanted)


def arrays(dtypes: Any = DTYPES, shape: Any = SIDES) -> Any:
    """Arrays of small whole numbers, so that sums are exact."""
    return st.sampled_from(dtypes).flatmap(
        lambda d: hnp.arrays(d, shape, elements=st.integers(0, 1 if d is np.bool_ else 5))
    )


# -- indexing ----------------------------------------------------------------------------------------
SMALL = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=2)


def entries() -> Any:
    ends = st.none() | st.integers(-4, 4)
    return st.one_of(
        st.integers(-3, 2),
        st.builds(slice, ends, ends, st.none() | st.integers(1, 3)),
        st.none(),
        st.just(Ellipsis),
        st.booleans(),
        st.lists(st.integers(-2, 1), min_size=1, max_size=3),
        hnp.arrays(
            np.int64, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=2), elements=st.integers(-2, 1)
        ),
        hnp.arrays(np.bool_, hnp.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=3)),
    )


def index_of(library: Any, index: Any) -> Any:
    """The index with its arrays as tensors of a library."""
    make = to_torch if library is torch else fb.tensor
    return tuple(make(v) if isinstance(v, np.ndarray) else v for v in index)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(arrays(shape=FILLED), st.lists(entries(), max_size=3))
def test_indexing(x: Any, index: Any) -> None:
    if sum(v is Ellipsis for v in index) < 2:
        compare(lambda m: lambda t: t[index_of(m, index)], x, empty=False)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(arrays((np.int64, np.float32), FILLED), st.lists(entries(), max_size=3), st.integers(0, 9))
def test_assignment(x: Any, index: Any, value: int) -> None:
    def write(m: Any) -> Any:
        def run(t: Any) -> Any:
            t[index_of(m, index)] = value
            return t

        return run

    part = outcome(lambda t: t[index_of(torch, index)], to_torch, (x,))
    if sum(v is Ellipsis for v in index) < 2 and (part is None or part.numel()):
        compare(write, x)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(arrays((np.float64,), FILLED), st.lists(entries(), max_size=3))
def test_gradients_of_indexing(x: Any, index: Any) -> None:
    def gradient(m: Any) -> Any:
        def run(t: Any) -> Any:
            t.requires_grad_()
            part = t[index_of(m, index)]
            (part * part).sum().backward()
            return t.grad

        return run

    if sum(v is Ellipsis for v in index) < 2:
        compare(gradient, x, empty=False)


OPERATIONS = ("add", "mul", "true_divide", "eq")


# -- arithmetic --------------------------------------------------------------------------------------
NUMBERS = st.one_of(st.booleans(), st.integers(-3, 3), st.floats(-2, 2, width=16), st.just(1 + 2j))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(arrays(shape=(3,)), arrays(shape=st.sampled_from([(), (3,)])), st.sampled_from(OPERATIONS))
def test_promotion_of_tensors(x: Any, y: Any, name: str) -> None:
    compare(lambda m: lambda a, b: getattr(m, name)(a, b), x, np.asarray(np.maximum(y, name == "true_divide"), y.dtype))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(arrays(shape=(3,)), NUMBERS, st.sampled_from(["__add__", "__radd__", "__mul__", "__truediv__", "__pow__"]))
def test_promotion_of_numbers(x: Any, y: Any, name: str) -> None:
    if name in ("__truediv__", "__pow__") and (isinstance(y, complex) or y <= 0 or x.dtype == bool):
        return
    compare(lambda m: lambda a: getattr(a, name)(y), x + 1 if x.dtype != bool else x)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(arrays((np.uint8, np.int16, np.int64), (3,)), arrays((np.uint8, np.int16, np.int64), (3,)),
       st.sampled_from(["floor_divide", "remainder", "fmod"]))  # fmt: skip
def test_division_of_integers(x: Any, y: Any, name: str) -> None:
    """With a 0 among the divisors both raise."""
    compare(lambda m: lambda a, b: getattr(m, name)(a, b), x, y)


# -- shapes and reductions ---------------------------------------------------------------------------
@settings(max_examples=150, deadline=None, derandomize=True)
@given(arrays((np.float32,)), st.lists(st.integers(-2, 4), max_size=3))
def test_reshape(x: Any, shape: Any) -> None:
    compare(lambda m: lambda t: t.reshape(shape), x)
    compare(lambda m: lambda t: t.view(shape), x)
    if not {0, -2}.intersection(shape):  # of which torch makes tensors of negative sizes
        compare(lambda m: lambda t: t.expand(shape), x)


REDUCTIONS = ("sum", "prod", "mean", "any", "all", "amax", "amin", "argmax", "logsumexp", "nansum", "median", "std")


@pytest.mark.filterwarnings("ignore:std")
@settings(max_examples=300, deadline=None, derandomize=True)
@given(arrays(), st.sampled_from(REDUCTIONS), st.none() | st.integers(-3, 3) | st.lists(st.integers(-2, 2), max_size=2),
       st.booleans())  # fmt: skip
def test_reductions(x: Any, name: str, dim: Any, keepdim: bool) -> None:
    if name in ("argmax", "median") and x.dtype == bool or dim is None and name in ("logsumexp", "median", "prod"):
        return  # which flambeau takes and torch does not
    if name in ("argmax", "median", "prod") and isinstance(dim, list):
        return
    if name in ("nansum", "std") and x.dtype.kind == "c" or dim == [] and name in ("logsumexp", "median", "std"):
        return
    compare(lambda m: lambda t: getattr(m, name)(t, dim=dim, keepdim=keepdim), x, empty=False)


# -- in place, on the tensor itself ------------------------------------------------------------------
REFORMS: list[tuple[str, tuple[Any, ...]]] = [
    ("t_", ()), ("unsqueeze_", (0,)), ("unsqueeze_", (-1,)), ("unsqueeze_", (5,)), ("squeeze_", ()), ("squeeze_", (0,)),
    ("transpose_", (0, 1)), ("swapaxes_", (0, -1)), ("as_strided_", ((2,), (1,))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), REFORMS)
@pytest.mark.parametrize("shape", [(2, 3), (1, 3), (3,)])
@pytest.mark.parametrize("use", ["plain", "computed", "view", "leaf"])
def test_views_in_place(name: str, args: Any, shape: Any, use: str) -> None:
    def run(m: Any) -> Any:
        def on(t: Any) -> Any:
            if use == "plain":
                part = t[:1]
                getattr(part, name)(*args)
                part.mul_(3)
                return t, part
            t.requires_grad_()
            whole = t * 2
            target = {"computed": whole, "view": whole[:1], "leaf": t}[use]
            getattr(target, name)(*args)
            target.mul_(3)
            (whole * whole).sum().backward()
            return target, t.grad

        return on

    compare(run, np.arange(6.0)[: int(np.prod(shape))].reshape(shape))


@pytest.mark.parametrize("sizes", [(3,), (2, 2), (3, 2), (6,), (0,)])
def test_resize_keeps_the_elements(sizes: Any) -> None:
    compare(lambda m: lambda t: t.resize_(sizes), np.arange(6.0).reshape(2, 3))
    grown = fb.arange(6).resize_(2, 5)
    assert grown.flatten()[:6].tolist() == list(range(6))
    with pytest.raises(RuntimeError, match="resize_: cannot resize a tensor that requires grad"):
        fb.ones(2, requires_grad=True).resize_(3)


# -- keywords ----------------------------------------------------------------------------------------
KEYWORDS: list[Callable[[Any], Callable[[Any], Any]]] = [
    lambda m: lambda t: t.flip(dims=(0,)),
    lambda m: lambda t: m.permute(t, dims=(1, 0)),
    lambda m: lambda t: t.reshape(shape=(3, 2)),
    lambda m: lambda t: t.expand(size=(2, 2, 3)),
    lambda m: lambda t: t.view(size=(6,)),
    lambda m: lambda t: t.repeat(repeats=(2, 1)),
    lambda m: lambda t: m.swapaxes(t, axis0=0, axis1=1),
    lambda m: lambda t: t.split(split_size=1),
    lambda m: lambda t: m.tensor_split(t, indices=(1,), dim=1),
    lambda m: lambda t: m.cat([t, t], axis=1),
    lambda m: lambda t: m.pow(t, exponent=2),
    lambda m: lambda t: m.heaviside(t, values=t),
    lambda m: lambda t: t.cumsum(axis=0),
    lambda m: lambda t: m.median(t, axis=1, keepdim=True),
    lambda m: lambda t: m.squeeze(t, axis=0),
    lambda m: lambda t: m.unsqueeze(t, axis=-1),
    lambda m: lambda t: m.zeros(size=(2, 3)),
    lambda m: lambda t: m.arange(end=3),
    lambda m: lambda t: m.eye(2, out=m.empty(0)),
    lambda m: lambda t: m.diag(t[0], out=m.empty(0, dtype=t.dtype)),
    lambda m: lambda t: m.kron(t, t, out=m.empty(0, dtype=t.dtype)),
    lambda m: lambda t: m.aminmax(t, out=(m.empty(0, dtype=t.dtype), m.empty(0, dtype=t.dtype))),
]


@pytest.mark.parametrize("fn", KEYWORDS)
def test_keywords(fn: Any) -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert_same(fn(fb)(fb.tensor(x)), fn(torch)(to_torch(x)))


def test_a_keyword_and_its_other_name_are_one_argument() -> None:
    with pytest.raises(TypeError, match="cumsum: axis and dim are one argument"):
        fb.ones(2).cumsum(dim=0, axis=0)


# -- statistics and other functions that are no ops of their own -------------------------------------
FUNCTIONS: list[Callable[[Any], Callable[[Any], Any]]] = [
    lambda m: lambda t: m.cov(t),
    lambda m: lambda t: m.cov(t, correction=0, fweights=m.tensor([1, 2, 3, 1])),
    lambda m: lambda t: m.cov(t, aweights=m.tensor([1.0, 2.0, 3.0, 1.0])),
    lambda m: lambda t: m.cov(t[0]),
    lambda m: lambda t: m.corrcoef(t),
    lambda m: lambda t: m.renorm(t, 2, 0, 1.0),
    lambda m: lambda t: m.renorm(t, 1, 1, 2.0),
    lambda m: lambda t: m.gradient(t),
    lambda m: lambda t: m.gradient(t, spacing=2.0, dim=1, edge_order=2),
    lambda m: lambda t: m.gradient(t, spacing=[m.tensor([0.0, 1.0, 3.0, 4.5], dtype=t.dtype)], dim=1),
    lambda m: lambda t: m.gradient(t, spacing=[m.tensor([0.0, 1.0, 3.0, 4.5], dtype=t.dtype)], dim=1, edge_order=2),
    lambda m: lambda t: m.pdist(t),
    lambda m: lambda t: m.pdist(t, 1.0),
    lambda m: lambda t: tuple(m.histogram(t, 4)),
    lambda m: lambda t: tuple(m.histogram(t, 3, range=(-1.0, 1.0), weight=t, density=False)),
    lambda m: lambda t: tuple(m.histogram(t, m.tensor([-1.0, 0.0, 2.0], dtype=t.dtype), density=True)),
    lambda m: lambda t: m.mvlgamma(t.abs() + 2, 3),
    lambda m: lambda t: m.unravel_index(m.tensor([[1, 5], [7, 11]]), (3, 4)),
    lambda m: lambda t: t.sum_to_size(3, 1),
    lambda m: lambda t: t.sum_to_size(4),
    lambda m: lambda t: t.index_reduce(0, m.tensor([0, 0, 1]), t, "prod"),
    lambda m: lambda t: t.index_reduce(1, m.tensor([0, 0]), t[:, :2], "amax", include_self=False),
    lambda m: lambda t: m.nonzero_static((t > 0), size=20),
    lambda m: lambda t: m.nonzero_static((t > 0), size=2, fill_value=7),
    lambda m: lambda t: t.as_strided_scatter(t[0], (4,), (1,), 2),
    lambda m: lambda t: m.narrow_copy(t, 1, 1, 2),
    lambda m: lambda t: m.empty_strided((2, 3), (1, 2)).stride(),
    lambda m: lambda t: m.empty_permuted((2, 3, 4), (2, 0, 1)).stride(),
    lambda m: lambda t: m.frombuffer(bytearray(range(8)), dtype=m.int16, count=2, offset=2),
    lambda m: lambda t: m.range(1, 4),
    lambda m: lambda t: m.scalar_tensor(3),
    lambda m: lambda t: m.ldexp(t, m.tensor([1, 2, -1, 0])),
    lambda m: lambda t: t.clone().float_power_(2),
    lambda m: lambda t: m.logsumexp(m.complex(t, t), 1),
]


@pytest.mark.filterwarnings("ignore:torch.range is deprecated", "ignore:index_reduce")
@pytest.mark.parametrize("fn", FUNCTIONS)
def test_functions(fn: Any) -> None:
    x = np.random.default_rng(3).standard_normal((3, 4))
    assert_same(fn(fb)(fb.tensor(x)), fn(torch)(to_torch(x)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: fb.cov(x, fweights=fb.ones(2)), "one number for each of the 4 observations"),
        (lambda x: fb.gradient(x, edge_order=3), "edge_order must be 1 or 2"),
        (lambda x: fb.gradient(x[:, :1], dim=1), "needs at least 2 elements"),
        (lambda x: fb.histogram(x, 0), "bins must be at least 1"),
        (lambda x: fb.renorm(x[0], 2, 0, 1.0), "at least 2 dimensions"),
        (lambda x: fb.unravel_index(fb.tensor([12]), (3, 4)), r"in \[0, 12\)"),
        (lambda x: x.sum_to_size(2, 4), "does not expand"),
        (lambda x: x.set_(fb.ones(2, dtype=fb.int32)), "set_: source must have the dtype"),
        (lambda x: fb.mvlgamma(x, 0), "p must be at least 1"),
    ],
)
def test_wrong_calls(call: Any, words: str) -> None:
    with pytest.raises((RuntimeError, ValueError), match=words):
        call(fb.ones(3, 4))


COMPLEX = np.array([0, 1, -1, 1j, 0.5 + 0.25j, -2 + 3j, 40 - 0.7j])


@pytest.mark.parametrize("name", ["exp2", "expm1", "log2", "log10", "log1p", "asin", "acos", "atan", "asinh", "acosh",
                                  "atanh", "sinc", "tan", "sgn", "square"])  # fmt: skip
def test_complex_functions(name: str) -> None:
    """On every side of the branch cuts, with torch's convention for the gradient."""
    x = np.concatenate([COMPLEX, -COMPLEX.conj()]) * 0.7 + 0.1
    compare(lambda m: getattr(m, name), x)

    def gradient(m: Any) -> Any:
        def run(t: Any) -> Any:
            out = getattr(m, name)(t.requires_grad_())
            (out.real.sum() + 2 * out.imag.sum()).backward()
            return t.grad

        return run

    x = x[abs(x) < 5]
    compare(gradient, x)


def test_logarithms_of_complex_sums() -> None:
    compare(lambda m: lambda a, b: m.logaddexp(a, b), COMPLEX[:, None], COMPLEX)
    compare(lambda m: lambda a, b: m.logaddexp(a, b), COMPLEX[:, None], np.array([1.0, -300.0]))
    compare(lambda m: lambda a: m.logsumexp(a, 0), COMPLEX)


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 2.5, -0.5])


@pytest.mark.parametrize("name", ["sign", "sgn", "nan_to_num", "frac", "trunc", "round", "relu", "isposinf", "signbit"])
def test_special_values(name: str) -> None:
    compare(lambda m: getattr(m, name), SPECIAL)


@pytest.mark.parametrize("name", ["heaviside", "maximum", "minimum", "fmax", "fmin", "copysign", "remainder", "fmod",
                                  "floor_divide", "atan2", "hypot", "xlogy", "logaddexp", "nextafter"])  # fmt: skip
def test_pairs_of_special_values(name: str) -> None:
    compare(lambda m: getattr(m, name), SPECIAL[:, None], SPECIAL)
