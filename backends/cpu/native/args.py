"""Where the largest or smallest number stands: the first of equals, and the first nan before all numbers."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import UNROLL, Lanes, Span, dtype_name, empty, lanes, served
from flambeau.backends.cpu.native.layout import Layout, layout, two
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Function, Value, Variable
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I1, I32, I64, PTR, Type

Array = np.ndarray[Any, Any]

#: Elements of a chunk, and the columns of one.
_CHUNK: Final = 1 << 16
_COLUMNS: Final = 1024
#: Places in columns are counted in 32 bits.
_MOST: Final = 1 << 31


def _bits(f: Function, mask: Value) -> Value:
    """The lanes of a mask as the bits of a number."""
    t = Type(f"i{mask.type.lanes}", "int", mask.type.lanes)
    return f.emit(t, f"bitcast {mask.type} {mask.text} to {t}")


def _find(f: Function, read: Lanes, p: Value, span: Span, best: Value, found: Variable) -> None:
    """Set ``found`` to the first place of ``best``, which is there, or of nan if it is that."""
    i, wanted = f.variable(I64, 0), f.splat(best, read.count)
    with f.loop() as leave:
        mask = f.below(span.count - i.now, read.count)
        x = read.load(f, p, i.now, mask)
        hits = _bits(f, (x.eq(wanted) | (x.is_nan() & wanted.is_nan())) & mask)
        there = hits.ne(0)
        with f.when(there):
            first = f.intrinsic(f"llvm.cttz.{hits.type}", hits.type, hits, f.constant(I1, False))
            found.set(i.now + first.zext(I64))
        leave(there)
        i.set(i.now + read.count)
        leave(i.now >= span.count)


@cache
def _rows(target: Target, source: str, name: str, cut: bool) -> Job:
    """The extremes of rows, and where they stand.

    (x, extremes, places, results, results of a chunk, inner of two outer dimensions, their strides, count, most). With
    ``cut`` the inner outer dimension is pieces of ``most`` of the ``count`` numbers of a row.
    """
    f = JobFunction(Module(target), f"arg_rows_{name}_{source}", [PTR] * 3 + [I64] * 7)
    x, out, places, total, per, within, s1, s2, count, most = f.values
    read, fold, start = lanes(source), folds.FOLDS[name], f.chunk * per
    span, walk = Span(f, count, read.count), folds.Walk(f, start, within, (s1, s2))
    for o in f.range(start, folds.least(f, start + per, total)):
        p = x + walk.bytes
        if cut:
            span = Span(f, folds.least(f, count - walk.near * most, most), read.count)
        acc, place = f.variable(read.vector, fold.start), f.variable(I64, 0)
        folds.fold_span(f, fold, read, p, span, acc, None)
        best = f.reduce(acc.now, lambda a, b: fold.join(f, a, b))
        _find(f, read, p, span, best, place)
        f.store(best, out, o)
        f.store(place.now, places, o)
        walk.step()
    f.ret()
    return jobs(f)[0]


@cache
def _columns(target: Target, source: str, name: str) -> Job:
    """Where the extremes of columns stand: a chunk is a block of columns.

    (x, places, columns, blocks, inner of two outer dimensions, their strides, rows and their stride, outer ones of a
    chunk, outer ones)
    """
    f = JobFunction(Module(target), f"arg_columns_{name}_{source}", [PTR] * 2 + [I64] * 9)
    x, places, width, blocks, within, s1, s2, count, down, per, total = f.values
    read = lanes(source)
    first, parts = folds.blocks_of(f, blocks, _COLUMNS, per, total)
    columns = _Columns(f, name, read, Span(f, folds.least(f, width - first, _COLUMNS), read.count))
    whole = count & ~(UNROLL - 1)
    for o in parts:
        base = x + folds.outer(f, o, within, (s1, s2)) + first * read.memory.bytes
        columns.begin()
        for r in f.range(0, whole, UNROLL):
            columns.take([(r + u, base + (r + u) * down) for u in range(UNROLL)])
        for r in f.range(whole, count):
            columns.take([(r, base + r * down)])
        columns.end(places, o * width + first)
    f.ret()
    return jobs(f)[0]


class _Columns:
    """Columns side by side: the best of each so far, and its row."""

    def __init__(self, f: Function, name: str, read: Lanes, span: Span):
        self.f, self.read, self.span = f, read, span
        self.start, self.beyond = folds.FOLDS[name].start, "not_le" if name == "max" else "not_ge"
        self.number = I32.vector(read.count)
        self.bests, self.rows = f.buffer(_COLUMNS * read.compute.bytes), f.buffer(_COLUMNS * 4)

    def begin(self) -> None:
        """Nothing was taken yet."""
        f = self.f

        def body(j: Value, mask: Value | None) -> None:
            f.store(f.constant(self.read.vector, self.start), self.bests, j)
            f.store(f.constant(self.number, 0), self.rows, j)

        self.span.each(body)

    def take(self, rows: list[tuple[Value, Value]]) -> None:
        """Some rows by number and address."""
        f, read = self.f, self.read

        def body(j: Value, mask: Value | None) -> None:
            best, row = f.load(read.vector, self.bests, j), f.load(self.number, self.rows, j)
            for r, p in rows:
                x = read.load(f, p, j, mask)
                better = x.compare(self.beyond, best) & best.compare("ordered", best)  # nan is better than a number
                best, row = f.select(better, x, best), f.select(better, f.splat(r.trunc(I32), read.count), row)
            f.store(best, self.bests, j)
            f.store(row, self.rows, j)

        self.span.each(body)

    def end(self, places: Value, start: Value) -> None:
        """Write the places."""
        f = self.f

        def body(j: Value, mask: Value | None) -> None:
            folds.put_raw(f, f.load(self.number, self.rows, j).zext(I64), places, start + j, mask)

        self.span.each(body)


def _place(name: str, target: Target, x: Array, *, axis: int, keepdims: bool = False) -> Array | None:
    if not x.size or not x.ndim or not 1 < x.shape[axis] < _MOST or not served(x, target):
        return None
    where = layout(x, (axis % x.ndim,))
    if where is None:
        return None
    found = (_in_rows if where.rows else _in_columns)(target, name, where)
    return where.result(found, (axis % x.ndim,), keepdims)


def _in_rows(target: Target, name: str, where: Layout) -> Array:
    source, count = dtype_name(where.x.dtype), where.inner
    kept, most, parts = where.kept, count, 1
    cut = len(kept) < 2 and count > _CHUNK
    if cut:
        most, parts = _CHUNK, -(-count // _CHUNK)
        kept = (*kept, (parts, _CHUNK * where.x.itemsize))
    total = where.outer * parts
    best, places = empty(total, "float64" if source == "float64" else "float32"), empty(total, "int64")
    per = max(1, _CHUNK // most)
    _rows(target, source, name, cut)(
        -(-total // per), where.address, address(best), address(places), total, per, *two(kept), count, most
    )
    if parts == 1:
        return places
    best, places = best.reshape(-1, parts), places.reshape(-1, parts)
    part = (best.argmax if name == "max" else best.argmin)(1)  # numpy takes the first of equals, and the first nan
    found: Array = part * _CHUNK + places[np.arange(where.outer), part]
    return found


def _in_columns(target: Target, name: str, where: Layout) -> Array:
    width, (count, down) = where.inner, where.gone[-1]
    places = empty(where.outer * width, "int64")
    blocks = -(-width // _COLUMNS)
    per = max(1, _CHUNK // (count * min(width, _COLUMNS)))
    _columns(target, dtype_name(where.x.dtype), name)(
        -(-where.outer // per) * blocks, where.address, address(places), width, blocks, *two(where.kept), count, down,
        per, where.outer,
    )  # fmt: skip
    return places


KERNELS: Final = {"argmax": partial(_place, "max"), "argmin": partial(_place, "min")}
