"""Places and counts of values: searchsorted, bincount, histc, unique."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias, overload

from flambeau.backends.layout import Shape
from flambeau.core import creation, from_data
from flambeau.core import dtype as dt
from flambeau.core.arguments import normal_axis
from flambeau.core.declare import composite
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError
from flambeau.core.ops import storage
from flambeau.core.ops.elementwise import logical_not_p, minimum_p, where
from flambeau.core.ops.index import gather_p, index_add_p, index_select_p, scatter_p
from flambeau.core.ops.mask import true_places
from flambeau.core.ops.scan import cumsum_p, cut
from flambeau.core.ops.sort import argsort_p
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.record import DTypeRule
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import bottom

_PLACES = DTypeRule("places", result="index", accepts=dt.BOOLS + dt.REALS)


# -- sorted sequences --------------------------------------------------------------------------------
def _searched(x: Shape, values: Shape, *, right: bool) -> Shape:
    if len(x) > 1 and (len(values) != len(x) or tuple(values[:-1]) != tuple(x[:-1])):
        raise ShapeError(
            "searchsorted: boundaries should be a vector or agree with values in all dimensions but the last, "
            f"got boundaries {tuple(x)} and values {tuple(values)}"
        )
    if len(x) == 0:
        raise ShapeError("searchsorted: boundaries must have at least one dimension, got a 0-d tensor")
    return values


@composite(
    "searchsorted(x: Tensor, values: Tensor, *, right: bool = False) -> Tensor",
    infer=_searched,
    check=True,
    dtype=_PLACES,
    upcast=False,
    differentiable=False,
    public=False,
)
def searchsorted_p(x: Tensor, values: Tensor, *, right: bool) -> Tensor:
    """Where each value would be inserted into ``x``, sorted along its last axis: a bisection for all at once."""
    _searched(x.shape, values.shape, right=right)
    n = x.shape[-1]
    shape = tuple(values.shape)
    flat = values.reshape((values.numel(),)) if x.ndim == 1 else values
    low = creation.zeros_like(flat, dtype=dt.int64)
    if n == 0:
        return low.reshape(shape)
    axis, high = flat.ndim - 1, low + n
    for _ in range(n.bit_length()):
        open_, middle = low < high, (low + high) >> 1
        at = gather_p(x, where(middle < n, middle, n - 1), axis)
        before = logical_not_p(at > flat if right else at >= flat)  # so that nan comes last
        low, high = where(open_ & before, middle + 1, low), where(open_ & logical_not_p(before), middle, high)
    return low.reshape(shape)


@public(method=False)
def searchsorted(
    sorted_sequence: Tensor, input: Tensor | Number, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None, out: Tensor | None = None
) -> Tensor:  # fmt: skip
    """The places at which to insert ``input`` into ``sorted_sequence`` (sorted along its last dimension), int64.

    Before equal elements, or after them with ``right`` or ``side="right"``. ``sorter`` sorts the sequence.

    >>> fb.searchsorted(fb.tensor([1, 3, 5]), fb.tensor([3, 4]))
    tensor([1, 2])
    """
    if side not in (None, "left", "right"):
        raise ArgumentError(f"searchsorted: side must be 'left' or 'right', got {side!r}")
    if sorter is not None:
        sorted_sequence = gather_p(sorted_sequence, sorter, sorted_sequence.ndim - 1)
    values = input
    if not isinstance(values, Tensor):
        values = from_data.scalar_tensor(values, dt.promote_types(dt.scalar_dtype(values), sorted_sequence.dtype),
                                        sorted_sequence.device)  # fmt: skip
    found = searchsorted_p(sorted_sequence, values, right or side == "right")
    return deliver("searchsorted", found, out, dt.int32 if out_int32 else None)


@public(method=False)
def bucketize(
    input: Tensor | Number,
    boundaries: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """The bucket between ``boundaries``, a sorted vector, that each element falls into, int64.

    ``boundaries[i - 1] < x <= boundaries[i]`` gives i; with ``right``, ``boundaries[i - 1] <= x < boundaries[i]``.

    >>> fb.bucketize(fb.tensor([0.5, 2.5]), fb.tensor([1.0, 2.0]))
    tensor([0, 2])
    """
    if boundaries.ndim != 1:
        raise ShapeError(f"bucketize: boundaries must be a vector, got shape {tuple(boundaries.shape)}")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right, out=out)


# -- counts ------------------------------------------------------------------------------------------
@public()
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each number occurs in a vector of whole numbers, or the sum of its ``weights``.

    The result has ``max(input) + 1`` elements, at least ``minlength``; under vmap as many for the whole batch. It reads
    from the device.

    >>> fb.bincount(fb.tensor([1, 3, 1]))
    tensor([0, 2, 0, 1])
    """
    if input.ndim != 1 or input.dtype.category != dt.INTEGER:
        raise ShapeError(
            f"bincount: input must be a vector of integers, got {input.dtype} of shape {tuple(input.shape)}"
        )
    if weights is not None and tuple(weights.shape) != tuple(input.shape):
        raise ShapeError(
            f"bincount: weights must have the shape of input, got {tuple(weights.shape)} and {tuple(input.shape)}"
        )
    if minlength < 0:
        raise ArgumentError(f"bincount: minlength must not be negative, got {minlength}")
    seen = bottom(input)
    if seen.numel() and int(seen.min()) < 0:
        raise ArgumentError(f"bincount: input must not be negative, its smallest element is {int(seen.min())}")
    length = max(minlength, int(seen.max()) + 1 if seen.numel() else 0)
    if weights is None:
        src = creation.ones_like(input, dtype=dt.int64)
    else:
        src = weights if weights.dtype.category >= dt.FLOATING else storage.cast_p(weights, dtype=dt.float64)
    return index_add_p(creation.zeros(length, dtype=src.dtype, device=input.device), input.to(dt.int64), src, 0)


