"""Rows added up by index: the indices are sorted by counting, then each result is one sum, written once.

Rows that meet are added in their order by blocks, and those in float64, so that many do not lose what a few would not,
and the result is the same for any number of threads. Counting sort: H. H. Seward, MIT report R-232 (1954).
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import Lanes, Span, dtype_name, lanes
from flambeau.backends.cpu.native.places import CHUNK, Checked, Indexed
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, I32, I64, PTR, VOID

Array = np.ndarray[Any, Any]

#: Vectors that are added up at a time.
_TILE: Final = 4
#: Rows that are added up in the precision of their own, or float32.
_BLOCK: Final = 32
#: How many rows ahead memory is asked for.
_AHEAD: Final = 8


@cache
def _order(target: Target, wrap: bool) -> Job:
    """The places of an index by what stands there: (index, starts, places, flag, count, stride, size, skip).

    There is room for size + 2 ``starts``; ``starts[i]`` to ``starts[i + 1]`` are the places of i. Those of ``skip``
    are nowhere.
    """
    f = JobFunction(Module(target), f"group_order{'_wrapped' if wrap else ''}", [PTR] * 4 + [I64] * 4)
    index, starts, places, flag, count, step, n, skip = f.values
    checked = Checked(f, n, flag, wrap)
    for i in f.range(0, n + 2):
        f.store(f.constant(I64, 0), starts, i)
    for _, i in checked.each(index, step, 0, count):
        with f.when(i.ne(skip)):
            f.store(f.load(I64, starts, i + 2) + 1, starts, i + 2)
    total = f.variable(I64, 0)
    for i in f.range(0, n + 1):
        total.set(total.now + f.load(I64, starts, i + 1))
        f.store(total.now, starts, i + 1)
    for j, i in checked.each(index, step, 0, count):
        with f.when(i.ne(skip)):
            to = f.load(I64, starts, i + 1)
            f.store(j, places, to)
            f.store(to + 1, starts, i + 1)
    f.ret()
    return jobs(f)[0]


@cache
def _add(target: Target, source: str, onto: bool) -> Job:
    """The sums of groups of rows: (x, src, out, starts, places, rows of all, of a chunk, of one part, width, strides).

    The strides of ``src`` are of its outer parts and of its rows; ``x`` and ``out`` are dense.
    """
    f = JobFunction(Module(target), f"group_add_{source}{'_onto' if onto else ''}", [PTR] * 5 + [I64] * 6)
    x, src, out, starts, places, total, per, n, width, outer, down = f.values
    read = lanes(source)
    span = Span(f, width, read.count)
    first = f.chunk * per
    for r in f.range(first, folds.least(f, first + per, total)):
        i = r % n
        group = (f.load(I64, starts, i), f.load(I64, starts, i + 1))
        rows, at = src + r // n * outer, r * width
        whole = span.main & ~(_TILE * read.count - 1)
        for c in f.range(0, whole, _TILE * read.count):
            _tile(f, read, (x, out, at + c), rows + c * read.memory.bytes, (places, down, *group), _TILE, None, onto)
        for c in f.range(whole, span.main, read.count):
            _tile(f, read, (x, out, at + c), rows + c * read.memory.bytes, (places, down, *group), 1, None, onto)
        with f.when(span.main < width):
            here = rows + span.main * read.memory.bytes
            _tile(f, read, (x, out, at + span.main), here, (places, down, *group), 1, span.mask, onto)
    f.ret()
    return jobs(f)[0]


def _tile(
    f: Function, read: Lanes, ends: tuple[Value, Value, Value], rows: Value, group: tuple[Value, Value, Value, Value],
    vectors: int, mask: Value | None, onto: bool,
) -> None:  # fmt: skip
    """Some vectors of a result: what stands there, and the same vectors of the rows of its group."""
    x, out, at = ends
    places, down, start, stop = group
    wide = F64.vector(read.count)
    begin = [folds.wider(f, read.load(f, x, at + u * read.count, mask)) if onto else 0 for u in range(vectors)]
    sums = [f.variable(wide, b) for b in begin]
    parts = [f.variable(read.vector) for _ in sums]
    for first in f.range(start, stop, _BLOCK):
        for part in parts:
            part.set(-0.0)
        for j in f.range(first, folds.least(f, first + _BLOCK, stop)):
            row = rows + f.load(I64, places, j) * down
            later = rows + f.load(I64, places, j + _AHEAD) * down
            for u in range(len(parts)):
                _fetch(f, later + u * read.count * read.memory.bytes)
            for u, part in enumerate(parts):
                part.set(part.now + read.load(f, row, u * read.count, mask))
        for part, acc in zip(parts, sums, strict=True):
            acc.set(acc.now + folds.wider(f, part.now))
    for u, acc in enumerate(sums):
        folds.put(f, read, acc.now, out, at + u * read.count, mask)


def _fetch(f: Function, line: Value) -> None:
    """Have a line of memory brought near, if there is such a line."""
    f.intrinsic("llvm.prefetch.p0", VOID, line, *(f.constant(I32, v) for v in (0, 3, 1)))  # to read, often, data


def add_rows(
    target: Target, x: Array | None, src: Indexed, index: Indexed, size: int, skip: int = -1, wrap: bool = False,
    via: Array | None = None,
) -> Array | None:  # fmt: skip
    """``x``, dense, or zeros, with rows of ``src`` added where ``index`` points; None where an index is outside.

    ``via`` tells which row of ``src`` stands at each place of ``index``, checked; without, they are in order. The
    result is flat: (outer, size, inner).
    """
    outer, _, width = src.sizes
    count = index.sizes[1]
    starts, places, flag = np.empty(size + 2, np.int64), np.zeros(count + _AHEAD, np.int64), np.zeros(1, np.int64)
    _order(target, wrap)(
        1, address(index.x), address(starts), address(places), address(flag), count, index.strides[1], size, skip
    )
    if flag[0]:
        return None
    if via is not None:
        via.take(places[:count], out=places[:count])
    out = np.empty(outer * size * width, src.x.dtype)
    total, per = outer * size, max(1, CHUNK // width)
    _add(target, dtype_name(src.x.dtype), x is not None)(
        -(-total // per), 0 if x is None else address(x), address(src.x), address(out), address(starts),
        address(places), total, per, size, width, src.strides[0], src.strides[1],
    )  # fmt: skip
    return out
