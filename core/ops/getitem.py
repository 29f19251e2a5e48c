"""``x[index]`` and ``x[index] = value`` for every kind of index, as torch reads them.

Ints, slices, None and Ellipsis make a view (``basic_index``). Masks become the indices of their True
elements, and integer tensors, lists and arrays index together, broadcast: the op ``index_get`` on the view.
Their axes come out where they stood when they are neighbours, else in front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, TypeGuard

import numpy as np

from flambeau.backends.layout import Shape
from flambeau.core import creation, from_data
from flambeau.core import dtype as dt
from flambeau.core.autograd.inplace import in_place
from flambeau.core.box import mark_written
from flambeau.core.declare import composite
from flambeau.core.dtype import Number
from flambeau.core.errors import DTypeError, NumberError, ShapeError
from flambeau.core.fastpath import view_case
from flambeau.core.ops import storage
from flambeau.core.ops.elementwise import broadcast, where
from flambeau.core.ops.entries import WHOLE, BackwardsError, Index, basic, integers, is_mask, parsed, position, sliced
from flambeau.core.ops.index import index_add_p, index_select_p, scatter_p, spread
from flambeau.core.ops.mask import true_places
from flambeau.core.ops.standard import forwards, is_strict
from flambeau.core.ops.storage import Places
from flambeau.core.public import public
from flambeau.core.record import OPS, alike, same
from flambeau.core.state import get
from flambeau.core.tensor import Tensor

#: What may be assigned: nested lists hold numbers.
Value: TypeAlias = Tensor | Number | np.ndarray[Any, Any] | np.generic | Sequence[object]


# -- the op behind advanced indexing -----------------------------------------------------------------
def _common(name: str, indices: Sequence[Shape]) -> Shape:
    try:
        return broadcast(*indices)
    except ShapeError:
        listing = ", ".join(str(list(s)) for s in indices)
        raise IndexError(
            f"{name}: shape mismatch: indexing tensors could not be broadcast together with shapes {listing}"
        ) from None


def _indexed(x: Shape, indices: Sequence[Shape], *, axis: int, name: str = "index") -> Shape:
    return (*x[:axis], *_common(name, indices), *x[axis + len(indices) :])


def _flattened(x: Tensor, indices: Sequence[Tensor], axis: int) -> tuple[Tensor, Tensor, Shape]:
    """(x with the indexed axes as one, a vector of places along it, the common shape of the indices).

    A place that is out of range along its own axis becomes one out of range for all, which the kernel finds; that of
    a single index stays what it was, for the error to name it.
    """
    sizes = tuple(x.shape[axis : axis + len(indices)])
    shape = _common("index", [i.shape for i in indices])
    if len(sizes) == 1:
        (i,), (n,) = indices, sizes
        return x, where((i < 0) & (i >= -n), i + n, i).reshape((math.prod(shape),)), shape
    count = math.prod(sizes)
    at = [where(i < 0, i + n, i) for i, n in zip(indices, sizes, strict=True)]
    flat, fits = at[0], (at[0] >= 0) & (at[0] < sizes[0])
    for i, n in zip(at[1:], sizes[1:], strict=True):
        flat = flat * n + i
        fits = fits & (i >= 0) & (i < n)
    places = where(fits, flat, count)
    merged = x.reshape((*x.shape[:axis], count, *x.shape[axis + len(indices) :]))
    return merged, storage.expand_p(places, shape).reshape((math.prod(shape),)), shape


def _read_vjp(g: Tensor, x_shape: Shape, indices: Sequence[Tensor], axis: int) -> Tensor:
    return index_put_p(creation.zeros_at(g, tuple(x_shape)), g, indices, axis, True)


@composite(
    "index_get(x: Tensor, indices: Tensor[], *, axis: int = 0) -> Tensor",
    infer=_indexed,
    dtype=storage.anything,
    kinds={"indices": "index"},
    upcast=False,
    public=False,
    linear=["x"],
    vjp=dict(x=_read_vjp),
)
def index_get_p(x: Tensor, indices: Sequence[Tensor], *, axis: int) -> Tensor:
    """``x`` read at integer tensors, one per axis from ``axis`` on; they broadcast; negative ones count back."""
    merged, places, shape = _flattened(x, indices, axis)
    return index_select_p(merged, places, axis).reshape((*x.shape[:axis], *shape, *x.shape[axis + len(indices) :]))


def _put(x: Shape, values: Shape, indices: Sequence[Shape], *, axis: int, accumulate: bool = False) -> Shape:
    target = _indexed(x, indices, axis=axis, name="index_put")
    try:
        fits = broadcast(values, target) == target
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(
            f"index_put: shape mismatch: value tensor of shape {list(values)} cannot be broadcast to indexing result "
            f"of shape {list(target)} of an input of shape {list(x)}"
        )
    return x


def _written_vjp(g: Tensor, indices: Sequence[Tensor], axis: int, accumulate: bool) -> Tensor:
    """What was set over has no part in the result."""
    return g if accumulate else index_put_p(g, creation.zeros_at(g, ()), indices, axis)


@composite(
    "index_put(x: Tensor, values: Tensor, indices: Tensor[], *, axis: int = 0, accumulate: bool = False) -> Tensor",
    infer=_put,
    check=True,
    dtype=same,
    kinds={"indices": "index"},
    public=False,
    linear=["x", "values"],
    vjp=dict(
        x=_written_vjp,
        values=lambda g, indices, axis: index_get_p(g, indices, axis),
    ),
)
def index_put_p(x: Tensor, values: Tensor, indices: Sequence[Tensor], *, axis: int, accumulate: bool) -> Tensor:
    """``x`` with ``values``, broadcast, set (or added) at integer tensors, one per axis from ``axis`` on."""
    _put(x.shape, values.shape, [i.shape for i in indices], axis=axis)
    merged, places, shape = _flattened(x, indices, axis)
    before, after = tuple(x.shape[:axis]), tuple(x.shape[axis + len(indices) :])
    rows = storage.expand_p(values, (*before, *shape, *after)).reshape((*before, math.prod(shape), *after))
    if accumulate:
        return index_add_p(merged, places, rows, axis).reshape(tuple(x.shape))
    return scatter_p(merged, spread(places, rows.shape, axis), rows, axis, "set").reshape(tuple(x.shape))


# -- views and tensors -------------------------------------------------------------------------------
def _viewed(x: Tensor, view: Places) -> Tensor:
    return x if view == WHOLE[tuple(x._array.shape)] else storage.basic_index_p(x, view)


def _fronted(v: Tensor, axes: Sequence[int]) -> tuple[Tensor, int, tuple[int, ...] | None]:
    """(The view with neighbouring indexed axes, the first of them, the permutation if one was needed)."""
    first = axes[0]
    if list(axes) == list(range(first, first + len(axes))):
        return v, first, None
    order = (*axes, *(a for a in range(v.ndim) if a not in axes))
    return storage.permute_p(v, order), 0, order


def _spelled(index: int | slice | Places, shape: Shape) -> Places:
    """The full index of one int or slice; a view is made by these, and keeps what its gradient alone asks for."""
    if isinstance(index, slice):
        return (sliced(index, shape[0]), *WHOLE[shape[1:]])
    return (position(index, shape[0], 0), *WHOLE[shape[1:]]) if isinstance(index, int) else index


OPS["basic_index"].spelled = _spelled
#: The classes of the ends of a slice that does not change afterwards, as a tensor might.
_ENDS: Final = frozenset({int, type(None)})


# -- public functions --------------------------------------------------------------------------------
@public("__getitem__")
@view_case(
    OPS["basic_index"],
    "index",
    when="index.__class__ is slice and index.step is None and index.start.__class__ in _ENDS "
    "and index.stop.__class__ in _ENDS",
    call="key.slices(a0, index)",
)
@view_case(OPS["basic_index"], "index", when="index.__class__ is int", call="key.slices(a0, (index, ...))")
def getitem(x: Tensor, index: Index) -> Tensor:
    """``x[index]``: a view for ints, slices, None and Ellipsis, a copy where a mask or integer tensor takes part.

    IndexError names the index, the dimension and its size. Slices must step forwards.
    """
    if isinstance(index, Tensor):
        found = _by_tensor(x, index)
        if found is not None:
            return found
    try:
        places = basic(index if isinstance(index, tuple) else (index,), x._array.shape)
    except BackwardsError:
        ahead, axes = _ahead(x, index)
        return storage.flip_p(getitem(x, ahead), axes)
    if places is not None:
        return storage.basic_index_p(x, places)
    view, advanced = parsed(x, index)
    if not advanced:
        return storage.basic_index_p(x, view)
    at, tensors = integers(advanced)
    v, axis, _ = _fronted(_viewed(x, view), at)
    return index_get_p(v, tensors, axis)


def _ahead(x: Tensor, index: Index) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Within the handler of a slice that steps backwards: the index forwards, and the axes of the result to flip."""
    if not is_strict():
        raise  # what is handled
    return forwards(index, tuple(x._array.shape))