def _bounds(x: Tensor, low: float, high: float) -> tuple[Tensor, Tensor] | tuple[float, float]:
    """What histc counts between: inside transforms tensors where the elements say it."""
    if low == high and x.numel():
        least, largest = x.amin(), x.amax()
        if x._key.level is not None:
            if not bool(bottom(least.isfinite() & largest.isfinite()).all()):
                raise ArgumentError("histc: needs finite bounds with min <= max, got elements that are not finite")
            alike = least == largest
            return where(alike, least - 1, least), where(alike, largest + 1, largest)
        low, high = float(least), float(largest)
    if low == high:
        low, high = low - 1, high + 1
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ArgumentError(f"histc: needs finite bounds with min <= max, got {low} and {high}")
    return low, high


@public()
def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0, *, out: Tensor | None = None) -> Tensor:
    """How many elements fall into each of ``bins`` equal parts of [min, max]; outside ones and nan are left out.

    Equal bounds mean the smallest and the largest element. The counts have the dtype of ``input``.

    >>> fb.histc(fb.tensor([0.0, 1.0, 1.0, 2.0]), bins=3)
    tensor([1., 2., 1.])
    """
    if bins <= 0:
        raise ArgumentError(f"histc: bins must be positive, got {bins}")
    x = input.detach().reshape((input.numel(),))
    low, high = _bounds(x, float(min), float(max))
    inside = (x >= low) & (x <= high)
    position = (where(inside, x, low) - low) * (bins / (high - low))
    place = minimum_p(storage.cast_p(position, dtype=dt.int64), bins - 1)
    counts = index_add_p(
        creation.zeros(bins, dtype=dt.int64, device=x.device), place, storage.cast_p(inside, dtype=dt.int64), 0
    )
    return deliver("histc", counts, out, input.dtype)


# -- different elements ------------------------------------------------------------------------------
Yes: TypeAlias = Literal[True]
No: TypeAlias = Literal[False]
Several: TypeAlias = tuple[Tensor, ...]


