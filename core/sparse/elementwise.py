"""Element by element: what keeps zeros, sums and products."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.memory_format import Layout, sparse_coo
from flambeau.core.ops.convert import result_type
from flambeau.core.ops.joining import cat
from flambeau.core.ops.search import searchsorted
from flambeau.core.sparse.convert import as_coo, coalesce, in_layout, sparse_dims, to_dense, values_at
from flambeau.core.sparse.make import empty, flat_places
from flambeau.core.sparse.tensor import ANSWERS, SparseTensor, answers, coo, unsupported, with_values
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
    kind, a, b = input._kind, as_coo(input), as_coo(other)
    if sparse_dims(a) != sparse_dims(b):
        raise ShapeError(f"add: sparse_dim {sparse_dims(a)} and {sparse_dims(b)} of the operands must agree")
    dtype = result_type(a._held, b._held)
    right = b._held if alpha == 1 else b._held * alpha
    if a._where[0] is b._where[0] and a._coalesced:
        return in_layout(with_values(a, a._held + right), kind)
    held = cat([a._held.to(dtype), right.to(dtype)])
    total = coo(cat([a._where[0], b._where[0]], 1), held, tuple(a.shape))
    return in_layout(coalesce(total) if a._coalesced and b._coalesced else total, kind)


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
    if not isinstance(other, SparseTensor):
        if other.ndim > input.ndim or tuple(other.shape) != tuple(input.shape):
            other = other.expand(tuple(input.shape))
        return with_values(input, input._held * values_at(other, input))
    of_one_shape("mul", input, other)
    kind, a, b = input._kind, coalesce(as_coo(input)), coalesce(as_coo(other))
    if a._where[0] is b._where[0]:
        return in_layout(with_values(a, a._held * b._held), kind)
    return in_layout(_common(a, b), kind)


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
@answers("zeros_like", "empty_like")
def zeros_like(input: SparseTensor, *, dtype: Any = None, layout: Layout | None = None, device: Any = None,
               requires_grad: bool = False, **other: Any) -> Tensor:  # fmt: skip
    like = input._held.detach().to(device=device or input.device, dtype=dtype or input.dtype)
    made: Tensor
    if layout is None or layout in (sparse_coo, input._kind):
        made = empty("zeros_like", tuple(input.shape), like, layout or input._kind)
        if made._in_parts and input._held.ndim > 1:
            dims = sparse_dims(input)
            made = coo(input._where[0].new_zeros((dims, 0)), like[:0], tuple(input.shape), True)
    else:
        made = like.new_zeros(tuple(input.shape))
    return made.requires_grad_(requires_grad)


@answers("zero_")
def zero_(input: SparseTensor) -> Tensor:
    return input._become(zeros_like(input), "zero_")  # type: ignore[arg-type]  # of its own layout


@answers("copy_")
def copy_(input: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    if not isinstance(input, SparseTensor):
        return input.copy_(to_dense(src))
    if not isinstance(src, SparseTensor):
        raise RuntimeError("copy_() between dense and sparse Tensors is not implemented! use to_sparse() before it")
    of_one_shape("copy_", input, src)
    fresh = in_layout(src, input._kind)
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
