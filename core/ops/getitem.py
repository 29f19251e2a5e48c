"""``x[index]`` and ``x[index] = value`` for every kind of index, as torch reads them.

Ints, slices, None and Ellipsis make a view (``basic_index``). Masks become the indices of their True
elements, and integer tensors, lists and arrays index together, broadcast: the op ``index_get`` on the view.
Their axes come out where they stood when they are neighbours, else in front.
"""

# What the functions of records return is generated, and Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from flambeau.core import creation, from_data
from flambeau.core import dtype as dt
from flambeau.core.autograd.inplace import in_place
from flambeau.core.cache import Cache
from flambeau.core.declare import composite
from flambeau.core.dispatch import tensor_of
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.graph import Box, View, make_view, mark_written
from flambeau.core.ops import storage
from flambeau.core.ops.elementwise import broadcast, where
from flambeau.core.ops.index import index_add_p, index_select_p, scatter_p, spread
from flambeau.core.ops.mask import nonzero, true_places
from flambeau.core.public import public
from flambeau.core.record import OPS, same
from flambeau.core.state import get
from flambeau.core.tape.compile import compiled
from flambeau.core.tensor import Tensor

#: Whole slices of every axis, by shape.
_WHOLE: Final[Cache[tuple[int, ...], tuple[slice, ...]]] = Cache(lambda shape: tuple(slice(0, n, 1) for n in shape))


# -- the op behind advanced indexing -----------------------------------------------------------------
def _common(name: str, indices: Sequence[Any]) -> tuple[int, ...]:
    try:
        return broadcast(*indices)
    except ShapeError:
        listing = ", ".join(str(list(s)) for s in indices)
        raise IndexError(
            f"{name}: shape mismatch: indexing tensors could not be broadcast together with shapes {listing}"
        ) from None


def _indexed(x: Any, indices: Sequence[Any], *, axis: int, name: str = "index") -> tuple[int, ...]:
    return (*x[:axis], *_common(name, indices), *x[axis + len(indices) :])


def _flattened(x: Any, indices: Sequence[Any], axis: int) -> tuple[Any, Any, tuple[int, ...]]:
    """(x with the indexed axes as one, a vector of places along it, the common shape of the indices).

    A place that is out of range along its own axis becomes one out of range for all, which the kernel finds; that of
    a single index stays what it was, for the error to name it.
    """
    sizes = tuple(x.shape[axis : axis + len(indices)])
    shape = _common("index", [i.shape for i in indices])
    if len(sizes) == 1:
        (at,), (n,) = indices, sizes
        return x, where((at < 0) & (at >= -n), at + n, at).reshape((math.prod(shape),)), shape
    count = math.prod(sizes)
    flat: Any = None
    fits: Any = None
    for i, n in zip(indices, sizes, strict=True):
        at = where(i < 0, i + n, i)
        inside = (at >= 0) & (at < n)
        flat = at if flat is None else flat * n + at
        fits = inside if fits is None else fits & inside
    places = where(fits, flat, count)
    merged = x.reshape((*x.shape[:axis], count, *x.shape[axis + len(indices) :]))
    return merged, storage.expand_p(places, shape).reshape((math.prod(shape),)), shape


def _read_vjp(g: Any, x_shape: Sequence[int], indices: Sequence[Any], axis: int) -> Any:
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
def index_get_p(x: Any, indices: Sequence[Any], *, axis: int) -> Any:
    """``x`` read at integer tensors, one per axis from ``axis`` on; they broadcast; negative ones count back."""
    merged, places, shape = _flattened(x, indices, axis)
    return index_select_p(merged, places, axis).reshape((*x.shape[:axis], *shape, *x.shape[axis + len(indices) :]))


def _put(x: Any, values: Any, indices: Sequence[Any], *, axis: int, accumulate: bool = False) -> Any:
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