def _by_tensor(x: Tensor, index: Tensor) -> Tensor | None:
    """``x[index]`` for one tensor along the first axes, or None where the general way must see to it."""
    lead = index._array.shape
    if not lead or index.dtype is dt.uint8 or index.dtype.category > dt.INTEGER or index.device is not x.device:
        return None
    if index.dtype is not dt.bool_:
        return index_get_p(x, [index], 0) if x.ndim else None
    shape = tuple(x._array.shape)
    if shape[: len(lead)] != tuple(lead):
        return None
    return index_select_p(x.reshape((math.prod(lead), *shape[len(lead) :])), true_places(index), 0)


@public("__setitem__")
def setitem(x: Tensor, index: Index, value: Value) -> None:
    """``x[index] = value`` in place: ``value``, a tensor, number, array or nested list, is broadcast and cast."""
    if isinstance(value, (Tensor, float, int)):
        try:
            full = basic(index if isinstance(index, tuple) else (index,), x._array.shape)
        except BackwardsError:
            ahead, axes = _ahead(x, index)
            target = getitem(x, ahead)
            target.copy_(storage.flip_p(_as_source(x, value).expand(tuple(target.shape)), axes))
            return
        if full is not None:
            target = _viewed(x, full)
            if isinstance(value, Tensor):
                target.copy_(_stripped(value, target.ndim))
            else:
                _fill(target, value)
            return
    view, advanced = parsed(x, index)
    target = _viewed(x, view)
    if len(advanced) == 1 and is_mask(advanced[0][1]) and _is_scalar(value):
        place, mask = advanced[0]
        after = target.ndim - place - mask.ndim
        aligned = (mask if mask.dtype is dt.bool_ else mask != 0).reshape((*mask.shape, *(1,) * after))
        target.masked_fill_(aligned, value if isinstance(value, Tensor) else _as_source(x, value))
        return
    source = _as_source(x, value)
    if not advanced:
        target.copy_(_stripped(source, target.ndim))
        return
    at, tensors = integers(advanced)
    v, axis, _ = _fronted(target, at)
    ndim = v.ndim - len(tensors) + len(_common("index_put", [t.shape for t in tensors]))
    _put_at(v, _stripped(source, ndim), tensors, axis, False)


