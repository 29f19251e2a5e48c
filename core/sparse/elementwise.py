"""Element by element: what keeps zeros, sums and products."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.memory_format import Layout, sparse_coo, strided
from flambeau.core.ops import random as sampling
from flambeau.core.ops.convert import result_type
from flambeau.core.ops.joining import cat
from flambeau.core.ops.search import searchsorted
from flambeau.core.sparse.compressed import laid_out_as
from flambeau.core.sparse.convert import as_coo, coalesce, sparse_dims, to_dense, values_at
from flambeau.core.sparse.make import emptied, flat_places
from flambeau.core.sparse.tensor import ANSWERS, NAMES, SparseTensor, answers, coo, unsupported, with_values
from flambeau.core.tensor import Tensor

#: Functions f with f(0) = 0, which the values alone decide.
_UNARY = (
    "abs absolute angle arcsin arcsinh arctan arctanh asin asinh atan atanh ceil conj conj_physical deg2rad erf erfinv "
    "expm1 fix floor frac isinf isnan isneginf isposinf log1p nan_to_num neg negative positive rad2deg relu round sgn "
    "sign signbit sin sinh sqrt square tan tanh trunc real imag"
)
UNARY = _UNARY.split()
#: Those that add up: they need no places in order.
_LINEAR = ("neg", "negative", "positive", "deg2rad", "rad2deg", "real", "imag", "conj", "conj_physical")


def _unary(name: str) -> None:
    @answers(name)
    def apply(input: SparseTensor, *args: Any, **kwargs: Any) -> Tensor:
        if name not in _LINEAR and input._kind is sparse_coo:
            input = coalesce(input)
        found = getattr(input._held, name)
        return with_values(input, found(*args, **kwargs) if callable(found) else found)


def _in_place(name: str, fn: Callable[..., Any]) -> None:
    @answers(f"{name}_")
    def write(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not isinstance(input, SparseTensor):
            return input.copy_(fn(input, *args, **kwargs))
        return input._become(fn(input, *args, **kwargs), f"{name}_")


def is_number(x: object) -> bool:
    """Whether an operand is a number, or a dense tensor without dimensions."""
    return isinstance(x, numbers.Number) or isinstance(x, Tensor) and not isinstance(x, SparseTensor) and x.ndim == 0


def of_one_shape(name: str, a: Tensor, b: Tensor) -> None:
    """ShapeError unless two tensors have one shape."""
    if tuple(a.shape) != tuple(b.shape):
        raise ShapeError(f"{name}: sizes {tuple(a.shape)} and {tuple(b.shape)} of the operands must agree")


def same_pattern(a: SparseTensor, b: SparseTensor) -> bool:
    """Whether two tensors hold the same places, by the same tensors of indices."""
    return a._kind is b._kind and a._held.shape == b._held.shape and all(
        p is q for p, q in zip(a._where, b._where, strict=True)
    )  # fmt: skip


def scaled(x: Any, factor: Number) -> Any:  # Any: a tensor of any layout
    """A tensor times a number; itself where that is 1."""
    return x if factor == 1 else x * factor


# -- sums --------------------------------------------------------------------------------------------
@answers("add", "__add__")
def add(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    if not isinstance(input, SparseTensor):
        if isinstance(input, Tensor):
            return _dense_and_sparse(input, other, alpha)
        raise _no_sum()
    if not isinstance(other, SparseTensor):
        raise _no_sum()
    of_one_shape("add", input, other)
    if input._kind is not sparse_coo and same_pattern(input, other):
        return with_values(input, input._held + scaled(other._held, alpha))
    a, b = as_coo(input), as_coo(other)
    if sparse_dims(a) != sparse_dims(b):
        raise ShapeError(f"add: sparse_dim {sparse_dims(a)} and {sparse_dims(b)} of the operands must agree")
    dtype = result_type(a._held, b._held)
    right = scaled(b._held, alpha)
    if a._where[0] is b._where[0] and a._coalesced:
        return laid_out_as(with_values(a, a._held + right), input)
    held = cat([a._held.to(dtype), right.to(dtype)])
    total = coo(cat([a._where[0], b._where[0]], 1), held, tuple(a.shape))
    return laid_out_as(coalesce(total) if a._coalesced and b._coalesced else total, input)


def _no_sum() -> RuntimeError:
    return RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")


def _dense_and_sparse(input: Tensor, other: SparseTensor, alpha: Number) -> Tensor:
    x = as_coo(other)
    if tuple(input.shape) != tuple(other.shape) or input.dtype is dt.bool_:
        return input.add(to_dense(other), alpha=alpha)
    sizes = tuple(x.shape[: sparse_dims(x)])
    dtype = result_type(input, x._held)
    rows = input.to(dtype).reshape((math.prod(sizes), *x.shape[len(sizes) :]))
    return rows.index_add(0, flat_places(x._where[0], sizes), x._held.to(dtype), alpha=alpha).reshape(input.shape)


@answers("add_", "__iadd__")
def add_(input: Tensor, other: Any, *, alpha: Number = 1) -> Tensor:
    if isinstance(input, SparseTensor):
        return input._become(add(input, other, alpha=alpha), "add_")  # type: ignore[arg-type]  # both are sparse
    x = as_coo(other)
    sizes = tuple(x.shape[: sparse_dims(x)])
    if input.requires_grad or not input.is_contiguous() or tuple(input.shape) != tuple(x.shape):
        return input.add_(to_dense(x), alpha=alpha)
    if x.dtype is not input.dtype or x.requires_grad:
        return input.add_(to_dense(x), alpha=alpha)
    rows = input.view(math.prod(sizes), *x.shape[len(sizes) :])
    rows.index_add_(0, flat_places(x._where[0], sizes), x._held, alpha=alpha)
    return input


@answers("sub", "subtract", "__sub__")
def sub(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    return add(input, other, alpha=-alpha)


@answers("sub_", "__isub__")
def sub_(input: Tensor, other: Any, *, alpha: Number = 1) -> Tensor:
    return add_(input, other, alpha=-alpha)


@answers("rsub")
def rsub(input: Any, other: Any, *, alpha: Number = 1) -> Tensor:
    return sub(other, input, alpha=alpha)


# -- products ----------------------------------------------------------------------------------------
@answers("mul", "multiply", "__mul__")
def mul(input: Any, other: Any) -> Tensor:
    if not isinstance(input, SparseTensor):
        input, other = other, input
    if is_number(other):
        return with_values(input, input._held * other)
    if isinstance(other, SparseTensor) and not other.ndim:
        other = to_dense(other)
        return with_values(input, input._held * other)
    if not isinstance(other, SparseTensor):
        if other.ndim > input.ndim or tuple(other.shape) != tuple(input.shape):
            other = other.expand(tuple(input.shape))
        return with_values(input, input._held * values_at(other, input))
    of_one_shape("mul", input, other)
    if input._kind is not sparse_coo and same_pattern(input, other):
        return with_values(input, input._held * other._held)
    a, b = coalesce(as_coo(input)), coalesce(as_coo(other))
    if a._where[0] is b._where[0]:
        return laid_out_as(with_values(a, a._held * b._held), input)
    return laid_out_as(_common(a, b), input)


def _common(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """The product of two tensors: it has the places that both have."""
    if sparse_dims(a) != sparse_dims(b):
        raise ShapeError(f"mul: sparse_dim {sparse_dims(a)} and {sparse_dims(b)} of the operands must agree")
    sizes = tuple(a.shape[: sparse_dims(a)])
    have, want = (flat_places(x._where[0], sizes) for x in (a, b))
    if not have.shape[0]:
        return coo(a._where[0], a._held * b._held[:0], tuple(a.shape), True)
    place = searchsorted(have, want).clamp(max=have.shape[0] - 1)
    both = (have.index_select(0, place) == want).nonzero().squeeze(1)
    held = a._held.index_select(0, place.index_select(0, both)) * b._held.index_select(0, both)
    return coo(b._where[0].index_select(1, both), held, tuple(a.shape), True)


def _divided(name: str) -> Callable[..., Tensor]:
    def divide(input: Any, other: Any, **kwargs: Any) -> Tensor:
        if not isinstance(input, SparseTensor):
            raise unsupported(name, other)
        if not is_number(other):
            raise ArgumentError(
                f"{name}: Sparse division requires a scalar or zero-dim dense tensor divisor (got shape "
                f"{list(other.shape)} for divisor)"
            )
        if kwargs.get("rounding_mode") is not None or name == "floor_divide":
            input = coalesce(input) if input._kind is sparse_coo else input
        return with_values(input, getattr(input._held, name)(other, **kwargs))

    return divide


@answers("pow", "__pow__")
def power(input: Any, exponent: Any) -> Tensor:
    if not isinstance(input, SparseTensor) or not isinstance(exponent, numbers.Real) or exponent <= 0:
        raise unsupported("pow with an exponent that is no number greater than 0", input, exponent)
    input = coalesce(input) if input._kind is sparse_coo else input
    return with_values(input, input._held**exponent)


# -- whole tensors -----------------------------------------------------------------------------------
@answers("zeros_like")
def zeros_like(input: SparseTensor, *, dtype: Any = None, layout: Layout | None = None, device: Any = None,
               requires_grad: bool = False, **other: Any) -> Tensor:  # fmt: skip
    like = input._held.detach().to(device=device or input.device, dtype=dtype or input.dtype)
    made: Tensor = emptied(input, like, layout) if layout in (None, *NAMES) else like.new_zeros(tuple(input.shape))
    return made.requires_grad_(requires_grad)


def _filled_like(name: str) -> None:
    """``ones_like`` and its like: a compressed tensor with the same places, of which the values are."""

    @answers(name)
    def fill(input: SparseTensor, *args: Any, layout: Layout | None = None, requires_grad: bool = False,
             **other: Any) -> Tensor:  # fmt: skip
        other.pop("memory_format", None)
        values = getattr(creation, name, None) or getattr(sampling, name)
        if layout is strided:
            whole = input._held.new_zeros(()).expand(tuple(input.shape))
            dense: Tensor = values(whole, *args, requires_grad=requires_grad, **other)
            return dense
        if input._kind is sparse_coo or layout not in (None, input._kind):
            raise unsupported(f"{name} of layout {layout or input._kind!r}", input)
        fresh = with_values(input, values(input._held.detach(), *args, **other))
        fresh._where = tuple(w.clone().to(fresh._held.device) for w in input._where)
        return fresh.requires_grad_(requires_grad)


for _name in ("ones_like", "full_like", "rand_like", "randn_like", "randint_like"):
    _filled_like(_name)


@answers("empty_like")
def empty_like(input: SparseTensor, **kwargs: Any) -> Tensor:
    if input._kind is sparse_coo or kwargs.get("layout") not in (None, input._kind, strided):
        return zeros_like(input, **kwargs)
    found: Tensor = ANSWERS["full_like"](input, 0, **kwargs)
    return found


@answers("zero_")
def zero_(input: SparseTensor) -> Tensor:
    return input._become(zeros_like(input), "zero_")  # type: ignore[arg-type]  # of its own layout


def _filled(name: str) -> None:
    @answers(name)
    def fill(input: SparseTensor, *args: Any, **kwargs: Any) -> Tensor:
        """Other values of a compressed tensor, at the same places."""
        if input._kind is sparse_coo:
            raise unsupported(name, input)
        fresh = getattr(input._held.detach().clone(), name)(*args, **kwargs)
        return input._become(with_values(input, fresh), name)


for _name in ("fill_", "normal_"):
    _filled(_name)


@answers("copy_")
def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    if not isinstance(input, SparseTensor):
        return input.copy_(to_dense(src))
    if not isinstance(src, SparseTensor):
        raise RuntimeError("copy_() between dense and sparse Tensors is not implemented! use to_sparse() before it")
    of_one_shape("copy_", input, src)
    fresh = laid_out_as(src, input)
    return input._become(with_values(fresh, fresh._held.to(input.dtype).to(input.device).clone()), "copy_")


@answers("detach_")
def detach_(input: SparseTensor) -> Tensor:
    input._held = input._held.detach()
    return input


for _name in UNARY:
    _unary(_name)
for _name in ("div", "divide", "true_divide", "floor_divide"):
    answers(_name)(_divided(_name))
answers("__truediv__")(_divided("div"))
for _name in (*UNARY, "mul", "multiply", "div", "divide", "true_divide", "floor_divide", "pow"):
    if _name not in ("real", "imag"):
        _in_place(_name, ANSWERS[_name])
answers("__imul__")(ANSWERS["mul_"])
answers("__itruediv__")(ANSWERS["div_"])


# -- operators whose right side is sparse, of which Python asks the subclass first -------------------------
def _reflected(name: str) -> None:
    def operate(self: SparseTensor, other: Any) -> Any:
        return ANSWERS[name](other, self)

    operate.__name__ = operate.__qualname__ = f"__r{name}__"
    setattr(SparseTensor, f"__r{name}__", operate)


for _name in ("add", "sub", "mul", "pow"):
    _reflected(_name)
SparseTensor.__rtruediv__ = lambda self, other: ANSWERS["div"](other, self)  # type: ignore[method-assign]