def _written_vjp(g: Any, indices: Sequence[Any], axis: int, accumulate: bool) -> Any:
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
def index_put_p(x: Any, values: Any, indices: Sequence[Any], *, axis: int, accumulate: bool) -> Any:
    """``x`` with ``values``, broadcast, set (or added) at integer tensors, one per axis from ``axis`` on."""
    _put(x.shape, values.shape, [i.shape for i in indices], axis=axis)
    merged, places, shape = _flattened(x, indices, axis)
    before, after = tuple(x.shape[:axis]), tuple(x.shape[axis + len(indices) :])
    rows = storage.expand_p(values, (*before, *shape, *after)).reshape((*before, math.prod(shape), *after))
    if accumulate:
        return index_add_p(merged, places, rows, axis).reshape(tuple(x.shape))
    return scatter_p(merged, spread(places, rows.shape, axis), rows, axis, "set").reshape(tuple(x.shape))


# -- reading an index --------------------------------------------------------------------------------
_ENTRIES = (slice, Tensor, list, tuple)


def _as_tuple(index: Any) -> tuple[Any, ...]:
    """The entries of an index; a list of slices, tensors or lists means a tuple, as in torch."""
    if isinstance(index, tuple):
        return index
    if isinstance(index, list) and any(
        v is None or v is Ellipsis or isinstance(v, slice | Tensor | list | tuple) for v in index
    ):
        return tuple(index)
    return (index,)


def _entry(item: Any, device: Any) -> Any:
    """An entry as None, Ellipsis, a bool, an int, a slice or an index tensor; IndexError for anything else."""
    if item is None or item is Ellipsis or isinstance(item, bool | slice):
        return item
    if isinstance(item, Tensor):
        if item.dtype.category > dt.INTEGER:
            raise IndexError(f"tensors used as indices must be integer or bool tensors, got {item.dtype}")
        if not item.shape and item._key.level is None and item.dtype.category == dt.INTEGER:
            return int(item)
        return item
    if isinstance(item, np.ndarray | np.generic | list | tuple | range):
        if isinstance(item, np.integer):
            return int(item)
        made = from_data.tensor(list(item) if isinstance(item, range) else item, device=device)
        if not made.numel() and made.dtype.category > dt.INTEGER and not isinstance(item, np.ndarray):
            made = storage.cast_p(made, dtype=dt.int64)  # an empty list
        return _entry(made, device)
    try:
        return operator.index(item)
    except TypeError:
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and integer or bool tensors are valid indices "
            f"(got {type(item).__name__})"
        ) from None


def _is_mask(item: Any) -> bool:
    return isinstance(item, Tensor) and item.dtype in (dt.bool_, dt.uint8)


def _width(item: Any) -> int:
    """How many axes an entry uses up."""
    if item is None or isinstance(item, bool):
        return 0
    return item.ndim if _is_mask(item) else 1


def expanded(index: Any, shape: tuple[int, ...], device: Any) -> list[Any]:
    """The entries of an index with the Ellipsis, and what is missing at the end, written out as slices."""
    entries = [_entry(v, device) for v in _as_tuple(index)]
    dots = [i for i, v in enumerate(entries) if v is Ellipsis]
    used = sum(_width(v) for v in entries if v is not Ellipsis)
    if used > len(shape):
        raise IndexError(f"too many indices for tensor of dimension {len(shape)}: got {used} for shape {tuple(shape)}")
    rest = len(shape) - used
    for i in dots[:0:-1]:  # a second Ellipsis stands for nothing
        del entries[i]
    at = dots[0] if dots else len(entries)
    entries[at : at + len(dots[:1])] = [slice(None)] * rest
    return entries


def _slice(item: slice, n: int) -> slice:
    start, stop, step = item.indices(n)
    if step < 0:
        raise ValueError(f"slice step must be positive, got {step}; flip() reads an axis backwards")
    return slice(start, max(stop, start), step)