def _rows(name: str, input: Tensor, dim: int | None) -> tuple[Tensor, int | None]:
    """The elements as a vector, or the slices along ``dim`` as the rows of a matrix."""
    x = input.detach()
    if dim is None:
        return x.reshape((x.numel(),)), None
    if input.ndim == 0:
        raise ShapeError(f"{name}: a 0-d tensor has no dim {dim}")
    axis = normal_axis(dim, x.ndim)
    n = x.shape[axis]
    return x.movedim(axis, 0).reshape((n, math.prod(x.shape) // n if n else 0)), axis


def _order(rows: Tensor) -> Tensor:
    """The stable order of elements, or of rows by their first column, then the second, and so on."""
    if rows.ndim == 1:
        return argsort_p(rows, 0)
    order = creation.arange(rows.shape[0], device=rows.device)
    for column in range(rows.shape[1] - 1, -1, -1):
        order = index_select_p(order, argsort_p(index_select_p(rows[:, column], order, 0), 0), 0)
    return order


def _different(rows: Tensor) -> Tensor:
    """Whether each element, or row, differs from the one before it; True for the first."""
    n = rows.shape[0]
    changed = cut(rows, 0, 1, n) != cut(rows, 0, 0, n - 1)
    if rows.ndim == 2:
        changed = changed.any(1)
    return storage.cat_p([creation.full((1,), True, dtype=dt.bool_, device=rows.device), changed], 0)


def _runs_of_equal(
    input: Tensor, rows: Tensor, order: Tensor | None, axis: int | None, return_inverse: bool, return_counts: bool
) -> Tensor | Several:
    """The first of each run in ``order``, which run each element belongs to, and how long each is."""
    n = rows.shape[0]
    ordered_rows = rows if order is None else index_select_p(rows, order, 0)
    starts = _different(ordered_rows) if n else creation.zeros(0, dtype=dt.bool_, device=rows.device)
    firsts = true_places(starts)
    values = index_select_p(ordered_rows, firsts, 0)
    if axis is not None:
        kept = [s for i, s in enumerate(input.shape) if i != axis]
        values = values.reshape((firsts.shape[0], *kept)).movedim(0, axis)
    results = [values]
    if return_inverse:
        group = cumsum_p(starts, 0) - 1 if n else storage.cast_p(starts, dtype=dt.int64)
        if order is not None:
            group = scatter_p(creation.zeros_like(group), order, group, 0, "set")
        results.append(group.reshape(tuple(input.shape)) if axis is None else group)
    if return_counts:
        end = creation.full((1,), n, dtype=dt.int64, device=rows.device)
        results.append(storage.cat_p([cut(firsts, 0, 1, firsts.shape[0]), end], 0) - firsts if n else firsts)
    return results[0] if len(results) == 1 else tuple(results)


# fmt: off
@overload
def unique(
    input: Tensor, sorted: bool = ..., return_inverse: No = ..., return_counts: No = ..., dim: int | None = ...
) -> Tensor: ...
@overload
def unique(
    input: Tensor, sorted: bool = ..., *, return_inverse: Yes, return_counts: bool = ..., dim: int | None = ...
) -> Several: ...
@overload
def unique(
    input: Tensor, sorted: bool = ..., *, return_inverse: bool = ..., return_counts: Yes, dim: int | None = ...
) -> Several: ...
@overload
def unique(
    input: Tensor, sorted: bool = ..., return_inverse: bool = ..., return_counts: bool = ..., dim: int | None = ...
) -> Tensor | Several: ...
# fmt: on
@public()
def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Tensor | Several:
    """The different elements in ascending order, or the different slices along ``dim``.

    With ``return_inverse`` also where each element of ``input`` is in the result, with ``return_counts``
    also how often each occurs: then a tuple. Each nan counts as different. Its shape depends on the
    values, so it reads from the device.

    >>> fb.unique(fb.tensor([3, 1, 3]), return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    rows, axis = _rows("unique", input, dim)
    return _runs_of_equal(input, rows, _order(rows), axis, return_inverse, return_counts)


# fmt: off
@overload
def unique_consecutive(
    input: Tensor, return_inverse: No = ..., return_counts: No = ..., dim: int | None = ...
) -> Tensor: ...
@overload
def unique_consecutive(
    input: Tensor, *, return_inverse: Yes, return_counts: bool = ..., dim: int | None = ...
) -> Several: ...
@overload
def unique_consecutive(
    input: Tensor, *, return_inverse: bool = ..., return_counts: Yes, dim: int | None = ...
) -> Several: ...
@overload
def unique_consecutive(
    input: Tensor, return_inverse: bool = ..., return_counts: bool = ..., dim: int | None = ...
) -> Tensor | Several: ...
# fmt: on
@public()
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Tensor | Several:
    """The elements, or the slices along ``dim``, without those that equal the one before; else as :func:`unique`.

    >>> fb.unique_consecutive(fb.tensor([1, 1, 2, 1]))
    tensor([1, 2, 1])
    """
    rows, axis = _rows("unique_consecutive", input, dim)
    return _runs_of_equal(input, rows, None, axis, return_inverse, return_counts)


@public(method=False)
def unravel_index(indices: Tensor, shape: int | Sequence[int]) -> tuple[Tensor, ...]:
    """For places in the flattened tensor of ``shape`` the index along each of its dimensions.

    >>> fb.unravel_index(fb.tensor([1, 5]), (2, 3))
    (tensor([0, 1]), tensor([1, 2]))
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if indices.dtype.category != dt.INTEGER:
        raise DTypeError(f"unravel_index: indices must be integers, got {indices.dtype}")
    if indices._key.level is None and indices.numel():
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= math.prod(sizes):
            raise ArgumentError(f"unravel_index: indices must lie in [0, {math.prod(sizes)}) for shape {sizes}, "
                             f"got {low} to {high}")  # fmt: skip
    found: list[Tensor] = []
    indices = indices.to(dt.int64)  # whose range holds every size
    for n in reversed(sizes):
        found.append(indices.remainder(n or 1))
        indices = indices.floor_divide(n or 1)
    return tuple(found[::-1])