def _put_at(v: Tensor, source: Tensor, indices: list[Tensor], axis: int, accumulate: bool) -> None:
    """``index_put`` in place: where only memory is concerned and the backend can, at the places alone."""
    key, state = v._key, get()
    apart = source._box is None or source._box is not v._box
    plain = source._key is key and all(i._key is key.index for i in indices) and apart and storage.unwatched(v)
    kernel = key.put_at if plain and (source._node is None or not state.grad) else None  # type: ignore[union-attr]
    if kernel is not None:
        try:
            kernel(v._array, source._array, *[i._array for i in indices], axis=axis, accumulate=accumulate)
        except (IndexError, ValueError, TypeError):  # nothing is written then; the uniform path says what is wrong
            pass
        else:
            mark_written(v, "index_put_")
            return
    in_place(OPS["index_put"], (v, source, indices), {"axis": axis, "accumulate": accumulate}, None)


def _fill(target: Tensor, value: float) -> None:
    """Set every element to a number that fits in int64; in low precision it may overflow to infinity."""
    great = isinstance(value, int) and value >= 2**63
    if great or not storage.filled(target, value):
        target.copy_(_as_source(target, value))


def _is_scalar(value: object) -> TypeGuard[Number | Tensor]:
    return isinstance(value, bool | int | float | complex) or (isinstance(value, Tensor) and not value.ndim)