def _position(item: int, n: int, axis: int) -> int:
    if not -n <= item < n:
        raise IndexError(f"index {item} is out of bounds for dimension {axis} with size {n}")
    return item + n if item < 0 else item


def _parse(x: Any, index: Any) -> tuple[tuple[Any, ...], list[tuple[int, Any]]]:
    """(The view's index, one entry per axis and new axis; what indexes which of the view's axes, in order)."""
    shape = tuple(x._array.shape)
    view: list[Any] = []
    advanced: list[tuple[int, Any]] = []
    axis = place = 0  # of x, and of the view
    for number, item in enumerate(expanded(index, shape, x.device)):
        if isinstance(item, bool) or (_is_mask(item) and not item.ndim):
            view.append(None)
            mask = creation.full((), item, dtype=dt.bool_, device=x.device) if isinstance(item, bool) else item
            advanced.append((place, mask.reshape((1,))))
        elif item is None:
            view.append(None)
        elif isinstance(item, slice):
            view.append(_slice(item, shape[axis]))
        elif isinstance(item, int):
            view.append(_position(item, shape[axis], axis))
            place -= 1
        elif _is_mask(item):
            if tuple(item.shape) != shape[axis : axis + item.ndim]:
                raise IndexError(
                    f"The shape of the mask {list(item.shape)} at index {number} does not match the shape of the "
                    f"indexed tensor {list(shape)} at index {axis}"
                )
            view += _WHOLE[shape[axis : axis + item.ndim]]
            advanced.append((place, item))
            place += item.ndim - 1
        else:
            view.append(slice(0, shape[axis], 1))
            advanced.append((place, item))
        axis += _width(item)
        place += 1
    return tuple(view), advanced


def _viewed(x: Any, view: tuple[Any, ...]) -> Any:
    return x if view == _WHOLE[tuple(x._array.shape)] else storage.basic_index_p(x, view)


def _integers(advanced: Sequence[tuple[int, Any]]) -> tuple[list[int], list[Any]]:
    """The indexed axes and their integer tensors: a mask stands for one column of indices per axis."""
    axes, tensors = [], []
    for place, item in advanced:
        if not _is_mask(item):
            axes.append(place)
            tensors.append(item)
        elif item.ndim == 1:
            axes.append(place)
            tensors.append(true_places(item))
        else:
            axes += range(place, place + item.ndim)
            tensors += nonzero(item, as_tuple=True)
    return axes, tensors


def _fronted(v: Any, axes: Sequence[int]) -> tuple[Any, int, tuple[int, ...] | None]:
    """(The view with neighbouring indexed axes, the first of them, the permutation if one was needed)."""
    first = axes[0]
    if list(axes) == list(range(first, first + len(axes))):
        return v, first, None
    order = (*axes, *(a for a in range(v.ndim) if a not in axes))
    return storage.permute_p(v, order), 0, order


#: The full index of ``x[start:stop]``, by its ends and the shape; a tensor, which may change, is not kept.
_FIRST: Final[Cache[tuple[Any, Any, tuple[int, ...]], tuple[Any, ...]]] = Cache(
    lambda key: (_slice(slice(key[0], key[1]), key[2][0]), *_WHOLE[key[2][1:]]),
    keep=lambda key: all(end is None or end.__class__ is int for end in key[:2]),
)
#: The full index of ``x[i]``, by the place and the shape.
_PLACE: Final[Cache[tuple[int, tuple[int, ...]], tuple[Any, ...]]] = Cache(
    lambda key: (_position(key[0], key[1][0], 0), *_WHOLE[key[1][1:]])
)
_VIEW = OPS["basic_index"]


