"""Elements of any dtype moved as they are: rows turned around, and triangles of matrices."""

from __future__ import annotations

from functools import cache, partial
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.places import CHUNK, UNITS, copy_row, indexed, movable
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.planned import OPERAND, RESULT, At, plan
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR, Type

Array = np.ndarray[Any, Any]


@cache
def _reverse(target: Target, item: int) -> Job:
    """Rows from their ends: (x, out, rows, of a chunk, length, bytes from row to row of x)."""
    f = JobFunction(Module(target), f"reverse_{item}", [PTR] * 2 + [I64] * 4)
    x, out, total, per, length, step = f.values
    unit, lanes = UNITS[item], 64 // item
    main, first = length & ~(lanes - 1), f.chunk * per
    for r in f.range(first, folds.least(f, first + per, total)):
        end, to = x + r * step + length * item, out + r * length * item
        for j in f.range(0, main, lanes):
            found = f.load(unit.vector(lanes), end + -(j + lanes) * item)
            f.store(f.shuffle(found, None, range(lanes - 1, -1, -1)), to + j * item)
        for j in f.range(main, length):
            f.store(f.load(unit, end + -(j + 1) * item), to + j * item)
    f.ret()
    return jobs(f)[0]


def flip(target: Target, x: Array, *, axes: tuple[int, ...]) -> Array | None:
    """The elements in reverse order along some axes, the last of them among those."""
    if not x.size or x.ndim - 1 not in axes or not movable(x) or x.itemsize > 8 or x.strides[-1] != x.itemsize:
        return None
    turned = x[tuple([slice(None, None, -1) if i in axes else slice(None) for i in range(x.ndim - 1)])]
    rows = indexed(turned, x.ndim - 1)
    if rows is None:
        return None
    out = np.empty(x.shape, x.dtype)
    (total, length, _), per = rows.sizes, max(1, CHUNK // x.shape[-1])
    _reverse(target, x.itemsize)(-(-total // per), address(turned), address(out), total, per, length, rows.strides[0])
    return out


@cache
def _rows(target: Target, item: int) -> Job:
    """Rows as they are: (x, out, how many, of those behind each other, length, strides of both in bytes)."""
    f = JobFunction(Module(target), f"rows_{item}", [PTR] * 2 + [I64] * 5)
    x, out, total, within, length, far, near = f.values
    for r in f.range(0, total):
        copy_row(f, UNITS[item], x + r // within * far + r % within * near, out + r * length * item, length)
    f.ret()
    return jobs(f)[0]


def plan_flip(target: Target, large: bool, x: Array, *, axes: tuple[int, ...]) -> bytes | None:
    """Of dense elements, up to three groups of axes."""
    if not 0 < x.size <= CHUNK or not x.ndim or not movable(x) or not x.flags.c_contiguous:
        return None
    turned = x[tuple([slice(None, None, -1) if i in axes else slice(None) for i in range(x.ndim)])]
    last = x.ndim - 1
    start = At(OPERAND[0].base, address(turned) - address(x))
    result = x.shape, x.dtype
    if last in axes:
        rows = indexed(turned[..., ::-1], last)
        if rows is None or x.itemsize > 8:
            return None
        first = At(OPERAND[0].base, start.offset - (x.shape[-1] - 1) * x.itemsize)
        total, length, _ = rows.sizes
        turning = (first, RESULT[0], total, total, length, rows.strides[0])
        return plan(_reverse(target, x.itemsize), turning, [x.dtype], result)
    axis = max([a for a in axes if x.shape[a] > 1], default=0)
    told = indexed(turned, axis)
    if told is None or told.strides[2] not in (x.itemsize, 0):
        return None
    outer, along, inner = told.sizes
    values = (start, RESULT[0], outer * along, along, inner, *told.strides[:2])
    return plan(_rows(target, x.itemsize), values, [x.dtype], result)


def _clear_row(f: Function, unit: Type, to: Value, count: Value) -> None:
    wide, lanes = unit.scalar.vector(64 // unit.scalar.bytes), 64 // unit.bytes
    main = count & ~(lanes - 1)
    for c in f.range(0, main, lanes):
        f.store(f.constant(wide, 0), to + c * unit.bytes)
    for c in f.range(main, count):
        f.store(f.constant(unit, 0), to + c * unit.bytes)


@cache
def _triangle(target: Target, upper: bool, item: int) -> Job:
    """Rows on one side of a diagonal: (x, out, rows of all, of a chunk, of a matrix, length, diagonal)."""
    f = JobFunction(Module(target), f"triangle_{'upper' if upper else 'lower'}_{item}", [PTR] * 2 + [I64] * 5)
    x, out, total, per, height, length, diagonal = f.values
    unit, first = UNITS[item], f.chunk * per
    for r in f.range(first, folds.least(f, first + per, total)):
        cut = r % height + diagonal + (0 if upper else 1)
        cut = folds.least(f, f.maximum(cut, 0), length)
        start, middle = r * length * item, (r * length + cut) * item
        if upper:
            _clear_row(f, unit, out + start, cut)
            copy_row(f, unit, x + middle, out + middle, length - cut)
        else:
            copy_row(f, unit, x + start, out + start, cut)
            _clear_row(f, unit, out + middle, length - cut)
    f.ret()
    return jobs(f)[0]


def _side(upper: bool, target: Target, x: Array, *, diagonal: int = 0) -> Array | None:
    """The triangle of each matrix below a diagonal, or above it."""
    if x.ndim < 2 or not x.size or not x.flags.c_contiguous or not movable(x) or abs(diagonal) > max(x.shape):
        return None
    out = np.empty(x.shape, x.dtype)
    height, length = x.shape[-2:]
    total, per = x.size // length, max(1, CHUNK // length)
    _triangle(target, upper, x.itemsize)(
        -(-total // per), address(x), address(out), total, per, height, length, diagonal
    )
    return out


def _plan_side(upper: bool, target: Target, large: bool, x: Array, *, diagonal: int = 0) -> bytes | None:
    dense = x.ndim > 1 and 0 < x.size <= CHUNK and x.flags.c_contiguous and movable(x)
    if not dense or abs(diagonal) > max(x.shape):
        return None
    height, length = x.shape[-2:]
    total = x.size // length
    values = (OPERAND[0], RESULT[0], total, total, height, length, diagonal)
    return plan(_triangle(target, upper, x.itemsize), values, [x.dtype], (x.shape, x.dtype))


KERNELS: Final = {"flip": flip, "tril": partial(_side, False), "triu": partial(_side, True)}
PLANS: Final = {"flip": plan_flip, "tril": partial(_plan_side, False), "triu": partial(_plan_side, True)}
