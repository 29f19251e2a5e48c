"""Reading an index: what its entries are, and which axes they use up.

An index comes apart into a view, of ints, slices and None, and what is advanced: masks and integer tensors, each
with the axis of the view that it indexes.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from types import EllipsisType
from typing import Any, Final, SupportsIndex, TypeAlias, TypeGuard

import numpy as np

from flambeau.backends.layout import Shape
from flambeau.core import creation, from_data
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.device import DeviceLike
from flambeau.core.ops import storage
from flambeau.core.ops.mask import nonzero, true_places
from flambeau.core.ops.standard import fits, is_strict
from flambeau.core.ops.storage import Places
from flambeau.core.tensor import Tensor

#: One entry of an index, nested lists of numbers apart.
One: TypeAlias = SupportsIndex | slice | EllipsisType | Tensor | np.ndarray[Any, Any] | None
#: What may stand between the brackets of ``x[...]``.
Index: TypeAlias = One | Sequence[One | Sequence[One | Sequence[int]]]
#: An entry as it was read.
Place: TypeAlias = bool | int | slice | Tensor | None
#: A mask or integer tensor, and which of the view's axes it indexes.
Advanced: TypeAlias = tuple[int, Tensor]

#: Whole slices of every axis, by shape.
WHOLE: Final[Cache[Shape, tuple[slice, ...]]] = Cache(lambda shape: tuple(slice(0, n, 1) for n in shape))


def _as_tuple(index: Index) -> tuple[object, ...]:
    """The entries of an index; a list of slices, tensors or lists means a tuple, as in torch."""
    if isinstance(index, tuple):
        return index
    if isinstance(index, list) and any(
        v is None or v is Ellipsis or isinstance(v, slice | Tensor | list | tuple) for v in index
    ):
        return tuple(index)
    return (index,)


def _entry(item: object, device: DeviceLike) -> Place | EllipsisType:
    """An entry as None, Ellipsis, a bool, an int, a slice or an index tensor; IndexError for anything else.

    A tensor of the host may index one of any ``device``.
    """
    if item is None or item is Ellipsis or isinstance(item, bool | slice):
        return item
    if isinstance(item, Tensor):
        kind = item.dtype
        if kind.category > dt.INTEGER or item.shape and kind not in (dt.int64, dt.int32, dt.bool_, dt.uint8):
            raise IndexError(
                f"tensors used as indices must be integer or bool tensors, of int64, int32 or bool, got {kind}"
            )
        if not item.shape and item._key.level is None and kind.category == dt.INTEGER and kind is not dt.uint8:
            return int(item)
        return item.to(device) if item._key.device is not device and item.is_cpu else item
    if isinstance(item, np.ndarray | np.generic | list | tuple | range):
        if isinstance(item, np.integer):
            return int(item)
        made = from_data.tensor(list(item) if isinstance(item, range) else item, device=device)
        if not made.numel() and made.dtype.category > dt.INTEGER and not isinstance(item, np.ndarray):
            made = storage.cast_p(made, dtype=dt.int64)  # an empty list
        return _entry(made, device)
    if isinstance(item, SupportsIndex):
        return operator.index(item)
    raise IndexError(
        "only integers, slices (`:`), ellipsis (`...`), None and integer or bool tensors are valid indices "
        f"(got {type(item).__name__})"
    )


def is_mask(item: Place) -> TypeGuard[Tensor]:
    return isinstance(item, Tensor) and item.dtype in (dt.bool_, dt.uint8)


def _width(item: Place) -> int:
    """How many axes an entry uses up."""
    if item is None or isinstance(item, bool):
        return 0
    return item.ndim if is_mask(item) else 1


def _expanded(index: Index, shape: Shape, device: DeviceLike) -> list[Place]:
    """The entries of an index with the Ellipsis, and what is missing at the end, written out as slices."""
    entries = [_entry(v, device) for v in _as_tuple(index)]
    known = [v for v in entries if not isinstance(v, EllipsisType)]
    used = sum(_width(v) for v in known)
    if used > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}: got {used} for shape {tuple(shape)}")
    at = next((i for i, v in enumerate(entries) if v is Ellipsis), len(entries))
    second = next((i for i, v in enumerate(entries) if v is Ellipsis and i > at), len(entries))
    if used < len(shape) and any(v is not Ellipsis for v in entries[second:]):  # each stands for all that is left
        raise IndexError(f"an index may have one ellipsis ('...'), got two before its end for shape {tuple(shape)}")
    return [*known[:at], *[slice(None)] * (len(shape) - used), *known[at:]]


class BackwardsError(ValueError):
    """A slice steps backwards."""


def sliced(item: slice, n: int) -> slice:
    try:
        start, stop, step = item.indices(n)
    except TypeError:
        raise TypeError(f"slice indices must be ints or None, got {item!r}") from None
    if step < 0:
        raise BackwardsError(f"slice step must be positive, got {step}; flip() reads an axis backwards")
    return slice(start, max(stop, start), step)


def position(item: int, n: int, axis: int) -> int:
    if not -n <= item < n:
        raise IndexError(f"index {item} is out of bounds for dimension {axis} with size {n}")
    return item + n if item < 0 else item


def parsed(x: Tensor, index: Index) -> tuple[Places, list[Advanced]]:
    """(The view's index, one entry per axis and new axis; what indexes which of the view's axes, in order)."""
    shape = tuple(x._array.shape)
    view: list[int | slice | None] = []
    advanced: list[Advanced] = []
    axis = place = 0  # of x, and of the view
    for number, item in enumerate(_expanded(index, shape, x.device)):
        if isinstance(item, bool) or (is_mask(item) and not item.ndim):
            view.append(None)
            mask = creation.full((), item, dtype=dt.bool_, device=x.device) if isinstance(item, bool) else item
            advanced.append((place, mask.reshape((1,))))
        elif item is None:
            view.append(None)
        elif isinstance(item, slice):
            view.append(sliced(item, shape[axis]))
        elif isinstance(item, int):
            view.append(position(item, shape[axis], axis))
            place -= 1
        elif is_mask(item):
            covered = shape[axis : axis + item.ndim]
            if tuple(item.shape) != covered and is_strict() and 0 in item.shape and fits(item.shape, covered):
                item = creation.zeros(covered, dtype=dt.bool_, device=x.device)
            if tuple(item.shape) != covered:
                raise IndexError(
                    f"The shape of the mask {list(item.shape)} at index {number} does not match the shape of the "
                    f"indexed tensor {list(shape)} at index {axis}"
                )
            view += WHOLE[covered]
            advanced.append((place, item))
            place += item.ndim - 1
        else:
            view.append(slice(0, shape[axis], 1))
            advanced.append((place, item))
        axis += _width(item)
        place += 1
    return tuple(view), advanced


def integers(advanced: Sequence[Advanced]) -> tuple[list[int], list[Tensor]]:
    """The indexed axes and their integer tensors: a mask stands for one column of indices per axis."""
    axes: list[int] = []
    tensors: list[Tensor] = []
    for place, item in advanced:
        if not is_mask(item):
            axes.append(place)
            tensors.append(item)
        elif item.ndim == 1:
            axes.append(place)
            tensors.append(true_places(item))
        else:
            axes += range(place, place + item.ndim)
            tensors += nonzero(item, as_tuple=True)
    return axes, tensors


def basic(index: tuple[Any, ...], shape: Shape) -> Places | None:
    """The full index of ints, slices, None and one Ellipsis; None where there is anything else, or too much."""
    entries: list[int | slice | None] = []
    axis, ndim = 0, len(shape)
    for number, item in enumerate(index):
        kind = item.__class__
        if item is None:
            entries.append(None)
        elif item is Ellipsis:
            after = index[number + 1 :]
            rest = ndim - axis - sum(v is not None for v in after)
            if rest < 0 or any(v is Ellipsis for v in after):
                return None
            entries += WHOLE[shape[axis : axis + rest]]
            axis += rest
        elif axis == ndim or (kind is not slice and kind is not int):
            return None
        else:
            entries.append(sliced(item, shape[axis]) if kind is slice else position(item, shape[axis], axis))
            axis += 1
    return (*entries, *WHOLE[shape[axis:]])
