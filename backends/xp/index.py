"""Reading and writing by integer arrays. Every index is checked: IndexError names it, the axis and its size."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from flambeau.backends.base import OutOfRangeError
from flambeau.backends.xp import Array, Bodies, Namespace
from flambeau.backends.xp.reduce import is_low, rounded, wide
from flambeau.backends.xp.sums import BLOCK, add_up_groups
from flambeau.core import dtype as dt

bodies = Bodies()
Ints = tuple[int, ...]

#: How many times as large as what is added a target may be to be added in a wider type as a whole.
_SPARSE = 16


# -- places ----------------------------------------------------------------------------------------
def check_index(op: str, index: Array, size: int, axis: int) -> None:
    """OutOfRangeError unless every element of ``index`` (int64) is in [0, size)."""
    if index.size and index.view("u8").max() >= size:  # negative ones count as very large
        bad = int(index[(index < 0) | (index >= size)].flat[0])
        raise OutOfRangeError(f"{op}: index {bad} is out of bounds for dimension {axis} with size {size}")


def positions(xp: Namespace, shape: Ints, index: Array, axis: int, region: Ints) -> Array:
    """The places in the flat memory of ``shape`` to which ``index``, broadcast to ``region``, points along ``axis``."""
    found, step = index, 1
    for i in range(len(shape) - 1, -1, -1):
        along = index if i == axis else xp.arange(region[i]).reshape((-1,) + (1,) * (len(shape) - 1 - i))
        term = along if step == 1 else along * step
        found = term if i == len(shape) - 1 else found + term
        step *= shape[i]
    return xp.broadcast_to(found, region)


def _along(index: Array, axis: int, ndim: int) -> Array:
    """A vector of indices with axes of size 1 around it."""
    return index.reshape((1,) * axis + (-1,) + (1,) * (ndim - 1 - axis))


def _cut_to(x: Array, shape: Ints) -> Array:
    return x if x.shape == shape else x[tuple([slice(n) for n in shape])]


# -- reading ---------------------------------------------------------------------------------------
@bodies.kernel("gather")
def gather(xp: Namespace, x: Array, index: Array, *, axis: int) -> Array:
    """out[.., j, ..] = x[.., index[.., j, ..], ..]; ``index`` may be smaller than ``x`` along the other axes."""
    if not index.size:
        return xp.empty(index.shape, x.dtype)
    if x.ndim == 0:
        check_index("gather", index, 1, axis)
        return x.copy()
    check_index("gather", index, x.shape[axis], axis)
    return xp.take(x.reshape(-1), positions(xp, x.shape, index, axis, index.shape))


@bodies.kernel("index_select")
def index_select(xp: Namespace, x: Array, index: Array, *, axis: int) -> Array:
    """The slices of ``x`` at the places of a vector of indices."""
    if x.ndim == 0:
        return index_select(xp, x.reshape(1), index, axis=0)
    check_index("index_select", index, x.shape[axis], axis)
    return xp.take(x, index, axis)


@bodies.kernel("index_get")
def index_get(xp: Namespace, x: Array, *indices: Array, axis: int) -> Array:
    """``x`` read at integer arrays, one per axis from ``axis`` on; they broadcast; negative ones count back."""
    where = wrapped("index", x.shape, indices, axis)
    return xp.take(x, where[axis], axis) if len(indices) == 1 else x[where]


def wrapped(op: str, shape: Ints, indices: Sequence[Array], axis: int) -> tuple[Any, ...]:
    """Integer arrays from ``axis`` on as an index of an array of ``shape``: counted from the front, all checked."""
    sizes = shape[axis : axis + len(indices)]
    nothing = 0 in shape or any(not index.size for index in indices)
    if nothing and 0 not in sizes:  # nothing is read or written, wherever they point
        wrapped = [index * 0 for index in indices]
    else:
        wrapped = [_counted_back(op, indices[i], n, axis + i) for i, n in enumerate(sizes)]
    return (slice(None),) * axis + tuple(wrapped)


def _counted_back(op: str, index: Array, size: int, axis: int) -> Array:
    """``index`` with negative ones counted from the end, all checked."""
    if index.size and index.view("u8").max() >= size:
        low, high = int(index.min()), int(index.max())
        if low < -size or high >= size:
            bad = low if low < -size else high
            raise OutOfRangeError(f"{op}: index {bad} is out of bounds for dimension {axis} with size {size}")
        return index % size
    return index


@bodies.kernel("embedding")
def embedding(xp: Namespace, weight: Array, index: Array, *, padding_idx: int) -> Array:
    """The rows of ``weight`` that ``index`` says."""
    check_index("embedding", index, weight.shape[0], 0)
    return xp.take(weight, index, 0)


@bodies.kernel("nonzero")
def nonzero(xp: Namespace, x: Array) -> Array:
    """The indices (n, ndim) of the elements that are not zero, in row-major order."""
    there = x if x.dtype.kind == "b" else x != 0
    if not x.ndim:
        return xp.argwhere(there)
    columns = there.nonzero()
    found = xp.empty((x.ndim, columns[0].size), "i8")
    for i, column in enumerate(columns):
        found[i] = column
    return found.T


# -- writing ---------------------------------------------------------------------------------------
@bodies.kernel("scatter")
def scatter(xp: Namespace, x: Array, index: Array, src: Array, *, axis: int, reduce: str = "set") -> Array:
    """A copy of ``x`` with ``src`` set, added, multiplied, or kept if larger or smaller, where ``index`` points."""
    if not index.size:
        return x.copy("C")
    if x.ndim == 0:
        flat = scatter(xp, x.reshape(1), index.reshape(1), src.reshape(1), axis=0, reduce=reduce)
        return flat.reshape(())
    check_index("scatter", index, x.shape[axis], axis)
    place = positions(xp, x.shape, index, axis, index.shape)
    return _combined(xp, x, place, _cut_to(src, index.shape), reduce)


def _combined(xp: Namespace, x: Array, place: Array, src: Array, reduce: str, meet: bool = True) -> Array:
    """A copy of ``x`` with ``src`` combined with what stands at ``place``; where many ``meet``, they add up in float64.

    Low precision is widened to float32 at least.
    """
    if reduce == "set":
        out = x.copy("C")
        out.reshape(-1)[place.reshape(-1)] = src.reshape(-1)
        return out
    ufunc = {"add": xp.add, "prod": xp.multiply, "amax": xp.maximum, "amin": xp.minimum}[reduce]
    src, place = wide(xp, src).reshape(-1), place.reshape(-1)
    out = wide(xp, x) if is_low(x) else x.copy("C")
    out = out if out.flags.c_contiguous else out.copy("C")
    wider = meet and place.size > BLOCK and src.dtype.kind in "fc"
    if reduce == "add" and wider and x.size <= _SPARSE * place.size:
        total = out.astype("c16" if src.dtype.kind == "c" else "f8")  # many may meet at one place
        ufunc.at(total.reshape(-1), place, src.astype(total.dtype))
        return total.astype(x.dtype)
    ufunc.at(out.reshape(-1), place, src)
    return rounded(out, x)


@bodies.kernel("index_add")
def index_add(xp: Namespace, x: Array, index: Array, src: Array, *, axis: int) -> Array:
    """``x`` with the slices of ``src`` added at the places of a vector of indices."""
    if x.ndim == 0:
        return index_add(xp, x.reshape(1), index, src.reshape(-1), axis=0).reshape(())
    if not src.size:
        return x.copy("C")
    check_index("index_add", index, x.shape[axis], axis)
    if x.size > _SPARSE * src.size and x.dtype.kind in "fcV" and _meet(xp, index):
        return _add_slices(xp, x, index, src, axis)
    place = positions(xp, x.shape, _along(index, axis, x.ndim), axis, src.shape)
    return _combined(xp, x, place, src, "add", _meet(xp, index))


def _meet(xp: Namespace, index: Array) -> bool:
    """Whether one number stands so often that the order of additions matters."""
    if index.size <= BLOCK:
        return False
    ordered = xp.sort(index)
    return bool((ordered[BLOCK:] == ordered[:-BLOCK]).any())


def _add_slices(xp: Namespace, x: Array, index: Array, src: Array, axis: int) -> Array:
    """``x`` with slices added, those for one place first to each other."""
    out, slices = wide(xp, x) if is_low(x) else x.copy("C"), xp.moveaxis(wide(xp, src), axis, 0)
    at, sums = add_up_groups(xp, slices.reshape(index.size, -1), index)
    xp.moveaxis(out, axis, 0)[at] += sums.reshape(-1, *slices.shape[1:])
    return rounded(out, x)


@bodies.kernel("index_put")
def index_put(xp: Namespace, x: Array, values: Array, *indices: Array, axis: int, accumulate: bool) -> Array:
    """``x`` with ``values``, broadcast, set or added at integer arrays, one per axis from ``axis`` on."""
    where = wrapped("index_put", x.shape, indices, axis)
    if not accumulate:
        out = x.copy("C")
        out[where] = values
        return out
    sizes = x.shape[axis : axis + len(indices)]
    place: Any = 0
    for index, n in zip(where[axis:], sizes, strict=True):
        place = place * n + index
    before, after = x.shape[:axis], x.shape[axis + len(indices) :]
    rows = xp.broadcast_to(values, (*before, *place.shape, *after)).reshape((*before, place.size, *after))
    merged = x.reshape((*before, prod(sizes), *after))
    return index_add(xp, merged, place.reshape(-1), rows, axis=axis).reshape(x.shape)


@bodies.kernel("put_at")
def put_at(xp: Namespace, x: Array, values: Array, *indices: Array, axis: int, accumulate: bool) -> None:
    """:func:`index_put` in the memory of ``x``; nothing is written where it raises."""
    where = wrapped("index_put", x.shape, indices, axis)
    if not accumulate:
        x[where] = values
    elif (
        is_low(x)
        or x.dtype.kind in "fc"
        and max(values.size, *[v.size for v in indices]) > max(BLOCK, x.size // _SPARSE)
    ):
        x[...] = index_put(xp, x, values, *indices, axis=axis, accumulate=True)
    else:
        xp.add.at(x, where, values)


_IDENTITY = {"sum": 0, "mean": 0, "prod": 1}


@bodies.kernel("scatter_reduce", dt.BOOLS + dt.REALS)
def scatter_reduce(
    xp: Namespace, x: Array, index: Array, src: Array, *, axis: int, reduce: str, include_self: bool = True
) -> Array:
    """``x`` with the values of ``src`` that meet at one place combined there: sum, mean, prod, amax or amin."""
    if not index.size:
        return x.copy("C")
    if x.ndim == 0:
        flat = [v.reshape(1) for v in (x, index, src)]
        return scatter_reduce(xp, *flat, axis=0, reduce=reduce, include_self=include_self).reshape(())
    check_index("scatter_reduce", index, x.shape[axis], axis)
    place = positions(xp, x.shape, index, axis, index.shape).reshape(-1)
    values, start = wide(xp, _cut_to(src, index.shape)), wide(xp, x)
    if not include_self:
        start = start.copy("C")
        start.reshape(-1)[place] = identity(start.dtype, reduce)
    total = _combined(xp, start, place, values, {"sum": "add", "mean": "add"}.get(reduce, reduce))
    if reduce == "mean":
        met = xp.full(x.shape, 1 if include_self else 0)
        xp.add.at(met.reshape(-1), place, 1)
        met = xp.maximum(met, 1).astype(total.dtype)
        total = total / met if total.dtype.kind == "f" else total // met
    return rounded(total, x)


def identity(dtype: Any, reduce: str) -> Any:
    """What every value replaces, or leaves as it is."""
    if reduce in _IDENTITY:
        return _IDENTITY[reduce]
    kind = dt.from_numpy(dtype)
    if kind.is_floating_point:
        return float("-inf" if reduce == "amax" else "inf")
    if kind is dt.bool_:
        return reduce == "amin"
    info = dt.iinfo(kind)
    return info.min if reduce == "amax" else info.max


@bodies.kernel("embedding_grad")
def embedding_grad(xp: Namespace, grad: Array, index: Array, *, rows: int, padding_idx: int) -> Array:
    """The elements of ``grad`` (..., width) added to the rows that ``index`` (...) says, but not to ``padding_idx``."""
    check_index("embedding_grad", index, rows, 0)
    width = grad.shape[-1]
    at, values = index.reshape(-1), grad.reshape(index.size, width)
    if padding_idx >= 0:
        kept = at != padding_idx
        at, values = at[kept], values[kept]
    return index_add(xp, xp.zeros((rows, width), grad.dtype), at, values, axis=0)


@bodies.kernel("sum_rows")
def sum_rows(xp: Namespace, x: Array, source: Array, to: Array, *, size: int) -> Array:
    """The rows ``source`` of ``x`` added up in the ``size`` rows that ``to`` says."""
    check_index("sum_rows", source, x.shape[0], 0)
    check_index("sum_rows", to, size, 0)
    return index_add(xp, xp.zeros((size, x.shape[1]), x.dtype), to, xp.take(x, source, 0), axis=0)


# -- the loss that reads by index ------------------------------------------------------------------
def _class_weights(
    xp: Namespace, like: Array, target: Array, weight: Array | None, ignore_index: int
) -> tuple[Array, Array]:
    """Targets with class 0 in place of the ignored one, and the weight of each."""
    kept = target != ignore_index
    safe = xp.where(kept, target, 0)
    if weight is None:
        return safe, kept.astype(like.dtype)
    check_index("nll_loss", safe.reshape(-1), weight.shape[0], 0)
    return safe, xp.where(kept, xp.take(weight, safe), weight.dtype.type(0))


@bodies.kernel("nll_loss", dt.FLOATS)
def nll_loss(
    xp: Namespace, x: Array, target: Array, weight: Array | None, *, ignore_index: int, reduction: str
) -> tuple[Array, Array]:
    """Minus the log probability of each target class, weighted, and the sum of the weights."""
    axis = 1 if x.ndim > 1 else 0
    values = wide(xp, x)
    safe, weights = _class_weights(xp, values, target, None if weight is None else wide(xp, weight), ignore_index)
    check_index("nll_loss", safe.reshape(-1), x.shape[axis], axis)
    chosen = xp.take_along_axis(values, xp.expand_dims(safe, axis), axis).squeeze(axis)
    losses = xp.where(weights == 0, values.dtype.type(0), xp.negative(chosen) * weights)
    total = xp.asarray(xp.add.reduce(weights, axis=None))
    if reduction == "none":
        return rounded(losses, x), rounded(total, x)
    out = xp.asarray(xp.add.reduce(losses, axis=None))
    return rounded(out / total if reduction == "mean" else out, x), rounded(total, x)


@bodies.kernel("nll_loss_grad", dt.FLOATS)
def nll_loss_grad(
    xp: Namespace,
    grad: Array,
    target: Array,
    weight: Array | None,
    total: Array,
    *,
    shape: Ints,
    ignore_index: int,
    reduction: str,
) -> Array:
    """The gradient of nll_loss for an input of ``shape``."""
    axis = 1 if len(shape) > 1 else 0
    values = wide(xp, grad)
    safe, weights = _class_weights(xp, values, target, None if weight is None else wide(xp, weight), ignore_index)
    scaled = -(values / wide(xp, total) if reduction == "mean" else values) * weights
    scaled = xp.where(weights == 0, values.dtype.type(0), scaled)  # also where nothing counts, and total is 0
    out = xp.zeros(shape, grad.dtype)
    index = xp.expand_dims(safe, axis)
    check_index("nll_loss_grad", index.reshape(-1), shape[axis], axis)
    place = positions(xp, tuple(shape), index, axis, index.shape)
    out.reshape(-1)[place.reshape(-1)] = rounded(scaled, grad).reshape(-1)
    return out
