"""Reductions on numpy: ``ufunc.reduce`` without numpy's Python layer, large ones over the threads.

Threads do not change a result's bits: what they share is cut in a number of pieces that does not depend on them.
"""

from __future__ import annotations

from functools import partial, wraps
from typing import Any, Final

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu import threads
from flambeau.backends.cpu.chunks import along_axis
from flambeau.backends.cpu.native.arrays import over
from flambeau.backends.xp import Array
from flambeau.backends.xp import reduce as xp_reduce
from flambeau.backends.xp import scan as xp_scan
from flambeau.backends.xp import sort as xp_sort
from flambeau.backends.xp.sums import CHAIN, SHORT, add_up
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

Axes = tuple[int, ...] | None

_LARGE: Final = 1 << 20  # elements
#: What there is machine code for: its module, and from how many elements on that is faster.
_NATIVE: Final = {
    **dict.fromkeys(("sum", "mean", "max", "min", "any", "all"), ("reduce", 1 << 14)),
    **dict.fromkeys(("prod", "var", "std", "vector_norm", "logsumexp"), ("reduce", 1 << 12)),
    **dict.fromkeys(("argmax", "argmin"), ("args", 1 << 15)),
}
#: Reductions that numpy does quickly over all axes, up to so many elements.
_QUICK: Final = ("max", "min", "any", "all")
_FEW: Final = 1 << 16
#: Elements from which on machine code scans whatever the order of additions, sorts, and values from which it searches.
_SCANNED: Final = 1 << 13
_SORTED: Final = 1 << 8
_SEARCHED: Final = 1 << 5
_BLOCK: Final = 1 << 18
#: Pieces in which an axis that stays is cut: of much, and of more than that.
_PIECES: Final = 4, 16
_MORE: Final = 1 << 24


