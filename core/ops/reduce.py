"""Reductions: sums, products, extremes.

``sum``, ``max`` and ``argmax`` are primitives; the others have bodies of them, and a backend may have a
kernel for each. A gradient that is smaller than its operand stands for all elements: the engine expands it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar, Unpack

from flambeau.backends.layout import Shape, reduced_shape
from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.declare import OpFunction, composite, op
from flambeau.core.dtype import DTypeLike
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops import scan, storage
from flambeau.core.ops.elementwise import bitwise_not_p, cj, exp_p, isfinite_p, log_p, neg_p, where
from flambeau.core.out import deliver, in_dtype
from flambeau.core.public import public
from flambeau.core.record import REDUCE, Fields, accumulating, comparison, floating, numeric, ordered, to_index
from flambeau.core.tensor import Tensor

INEXACT = numeric.but("inexact", accepts=dt.FLOATS + dt.COMPLEXES)
TO_INDEX = to_index.but("ordered_to_index", accepts=dt.BOOLS + dt.REALS)
#: The axes of a record: None for all.
Axes: TypeAlias = tuple[int, ...] | None
#: The dims of a public function: None for all.
Dims: TypeAlias = int | Sequence[int] | None


# -- shapes ------------------------------------------------------------------------------------------
R = TypeVar("R")


def reduced(x: Shape, *, axis: int | Axes, keepdims: bool = False, **params: object) -> Shape:
    """The shape without ``axis`` (None: without all), or with size 1 there."""
    return reduced_shape(tuple(x), axis, keepdims)


def _nonempty(name: str) -> Callable[..., Shape]:
    """The shape rule of what has no value over no elements."""

    def infer(x: Shape, *, axis: int | Axes, keepdims: bool = False) -> Shape:
        what = name[-3:]  # max or min
        if axis is None and 0 in x:
            raise ShapeError(
                f"{name}: input of shape {tuple(x)} has no elements, and so no {what}; give a dim to reduce"
            )
        for a in () if axis is None else (axis,) if isinstance(axis, int) else axis:
            if len(x) and x[a] == 0:
                raise IndexError(
                    f"{name}: input of shape {tuple(x)} has size 0 along dim {a}, which is reduced, and no elements "
                    f"have no {what}; give a dim whose size is not 0"
                )
        return reduced_shape(tuple(x), axis, keepdims)

    return infer


def restore(g: Tensor, x_shape: Shape, axis: Axes, keepdims: bool) -> Tensor:
    """What came out of a reduction, with axes of size 1 where it reduced, so that it broadcasts with the operand."""
    if keepdims or axis is None:
        return g
    return g.reshape(reduced_shape(tuple(x_shape), axis, True))


def size_of(x_shape: Shape, axis: Axes) -> int:
    """How many elements each result is made of."""
    return math.prod(x_shape if axis is None else (x_shape[a] for a in axis))


def as_rows(x: Tensor, axis: Axes) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """``x`` with the reduced axes made one last axis, and the function that brings such rows back."""
    ndim = x.ndim
    gone = tuple(range(ndim)) if axis is None else axis
    order = (*(a for a in range(ndim) if a not in gone), *gone)
    moved = storage.permute_p(x, order) if order != tuple(range(ndim)) else x
    shape = tuple(moved.shape)
    rows = moved.reshape((*shape[: ndim - len(gone)], size_of(x.shape, axis)))

    def back(r: Tensor) -> Tensor:
        return storage.permute_p(r.reshape(shape), storage.inverse_permutation(order))

    return rows, back


# -- primitives --------------------------------------------------------------------------------------
REDUCE.infer = reduced
sum_p = op("sum(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor", REDUCE,
    autocast="same|float32",
    dtype=accumulating,
         public=False, vjp=dict(x=lambda g, x_shape, axis, keepdims: restore(g, x_shape, axis, keepdims)), linear=["x"],
         doc="The sum of elements; integers in int64.")  # fmt: skip


def shared(g: Tensor, x: Tensor, out: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    """The gradient of an extreme, divided evenly among the elements that have it (nan: among the nans)."""
    whole = restore(out, x.shape, axis, keepdims)
    chosen = (x == whole) | ((x != x) & (whole != whole))
    return where(chosen, restore(g, x.shape, axis, keepdims) / sum_p(chosen, axis, True), 0.0)


max_p = op("max(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor", REDUCE, infer=_nonempty("amax"),
         dtype=ordered, public=["amax"], title="amax", vjp=dict(x=shared),
         doc="The largest element; nan wins.")  # fmt: skip
argmax_p = op("argmax(x: Tensor, *, axis: Axis, keepdims: bool = False) -> Tensor", REDUCE, infer=_nonempty("argmax"),
            dtype=TO_INDEX, differentiable=False, public=False, check=True,
            doc="Where the largest element along an axis stands, the first of equal ones; nan wins.")  # fmt: skip


# -- composites --------------------------------------------------------------------------------------
def reduction(schema: str, **fields: Unpack[Fields]) -> Callable[[Callable[..., R]], OpFunction[R]]:
    """A reduction with a body; vmap moves its axes, so that a fused kernel serves there too."""
    given: Fields = {"batch": "reduced", "public": False, **fields}
    return composite(schema, REDUCE, **given)


def reverse_order(x: Tensor) -> Tensor:
    """A number for each element such that the order is the opposite one."""
    return neg_p(x) if x.dtype.category >= dt.FLOATING else bitwise_not_p(x)


@reduction(
    "min(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor",
    infer=_nonempty("amin"),
    title="amin",
    dtype=ordered,
    public=["amin"],
    upcast=False,
    vjp=dict(x=shared),
)
def min_p(x: Tensor, *, axis: Axes, keepdims: bool) -> Tensor:
    """The smallest element; nan wins.

    >>> fb.amin(fb.tensor([[1.0, 2.0], [3.0, 4.0]]), dim=1)
    tensor([1., 3.])
    """
    return reverse_order(max_p(reverse_order(x), axis, keepdims))


@reduction(
    "argmin(x: Tensor, *, axis: Axis, keepdims: bool = False) -> Tensor",
    infer=_nonempty("argmin"),
    dtype=TO_INDEX,
    upcast=False,
    differentiable=False,
)
def argmin_p(x: Tensor, *, axis: int, keepdims: bool) -> Tensor:
    """Where the smallest element along an axis stands, the first of equal ones; nan wins."""
    return argmax_p(reverse_order(x), axis, keepdims)


@reduction(
    "any(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor",
    dtype=comparison,
    upcast=False,
    differentiable=False,
)
def any_p(x: Tensor, *, axis: Axes, keepdims: bool) -> Tensor:
    """Whether some element is not zero; False for no elements.

    >>> fb.any(fb.tensor([True, False]))
    tensor(True)
    """
    if size_of(x.shape, axis) == 0:
        return creation.full(reduced(x.shape, axis=axis, keepdims=keepdims), False, dtype=dt.bool_, device=x.device)
    return max_p(x != 0, axis, keepdims)


@reduction(
    "all(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor",
    dtype=comparison,
    upcast=False,
    differentiable=False,
)
def all_p(x: Tensor, *, axis: Axes, keepdims: bool) -> Tensor:
    """Whether no element is zero; True for no elements.

    >>> fb.all(fb.tensor([True, False]))
    tensor(False)
    """
    return bitwise_not_p(any_p(x == 0, axis, keepdims))


@reduction(
    "mean(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor",
    dtype=INEXACT,
    linear=["x"],
    vjp=dict(x=lambda g, x_shape, axis, keepdims: restore(g, x_shape, axis, keepdims) / size_of(x_shape, axis)),
)
def mean_p(x: Tensor, *, axis: Axes, keepdims: bool) -> Tensor:
    """The sum divided by the number of elements; nan for none."""
    return sum_p(x, axis, keepdims) / size_of(x.shape, axis)


def _prod_vjp(g: Tensor, x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    """The product of the others, from both sides, so that zeros need no division."""
    rows, back = as_rows(x, axis)
    last = rows.ndim - 1
    before = scan.shifted(scan.cumprod_p(rows, last), last, 1, 1)
    after = scan.backwards(scan.shifted(scan.cumprod_p(scan.backwards(rows, last), last), last, 1, 1), last)
    return restore(g, x.shape, axis, keepdims) * cj(back(before * after))


@reduction(
    "prod(x: Tensor, *, axis: Axes = None, keepdims: bool = False) -> Tensor",
    autocast="float32",
    dtype=accumulating,
    vjp=dict(x=_prod_vjp),
)
def prod_p(x: Tensor, *, axis: Axes, keepdims: bool) -> Tensor:
    """The product of elements; integers in int64. Halves are multiplied until one element is left."""
    rows, _ = as_rows(x, axis)
    last = rows.ndim - 1
    shape = reduced(x.shape, axis=axis, keepdims=keepdims)
    if rows.shape[last] == 0:
        return creation.full(shape, 1, dtype=x.dtype, device=x.device)
    while (n := rows.shape[last]) > 1:
        halves = scan.cut(rows, last, 0, n // 2) * scan.cut(rows, last, n // 2, n // 2 * 2)
        rows = storage.cat_p([halves, scan.cut(rows, last, n - 1, n)], last) if n % 2 else halves
    return rows.reshape(shape)


def _logsumexp_vjp(g: Tensor, x: Tensor, out: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    whole = restore(out, x.shape, axis, keepdims)
    nothing = whole == -math.inf
    share = where(nothing, 0.0, exp_p(where(nothing, 0.0, x) - where(nothing, 0.0, whole)))
    return restore(g, x.shape, axis, keepdims) * cj(share)


@reduction(
    "logsumexp(x: Tensor, *, axis: Axes, keepdims: bool = False) -> Tensor",
    autocast="same|float32",
    dtype=floating,
    vjp=dict(x=_logsumexp_vjp),
)
def logsumexp_p(x: Tensor, *, axis: Axes, keepdims: bool) -> Tensor:
    """log(sum(exp(x))) without overflow; -inf for no elements."""
    if size_of(x.shape, axis) == 0:
        shape = reduced(x.shape, axis=axis, keepdims=keepdims)
        return creation.full(shape, -math.inf, dtype=x.dtype, device=x.device)
    largest = max_p(x.real, axis, True)
    largest = where(isfinite_p(largest), largest, 0.0)
    total = log_p(sum_p(exp_p(x - largest), axis, True)) + largest
    return total.reshape(reduced(x.shape, axis=axis, keepdims=keepdims))


# -- public functions --------------------------------------------------------------------------------
def _reduced(
    name: str, record: OpFunction[Tensor], input: Tensor, dim: Dims, keepdim: bool, dtype: DTypeLike | None,
    axis: Dims, keepdims: bool | None, out: Tensor | None,
) -> Tensor:  # fmt: skip
    """A reduction with all that :func:`sum` and :func:`mean` take."""
    found = record(in_dtype(input, dtype), dim if axis is None else axis, keepdim if keepdims is None else keepdims)
    return deliver(name, found, out, dtype)


@public("sum", guard=False)
def _sum(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None,
    axis: Dims = None, keepdims: bool | None = None, out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The sum over ``dim`` (an int, a tuple, or None for all), in ``dtype``; integers and bools in int64.

    IndexError for a dimension that ``input`` does not have.

    >>> fb.ones(2, 3).sum(dim=1)
    tensor([3., 3.])
    """
    if dtype is None and axis is None and keepdims is None and out is None:
        return sum_p(input, dim, keepdim)
    return _reduced("sum", sum_p, input, dim, keepdim, dtype, axis, keepdims, out)


