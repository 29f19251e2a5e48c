"""Running sums, products and extremes, and running logarithms of sums of exponentials, along any axis.

Sums and products are float64 whatever is read, and rounded when they are written. A row goes by eight numbers, whose
running sums take three steps (W. D. Hillis, G. L. Steele, "Data parallel algorithms", 1986); columns go side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from math import inf, prod
from typing import Any, Final, TypeAlias

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import Lanes, Span, dtype_name, lanes, served
from flambeau.backends.cpu.native.places import movable
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm import maths
from flambeau.backends.llvm.ir import Function, Value, Variable
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.planned import OPERAND, RESULT, plan
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, I64, PTR

Array = np.ndarray[Any, Any]
Join: TypeAlias = Callable[[Value, Value], Value]

_CHUNK: Final = 1 << 16
#: The most columns of a chunk.
_BLOCK: Final = 512
_EIGHT: Final = 8
#: Rows from which on they are better turned to columns than taken by one lane.
_MANY: Final = 8
#: Rows that are summed side by side.
_TOGETHER: Final = 4


def _join(name: str, a: Value, b: Value) -> Value:
    return a + b if name == "cumsum" else a * b


def _start(name: str) -> float:
    return {"cumsum": -0.0, "cumprod": 1.0, "cummax": -inf, "cummin": inf, "logcumsumexp": -inf}[name]


# -- rows ------------------------------------------------------------------------------------------
def _prefix(f: Function, x: Value, nothing: Value, join: Join) -> Value:
    """The running results within a vector of eight; ``nothing`` changes none."""
    for by in (1, 2, 4):
        x = join(f.shuffle(nothing, x, [*range(by), *range(_EIGHT, 2 * _EIGHT - by)]), x)
    return x


def _carried(f: Function, x: Value, carry: Variable, nothing: float, join: Join) -> Value:
    """The running results of a vector and all before it, which ``carry`` has in every lane."""
    found = _prefix(f, x, f.constant(x.type, nothing), join)
    before = carry.now
    carry.set(join(before, f.shuffle(found, None, [_EIGHT - 1] * _EIGHT)))
    return join(before, found)


@cache
def _rows(target: Target, source: str, name: str) -> Job:
    """A scan of rows: (x, out, places of extremes, rows, rows of a chunk, length)."""
    f = JobFunction(Module(target), f"{name}_rows_{source}", [PTR] * 3 + [I64] * 3)
    x, out, places, total, per, count = f.values
    read = replace(lanes(source), bytes=_EIGHT * lanes(source).compute.bytes)
    first, span = f.chunk * per, Span(f, count, _EIGHT)
    for r in f.range(first, folds.least(f, first + per, total)):
        at = r * count
        here = at * read.memory.bytes
        if name in ("cummax", "cummin"):
            _extreme_row(f, read, name, span, (x + here, out + here, places + at * 8))
        else:
            _sum_row(f, read, name, span, (x + here, out + here))
    f.ret()
    return jobs(f)[0]


def _sum_row(f: Function, read: Lanes, name: str, span: Span, pointers: tuple[Value, Value]) -> None:
    x, out = pointers
    carry = f.variable(F64.vector(_EIGHT), _start(name))

    def body(i: Value, mask: Value | None) -> None:
        v = folds.wider(f, read.load(f, x, i, mask))
        folds.put(f, read, _carried(f, v, carry, _start(name), partial(_join, name)), out, i, mask)

    span.each(body)


def _extreme_row(f: Function, read: Lanes, name: str, span: Span, pointers: tuple[Value, Value, Value]) -> None:
    x, out, places = pointers
    numbers = I64.vector(_EIGHT)
    best, last = f.variable(read.vector, _start(name)), f.variable(numbers, 0)

    def join(a: Value, b: Value) -> Value:
        return folds.nan_or(f, name[3:], a, b)

    def later(a: Value, b: Value) -> Value:
        return f.select(a > b, a, b)

    def body(i: Value, mask: Value | None) -> None:
        v = read.load(f, x, i, mask, _start(name))
        found = _carried(f, v, best, _start(name), join)
        read.store(f, found, out, i, mask)
        here = f.select(v.eq(found) | v.is_nan(), f.splat(i, _EIGHT) + f.lanes(numbers), 0)
        folds.put_raw(f, _carried(f, here, last, 0, later), places, i, mask)

    span.each(body)


def _better(name: str, x: Value, best: Value) -> Value:
    """Whether a number takes the place of the best so far: as good, better, or nan."""
    return (x >= best if name == "cummax" else x <= best) | x.is_nan()


# -- columns ---------------------------------------------------------------------------------------
class _Columns:
    """Columns side by side, and what is known of each of them so far."""

    def __init__(self, f: JobFunction, read: Lanes, name: str, pointers: list[Value], width: Value):
        self.f, self.read, self.name, self.pointers = f, read, name, pointers
        self.span = Span(f, width, read.count)
        self.wide = F64.vector(read.count)
        kinds = {"cumsum": [F64], "cumprod": [F64], "logcumsumexp": [read.compute, F64]}.get(name, [read.compute, I64])
        self.buffers = [f.buffer(_BLOCK * t.bytes) for t in kinds]
        self.starts = [f.constant(t.vector(read.count), s) for t, s in zip(kinds, (_start(name), 0), strict=False)]

    def begin(self) -> None:
        """Nothing was taken yet."""

        def body(j: Value, mask: Value | None) -> None:
            for x, buffer in zip(self.starts, self.buffers, strict=True):
                self.f.store(x, buffer, j)

        self.span.each(body)

    def step(self, row: Value, at: Value) -> None:
        """Take a row of numbers ``at`` elements on."""
        one = {"cumsum": self._sum, "cumprod": self._sum, "logcumsumexp": self._log}.get(self.name, self._extreme)
        self.span.each(lambda j, mask: one(row, at + j, j, mask))

    def _sum(self, row: Value, i: Value, j: Value, mask: Value | None) -> None:
        f, read, (have,), (x, out) = self.f, self.read, self.buffers, self.pointers
        now = _join(self.name, f.load(self.wide, have, j), folds.wider(f, read.load(f, x, i, mask)))
        f.store(now, have, j)
        folds.put(f, read, now, out, i, mask)

    def _extreme(self, row: Value, i: Value, j: Value, mask: Value | None) -> None:
        f, read, (bests, places), (x0, out, out_places) = self.f, self.read, self.buffers, self.pointers
        x, best = read.load(f, x0, i, mask), f.load(read.vector, bests, j)
        better = _better(self.name, x, best)
        best = f.select(better, x, best)
        place = f.select(better, f.splat(row, read.count), f.load(I64.vector(read.count), places, j))
        f.store(best, bests, j)
        f.store(place, places, j)
        read.store(f, best, out, i, mask)
        folds.put_raw(f, place, out_places, i, mask)

    def _log(self, row: Value, i: Value, j: Value, mask: Value | None) -> None:
        """The sum is of exp(x - largest so far)."""
        f, read, (tops, sums), (x0, out) = self.f, self.read, self.buffers, self.pointers
        x, top = read.load(f, x0, i, mask), f.load(read.vector, tops, j)
        e = f.select(x.eq(top), 1.0, maths.exp_nonpositive(f, -f.apply("fabs", x - top)))
        e, have = folds.wider(f, e), f.load(self.wide, sums, j)
        now = f.select(x <= top, have + e, have * e + 1.0)
        top = f.maximum(x, top)
        f.store(now, sums, j)
        f.store(top, tops, j)
        log = maths.log(f, now.convert("fptrunc", read.compute) if read.compute != F64 else now)
        read.store(f, top + log, out, i, mask)


@cache
def _columns(target: Target, source: str, name: str) -> Job:
    """A scan down columns: (x, out, places of extremes, columns, blocks, length, outer ones of a chunk, outer ones)."""
    pointers = 3 if name in ("cummax", "cummin") else 2
    f = JobFunction(Module(target), f"{name}_columns_{source}", [PTR] * pointers + [I64] * 5)
    *ps, width, blocks, count, per, total = f.values
    first, parts = folds.blocks_of(f, blocks, _BLOCK, per, total)
    columns = _Columns(f, lanes(source), name, ps, folds.least(f, width - first, _BLOCK))
    for o in parts:
        start = o * count * width + first
        columns.begin()
        for r in f.range(0, count):
            columns.step(r, start + r * width)
    f.ret()
    return jobs(f)[0]


# -- rows that are few or short ----------------------------------------------------------------------
@cache
def _in_order(target: Target, source: str, name: str) -> Job:
    """Sums or products one after the other, as numpy has them: (x, out, rows, length)."""
    f = JobFunction(Module(target), f"{name}_in_order_{source}", [PTR] * 2 + [I64] * 2)
    x, out, total, count = f.values
    memory = I64 if source == "int64" else lanes(source).memory
    wide = I64 if source == "int64" else F64

    def together(first: Value, rows: int) -> None:
        """Rows side by side: none waits for what another adds."""
        carries = [f.variable(wide, int(_start(name)) if wide == I64 else _start(name)) for _ in range(rows)]
        for i in f.range(0, count):
            for u, carry in enumerate(carries):
                at = (first + u) * count + i
                v = f.load(memory, x, at)
                carry.set(_join(name, carry.now, v if wide == I64 else folds.wider(f, v)))
                f.store(carry.now if wide == memory else carry.now.convert("fptrunc", memory), out, at)

    whole = total & ~(_TOGETHER - 1)
    for r in f.range(0, whole, _TOGETHER):
        together(r, _TOGETHER)
    for r in f.range(whole, total):
        together(r, 1)
    f.ret()
    return jobs(f)[0]


# -- the scans -------------------------------------------------------------------------------------
def _run(target: Target, name: str, x: Array, axis: int) -> tuple[Array, ...] | None:
    """The results along an axis, in memory of the order of ``x``'s axes."""
    if not x.size or x.ndim == 0 or not served(x, target):
        return None
    axis %= x.ndim
    x = x if x.flags.c_contiguous else np.ascontiguousarray(x)
    count, width, source = x.shape[axis], prod(x.shape[axis + 1 :]), dtype_name(x.dtype)
    outs: tuple[Array, ...] = (np.empty_like(x),)
    if name in ("cummax", "cummin"):
        outs = (*outs, np.empty(x.shape, np.int64))
    ps = [address(v) for v in (x, *outs)]
    total, per = x.size // count, max(1, _CHUNK // count)
    if width > 1 or name == "logcumsumexp":
        blocks, parts = -(-width // _BLOCK), x.size // (count * width)
        few = max(1, _CHUNK // (count * width))
        _columns(target, source, name)(-(-parts // few) * blocks, *ps, width, blocks, count, few, parts)
    else:
        _rows(target, source, name)(-(-total // per), *ps[:2], ps[-1], total, per, count)
    return outs


def _one(name: str, target: Target, x: Array, *, axis: int) -> Array | None:
    found = _run(target, name, x, axis)
    return None if found is None else found[0]


def _two(name: str, target: Target, x: Array, *, axis: int) -> tuple[Array, Array] | None:
    found = _run(target, name, x, axis)
    return None if found is None else (found[0], found[1])


def logcumsumexp(target: Target, x: Array, *, axis: int) -> Array | None:
    """log(cumsum(exp(x))) without overflow; rows are turned to columns and back, if there are some."""
    if x.ndim and axis % x.ndim == x.ndim - 1 and x.size >= _MANY * x.shape[-1] > 0:
        turned = np.ascontiguousarray(x.reshape(-1, x.shape[-1]).T)
        found = _one("logcumsumexp", target, turned, axis=0)
        return None if found is None else np.ascontiguousarray(found.T).reshape(x.shape)
    return _one("logcumsumexp", target, x, axis=axis)


def _planned(name: str, target: Target, large: bool, x: Array, *, axis: int) -> bytes | None:
    """The plan of dense operands; rows that are large are summed by eights, which numpy does not do."""
    source, extreme = dtype_name(x.dtype), name in ("cummax", "cummin")
    if not x.size or not x.ndim or not x.flags.c_contiguous or not movable(x):
        return None
    axis %= x.ndim
    count, width = x.shape[axis], prod(x.shape[axis + 1 :])
    total, few = x.size // count, max(1, _CHUNK // (count * width))
    outs = [(x.shape, x.dtype), (x.shape, np.dtype(np.int64))][: 1 + extreme]
    where = (OPERAND[0], *RESULT[: len(outs)])
    if source not in ("float32", "float64") and (source != "int64" or extreme or width > 1):
        return None
    if width > 1:
        blocks, parts = -(-width // _BLOCK), x.size // (count * width)
        job, chunks = _columns(target, source, name), -(-parts // few) * blocks
        values: tuple[int, ...] = (width, blocks, count, few, parts)
    elif extreme:
        job, chunks, values = _rows(target, source, name), -(-total // few), (total, few, count)
    else:
        job, chunks, values = _in_order(target, source, name), 1 + large, (total, count)
    return plan(job, (*where, *values), [x.dtype], *outs) if chunks == 1 else None


KERNELS: Final = {
    **{name: partial(_one, name) for name in ("cumsum", "cumprod")},
    **{name: partial(_two, name) for name in ("cummax", "cummin")},
    "logcumsumexp": logcumsumexp,
}
PLANS: Final = {name: partial(_planned, name) for name in ("cumsum", "cumprod", "cummax", "cummin")}