def bind(table: KernelTable) -> None:
    for module in (xp_reduce, xp_scan, xp_sort):
        module.bodies.bind(table, np)
    for dtype in dt.ALL:
        table.register("sum", _sum(dtype) if dtype.category >= dt.FLOATING else _reduction(np.add, dtype), (dtype,))
        table.register("prod", _reduction(np.multiply, dtype), (dtype,))
    table.register("max", _bare(np.maximum), dt.BOOLS + dt.REALS)
    table.register("min", _bare(np.minimum), dt.BOOLS + dt.REALS)
    table.register("any", _bare(np.logical_or), dt.ALL)
    table.register("all", _bare(np.logical_and), dt.ALL)
    table.register("mean", _mean(), (dt.float32, dt.float64, *dt.COMPLEXES))
    for name in ("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "affine_scan"):
        _cut(table, name, getattr(xp_scan, name))
    for name in ("argsort", "sort", "topk"):
        _cut(table, name, getattr(xp_sort, name))
        over(table, name, dt.BOOLS + dt.REALS, "sort", _SORTED, planned=1)
    table.register("searchsorted", partial(xp_sort.searchsorted, np), dt.BOOLS + dt.REALS)
    over(table, "searchsorted", dt.BOOLS + dt.REALS, "search", _SEARCHED, 1, planned=2)
    for name in ("cumsum", "cumprod", "cummax", "cummin"):
        over(table, name, (*dt.FLOATS, dt.int64), "scan", _SCANNED, planned=1)
    over(table, "logcumsumexp", dt.FLOATS, "scan", _SCANNED)
    quick = {(name, dtype): _own(table, name, dtype) for name in _QUICK for dtype in (dt.float32, dt.float64)}
    for name, (family, least) in _NATIVE.items():
        over(table, name, dt.FLOATS, family, least)
    for (name, dtype), usual in quick.items():
        table.register(name, _whole(usual, _own(table, name, dtype)), (dtype,))


def _own(table: KernelTable, name: str, dtype: DType) -> Kernel:
    entry = table.own(name, dtype)
    assert entry is not None, f"no kernel {name} for {dtype.name}"
    return entry.fn


def _whole(usual: Kernel, other: Kernel) -> Kernel:
    """``usual`` for few numbers over all axes."""

    @wraps(usual)
    def kernel(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
        if x.size < _FEW and (axis is None or len(axis) == x.ndim):
            whole: Array = usual(x, axis=axis, keepdims=keepdims)
            return whole
        found: Array = other(x, axis=axis, keepdims=keepdims)
        return found

    return kernel


def _cut(table: KernelTable, name: str, body: Kernel) -> None:
    """Replace a kernel along one axis by itself in chunks, for the dtypes it serves."""
    served = [d for d in dt.ALL if table.own(name, d) is not None]
    table.register(name, partial(along_axis, body), served)


def _reduction(ufunc: np.ufunc, dtype: DType) -> Kernel:
    if dtype in dt.LOW_PRECISION:
        return _through_float32(ufunc)
    if dtype.category == dt.BOOL or dtype.category == dt.INTEGER and dtype.itemsize < 8:
        return _bare(ufunc, dtype.numpy)
    return _bare(ufunc)


def _bare(ufunc: np.ufunc, dtype: np.dtype[Any] | None = None) -> Kernel:
    """The bare reduction, in ``dtype`` where numpy would choose a wider one. ``out=...`` makes a 0-d array for free."""
    native = ufunc.reduce

    def kernel(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
        if x.size < _LARGE:
            return native(x, axis=axis, keepdims=keepdims, out=...)
        return _large(partial(native, dtype=dtype), x, axis, keepdims)

    def typed(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
        return native(x, axis=axis, dtype=dtype, keepdims=keepdims, out=...)

    return kernel if dtype is None else typed


def _sum(dtype: DType) -> Kernel:
    """The sum of numbers that are rounded; low precision is added in float32, and rounded once."""
    native = np.add.reduce

    def kernel(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
        if x.size >= _LARGE:
            return _large(_add_up, x, axis, keepdims)
        if x.size <= SHORT or _is_safe(x, axis):
            return native(x, axis=axis, keepdims=keepdims, out=...)
        return _add_up(x, axis, keepdims)

    def low(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
        found = _add_up(x, axis, keepdims) if x.size < _LARGE else _large(_add_up, x, axis, keepdims)
        return found.astype(dtype.numpy)

    return low if dtype in dt.LOW_PRECISION else kernel


def _is_safe(x: Array, axis: Axes) -> bool:
    """Whether numpy adds pairwise, or little, seen at once; :func:`add_up` looks closer."""
    if axis is None:
        dense: bool = x.flags.forc
        return dense
    return len(axis) == 1 and (x.shape[axis[0]] <= CHAIN or (axis[0] in (x.ndim - 1, -1) and x.flags.c_contiguous))


def _add_up(x: Array, axis: Axes = None, keepdims: bool = False) -> Array:
    return add_up(np, x, axis, keepdims, np.float32 if x.itemsize == 2 else None)


def _mean() -> Kernel:
    """The sum over the number of elements."""
    total, divide = _sum(dt.float32), np.true_divide

    def kernel(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
        out = total(x, axis=axis, keepdims=keepdims)
        return divide(out, x.size / out.size, out) if out.size else out

    return kernel


def _through_float32(ufunc: np.ufunc) -> Kernel:
    """Accumulated in float32 and rounded once."""
    native = partial(ufunc.reduce, dtype=np.float32)

    def kernel(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
        found = (
            native(x, axis=axis, keepdims=keepdims, out=...) if x.size < _LARGE else _large(native, x, axis, keepdims)
        )
        return found.astype(x.dtype)

    return kernel


def _large(native: Kernel, x: Array, axis: Axes, keepdims: bool) -> Array:
    """``native`` over the threads, where the operand can be cut."""
    stays = () if axis is None else tuple(i for i in range(x.ndim) if i not in axis and x.shape[i] > 1)
    if stays:
        return _cut_along(native, x, axis, keepdims, max(stays, key=lambda i: (x.shape[i] >= 8, -i)))
    if not x.flags.forc:
        return np.asarray(native(x, axis=axis, keepdims=keepdims))
    flat = x.reshape(-1, order="A")
    blocks = [flat[i : i + _BLOCK] for i in range(0, flat.size, _BLOCK)]

    def some(part: slice) -> list[Array]:
        return [native(b, axis=None) for b in blocks[part]]

    found = threads.run([partial(some, part) for part in threads.ranges(len(blocks), threads.num_threads())])
    total = np.asarray(native(np.array([v for part in found for v in part]), axis=None))
    return total.reshape((1,) * x.ndim) if keepdims else total


def _cut_along(native: Kernel, x: Array, axis: Axes, keepdims: bool, cut: int) -> Array:
    pieces = threads.ranges(x.shape[cut], _PIECES[x.size >= _MORE])

    def some(part: slice) -> list[Array]:
        return [native(x[(slice(None),) * cut + (piece,)], axis=axis, keepdims=True) for piece in pieces[part]]

    parts = [partial(some, part) for part in threads.ranges(len(pieces), threads.num_threads())]
    total = np.concatenate([v for found in threads.run(parts) for v in found], cut)
    return total if keepdims else total.squeeze(axis)
