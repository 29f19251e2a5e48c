"""The distances of all pairs of rows, of one matrix or of two.

Of the gradient a row is made from all its pairs, by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import inf
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import dtype_name, lanes
from flambeau.backends.cpu.native.nn import dense, fit
from flambeau.backends.cpu.native.rows import Row
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR

Array = np.ndarray[Any, Any]
Mask = Value | None
_CHUNK: Final = 1 << 16  # numbers that are subtracted
_SERVED: Final = (1.0, 2.0, inf)


def _number(f: JobFunction, i: Value, j: Value, n: Value) -> Value:
    """The number of the pair of row ``i`` and a later one."""
    return i * (n * 2 - i - 1) // 2 + j - i - 1


@cache
def forward(target: Target, source: str, p: float) -> Job:
    """(x, out, rows, rows of a chunk, numbers of a row)."""
    f = JobFunction(Module(target), f"pdist_{source}", [PTR] * 2 + [I64] * 3)
    x, out, n, per, count = f.values
    read, start = lanes(source), f.chunk * per
    row = Row(f, read, count)
    for i in f.range(start, folds.least(f, start + per, n)):
        for j in f.range(i + 1, n):
            here, there = (x + k * count * read.memory.bytes for k in (i, j))
            read.store(f, _distance(f, row, here, there, p), out, _number(f, i, j, n))
    f.ret()
    return jobs(f)[0]


@cache
def between(target: Target, source: str, p: float) -> Job:
    """(x, y, out, rows of all x, rows of a chunk, numbers of a row, rows of an x, rows of a y)."""
    f = JobFunction(Module(target), f"cdist_{source}", [PTR] * 3 + [I64] * 5)
    x, y, out, total, per, count, n, m = f.values
    read, start = lanes(source), f.chunk * per
    row = Row(f, read, count)
    for i in f.range(start, folds.least(f, start + per, total)):
        here, others = x + i * count * read.memory.bytes, y + i // n * m * count * read.memory.bytes
        for j in f.range(0, m):
            there = others + j * count * read.memory.bytes
            read.store(f, _distance(f, row, here, there, p), out, i * m + j)
    f.ret()
    return jobs(f)[0]


def _distance(f: JobFunction, row: Row, x: Value, y: Value, p: float) -> Value:
    read = row.read

    def difference(i: Value, mask: Mask) -> Value:
        return read.load(f, x, i, mask) - read.load(f, y, i, mask)

    def size(i: Value, mask: Mask) -> Value:
        return f.apply("fabs", difference(i, mask))

    def square(i: Value, mask: Mask) -> Value:
        d = difference(i, mask)
        return d * d

    if p == 1:
        return row.rounded(row.total(size)[0])
    if p == 2:
        return row.rounded(f.apply("sqrt", row.total(square)[0]))
    acc = f.variable(read.vector, 0.0)
    row.span.each(lambda i, mask: acc.set(folds.nan_or(f, "max", acc.now, size(i, mask))))
    return f.reduce(acc.now, lambda a, b: folds.nan_or(f, "max", a, b))


@cache
def backward(target: Target, source: str, p: float) -> Job:
    """(grad, x, distances, out, rows, rows of a chunk, numbers of a row)."""
    f = JobFunction(Module(target), f"pdist_grad_{source}", [PTR] * 4 + [I64] * 3)
    grad, x, distances, out, n, per, count = f.values
    read, start = lanes(source), f.chunk * per
    row, zero = Row(f, read, count), f.constant(read.vector, 0.0)
    for i in f.range(start, folds.least(f, start + per, n)):
        here, mine = (v + i * count * read.memory.bytes for v in (x, out))
        row.span.each(lambda k, mask: read.store(f, zero, mine, k, mask))  # noqa: B023  # written at once
        for j in f.range(0, n):
            with f.when(j.ne(i)):
                later = i < j
                at = _number(f, f.select(later, i, j), f.select(later, j, i), n)
                g, d = read.load_one(f, grad, at), read.load_one(f, distances, at)
                there = x + j * count * read.memory.bytes
                _add_pair(f, row, (here, there, mine), (g, d), p)
    f.ret()
    return jobs(f)[0]


def _add_pair(f: JobFunction, row: Row, pointers: tuple[Value, ...], of: tuple[Value, Value], p: float) -> None:
    read, (x, y, out), (g, distance) = row.read, pointers, of
    factor = f.splat(f.select(distance.eq(0.0), 0.0, g / distance if p == 2 else g), read.count)
    top = f.splat(distance, read.count)

    def add(i: Value, mask: Mask) -> None:
        d = read.load(f, x, i, mask) - read.load(f, y, i, mask)
        if p != 2:
            sign = f.select(d > 0.0, 1.0, f.select(d < 0.0, f.constant(read.vector, -1.0), d))
            d = sign if p == 1 else f.select(f.apply("fabs", d).eq(top), sign, 0.0)
        read.store(f, read.load(f, out, i, mask) + d * factor, out, i, mask)

    row.span.each(add)


def _sizes(x: Array) -> tuple[int, tuple[int, int, int]]:
    """The chunks, and the sizes that a job wants."""
    n, count = x.shape
    per = max(1, _CHUNK // (n * count))
    return -(-n // per), (n, per, count)


def _served(target: Target, x: Array, p: float, *others: Array) -> bool:
    return fit(target, x, *others) and x.ndim == 2 and p in _SERVED


def pdist(target: Target, x: Array, *, p: float) -> Array | None:
    """The distances of each row to those after it."""
    if not _served(target, x, p):
        return None
    x, (chunks, sizes) = dense(x), _sizes(x)
    out = np.empty(len(x) * (len(x) - 1) // 2, x.dtype)
    forward(target, dtype_name(x.dtype), p)(chunks, address(x), address(out), *sizes)
    return out


def pdist_grad(target: Target, grad: Array, x: Array, out: Array, *, p: float) -> Array | None:
    """The gradient for the rows; ``out`` is the distances."""
    if not _served(target, x, p, grad, out) or not grad.shape == out.shape == (len(x) * (len(x) - 1) // 2,):
        return None
    grad, x, out, (chunks, sizes) = dense(grad), dense(x), dense(out), _sizes(x)
    found = np.empty(x.shape, x.dtype)
    backward(target, dtype_name(x.dtype), p)(chunks, *(address(v) for v in (grad, x, out, found)), *sizes)
    return found


def cdist(target: Target, x: Array, y: Array, *, p: float, mode: str) -> Array | None:
    """The distances of each row of x (..., n, d) to each of y (..., m, d), but where a product is to give them."""
    if p == 2 and mode != "donot_use_mm_for_euclid_dist" or p not in _SERVED or min(x.ndim, y.ndim) < 2:
        return None
    if not fit(target, x, y) or not y.size:
        return None
    if x.shape[:-2] != y.shape[:-2]:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x, y = (np.broadcast_to(v, (*batch, *v.shape[-2:])) for v in (x, y))
    x, y = dense(x), dense(y)
    (n, count), m = x.shape[-2:], y.shape[-2]
    out, total, per = np.empty((*x.shape[:-1], m), x.dtype), x.size // count, max(1, _CHUNK // (m * count))
    between(target, dtype_name(x.dtype), p)(
        -(-total // per), address(x), address(y), address(out), total, per, count, n, m
    )  # fmt: skip
    return out


KERNELS: Final[dict[str, Callable[..., Any]]] = {"pdist": pdist, "pdist_grad": pdist_grad, "cdist": cdist}