# -- public functions --------------------------------------------------------------------------------
@public("__getitem__")
def getitem(x: Any, index: Any) -> Any:
    """``x[index]``: a view for ints, slices, None and Ellipsis, a copy where a mask or integer tensor takes part.

    IndexError names the index, the dimension and its size. Slices must step forwards.
    """
    array = x._array
    shape = array.shape
    kind = index.__class__
    if kind is slice and index.step is None or kind is int:
        try:  # the hot case written out: what storage.basic_index and make_view do
            key = x._key
            state = get()
            if state.plain and key.level is None:  # type: ignore[union-attr]
                if kind is int:
                    return storage.basic_index_p(x, _PLACE[index, shape])
                full = _FIRST[index.start, index.stop, shape]
                out = Tensor()
                a = out._array = key.slices(array, full)
                out._key = key
                link = x._node
                if link is not None:
                    return make_view(x, out, _VIEW, full, state.grad)  # type: ignore[union-attr]
                box = x._box
                if box is None:
                    box = x._box = Box()
                out._box = box
                out._node = view = View()
                view.node, view.generation = None, box.generation
                view.made = (x, None, _VIEW, full, box, array, a, key, state.grad)  # type: ignore[union-attr]
                return out
        except Exception:  # the uniform path finds out what is wrong
            pass
    if isinstance(index, Tensor):
        found = _by_tensor(x, index)
        if found is not None:
            return found
    places = _basic(index if kind is tuple else (index,), shape)
    if places is not None:
        return storage.basic_index_p(x, places)
    basic, advanced = _parse(x, index)
    if not advanced:
        return storage.basic_index_p(x, basic)
    axes, tensors = _integers(advanced)
    v, axis, _ = _fronted(_viewed(x, basic), axes)
    return _read(v, tensors, axis)


def _read(x: Any, indices: list[Any], axis: int) -> Any:
    """:func:`read_at`, its common case written out: plain tensors, int64 indices."""
    try:
        key, state = x._key, get()
        if state.plain and key.level is None and all(i._key is key.index for i in indices):  # type: ignore[union-attr]
            out = tensor_of(key.index_get(x._array, *[i._array for i in indices], axis=axis), key)
            if x._node is None or not state.grad:  # type: ignore[union-attr]
                return out
            return compiled(OPS["index_get"]).record_checked(x, indices, {"axis": axis}, out)
    except Exception:  # the uniform path finds out what is wrong
        pass
    return index_get_p(x, indices, axis)


def _by_tensor(x: Any, index: Tensor) -> Any:
    """``x[index]`` for one tensor along the first axes, or None where the general way must see to it."""
    lead = index._array.shape
    if not lead or index.dtype is dt.uint8 or index.dtype.category > dt.INTEGER:
        return None
    if index.dtype is not dt.bool_:
        return _read(x, [index], 0) if x.ndim else None
    shape = tuple(x._array.shape)
    if shape[: len(lead)] != tuple(lead):
        return None
    return index_select_p(x.reshape((math.prod(lead), *shape[len(lead) :])), true_places(index), 0)


def _basic(index: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[Any, ...] | None:
    """The full index of ints, slices, None and one Ellipsis; None where there is anything else, or too much."""
    entries: list[Any] = []
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
            entries += _WHOLE[shape[axis : axis + rest]]
            axis += rest
        elif axis == ndim or (kind is not slice and kind is not int):
            return None
        else:
            entries.append(_slice(item, shape[axis]) if kind is slice else _position(item, shape[axis], axis))
            axis += 1
    return (*entries, *_WHOLE[shape[axis:]])


@public("__setitem__")
def setitem(x: Any, index: Any, value: Any) -> None:
    """``x[index] = value`` in place: ``value``, a tensor, number, array or nested list, is broadcast and cast."""
    kind = value.__class__
    if kind is float or kind is int or isinstance(value, Tensor):
        full = _basic(index if index.__class__ is tuple else (index,), x._array.shape)
        if full is not None:
            target = _viewed(x, full)
            target.copy_(_stripped(value, target.ndim)) if isinstance(value, Tensor) else target.fill_(value)
            return
    view, advanced = _parse(x, index)
    target = _viewed(x, view)
    if len(advanced) == 1 and _is_mask(advanced[0][1]) and _is_scalar(value):
        place, mask = advanced[0]
        after = target.ndim - place - mask.ndim
        aligned = (mask if mask.dtype is dt.bool_ else mask != 0).reshape((*mask.shape, *(1,) * after))
        target.masked_fill_(aligned, value)
        return
    source = _as_source(x, value)
    if not advanced:
        target.copy_(_stripped(source, target.ndim))
        return
    axes, tensors = _integers(advanced)
    v, axis, _ = _fronted(target, axes)
    ndim = v.ndim - len(tensors) + len(_common("index_put", [t.shape for t in tensors]))
    _put_at(v, _stripped(source, ndim), tensors, axis, False)


def _put_at(v: Any, source: Any, indices: list[Any], axis: int, accumulate: bool) -> None:
    """``index_put`` in place: where only memory is concerned and the backend can, at the places alone."""
    key, state = v._key, get()
    plain = source._key is key and all(i._key is key.index for i in indices) and storage.unwatched(v)
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


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float | complex) or (isinstance(value, Tensor) and not value.ndim)


