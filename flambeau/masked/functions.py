"""Reductions and normalisations over the elements that a mask lets count.

A masked-out element is replaced by the identity of the function (0 of a sum, -inf of a maximum), so that what is left
is an ordinary op, on every device and with its gradient, which is 0 where the mask is False.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.core import dtype as _dt
from flambeau.core.dtype import DType, DTypeLike
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.linalg import vector_norm
from flambeau.core.ops.nn.softmax import log_softmax as _log_softmax
from flambeau.core.ops.nn.softmax import softmax as _softmax
from flambeau.core.ops.shape import axis_of
from flambeau.core.ops.special import logaddexp as _logaddexp
from flambeau.core.tensor import Tensor
from flambeau.masked.base import mask_and_data

Dims = int | Sequence[int] | None
Number = int | float
_INF = float("inf")


# -- what is common ----------------------------------------------------------------------------------
def _axes(dim: Dims) -> Dims:
    """All dimensions where none are named: an empty sequence too."""
    return dim if dim is None or isinstance(dim, int) else tuple(dim) or None


def _prepared(
    name: str, input: Tensor, mask: Tensor | None, dtype: DTypeLike | None, identity: Callable[[DType], Number]
) -> Tensor:
    """The input in ``dtype``, the identity standing where the mask is False."""
    x, mask = mask_and_data(name, input, mask)
    if dtype is not None:
        x = x.to(_dt.as_dtype(dtype))
    fill = identity(x.dtype)
    return x if mask is None else where(mask, x, _scalar(x, fill))


def _scalar(x: Tensor, value: Number) -> Tensor:
    return x.new_full((), value)


def _constant(value: Number) -> Callable[[DType], Number]:
    return lambda dtype: value


def _extreme(name: str, sign: int) -> Callable[[DType], Number]:
    """The identity of a maximum (sign -1) or minimum: the least or greatest number of a dtype."""

    def identity(dtype: DType) -> Number:
        if dtype is _dt.bool_:
            raise NotImplementedError(f"masked.{name}: bool has no identity; convert the input to an integer dtype")
        if dtype.is_complex:
            raise TypeError(f"masked.{name}: expects a real input, got {dtype}")
        if dtype.is_floating_point:
            return sign * _INF
        info = _dt.iinfo(dtype)
        return info.max if sign > 0 else info.min

    return identity


def _least_logarithm(dtype: DType) -> Number:
    """The logarithm of 0, or the number next to it."""
    return -_INF if dtype.is_complex else _extreme("logsumexp", -1)(dtype)


def _floating(name: str, input: Tensor, dtype: DTypeLike | None) -> None:
    """The dtype that is asked for, or the input's, must be floating or complex: a ValueError."""
    found = input.dtype if dtype is None else _dt.as_dtype(dtype)
    if not (found.is_floating_point or found.is_complex):
        which = "input" if dtype is None else "argument 'dtype'"
        raise ValueError(f"masked.{name}: expects a floating or complex {which}, got {found}; pass a floating dtype")


def _count(mask: Tensor, dim: Dims, keepdim: bool) -> Tensor:
    return mask.sum(_axes(dim), keepdim)


def _of_sparse(name: str, input: Any, mask: Any, dim: Dims, keepdim: bool, dtype: DTypeLike | None) -> Tensor:
    """The reduction of a sparse tensor (hence Any): sparse, without the places where nothing counts."""
    from flambeau.core.sparse.masked import masked_reduce  # there is a sparse tensor already

    return masked_reduce(name, input, mask, dim, keepdim, dtype)


