"""Gather, scatter and stable sorting along an axis."""

from __future__ import annotations

import struct
from functools import partial
from math import prod
from typing import Final

from flambeau.backends import layout as lay
from flambeau.backends.dialect import index as texts
from flambeau.backends.dialect import sort as sorting
from flambeau.backends.launched import elementwise
from flambeau.backends.launched.device import Arrays, Device, Kernel
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: Columns that an item of a processor does together.
_WIDTH: Final = 256
#: Results that one item merges, on processors and elsewhere.
_SHARE: Final = {True: 4096, False: 16}
#: Elements of a row up to which merging is faster than going through its digits.
_FEW: Final = 128


def register(backend: Launcher) -> None:
    """Enter the kernels along an axis."""
    table = backend.kernels
    table.register("gather", partial(gather, backend))
    table.register("scatter", partial(scatter, backend))
    for fn in (argsort, sort, topk):
        table.register(fn.__name__, partial(fn, backend), (dt.bool_, *dt.REALS))


def _axes(
    shape: tuple[int, ...], axis: int, strides: tuple[tuple[int, ...], ...]
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The axes but one, merged over several arrays, the innermost last (at least one axis)."""
    others = [a for a in range(len(shape)) if a != axis]
    merged, steps = lay.coalesce(tuple(shape[a] for a in others), *(tuple(s[a] for a in others) for s in strides))
    return (merged, steps) if merged else ((1,), ((0,),) * len(strides))


def _launch(
    backend: Launcher, kernel: Kernel, axis: int, indexed: StridedArray, index: StridedArray, other: StridedArray,
    ins: Arrays, outs: Arrays, ordered: bool,
) -> None:  # fmt: skip
    """Walk the elements of ``index``; ``indexed`` and ``other`` are cut to its shape, but for the axis."""
    device = backend.device(index.index)
    shape, strides = _axes(index.shape, axis, (indexed.strides, index.strides, other.strides))
    fill = (0,) * (texts.MAX_AXES - len(shape) + 1)
    outer, inner, m = prod(shape[:-1]), shape[-1], index.shape[axis]
    width = _WIDTH if inner >= _WIDTH * device.units else max(16, -(-inner // device.units))
    numbers = [outer, m, inner, indexed.shape[axis], indexed.strides[axis], len(shape) - 1, *shape[:-1], *fill]
    for s in strides:
        numbers += [*s[:-1], *fill]
    numbers += [a.strides[axis] for a in (indexed, index, other)] + [s[-1] for s in strides]
    numbers += [indexed.offset, index.offset, other.offset, width, axis]
    if device.target.cpu:
        tasks = outer * -(-inner // width) if ordered else outer * m
        size, group = max(1, min(tasks, max(device.units, outer * m * inner // 8192))), 1
    else:
        _, size, group = elementwise.spread(device, outer * m * inner)
    device.launch(kernel, ins, outs, struct.pack(f"{len(numbers)}q", *numbers), size, group)


def _flat(x: StridedArray) -> StridedArray:
    """A 0-d array as one of a single axis."""
    return x if x.shape else x.viewed((1,), (1,), x.offset)


def gather(backend: Launcher, x: StridedArray, index: StridedArray, *, axis: int) -> StridedArray:
    """An element of ``x`` along ``axis`` for each index; the other axes of ``index`` may be shorter."""
    out = backend.empty(index.shape, x.dtype, x.index)
    if not out.size:
        return out
    device = backend.device(x.index)
    x, index, result = _flat(x), _simple(backend, _flat(index)), _flat(out)
    kernel = device.kernel(("gather", x.dtype), "gather", partial(texts.gather_source, x.dtype, device.target))
    ins, outs = (x, index), (out, device.flag())
    _launch(backend, kernel, axis, _simple(backend, x), index, result, ins, outs, False)
    return out


def _simple(backend: Launcher, x: StridedArray) -> StridedArray:
    """The array itself, or a copy where it has more axes than the kernels walk."""
    return x if x.ndim <= texts.MAX_AXES + 1 else backend.dense(x)


def scatter(
    backend: Launcher, x: StridedArray, index: StridedArray, src: StridedArray, *, axis: int, reduce: str = "set"
) -> StridedArray:
    """``x`` with elements along ``axis`` replaced by, or joined with, those of ``src``."""
    out = backend.empty(x.shape, x.dtype, x.index)
    backend.copy_into(out, x)
    if not index.size:
        return out
    device = backend.device(x.index)
    key = ("scatter", x.dtype, reduce)
    kernel = device.kernel(key, "scatter", partial(texts.scatter_source, x.dtype, reduce, device.target))
    _launch(backend, kernel, axis, _flat(out), _flat(index), _flat(src), (index, src), (out, device.flag()), True)
    return out


# -- sorting -----------------------------------------------------------------------------------------
def argsort(backend: Launcher, x: StridedArray, *, axis: int = -1, descending: bool = False) -> StridedArray:
    """The places that sort ``x`` along an axis, equal elements in their order; nan counts as the largest."""
    if not x.shape or not x.size:
        out = backend.empty(x.shape, dt.int64, x.index)
        elementwise.fill(backend, out, 0)
        return out
    places = _sorted(backend, backend.dense(x.turned((axis % x.ndim,))), descending)
    return backend.dense(places.turned_back(axis, x.ndim))


def sort(
    backend: Launcher, x: StridedArray, *, axis: int = -1, descending: bool = False
) -> tuple[StridedArray, StridedArray]:
    """The elements in order along an axis, and where they stood."""
    places = argsort(backend, x, axis=axis, descending=descending)
    return gather(backend, x, places, axis=axis % max(x.ndim, 1)), places


def topk(
    backend: Launcher, x: StridedArray, *, k: int, axis: int = -1, largest: bool = True
) -> tuple[StridedArray, StridedArray]:
    """The first ``k`` in descending (or ascending) order along an axis, and where they stood."""
    places = argsort(backend, x, axis=axis, descending=largest)
    place = axis % max(x.ndim, 1)
    if x.ndim:
        places = backend.dense(
            places.viewed((*x.shape[:place], k, *x.shape[place + 1 :]), places.strides, places.offset)
        )
    return gather(backend, x, places, axis=place), places


def _sorted(backend: Launcher, x: StridedArray, descending: bool) -> StridedArray:
    """The places that sort the rows of a contiguous array."""
    if not backend.device(x.index).target.cpu or x.shape[-1] <= _FEW:
        return _merged(backend, x, *_keys(backend, x, descending, dt.int64))
    place = dt.int32 if x.shape[-1] < 2**31 else dt.int64
    places = _by_digits(backend, x, *_keys(backend, x, descending, place))
    out = backend.empty(x.shape, dt.int64, x.index)
    backend.copy(out, places)
    return out


def _keys(backend: Launcher, x: StridedArray, descending: bool, place: DType) -> tuple[StridedArray, StridedArray]:
    """The elements of rows as integers in order, and their places."""
    device, n = backend.device(x.index), x.shape[-1]
    keys, places = (backend.empty(x.shape, d, x.index) for d in (sorting.key_type(x.dtype), place))
    text = partial(sorting.keys_source, x.dtype, descending, device.target, place)
    code = device.kernel(("keys", x.dtype, descending, place), "keys", text)
    params = struct.pack("5q", x.size // n, n, x.offset, n, 1)
    device.launch(code, (x,), (keys, places), params, *_items(device, x.size, 8192))
    return keys, places


def _merged(backend: Launcher, x: StridedArray, keys: StridedArray, places: StridedArray) -> StridedArray:
    """Places in the order of the keys, by merging."""
    device, n, key = backend.device(x.index), x.shape[-1], keys.dtype
    rows, target = x.size // n, device.target
    code = device.kernel(("blocks", key), "blocks", partial(sorting.blocks_source, key, target))
    size, group = _items(device, rows * -(-n // sorting.BLOCK), 64)
    device.launch(code, (), (keys, places), struct.pack("2q", rows, n), size, group)
    code = device.kernel(("merge", key), "merge", partial(sorting.merge_source, key, target))
    share, run = _SHARE[target.cpu], sorting.BLOCK
    size, group = _items(device, rows * -(-n // share), 1)
    while run < n:
        keys2, places2 = (backend.empty(x.shape, d, x.index) for d in (key, dt.int64))
        params = struct.pack("4q", rows, n, run, share)
        device.launch(code, (keys, places), (keys2, places2), params, size, group)
        keys, places, run = keys2, places2, 2 * run
    return places


def _by_digits(backend: Launcher, x: StridedArray, keys: StridedArray, places: StridedArray) -> StridedArray:
    """Places in the order of the keys, digit after digit: a row by one item, or its chunks by several."""
    device, n = backend.device(x.index), x.shape[-1]
    rows, digits = x.size // n, keys.dtype.itemsize
    keys2, places2 = (backend.empty(x.shape, v.dtype, x.index) for v in (keys, places))
    kinds = (keys.dtype, places.dtype)
    if rows >= 2 * device.units:
        code = device.kernel(("digits of rows", *kinds), "order", partial(sorting.rows_source, *kinds, device.target))
        outs = (keys, places, keys2, places2)
        items = _items(device, rows, max(1, 4096 // n))
        device.launch(code, (), outs, struct.pack("3q", rows, n, digits), *items)
        return places
    chunks = 2 * device.units
    text = partial(sorting.digits_source, *kinds, device.target)
    count, starts, order = (device.kernel((name, *kinds), name, text) for name in ("count", "starts", "order"))
    counts = backend.empty((rows * sorting.DIGITS * chunks,), dt.int64, x.index)
    for digit in range(digits):
        params = struct.pack("4q", rows, n, -(-n // chunks), 8 * digit)
        device.launch(count, (keys,), (counts,), params, rows * chunks, 1)
        device.launch(starts, (), (counts,), params, rows, 1)
        ins = (keys, places, counts)
        device.launch(order, ins, (keys2, places2), params, rows * chunks, 1)
        keys, places, keys2, places2 = keys2, places2, keys, places
    return places


def _items(device: Device, tasks: int, each: int) -> tuple[int, int]:
    """Work-items for tasks of which an item of a processor does ``each``."""
    if device.target.cpu:
        return max(1, min(-(-tasks // each), 64 * device.units)), 1
    return min(-(-tasks // device.group), device.units * 32) * device.group, device.group
