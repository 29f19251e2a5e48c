"""Small systems of equations as machine code: factors with partial pivoting, and substitution.

Matrices lie row by row and all steps go along rows, right-hand sides side by side in a vector. Golub and Van Loan,
"Matrix Computations", 3.1 and 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import Span, dtype_name, lanes
from flambeau.backends.cpu.native.matmul import offsets
from flambeau.backends.cpu.native.nn import fit
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR

Array = np.ndarray[Any, Any]
Mask = Value | None

#: Multiplications of a chunk.
_CHUNK: Final = 1 << 15


class _Rows:
    """A job on matrices: what is done along their rows."""

    def __init__(self, target: Target, name: str, source: str, values: list[Any]):
        self.f = JobFunction(Module(target), f"{name}_{source}", values)
        self.read = lanes(source)

    def mine(self, count: Value, per: Value) -> Iterator[Value]:
        """The numbers of this chunk's matrices."""
        start = self.f.chunk * per
        yield from self.f.range(start, folds.least(self.f, start + per, count))

    def at(self, p: Value, index: Value) -> Value:
        """The address of a number."""
        return p + index * self.read.memory.bytes

    def exchange(self, p: Value, q: Value, span: Span) -> None:
        """Two rows."""
        f, read = self.f, self.read

        def body(i: Value, mask: Mask) -> None:
            x, y = read.load(f, p, i, mask), read.load(f, q, i, mask)
            read.store(f, y, p, i, mask)
            read.store(f, x, q, i, mask)

        span.each(body)

    def subtract(self, p: Value, q: Value, factor: Value, span: Span) -> None:
        """``p -= factor * q`` for rows."""
        f, read, by = self.f, self.read, self.f.splat(factor, self.read.count)
        span.each(
            lambda i, mask: read.store(f, read.load(f, p, i, mask) - by * read.load(f, q, i, mask), p, i, mask)
        )  # fmt: skip

    def divide(self, p: Value, divisor: Value, span: Span) -> None:
        """A row by a number."""
        f, read, by = self.f, self.read, self.f.splat(divisor, self.read.count)
        span.each(lambda i, mask: read.store(f, read.load(f, p, i, mask) / by, p, i, mask))

    def done(self) -> Job:
        """The job, compiled."""
        self.f.ret()
        return jobs(self.f)[0]


@cache
def _factors(target: Target, source: str) -> Job:
    """(matrices, pivots, how many, of a chunk, rows, columns): both factors in the place of each matrix.

    A pivot is the first of the largest in size, nan before all.
    """
    r = _Rows(target, "lu_factor", source, [PTR] * 2 + [I64] * 4)
    f, read = r.f, r.read
    start, pivots, count, per, rows, columns = f.values
    whole, steps = Span(f, columns, read.count), folds.least(f, rows, columns)
    best, place = f.variable(read.compute), f.variable(I64)
    for b in r.mine(count, per):
        a = r.at(start, b * rows * columns)
        for i in f.range(0, steps):
            here = r.at(a, i * columns)
            best.set(f.apply("fabs", f.load(read.memory, here, i)))
            place.set(i)
            for j in f.range(i + 1, rows):
                size = f.apply("fabs", f.load(read.memory, a, j * columns + i))
                better = size.compare("not_le", best.now) & best.now.compare("ordered", best.now)
                place.set(f.select(better, j, place.now))
                best.set(f.select(better, size, best.now))
            f.store(place.now, pivots, b * steps + i)
            with f.when(place.now.ne(i)):
                r.exchange(here, r.at(a, place.now * columns), whole)
            pivot = f.load(read.memory, here, i)
            divisor = f.select(pivot.eq(0.0), f.constant(read.compute, 1.0), pivot)  # a column of zeros stays that
            rest = Span(f, columns - i - 1, read.count)
            for j in f.range(i + 1, rows):
                there = r.at(a, j * columns)
                factor = f.load(read.memory, there, i) / divisor
                f.store(factor, there, i)
                r.subtract(r.at(there, i + 1), r.at(here, i + 1), factor, rest)
    return r.done()


@cache
def _substitution(target: Target, source: str, upper: bool, unit: bool) -> Job:
    """(a, where each starts, from row to row and column to column, x, from one to the next, how many, of a chunk, n, m).

    The right-hand sides (n, m) in x become the solutions.
    """
    r = _Rows(target, f"substitution_{upper}_{unit}".lower(), source, [PTR] * 2 + [I64] * 2 + [PTR] + [I64] * 5)
    f, read = r.f, r.read
    matrices, places, down, across, results, step, count, per, n, m = f.values
    span = Span(f, m, read.count)
    for b in r.mine(count, per):
        a, x = r.at(matrices, f.load(I64, places, b)), r.at(results, b * step)
        for k in f.range(0, n):
            i = n - 1 - k if upper else k
            row, here = r.at(a, i * down), r.at(x, i * m)
            for j in f.range(i + 1, n) if upper else f.range(0, i):
                r.subtract(here, r.at(x, j * m), f.load(read.memory, row, j * across), span)
            if not unit:
                r.divide(here, f.load(read.memory, row, i * across), span)
    return r.done()


def lu_factor(target: Target, x: Array) -> tuple[Array, Array] | None:
    """Both factors in one matrix, and the exchanges, as the numpy kernel."""
    if not fit(target, x):
        return None
    (rows, columns), count = x.shape[-2:], prod(x.shape[:-2])
    lu = x.copy("C")
    pivots = np.empty((*x.shape[:-2], min(rows, columns)), np.int64)
    per = max(1, _CHUNK // (rows * columns * pivots.shape[-1]))
    _factors(target, dtype_name(x.dtype))(
        -(-count // per), address(lu), address(pivots), count, per, rows, columns
    )  # fmt: skip
    return lu, pivots


def substitute(target: Target, a: Array, x: Array, *, upper: bool, unitriangular: bool) -> bool:
    """Solve a x = b, where x has b, (..., n, m), with rows that are dense and matrices as far apart; False if not."""
    size = x.itemsize
    if not fit(target, a, x) or any(s % size for s in a.strides):
        return False
    batch, (n, m) = x.shape[:-2], x.shape[-2:]
    places = _places(batch, size, a.shape, a.strides)
    step = x.strides[-3] // size if x.ndim > 2 else n * m
    per = max(1, _CHUNK // (n * n * m))
    count = len(places)
    _substitution(target, dtype_name(x.dtype), upper, unitriangular)(
        -(-count // per), address(a), address(places), a.strides[-2] // size, a.strides[-1] // size, address(x), step,
        count, per, n, m,
    )  # fmt: skip
    return True


@lru_cache(256)
def _places(batch: tuple[int, ...], itemsize: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """Where each matrix of a batch starts, in elements."""
    return offsets(batch, itemsize, (shape, strides))


KERNELS: Final = {"lu_factor": lu_factor}
