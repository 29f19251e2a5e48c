"""Writing by index along an axis: set, add, multiply, or keep the larger or smaller; every index checked on the way.

What meets at one place is combined in order, the same for any number of threads. Floats of at most 32 bits are added
up in float64 where there are not many more places than numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds, groups
from flambeau.backends.cpu.native.lanes import Span, dtype_name, lanes, served
from flambeau.backends.cpu.native.places import (
    CHUNK,
    UNITS,
    Checked,
    Indexed,
    copy_row,
    indexed,
    kind_of,
    movable,
    readable,
    vector,
)  # fmt: skip
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.casts import REGISTER
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.planned import FLAG, OPERAND, RESULT, SCRATCH, WORK, plan
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, I64, PTR, Type
from flambeau.backends.xp import index as xp_index
from flambeau.backends.xp.sums import BLOCK
from flambeau.core import config
from flambeau.core.dtype import dtype_named

Array = np.ndarray[Any, Any]

#: How many times as large as what is added a target may be to be added up in float64.
_SPARSE: Final = 16
#: Bytes of float64 sums that a thread works in, where it may choose.
_ROOM: Final = 1 << 18
#: What a scatter may combine, by dtype: floats of 16 bits only as sums in float64.
_COMBINED: Final = ("float32", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def _combine(f: Function, reduce: str, signed: bool, a: Value, b: Value) -> Value:
    if reduce == "add":
        return a + b
    if reduce == "prod":
        return a * b
    largest = reduce == "amax"
    if a.type.kind == "float":
        return folds.nan_or(f, "max" if largest else "min", a, b)
    condition = ("gt" if largest else "lt") if signed else ("ugt" if largest else "ult")
    return f.select(a.compare(condition, b), a, b)


class _Put(JobFunction):
    """A scatter being written.

    (out, index, src, scratch, flag, outer, along, inner, size of the axis, three strides of out, src and index, outer
    ones of a chunk, blocks of what is behind, and how many of a block)
    """

    def __init__(self, target: Target, name: str, wrap: bool):
        super().__init__(Module(target), name + "_wrapped" * wrap, [PTR] * 5 + [I64] * 16)
        self.out, self.index, self.src, self.scratch, self.flag, self.outer, self.along, self.inner, self.n = (
            self.values[:9]
        )
        self.to, self.read, self.where = self.values[9:12], self.values[12:15], self.values[15:18]
        self.per, self.blocks, self.size = self.values[18:21]
        self.checked = Checked(self, self.n, self.flag, wrap)
        self.start, self.parts = folds.blocks_of(self, self.blocks, self.size, self.per, self.outer)
        self.width = folds.least(self, self.inner - self.start, self.size)

    def done(self) -> Job:
        """What was written, compiled."""
        self.ret()
        return jobs(self)[0]


@cache
def _put(target: Target, kind: str, reduce: str, name: str, wrap: bool) -> Job:
    """Combine in place; ``name`` is a dtype, or the size of what is set."""
    f = _Put(target, f"put_{kind}_{reduce}_{name}", wrap)
    dtype = None if reduce == "set" else dtype_named(name)
    unit: Type = UNITS[int(name)] if dtype is None else REGISTER[dtype]

    def one(to: Value, source: Value, lanes: int = 1) -> None:
        t = unit.vector(lanes) if lanes > 1 else unit
        b = f.load(t, source)
        f.store(b if dtype is None else _combine(f, reduce, dtype.is_signed, f.load(t, to), b), to)

    def row(to: Value, source: Value) -> None:
        if dtype is None:
            copy_row(f, unit, source, to, f.width)
            return
        lanes = 64 // unit.bytes
        main = f.width & ~(lanes - 1)
        for c in f.range(0, main, lanes):
            one(to + c * unit.bytes, source + c * unit.bytes, lanes)
        for c in f.range(main, f.width):
            one(to + c * unit.bytes, source + c * unit.bytes)

    for o in f.parts:
        skip = f.start
        base, source = f.out + o * f.to[0] + skip * f.to[2], f.src + o * f.read[0] + skip * f.read[2]
        at = f.index + o * f.where[0] + skip * f.where[2]
        if kind == "flat":
            for j, i in f.checked.each(at, f.where[1], 0, f.along):
                one(base + i * f.to[1], source + j * f.read[1])
            continue
        for j in f.range(0, f.along):
            here, where = source + j * f.read[1], at + j * f.where[1]
            if kind == "rows":
                row(base + f.checked.one(where) * f.to[1], here)
            else:
                for c, i in f.checked.each(where, f.where[2], 0, f.width):
                    one(base + i * f.to[1] + c * f.to[2], here + c * f.read[2])
    return f.done()


@cache
def _add(target: Target, kind: str, name: str, wrap: bool) -> Job:
    """Add up in float64: each outer part, or block of one, goes to the thread's scratch and back."""
    f = _Put(target, f"add_{kind}_{name}", wrap)
    read, wide = lanes(name), F64.vector(lanes(name).count)
    room = f.scratch + f.thread * f.n * f.size * F64.bytes

    def whole(base: Value, back: bool) -> None:
        """What stands in ``out`` to the scratch, or back."""
        length, rows = (f.n, f.constant(I64, 1)) if kind == "flat" else (f.width, f.n)
        span = Span(f, length, read.count)
        for r in f.range(0, rows):
            there, here = base + r * f.to[1], room + r * f.size * F64.bytes

            def move(i: Value, mask: Value | None, there: Value = there, here: Value = here) -> None:
                if back:
                    x = f.load(wide, here, i) if mask is None else f.load_masked(wide, here, i, mask)
                    folds.put(f, read, x, there, i, mask)
                else:
                    folds.put_raw(f, folds.wider(f, read.load(f, there, i, mask)), here, i, mask)

            span.each(move)

    def one(to: Value, where: Value) -> None:
        f.store(f.load(F64, room, to) + folds.wider(f, read.load_one(f, where)), room, to)

    for o in f.parts:
        skip = f.start
        base, source = f.out + o * f.to[0] + skip * f.to[2], f.src + o * f.read[0] + skip * f.read[2]
        at = f.index + o * f.where[0] + skip * f.where[2]
        whole(base, False)
        if kind == "flat":
            for j, i in f.checked.each(at, f.where[1], 0, f.along):
                one(i, source + j * f.read[1])
        else:
            for j in f.range(0, f.along):
                for c, i in f.checked.each(at + j * f.where[1], f.where[2], 0, f.width):
                    one(i * f.size + c, source + j * f.read[1] + c * f.read[2])
        whole(base, True)
    return f.done()


