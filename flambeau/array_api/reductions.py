"""The functions of the array API standard that make less of an array: sums, extremes, statistics, truth."""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.ops import array_api, reduce, scan, variance
from flambeau.core.tensor import Tensor

__all__ = [
    "all", "any", "cumulative_prod", "cumulative_sum", "diff", "max", "mean", "min", "prod", "std", "sum", "var",
]  # fmt: skip

Axes = int | Sequence[int] | None


def over(x: Tensor, axis: Axes, keepdims: bool) -> tuple[Tensor, Axes, bool]:
    """What to reduce, along what: where no axes are named, an axis of size 1, so that every element is by itself."""
    if axis is None or isinstance(axis, int) or len(axis):
        return x, axis, keepdims
    return x.unsqueeze(-1), -1, False


def _wide(x: Tensor, dtype: DType | None) -> DType | None:
    """The dtype of a sum: of unsigned numbers, which PyTorch adds in int64, uint64."""
    unsigned = x.dtype.category == dt.INTEGER and not x.dtype.is_signed
    return dt.uint64 if dtype is None and unsigned else dtype


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: bool = False
) -> Tensor:
    """The sum of the elements up to each along ``axis``; with ``include_initial`` the empty one stands before them."""
    return array_api.cumulative_sum(x, axis=axis, dtype=_wide(x, dtype), include_initial=include_initial)


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: bool = False
) -> Tensor:
    """The product of the elements up to each along ``axis``; with ``include_initial`` the empty one before them."""
    return array_api.cumulative_prod(x, axis=axis, dtype=_wide(x, dtype), include_initial=include_initial)


def max(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The greatest element along ``axis``.

    >>> fb.array_api.max(fb.tensor([[1, 5], [7, 2]]), axis=0)
    tensor([7, 5])
    """
    return reduce.max_p(*over(x, axis, keepdims))


def min(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The least element along ``axis``."""
    return reduce.min_p(*over(x, axis, keepdims))


def sum(x: Tensor, /, *, axis: Axes = None, dtype: DType | None = None, keepdims: bool = False) -> Tensor:
    """The sum along ``axis``."""
    return reduce._sum(*over(x, axis, keepdims), dtype=_wide(x, dtype))


def prod(x: Tensor, /, *, axis: Axes = None, dtype: DType | None = None, keepdims: bool = False) -> Tensor:
    """The product along ``axis``."""
    return reduce.prod(*over(x, axis, keepdims), dtype=_wide(x, dtype))


def mean(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The mean along ``axis``."""
    return reduce.mean(*over(x, axis, keepdims))


def var(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The variance along ``axis``; the sum is divided by the number of elements less ``correction``."""
    x, axis, keepdims = over(x, axis, keepdims)
    return variance.var(x, axis, keepdim=keepdims, correction=correction)


def std(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
    """The root of the variance along ``axis``."""
    x, axis, keepdims = over(x, axis, keepdims)
    return variance.std(x, axis, keepdim=keepdims, correction=correction)


def all(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether all elements along ``axis`` are true."""
    return reduce._all(*over(x, axis, keepdims)) != 0


def any(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether some element along ``axis`` is true."""
    return reduce._any(*over(x, axis, keepdims)) != 0


def diff(
    x: Tensor, /, n: int = 1, *, axis: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The differences of neighbours along ``axis``, taken ``n`` times.

    >>> fb.array_api.diff(fb.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    return scan.diff(x, n, axis, prepend, append)