# -- sums and extremes -------------------------------------------------------------------------------
def sum(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DTypeLike | None = None,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The sum of the elements that count, over ``dim`` or all: 0 where none does. Integers give int64.

    >>> fb.masked.sum(fb.tensor([[1.0, 2.0], [3.0, 4.0]]), 1, mask=fb.tensor([[True, False], [False, False]]))
    tensor([1., 0.])
    """
    if input._in_parts:
        return _of_sparse("sum", input, mask, dim, keepdim, dtype)
    return _prepared("sum", input, mask, dtype, _constant(0)).sum(_axes(dim), keepdim, dtype=dtype)


def prod(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DTypeLike | None = None,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The product of the elements that count, over ``dim`` or all: 1 where none does. Integers give int64.

    >>> fb.masked.prod(fb.tensor([2.0, 3.0, 4.0]), mask=fb.tensor([True, False, True]))
    tensor(8.)
    """
    if input._in_parts:
        return _of_sparse("prod", input, mask, dim, keepdim, dtype)
    return _prepared("prod", input, mask, dtype, _constant(1)).prod(_axes(dim), keepdim, dtype=dtype)


def amax(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DTypeLike | None = None,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The greatest of the elements that count, over ``dim`` or all; the dtype's least number where none does.

    Errors: NotImplementedError for bool, TypeError for complex numbers.

    >>> fb.masked.amax(fb.tensor([2.0, 9.0, 4.0]), mask=fb.tensor([True, False, True]))
    tensor(4.)
    """
    if input._in_parts:
        return _of_sparse("amax", input, mask, dim, keepdim, dtype)
    return _prepared("amax", input, mask, dtype, _extreme("amax", -1)).amax(_axes(dim), keepdim)


def amin(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DTypeLike | None = None,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The least of the elements that count, over ``dim`` or all; the dtype's greatest number where none does.

    Errors: NotImplementedError for bool, TypeError for complex numbers.

    >>> fb.masked.amin(fb.tensor([2.0, 1.0, 4.0]), mask=fb.tensor([True, False, True]))
    tensor(2.)
    """
    if input._in_parts:
        return _of_sparse("amin", input, mask, dim, keepdim, dtype)
    return _prepared("amin", input, mask, dtype, _extreme("amin", 1)).amin(_axes(dim), keepdim)


def argmax(
    input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: DTypeLike | None = None,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The place of the greatest element that counts, over ``dim`` or all; 0 where none does.

    It comes in ``dtype``, by default the input's. Errors: NotImplementedError for bool.

    >>> fb.masked.argmax(fb.tensor([2, 9, 4]), mask=fb.tensor([True, False, True]))
    tensor(2)
    """
    x = _prepared("argmax", input, mask, dtype, _extreme("argmax", -1))
    return x.argmax(dim, keepdim).to(x.dtype)


def argmin(
    input: Tensor, dim: int | None = None, *, keepdim: bool = False, dtype: DTypeLike | None = None,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The place of the least element that counts, over ``dim`` or all; 0 where none does.

    It comes in ``dtype``, by default the input's. Errors: NotImplementedError for bool.

    >>> fb.masked.argmin(fb.tensor([2, 1, 4]), mask=fb.tensor([True, False, True]))
    tensor(0)
    """
    x = _prepared("argmin", input, mask, dtype, _extreme("argmin", 1))
    return x.argmin(dim, keepdim).to(x.dtype)


# -- statistics --------------------------------------------------------------------------------------
def mean(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DTypeLike | None = None,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The mean of the elements that count, over ``dim`` or all: nan where none does.

    Errors: ValueError where neither the input nor ``dtype`` is floating or complex.

    >>> fb.masked.mean(fb.tensor([2.0, 9.0, 4.0]), mask=fb.tensor([True, False, True]))
    tensor(3.)
    """
    if input._in_parts:
        return _of_sparse("mean", input, mask, dim, keepdim, dtype)
    x, mask = mask_and_data("mean", input, mask)
    _floating("mean", x, dtype)
    if mask is None:
        return x.mean(_axes(dim), keepdim, dtype=dtype)
    return sum(x, dim, keepdim=keepdim, dtype=dtype, mask=mask) / _count(mask, dim, keepdim)


def median(
    input: Tensor, dim: int = -1, *, keepdim: bool = False, dtype: DTypeLike | None = None, mask: Tensor | None = None
) -> Tensor:
    """The median along ``dim`` of the elements that count, of an even number the lower middle one.

    Where none counts it is nan; of integers that is a ValueError.

    >>> fb.masked.median(fb.tensor([5.0, 9.0, 4.0, 7.0]), mask=fb.tensor([True, False, True, True]))
    tensor(5.)
    """
    x, mask = mask_and_data("median", input, mask)
    axis_of("masked.median", x, dim)
    if dtype is not None:
        x = x.to(_dt.as_dtype(dtype))
    if x.dtype.is_floating_point:
        return (x if mask is None else where(mask, x, _scalar(x, float("nan")))).nanmedian(dim, keepdim).values
    if mask is None:
        return x.median(dim, keepdim).values
    count = _count(mask, dim, True)
    if bool((count == 0).any()):
        raise ValueError(f"masked.median: expects an element that counts in every row of {x.dtype}; "
                         "floating inputs give nan for the others")  # fmt: skip
    greatest = True if x.dtype is _dt.bool_ else _dt.iinfo(x.dtype).max
    ordered = where(mask, x, _scalar(x, greatest)).sort(dim).values
    found = ordered.gather(dim, (count - 1) // 2)
    return found if keepdim else found.squeeze(dim)


def norm(
    input: Tensor, ord: float | None = 2.0, dim: Dims = None, *, keepdim: bool = False,
    dtype: DTypeLike | None = None, mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The vector norm of order ``ord`` of the elements that count, over ``dim`` or all.

    It is 0 where none does, inf for negative orders. Errors: RuntimeError for integers.

    >>> fb.masked.norm(fb.tensor([3.0, 9.0, 4.0]), 2.0, mask=fb.tensor([True, False, True]))
    tensor(5.)
    """
    order = 2.0 if ord is None else ord
    x = _prepared("norm", input, mask, dtype, _constant(0 if order >= 0 else _INF))
    return vector_norm(x, order, _axes(dim), keepdim, dtype=dtype)


def _variance(
    name: str, input: Tensor, dim: Dims, unbiased: bool | None, correction: float | None, keepdim: bool,
    dtype: DTypeLike | None, mask: Tensor | None, root: bool,
) -> Tensor:  # fmt: skip
    if unbiased is not None and correction is not None:
        raise AssertionError(f"masked.{name}: expects one of unbiased and correction, got both")
    less = correction if correction is not None else 1 if unbiased is None else int(unbiased)
    x, mask = mask_and_data(name, input, mask)
    if x.dtype is _dt.bool_:
        raise RuntimeError(f"masked.{name}: expects numbers, got bool; convert the input to a floating dtype")
    wanted = None if dtype is None else _dt.as_dtype(dtype)
    kind = x.dtype if wanted is None else wanted
    if not (kind.is_floating_point or kind.is_complex):
        kind = _dt.float32
    x = x.to(kind)
    if mask is None:
        mask = x.new_ones((), dtype=_dt.bool_).expand(tuple(x.shape))
    count = _count(mask, dim, True)
    centred = where(mask, x - sum(x, dim, keepdim=True, mask=mask) / count, _scalar(x, 0))
    squares = (centred * centred.conj()).sum(_axes(dim), keepdim)
    rest = (_count(mask, dim, keepdim) - less).clamp(min=0)
    found = squares / rest
    if root:
        found = found.sqrt()
    return found if wanted is None else found.to(wanted)


def var(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, *, correction: float | None = None,
    keepdim: bool = False, dtype: DTypeLike | None = None, mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The variance of the elements that count, over ``dim`` or all, divided by their number less ``correction`` (1).

    It is nan where none counts. Errors: AssertionError for both ``unbiased`` and ``correction``, RuntimeError for bool.

    >>> fb.masked.var(fb.tensor([1.0, 9.0, 3.0]), mask=fb.tensor([True, False, True]))
    tensor(2.)
    """
    return _variance("var", input, dim, unbiased, correction, keepdim, dtype, mask, root=False)


def std(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, *, correction: int | None = None,
    keepdim: bool = False, dtype: DTypeLike | None = None, mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The standard deviation of the elements that count: the root of :func:`var`.

    >>> fb.masked.std(fb.tensor([1.0, 9.0, 3.0]), correction=0, mask=fb.tensor([True, False, True]))
    tensor(1.)
    """
    return _variance("std", input, dim, unbiased, correction, keepdim, dtype, mask, root=True)


def logsumexp(
    input: Tensor, dim: Dims = None, *, keepdim: bool = False, dtype: DTypeLike | None = None,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """log(sum(exp(x))) of the elements that count, over ``dim`` or all, in the input's dtype: -inf where none does.

    >>> fb.masked.logsumexp(fb.tensor([2.0, 9.0, 2.0]), mask=fb.tensor([True, False, True]))
    tensor(2.6931)
    """
    x = _prepared("logsumexp", input, mask, dtype, _least_logarithm)
    axes = tuple(range(x.ndim)) if _axes(dim) is None else dim
    return x.logsumexp(axes, keepdim).to(x.dtype)


def logaddexp(
    input: Tensor, other: Tensor, *, dtype: DTypeLike | None = None, input_mask: Tensor | None = None,
    other_mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """log(exp(input) + exp(other)), each with a mask of its own: a masked-out element adds nothing.

    >>> fb.masked.logaddexp(fb.tensor([1.0, 2.0]), fb.tensor([1.0, 3.0]), other_mask=fb.tensor([True, False]))
    tensor([1.6931, 2.0000])
    """
    least = _extreme("logaddexp", -1)
    a = _prepared("logaddexp", input, input_mask, dtype, least)
    return _logaddexp(a, _prepared("logaddexp", other, other_mask, dtype, least))


# -- along a dimension -------------------------------------------------------------------------------
def softmax(input: Tensor, dim: int, *, dtype: DTypeLike | None = None, mask: Tensor | None = None) -> Tensor:
    """Softmax along ``dim`` of the elements that count; 0 at the others, nan in rows where none does.

    >>> fb.masked.softmax(fb.tensor([2.0, 9.0, 2.0]), 0, mask=fb.tensor([True, False, True]))
    tensor([0.5000, 0.0000, 0.5000])
    """
    return _softmax(_prepared("softmax", input, mask, dtype, _extreme("softmax", -1)), dim)


def log_softmax(input: Tensor, dim: int, *, dtype: DTypeLike | None = None, mask: Tensor | None = None) -> Tensor:
    """The logarithm of :func:`softmax`: -inf at masked-out elements.

    >>> fb.masked.log_softmax(fb.tensor([2.0, 9.0, 2.0]), 0, mask=fb.tensor([True, False, True]))
    tensor([-0.6931,    -inf, -0.6931])
    """
    return _log_softmax(_prepared("log_softmax", input, mask, dtype, _extreme("log_softmax", -1)), dim)


def softmin(input: Tensor, dim: int, *, dtype: DTypeLike | None = None, mask: Tensor | None = None) -> Tensor:
    """:func:`softmax` of the negated input.

    >>> fb.masked.softmin(fb.tensor([2.0, 1.0, 2.0]), 0, mask=fb.tensor([True, False, True]))
    tensor([0.5000, 0.0000, 0.5000])
    """
    return _softmax(-_prepared("softmin", input, mask, dtype, _extreme("softmin", 1)), dim)


def normalize(
    input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: DTypeLike | None = None,
    mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The elements that count by their :func:`norm` along ``dim``, or by ``eps`` if that is more; 0 at the others.

    >>> fb.masked.normalize(fb.tensor([3.0, 9.0, 4.0]), 2.0, 0, mask=fb.tensor([True, False, True]))
    tensor([0.6000, 0.0000, 0.8000])
    """
    x, mask = mask_and_data("normalize", input, mask)
    axis_of("masked.normalize", x, dim)
    size = norm(x, ord, dim, keepdim=True, dtype=dtype, mask=mask)
    least = _scalar(size.real if size.is_complex() else size, eps)
    return _prepared("normalize", x, mask, dtype, _constant(0)) / size.maximum(least)


def cumsum(input: Tensor, dim: int, *, dtype: DTypeLike | None = None, mask: Tensor | None = None) -> Tensor:
    """The running sum along ``dim`` of the elements that count, in the input's dtype.

    >>> fb.masked.cumsum(fb.tensor([1.0, 2.0, 3.0]), 0, mask=fb.tensor([True, False, True]))
    tensor([1., 1., 4.])
    """
    x = _prepared("cumsum", input, mask, dtype, _constant(0))
    return x.cumsum(dim, dtype=_summed("cumsum", x))


def cumprod(input: Tensor, dim: int, *, dtype: DTypeLike | None = None, mask: Tensor | None = None) -> Tensor:
    """The running product along ``dim`` of the elements that count, in the input's dtype.

    >>> fb.masked.cumprod(fb.tensor([2.0, 3.0, 4.0]), 0, mask=fb.tensor([True, False, True]))
    tensor([2., 2., 8.])
    """
    x = _prepared("cumprod", input, mask, dtype, _constant(1))
    return x.cumprod(dim, dtype=_summed("cumprod", x))


def _summed(name: str, x: Tensor) -> DType:
    if x.dtype is _dt.bool_:
        raise NotImplementedError(f"masked.{name}: bool has no {name}; convert the input to an integer dtype")
    return x.dtype


REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    f.__name__: f for f in (sum, prod, amax, amin, argmax, argmin, mean, median, norm, var, std, logsumexp)
}  # fmt: skip
ALONG: dict[str, Callable[..., Tensor]] = {f.__name__: f for f in (softmax, log_softmax, softmin, cumsum, cumprod)}