def _as_source(x: Any, value: Any) -> Any:
    """The assigned value as a tensor of the dtype and device of ``x``."""
    if isinstance(value, Tensor):
        return value if value.dtype is x.dtype else storage.cast_p(value, dtype=x.dtype)
    if isinstance(value, bool | int | float | complex):
        if isinstance(value, complex) and x.dtype.category < dt.COMPLEX:
            raise DTypeError(f"value {value!r} cannot be converted to {x.dtype} without loss")
        return from_data.scalar_tensor(value, x.dtype, x.device)
    if isinstance(value, np.ndarray | np.generic | list | tuple):
        return from_data.tensor(value, dtype=x.dtype, device=x.device)
    raise TypeError(f"can't assign a {type(value).__name__} to a tensor of dtype {x.dtype}")


def _stripped(value: Any, ndim: int) -> Any:
    """``value`` without leading axes of size 1 beyond ``ndim``, which torch allows in an assignment."""
    extra = value.ndim - ndim
    if extra > 0 and tuple(value.shape[:extra]) == (1,) * extra:
        return value.reshape(tuple(value.shape[extra:]))
    return value


def _at_least_1d(item: Any, ndim: int) -> Any:
    whole = isinstance(item, Tensor) and not item.ndim and dt.BOOL < item.dtype.category <= dt.INTEGER
    return item.reshape((1,)) if whole and item.dtype is not dt.uint8 else item


def _put_plan(input: Any, indices: Any, values: Any) -> tuple[Any, Any, list[Any], int, tuple[int, ...] | None]:
    # A 0-d integer tensor would be read as an int, which makes a view: an index of one element reads the same.
    entries = tuple(slice(None) if i is None else _at_least_1d(i, input.ndim) for i in indices)
    view, advanced = _parse(input, entries)
    if not advanced:
        raise IndexError("index_put: indices must hold at least one integer or bool tensor")
    axes, tensors = _integers(advanced)
    v, axis, order = _fronted(_viewed(input, view), axes)
    return v, _as_source(input, values), tensors, axis, order


@public()
def index_put(input: Tensor, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``values`` set, or added, at ``indices``, a tuple of integer or bool tensors.

    None in ``indices`` stands for a whole dimension. With ``accumulate`` equal places add up.

    >>> fb.index_put(fb.zeros(3), (fb.tensor([0, 2]),), fb.ones(2))
    tensor([1., 0., 1.])
    """
    v, source, tensors, axis, order = _put_plan(input, indices, values)
    done = index_put_p(v, source, tensors, axis, accumulate)
    return done if order is None else storage.permute_p(done, storage.inverse_permutation(order))


@public(function=True)
def index_put_(input: Tensor, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Tensor:
    """:func:`index_put` in place."""
    v, source, tensors, axis, _ = _put_plan(input, indices, values)
    _put_at(v, source, tensors, axis, accumulate)
    return input