@dataclass(frozen=True)
class _Write:
    """A scatter that can be done: its job and chunks, the float64 numbers of scratch that a thread of it needs, and
    what it takes behind the addresses."""

    job: Job
    chunks: int
    room: int
    values: tuple[int, ...]


def _write(
    target: Target, to: Indexed | None, read: Indexed, index: Indexed, reduce: str, summed: bool, wrap: bool
) -> _Write | None:
    """How ``read`` is combined with what ``to`` has, ``summed`` in float64 or in place; None where nothing serves."""
    outer, count, inner = index.sizes
    if to is None or not to.sizes[1] or to.sizes[0] != outer or to.sizes[2] != inner:
        return None
    n, item, name, kind = to.sizes[1], to.x.itemsize, dtype_name(to.x.dtype), kind_of(index, to, read)
    if not summed and reduce != "set" and name not in _COMBINED:
        return None
    room = 0
    if summed:
        if kind == "flat" and n > 1 and to.strides[1] != item or kind != "flat" and to.strides[2] != item:
            return None
        kind = "each" if kind == "rows" else kind
        size = max(min(inner, 8), min(inner, _ROOM // (8 * n)))
        room, job = n * size, _add(target, kind, name, wrap)
    else:
        size = min(inner, max(CHUNK // (4 * count), 64))
        job = _put(target, kind, reduce, str(item) if reduce == "set" else name, wrap)
    blocks, per = -(-inner // size), max(1, CHUNK // (count * inner))
    values = (
        outer, count, inner, n, *to.strides, *read.strides, *index.strides, per, blocks, size,
    )  # fmt: skip
    return _Write(job, -(-outer // per) * blocks, room, values)


def _is_summed(x: Array, places: int, size: int, target: Target) -> bool:
    """Whether what is added is added up in float64: many numbers of fewer bits, at ``size`` places."""
    return size <= _SPARSE * places and dtype_name(x.dtype) != "float64" and served(x, target)


def _scattered(
    target: Target, out: Array, index: Indexed, src: Array, axis: int, reduce: str, wrap: bool = False
) -> bool:
    """Combine ``src`` with a new dense ``out``; False where nothing here serves it, or an index is outside."""
    to, read = indexed(out, axis), readable(src, axis)
    summed = reduce == "add" and _is_summed(out, index.count, out.size, target)
    found = _write(target, to, read, index, reduce, summed, wrap)
    if found is None:
        return False
    most = max(1, config.get("num_threads")) if found.room else 1 << 32
    room = np.empty(most * found.room if found.room else 0)
    flag = np.zeros(1, np.int64)
    addresses = (address(v) for v in (out, index.x, read.x, room, flag))
    found.job(found.chunks, *addresses, *found.values, most=most)
    return not flag[0]


def _plan(
    target: Target, to: Indexed | None, index: Indexed, read: Indexed, order: tuple[int, int, int], reduce: str,
    summed: bool, wrap: bool, whole: Array,
) -> bytes | None:  # fmt: skip
    """The plan of a scatter into a copy of ``whole``; ``order`` says which operands that, index and source are."""
    found = _write(target, to, read, index, reduce, summed, wrap)
    if found is None or found.chunks > 1 or 8 * found.room > SCRATCH:
        return None
    where = OPERAND[order[1]], OPERAND[order[2]]
    dtypes = [d for _, d in sorted(zip(order, (whole.dtype, index.x.dtype, read.x.dtype), strict=True))]
    return plan(
        found.job, (RESULT[0], *where, WORK, FLAG, *found.values), dtypes, (whole.shape, whole.dtype),
        copied=whole.nbytes,
    )  # fmt: skip


def _parts(x: Array, index: Array, src: Array, axis: int) -> tuple[Array, Array]:
    """What an index of the rank of ``x`` and ``src`` may point to, and what it takes."""
    within = x[tuple([slice(None) if i == axis else slice(n) for i, n in enumerate(index.shape)])]
    return within, src[tuple([slice(n) for n in index.shape])]


def _same_for_all(index: Indexed) -> bool:
    """Whether it says the same wherever it stands before and behind its axis: a vector that was expanded."""
    return index.sizes[2] > 1 and index.strides[::2] == (0, 0)


def scatter(
    target: Target, x: Array, index: Array, src: Array, *, axis: int, reduce: str = "set"
) -> Array | None:  # fmt: skip
    """A copy of ``x`` with ``src`` set, added, multiplied, or kept if larger or smaller, where ``index`` points."""
    if not index.size or not index.ndim or x.dtype != src.dtype or not movable(x, index, src):
        return None
    axis %= x.ndim
    out = x.copy("C")
    within, values = _parts(out, index, src, axis)
    at = readable(index, axis)
    if reduce == "add" and _same_for_all(at) and within.size == out.size:
        return index_add(target, x, index[(0,) * axis + (slice(None),) + (0,) * (x.ndim - axis - 1)], values, axis=axis)
    done = _scattered(target, within, at, values, axis, reduce)
    return out if done else None


def plan_scatter(
    target: Target, large: bool, x: Array, index: Array, src: Array, *, axis: int, reduce: str = "set"
) -> bytes | None:
    """Extremes of floats have none: of 0.0 and -0.0 numpy keeps another one."""
    if not index.size or not x.size or not x.ndim or x.dtype is not src.dtype or not movable(x, index, src):
        return None
    if not x.flags.c_contiguous or reduce in ("amax", "amin") and x.dtype.kind not in "iu":
        return None
    axis %= x.ndim
    within, values = _parts(x, index, src, axis)
    at, read = indexed(index, axis), indexed(values, axis)
    if at is None or read is None or reduce == "add" and _same_for_all(at):
        return None
    many = reduce == "add" and at.count > BLOCK
    summed = many and _is_summed(x, at.count, x.size, target)
    if summed != (many and _is_summed(x, at.count, within.size, target)):
        return None
    return _plan(target, indexed(within, axis), at, read, (0, 1, 2), reduce, summed, False, x)


def scatter_reduce(
    target: Target, x: Array, index: Array, src: Array, *, axis: int, reduce: str, include_self: bool = True
) -> Array | None:
    """Values that meet at one place combined there: sum, mean, prod, amax or amin."""
    kind = {"sum": "add", "mean": "add"}.get(reduce, reduce)
    if include_self and reduce != "mean":
        return scatter(target, x, index, src, axis=axis, reduce=kind)
    if dtype_name(x.dtype) not in _COMBINED:
        return None
    start: Array | None = x
    if not include_self:
        nothing = np.broadcast_to(np.asarray(xp_index.identity(x.dtype, reduce), x.dtype), index.shape)
        start = scatter(target, x, index, nothing, axis=axis)
    total = None if start is None else scatter(target, start, index, src, axis=axis, reduce=kind)
    if total is None or reduce != "mean":
        return total
    ones = np.broadcast_to(np.ones((), np.int64), index.shape)
    met = scatter(target, np.full(x.shape, int(include_self)), index, ones, axis=axis, reduce="add")
    if met is None:
        return None
    shared = np.maximum(met, 1).astype(x.dtype)
    mean: Array = total / shared if x.dtype.kind == "f" else total // shared
    return mean


def plan_scatter_reduce(
    target: Target, large: bool, x: Array, index: Array, src: Array, *, axis: int, reduce: str,
    include_self: bool = True,
) -> bytes | None:  # fmt: skip
    if not include_self or reduce not in ("prod", "amax", "amin"):
        return None
    return plan_scatter(target, large, x, index, src, axis=axis, reduce=reduce)


def _by_vector(
    target: Target, x: Array, index: Array, src: Array, axis: int, reduce: str, wrap: bool = False
) -> Array | None:
    """``x`` with slices of ``src`` set or added at the places of a vector."""
    if not x.ndim or not src.size or not x.size or x.dtype != src.dtype or not movable(x, index, src):
        return None
    axis %= x.ndim
    rows = readable(src, axis)
    at = vector(index, rows)
    if reduce == "add" and served(x, target) and rows.sizes[2] > 1:
        if rows.strides[2] != src.itemsize:
            rows = readable(np.ascontiguousarray(src), axis)
        found = groups.add_rows(target, np.ascontiguousarray(x), rows, at, x.shape[axis], wrap=wrap)
        return None if found is None else found.reshape(x.shape)
    out = x.copy("C")
    return out if _scattered(target, out, at, src, axis, reduce, wrap) else None


def _plan_by_vector(
    target: Target, large: bool, x: Array, index: Array, src: Array, order: tuple[int, int, int], axis: int,
    reduce: str, wrap: bool,
) -> bytes | None:  # fmt: skip
    """A few slices of floats are added as they stand; of many, those of one number each have a job of one kind."""
    if not src.size or not x.size or x.dtype is not src.dtype or not movable(x, index, src):
        return None
    rows = indexed(src, axis)
    if not x.flags.c_contiguous or index.ndim != 1 or rows is None:
        return None
    summed = False
    if reduce == "add" and x.dtype.kind not in "iu":
        if large:
            if rows.sizes[2] > 1:
                return None
            summed = _is_summed(x, src.size, x.size, target)
        elif index.size > BLOCK:
            return None
    return _plan(target, indexed(x, axis), vector(index, rows), rows, order, reduce, summed, wrap, x)


def index_add(target: Target, x: Array, index: Array, src: Array, *, axis: int) -> Array | None:
    """``x`` with the slices of ``src`` added at the places of a vector of indices."""
    return _by_vector(target, x, index, src, axis, "add")


def plan_index_add(
    target: Target, large: bool, x: Array, index: Array, src: Array, *, axis: int
) -> bytes | None:  # fmt: skip
    return _plan_by_vector(target, large, x, index, src, (0, 1, 2), axis % max(x.ndim, 1), "add", False)


def index_put(
    target: Target, x: Array, values: Array, *indices: Array, axis: int, accumulate: bool
) -> Array | None:  # fmt: skip
    """``x`` with ``values``, broadcast, set or added at integer arrays, one per axis from ``axis`` on."""
    count = len(indices)
    if any(not v.size for v in indices) or not x.size or not movable(*indices) or count > 1 and not accumulate:
        return None
    place, sizes, wrap = indices[0], x.shape[axis : axis + count], True
    if count > 1:
        place, wrap = np.asarray(0), False
        for index, n in zip(xp_index.wrapped("index_put", x.shape, indices, axis)[axis:], sizes, strict=True):
            place = place * n + index
    before, after = x.shape[:axis], x.shape[axis + count :]
    rows = np.broadcast_to(values, (*before, *place.shape, *after)).reshape((*before, place.size, *after))
    merged = x.reshape((*before, prod(sizes), *after))
    found = _by_vector(target, merged, place.reshape(-1), rows, axis, "add" if accumulate else "set", wrap)
    return None if found is None else found.reshape(x.shape)


def plan_index_put(
    target: Target, large: bool, x: Array, values: Array, index: Array, *, axis: int, accumulate: bool
) -> bytes | None:
    if index.ndim != 1 or not values.size:
        return None
    rows = np.broadcast_to(values, (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))
    reduce = "add" if accumulate else "set"
    return _plan_by_vector(target, large, x, index, rows, (0, 2, 1), axis, reduce, True)


def put_at(target: Target, x: Array, values: Array, *indices: Array, axis: int, accumulate: bool) -> Array | None:
    """:func:`index_put` in the memory of ``x``; nothing is written where it raises."""
    if not accumulate:
        return _set_at(target, x, values, indices, axis)
    if x.size > _SPARSE * max(values.size, *[v.size for v in indices]):
        return None
    found = index_put(target, x, values, *indices, axis=axis, accumulate=True)
    if found is not None:
        x[...] = found
    return found


def _set_at(target: Target, x: Array, values: Array, indices: tuple[Array, ...], axis: int) -> Array | None:
    """Slices of ``x`` set, where one array says which."""
    usable = x.flags.writeable and x.dtype == values.dtype and movable(x, values, *indices)
    if len(indices) != 1 or not x.size or not indices[0].size or not usable:
        return None
    (place,) = xp_index.wrapped("index_put", x.shape, indices, axis)[axis:]
    shape = (*x.shape[:axis], *place.shape, *x.shape[axis + 1 :])
    rows = np.broadcast_to(values, shape).reshape((*x.shape[:axis], place.size, *x.shape[axis + 1 :]))
    if np.may_share_memory(x, values):
        rows = rows.copy()
    return x if _scattered(target, x, vector(place, readable(rows, axis)), rows, axis, "set") else None


def embedding_grad(target: Target, grad: Array, index: Array, *, rows: int, padding_idx: int) -> Array | None:
    """The elements of ``grad`` (..., width) added to the rows that ``index`` (...) says, but not to ``padding_idx``."""
    if not grad.size or not rows or not served(grad, target) or not movable(index):
        return None
    source = indexed(grad.reshape(index.size, -1), 0)
    if source is None or source.strides[2] != grad.itemsize and source.sizes[2] > 1:
        source = readable(np.ascontiguousarray(grad).reshape(index.size, -1), 0)
    found = groups.add_rows(target, None, source, vector(index, source), rows, padding_idx)
    return None if found is None else found.reshape(rows, grad.shape[-1])


def sum_rows(target: Target, x: Array, source: Array, to: Array, *, size: int) -> Array | None:
    """The rows ``source`` of ``x`` added up in the ``size`` rows that ``to`` says."""
    if not x.size or not size or not to.size or not served(x, target) or not movable(source, to):
        return None
    xp_index.check_index("sum_rows", source, x.shape[0], 0)
    rows = readable(x if x.strides[1] == x.itemsize else np.ascontiguousarray(x), 0)
    found = groups.add_rows(target, None, rows, vector(to, rows), size, via=source)
    return None if found is None else found.reshape(size, x.shape[1])


KERNELS: Final = {
    "scatter": scatter, "scatter_reduce": scatter_reduce, "index_add": index_add, "index_put": index_put,
    "put_at": put_at, "embedding_grad": embedding_grad, "sum_rows": sum_rows,
}  # fmt: skip
PLANS: Final = {
    "scatter": plan_scatter, "scatter_reduce": plan_scatter_reduce, "index_add": plan_index_add,
    "index_put": plan_index_put,
}  # fmt: skip