def _as_source(x: Tensor, value: Value) -> Tensor:
    """The assigned value as a tensor of the dtype and device of ``x``."""
    if isinstance(value, Tensor):
        if dt.BOOL < x.dtype.category < value.dtype.category == dt.COMPLEX:
            raise DTypeError(f"__setitem__: a value of {value.dtype} cannot be converted to {x.dtype} without loss")
        return value if value.dtype is x.dtype else storage.cast_p(value, dtype=x.dtype)
    if isinstance(value, bool | int | float | complex):
        if value.__class__ is int and not -(2**63) <= value < 2**63:
            raise NumberError(f"__setitem__: {value} does not fit in int64, which an assigned int must")
        return from_data.number("__setitem__", value, x.dtype, x.device, overflow=x.dtype in dt.LOW_PRECISION)
    if isinstance(value, np.ndarray | np.generic | list | tuple):
        return from_data.tensor(value, dtype=x.dtype, device=x.device)
    raise TypeError(f"can't assign a {type(value).__name__} to a tensor of dtype {x.dtype}")


def _stripped(value: Tensor, ndim: int) -> Tensor:
    """``value`` without leading axes of size 1 beyond ``ndim``, which torch allows in an assignment."""
    extra = value.ndim - ndim
    if extra > 0 and tuple(value.shape[:extra]) == (1,) * extra:
        return value.reshape(tuple(value.shape[extra:]))
    return value


def _at_least_1d(item: Tensor) -> Tensor:
    whole = not item.ndim and dt.BOOL < item.dtype.category <= dt.INTEGER and item.dtype is not dt.uint8
    return item.reshape((1,)) if whole else item


def _lead(x: Tensor, indices: Sequence[Tensor | None]) -> bool:
    """Whether the indices are integer tensors of the first axes alone, which need not be read."""
    key = x._key
    return (
        indices.__class__ in (list, tuple)
        and 0 < len(indices) <= len(x._array.shape)
        and key.level is None
        and all(i.__class__ is Tensor and i._key is key.index and i._array.shape for i in indices)
    )


def _put_plan(
    input: Tensor, indices: Sequence[Tensor | None], values: Value
) -> tuple[Tensor, Tensor, list[Tensor], int, tuple[int, ...] | None]:
    if _lead(input, indices) and isinstance(values, Tensor) and values._key is input._key:
        return input, values, list(indices), 0, None  # type: ignore[arg-type]  # tensors alone, it says
    # A 0-d integer tensor would be read as an int, which makes a view: an index of one element reads the same.
    entries = tuple(slice(None) if i is None else _at_least_1d(i) for i in indices)
    view, advanced = parsed(input, entries)
    if not advanced:
        raise IndexError("index_put: indices must hold at least one integer or bool tensor")
    axes, tensors = integers(advanced)
    if isinstance(values, Tensor):
        alike("input and values")("index_put", (input, values))
    v, axis, order = _fronted(_viewed(input, view), axes)
    return v, _as_source(input, values), tensors, axis, order


@public()
def index_put(input: Tensor, indices: Sequence[Tensor | None], values: Value, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``values`` set, or added, at ``indices``, a tuple of integer or bool tensors.

    None in ``indices`` stands for a whole dimension. With ``accumulate`` equal places add up.

    >>> fb.index_put(fb.zeros(3), (fb.tensor([0, 2]),), fb.ones(2))
    tensor([1., 0., 1.])
    """
    v, source, tensors, axis, order = _put_plan(input, indices, values)
    done = index_put_p(v, source, tensors, axis, accumulate)
    return done if order is None else storage.permute_p(done, storage.inverse_permutation(order))


@public(function=True)
def index_put_(input: Tensor, indices: Sequence[Tensor | None], values: Value, accumulate: bool = False) -> Tensor:
    """:func:`index_put` in place."""
    v, source, tensors, axis, _ = _put_plan(input, indices, values)
    _put_at(v, source, tensors, axis, accumulate)
    return input
