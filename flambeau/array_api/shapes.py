"""The functions of the array API standard that move elements: shapes, indexing, sorting, searching, sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from flambeau.core import dtype as dt
from flambeau.core.dtype import Number
from flambeau.core.errors import ShapeError
from flambeau.core.ops import array_api, elementwise, extremes, joining, mask, reduce, search, standard, views
from flambeau.core.ops import shape as forms
from flambeau.core.ops import sort as sorting
from flambeau.core.ops.array_api import (
    broadcast_arrays,
    permute_dims,
    take,
    take_along_axis,
    unstack,
)
from flambeau.core.results import UniqueAll, UniqueCounts, UniqueInverse
from flambeau.core.tensor import Tensor

__all__ = [
    "argmax", "argmin", "argsort", "broadcast_arrays", "broadcast_to", "concat", "count_nonzero", "expand_dims",
    "flip", "moveaxis", "nonzero", "permute_dims", "repeat", "reshape", "roll", "searchsorted", "sort", "squeeze",
    "stack", "take", "take_along_axis", "tile", "unique_all", "unique_counts", "unique_inverse", "unique_values",
    "unstack", "where",
]  # fmt: skip

Axes = int | Sequence[int] | None


# -- sets --------------------------------------------------------------------------------------------
def _keys(x: Tensor) -> Tensor:
    """Numbers that are equal where the elements are: complex ones, which have no order, by the ranks of their parts."""
    if x.dtype.category < dt.COMPLEX:
        return x
    ranks = [array_api.unique_inverse(part).inverse_indices for part in (views.real(x), views.imag(x))]
    return ranks[0] * x.numel() + ranks[1]


def unique_all(x: Tensor, /) -> UniqueAll[Tensor]:
    """The different elements, where each comes first in the flattened array, where each element went, and counts."""
    found = array_api.unique_all(_keys(x))
    return UniqueAll(x.reshape(-1)[found.indices], *found[1:])


def unique_counts(x: Tensor, /) -> UniqueCounts[Tensor]:
    """The different elements and how often each occurs."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Tensor, /) -> UniqueInverse[Tensor]:
    """The different elements and where each element of ``x`` is among them."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Tensor, /) -> Tensor:
    """The different elements.

    >>> fb.array_api.unique_values(fb.tensor([2j, 1j, 2j]))
    tensor([0.+1.j, 0.+2.j])
    """
    return unique_all(x).values


# -- shapes ------------------------------------------------------------------------------------------
def broadcast_to(x: Tensor, /, shape: Sequence[int]) -> Tensor:
    """``x`` expanded to a shape; a view."""
    return x.expand(*shape)


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """The arrays after each other along ``axis``; None: all of them flattened."""
    if axis is None:
        return joining.cat(list(standard.promoted(*[x.reshape(-1) for x in arrays])), 0)
    return joining.cat(list(standard.promoted(*arrays)), axis)


def expand_dims(x: Tensor, /, axis: int = 0) -> Tensor:
    """With a new dimension of size 1 at ``axis``; a view."""
    return forms.unsqueeze(x, axis)


def flip(x: Tensor, /, *, axis: Axes = None) -> Tensor:
    """The elements in reverse order along ``axis``; None: along every one."""
    return x.flip(tuple(range(x.ndim)) if axis is None else axis)


def moveaxis(x: Tensor, source: int | tuple[int, ...], destination: int | tuple[int, ...], /) -> Tensor:
    """Some dimensions moved to other places; a view."""
    return x.movedim(source, destination)


def repeat(x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    """Each element ``repeats`` times in a row along ``axis``; None: of the flattened array."""
    return joining.repeat_interleave(x, repeats, axis)


def reshape(x: Tensor, /, shape: Sequence[int], *, copy: bool | None = None) -> Tensor:
    """The same elements in another shape: a view unless ``copy``; where that is False it must be one."""
    if copy is False:
        return x.view(*shape)
    return (x.clone() if copy else x).reshape(*shape)


def roll(x: Tensor, /, shift: int | tuple[int, ...], *, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """The elements moved on by ``shift`` places along ``axis``, those from the end to the front."""
    if isinstance(axis, tuple) and isinstance(shift, int):
        shift = (shift,) * len(axis)
    return x.roll(shift, axis)


def squeeze(x: Tensor, /, axis: int | tuple[int, ...]) -> Tensor:
    """Without the dimensions ``axis``, which must be of size 1."""
    axes = (axis,) if isinstance(axis, int) else axis
    for a in axes:
        if x.shape[forms.axis_of("squeeze", x, a, label="axis")] != 1:
            raise ShapeError(f"squeeze: axis {a} of shape {tuple(x.shape)} is not of size 1")
    return forms.squeeze(x, axes)


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """The arrays along a new dimension at ``axis``."""
    return joining.stack(list(standard.promoted(*arrays)), axis)


def tile(x: Tensor, repetitions: Sequence[int], /) -> Tensor:
    """The whole array repeated along each dimension."""
    return x.tile(*repetitions)


# -- sorting and searching ---------------------------------------------------------------------------
def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The elements in order along ``axis``.

    >>> fb.array_api.sort(fb.tensor([2, 3, 1]), descending=True)
    tensor([3, 2, 1])
    """
    return sorting.sort(x, axis, descending, stable).values


def argsort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The places of the elements in order along ``axis``; equals stay in the order that they have."""
    return sorting.argsort(x, axis, descending, stable)


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the greatest element along ``axis``, the first of equals."""
    return extremes.argmax(x, axis, keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The place of the least element along ``axis``, the first of equals."""
    return extremes.argmin(x, axis, keepdims)


def count_nonzero(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """How many elements along ``axis`` are not zero."""
    return reduce.count_nonzero(x, axis, keepdims)


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """The places of the elements that are not zero, an array for each dimension.

    >>> fb.array_api.nonzero(fb.tensor([0, 5, 6]))
    (tensor([1, 2]),)
    """
    if x.ndim == 0:
        raise ShapeError("nonzero: expects at least 1 dimension, got a 0-d array")
    return mask.nonzero(x, as_tuple=True)


def searchsorted(
    x1: Tensor, x2: Tensor | Number, /, *, side: Literal["left", "right"] = "left", sorter: Tensor | None = None
) -> Tensor:
    """Where the elements of ``x2`` belong in ``x1``, which is in order, or which ``sorter`` puts in order."""
    x1, x2 = standard.promoted(x1, x2)
    return search.searchsorted(x1, x2, side=side, sorter=sorter)


def where(
    condition: Tensor, x1: Tensor | Number | None = None, x2: Tensor | Number | None = None, /
) -> Tensor | tuple[Tensor, ...]:
    """``x1`` where the condition is true, else ``x2``; of the condition alone :func:`nonzero`, as in numpy and PyTorch.

    >>> fb.array_api.where(fb.tensor([True, False]), 1, fb.tensor([5, 6]))
    tensor([1, 6])
    """
    if x1 is None or x2 is None:
        return nonzero(condition)
    return elementwise.where(condition, *standard.promoted(x1, x2))