@public(guard=False)
def mean(
    input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None,
    axis: Dims = None, keepdims: bool | None = None, out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The mean over ``dim`` (an int, a tuple, or None for all), of a floating tensor or in a floating ``dtype``.

    DTypeError for integers, IndexError for a dimension that ``input`` does not have.

    >>> fb.tensor([1.0, 3.0]).mean()
    tensor(2.)
    """
    if dtype is None and axis is None and keepdims is None and out is None:
        return mean_p(input, dim, keepdim)
    return _reduced("mean", mean_p, input, dim, keepdim, dtype, axis, keepdims, out)


@public(out=True)
def prod(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Tensor:
    """The product over ``dim`` (an int, a tuple, or None for all), in ``dtype``; integers and bools in int64.

    >>> fb.prod(fb.tensor([2.0, 3.0]))
    tensor(6.)
    """
    return in_dtype(prod_p(in_dtype(input, dtype), dim, keepdim), dtype)


@public(out=True)
@autocasting("same")
def nansum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Tensor:
    """The sum over ``dim`` with nan counted as zero.

    >>> fb.nansum(fb.tensor([float("nan"), 1.0, 3.0]))
    tensor(4.)
    """
    if input.is_complex():
        raise DTypeError(f"nansum: not implemented for {input.dtype.name}; it takes real dtypes")
    return _sum(where(input != input, 0, input), dim, keepdim, dtype=dtype)


@public(out=True)
@autocasting("same")
def nanmean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike | None = None) -> Tensor:
    """The mean over ``dim`` of the elements that are not nan; nan where there are none. DTypeError for integers.

    >>> fb.nanmean(fb.tensor([float("nan"), 1.0, 3.0]))
    tensor(2.)
    """
    if input.dtype.category != dt.FLOATING:
        raise DTypeError(f"nanmean: not implemented for {input.dtype.name}; make it a floating dtype first")
    wanted = input.dtype if dtype is None else dt.as_dtype(dtype)
    if wanted.category < dt.FLOATING:
        raise DTypeError(f"nanmean: the mean of dtype={wanted.name} is not defined; give a floating dtype")
    x = in_dtype(input, dtype)
    return nansum(x, dim, keepdim) / sum_p(x == x, dim, keepdim)


@public()
def count_nonzero(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """How many elements over ``dim`` (an int, a tuple, or None for all) are not zero, int64.

    >>> fb.count_nonzero(fb.tensor([0, 3, 0]))
    tensor(1)
    """
    return sum_p(input != 0, dim, keepdim)


@public(out=True)
def logsumexp(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """log(sum(exp(input))) over ``dim`` (an int, a tuple, or None for all) without overflow.

    >>> fb.logsumexp(fb.zeros(2), 0)
    tensor(0.6931)
    """
    return logsumexp_p(input, dim, keepdim)


def _truth(record: OpFunction[Tensor], input: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    """any or all: an empty tuple reduces nothing, and the masks of old have results that are such masks too."""
    nothing = dim.__class__ in (tuple, list) and not dim
    found = input != 0 if nothing else record(input, dim, keepdim)
    return in_dtype(found, dt.uint8) if input._key.dtype is dt.uint8 else found


@public("any", out=True)
def _any(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether some element is not zero over ``dim`` (an int, a tuple, or None for all; an empty tuple reduces nothing).

    The result is bool; of a uint8 tensor it is uint8, as in PyTorch.

    >>> fb.any(fb.tensor([True, False]))
    tensor(True)
    """
    return _truth(any_p, input, dim, keepdim)


@public("all", out=True)
def _all(input: Tensor, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether no element is zero over ``dim`` (an int, a tuple, or None for all; an empty tuple reduces nothing).

    The result is bool; of a uint8 tensor it is uint8, as in PyTorch.

    >>> fb.all(fb.tensor([True, False]))
    tensor(False)
    """
    return _truth(all_p, input, dim, keepdim)
