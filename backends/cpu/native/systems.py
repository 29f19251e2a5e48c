"""Small systems of equations as machine code: factors with partial pivoting, and substitution.

Matrices lie row by row and all steps go along rows, right-hand sides side by side in a vector. Golub and Van Loan,
"Matrix Computations", 3.1 and 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import Span, dtype_name, lanes
from flambeau.backends.cpu.native.matmul import offsets
from flambeau.backends.cpu.native.nn import fit
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Operand, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR

Array = np.ndarray[Any, Any]
Mask = Value | None

#: Multiplications of a chunk.
_CHUNK: Final = 1 << 15
#: Rows of matrices, and how many of those, for which LAPACK's calls take longer than what they compute.
_SMALL: Final = 16
_MANY: Final = 8


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


def _eliminate(
    r: _Rows, a: Value, rows: Value, columns: Value,
    exchanged: Callable[[Value, Value], None], subtracted: Callable[[Value, Value, Value], None] | None = None,
) -> None:  # fmt: skip
    """Both factors in the place of a matrix; a pivot is the first of the largest in size, nan before all.

    ``exchanged(i, j)`` is told of each step, also of the same rows, ``subtracted(i, j, factor)`` of row i from row j.
    """
    f, read = r.f, r.read
    whole = Span(f, columns, read.count)
    best, place = f.variable(read.compute), f.variable(I64)
    for i in f.range(0, folds.least(f, rows, columns)):
        here = r.at(a, i * columns)
        best.set(f.apply("fabs", f.load(read.memory, here, i)))
        place.set(i)
        for j in f.range(i + 1, rows):
            size = f.apply("fabs", f.load(read.memory, a, j * columns + i))
            better = size.compare("not_le", best.now) & best.now.compare("ordered", best.now)
            place.set(f.select(better, j, place.now))
            best.set(f.select(better, size, best.now))
        with f.when(place.now.ne(i)):
            r.exchange(here, r.at(a, place.now * columns), whole)
        exchanged(i, place.now)
        pivot = f.load(read.memory, here, i)
        divisor = f.select(pivot.eq(0.0), f.constant(read.compute, 1.0), pivot)  # a column of zeros stays that
        rest = Span(f, columns - i - 1, read.count)
        for j in f.range(i + 1, rows):
            there = r.at(a, j * columns)
            factor = f.load(read.memory, there, i) / divisor
            f.store(factor, there, i)
            r.subtract(r.at(there, i + 1), r.at(here, i + 1), factor, rest)
            if subtracted is not None:
                subtracted(i, j, factor)


@cache
def _factors(target: Target, source: str) -> Job:
    """(matrices, pivots, how many, of a chunk, rows, columns): both factors in the place of each matrix."""
    r = _Rows(target, "lu_factor", source, [PTR] * 2 + [I64] * 4)
    f = r.f
    start, pivots, count, per, rows, columns = f.values
    steps = folds.least(f, rows, columns)
    for b in r.mine(count, per):
        a = r.at(start, b * rows * columns)
        _eliminate(r, a, rows, columns, lambda i, j: f.store(j, pivots, b * steps + i))  # noqa: B023  # written at once
    return r.done()


@cache
def _solution(target: Target, source: str) -> Job:
    """(matrices, right-hand sides, singular, how many, of a chunk, n, m): the solutions in the place of the latter.

    ``singular`` becomes 1 where a pivot is 0.
    """
    r = _Rows(target, "solution", source, [PTR] * 3 + [I64] * 4)
    f = r.f
    matrices, sides, singular, count, per, n, m = f.values
    span = Span(f, m, r.read.count)
    for b in r.mine(count, per):
        a, x = r.at(matrices, b * n * n), r.at(sides, b * n * m)

        def exchanged(i: Value, j: Value, x: Value = x) -> None:
            with f.when(j.ne(i)):
                r.exchange(r.at(x, i * m), r.at(x, j * m), span)

        def subtracted(i: Value, j: Value, factor: Value, x: Value = x) -> None:
            r.subtract(r.at(x, j * m), r.at(x, i * m), factor, span)

        _eliminate(r, a, n, n, exchanged, subtracted)
        for k in f.range(0, n):
            i = n - 1 - k
            row = r.at(a, i * n)
            with f.when(f.load(r.read.memory, row, i).eq(0.0), likely=False):
                f.store(f.constant(I64, 1), singular)
            _substitute(r, row, f.constant(I64, 1), x, m, i, (i + 1, n), span, False)
    return r.done()


def _substitute(
    r: _Rows, row: Value, across: Value, x: Value, m: Value, i: Value, known: tuple[Operand, Operand], span: Span,
    unit: bool,
) -> None:  # fmt: skip
    """Row i of a solution, from those in the range ``known``."""
    f, here = r.f, r.at(x, i * m)
    for j in f.range(*known):
        r.subtract(here, r.at(x, j * m), f.load(r.read.memory, row, j * across), span)
    if not unit:
        r.divide(here, f.load(r.read.memory, row, i * across), span)


@cache
def _substitution(target: Target, source: str, upper: bool, unit: bool) -> Job:
    """(a, where each starts, from row to row and column to column, x, from one to the next, count, per chunk, n, m).

    The right-hand sides (n, m) in x become the solutions.
    """
    r = _Rows(target, f"substitution_{upper}_{unit}".lower(), source, [PTR] * 2 + [I64] * 2 + [PTR] + [I64] * 5)
    f = r.f
    matrices, places, down, across, results, step, count, per, n, m = f.values
    span = Span(f, m, r.read.count)
    for b in r.mine(count, per):
        a, x = r.at(matrices, f.load(I64, places, b)), r.at(results, b * step)
        for k in f.range(0, n):
            i = n - 1 - k if upper else k
            _substitute(r, r.at(a, i * down), across, x, m, i, (i + 1, n) if upper else (0, i), span, unit)
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


def solve(target: Target, a: Array, b: Array) -> Array | None:
    """x with a x = b for many small matrices; None for others, and where one is singular, which numpy tells."""
    if a.ndim < 3 or a.shape[-1] != a.shape[-2] or a.shape[-1] > _SMALL or prod(a.shape[:-2]) < _MANY:
        return None
    if not fit(target, a, b) or b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        return None
    batch = a.shape[:-2] if a.shape[:-2] == b.shape[:-2] else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    n, m = b.shape[-2:]
    a, x = (np.broadcast_to(v, (*batch, *v.shape[-2:])).copy("C") for v in (a, b))
    singular, count, per = np.zeros(1, np.int64), prod(batch), max(1, _CHUNK // (n * n * (n + m)))
    _solution(target, dtype_name(x.dtype))(
        -(-count // per), address(a), address(x), address(singular), count, per, n, m
    )  # fmt: skip
    return None if singular[0] else x


def inv(target: Target, x: Array) -> Array | None:
    """The inverses of many small matrices; None as :func:`solve`."""
    n = x.shape[-1]
    return solve(target, x, np.broadcast_to(np.eye(n, dtype=x.dtype), x.shape)) if x.shape[-2] == n else None


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


KERNELS: Final = {"lu_factor": lu_factor, "solve": solve, "inv": inv}
