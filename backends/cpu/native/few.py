"""Products of a few rows with a matrix, whose time is that of reading the matrix once.

Where the matrix's columns are dense (``x @ w.T``) each number of the result is a sum along two rows of memory; where
its rows are, rows of it are added up, several at a time. A chunk is some columns of the result, with all its terms.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from flambeau.backends.cpu.native.micro import Epilogue
from flambeau.backends.cpu.native.pack import NUMBERS, Numbers, prefetch
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR

#: Rows up to which the matrix is better read as it lies than packed.
ROWS: Final = 8
#: Numbers of a matrix with dense rows up to which it stays near enough to be read by the micro-kernel of all products.
_NEAR: Final = 1 << 20
#: Sums that are held beside the rows that are added to them, and how many of those are read at a time.
_SUMS: Final = 4096
_TERMS: Final = 4
#: Multiplications worth a chunk.
_WORTH: Final = 1 << 19
_VECTOR: Final = 64  # bytes that are added up in a sum along memory, at every target


class Plan(NamedTuple):
    """Columns of a chunk, products of a batch in one, and how many chunks there are."""

    columns: int
    batch: int
    chunks: int


def suits(m: int, n: int, k: int, dense_columns: bool) -> bool:
    """Whether these jobs are the quickest for (m, k) times (k, n)."""
    return m <= ROWS if dense_columns else m <= 2 or m <= ROWS and n * k > _NEAR


@cache
def plan(m: int, n: int, k: int, batch: int, dense_columns: bool) -> Plan:
    """The cuts of ``batch`` products of (m, k) with (k, n), by the shape alone."""
    unit = 16 if dense_columns else _SUMS // 2
    columns = max(1, _WORTH // (m * k * unit)) * unit
    across = -(-n // columns)
    each = max(1, _WORTH // (m * n * k)) if across == 1 else 1
    return Plan(columns, each, -(-batch // each) * across)


@cache
def products(target: Target, name: str, dense_columns: bool, epilogue: Epilogue | None = None) -> Job:
    """The job of products of a dtype with a matrix whose columns, or else rows, are dense, through an activation.

    Its values: m, n, k; a, its steps over rows and terms; b and its step over what is not dense; c and its step over
    rows; bias or 0; the offsets in a and b of each product of the batch (2 of 64 bits each) or 0, the size of the
    batch, the step over results; columns and batch of :class:`Plan`. Steps are in elements; that over the terms of a
    is 1 for dense columns.
    """
    (job,) = jobs(define(Module(target), name, dense_columns, epilogue))
    return job


def define(module: Module, name: str, dense_columns: bool, epilogue: Epilogue | None = None) -> JobFunction:
    """The job of :func:`products`, written."""
    numbers = NUMBERS[name]
    part = (_define_dots if dense_columns else _define_sums)(module, numbers, epilogue)
    f = JobFunction(
        module, "few", [I64] * 3 + [PTR, I64, I64, PTR, I64, PTR, I64] + [PTR] + [PTR, I64, I64] + [I64, I64]
    )  # fmt: skip
    m, n, k, a, a_row, a_term, b, ldb, c, ldc, bias, offsets, batch, c_step, columns, each = f.values
    across = (n + (columns - 1)) // columns
    first, column = f.chunk // across * each, f.chunk % across * columns
    width = f.minimum(n - column, columns)
    for number in f.range(first, f.minimum(first + each, batch)):
        a_here, b_here = f.variable(PTR, a), f.variable(PTR, b)
        with f.when(offsets.address().ne(0)):
            a_here.set(f.at(a, f.load(I64, offsets, number * 2), numbers.memory))
            b_here.set(f.at(b, f.load(I64, offsets, number * 2 + 1), numbers.memory))
        f.call(
            part, m, width, k, a_here.now, a_row, a_term,
            f.at(b_here.now, column * ldb if dense_columns else column, numbers.memory), ldb,
            f.at(c, number * c_step + column, numbers.memory), ldc,
            f.select(bias.address().ne(0), f.at(bias, column, numbers.memory), bias),
        )  # fmt: skip
    f.ret()
    return f


_PART: Final = [*[I64] * 3, PTR, I64, I64, PTR, I64, PTR, I64, PTR]


# -- dense columns: sums along memory ----------------------------------------------------------------
def _define_dots(module: Module, numbers: Numbers, epilogue: Epilogue | None) -> Function:
    """``part(m, n, k, a, a_row, _, b, ldb, c, ldc, bias)``, both operands dense over the terms."""
    wide = module.target.register == _VECTOR
    one = _define_tile(module, "dots_of_one", numbers, 1, 4 if wide else 2, epilogue)
    some = _define_tile(module, "dots", numbers, 4 if wide else 2, 4 if wide else 2, epilogue)
    f = Function(module, "part", _PART, internal=True)
    m, n, k, a, a_row, _, b, ldb, c, ldc, bias = f.args
    height, width = (4, 4) if wide else (2, 2)
    for j in f.range(0, n, width):
        shift = f.select(bias.address().ne(0), f.at(bias, j, numbers.memory), bias)
        b_here, columns = f.at(b, j * ldb, numbers.memory), f.minimum(n - j, width)
        for i in f.range(0, m, height):
            a_here, rows = f.at(a, i * a_row, numbers.memory), f.minimum(m - i, height)
            here = f.at(c, i * ldc + j, numbers.memory)
            with f.when(rows.eq(1)):
                f.call(one, k, a_here, a_row, b_here, ldb, here, ldc, shift, rows, columns)
            with f.unless(rows.eq(1)):
                f.call(some, k, a_here, a_row, b_here, ldb, here, ldc, shift, rows, columns)
    f.ret()
    return f


def _define_tile(
    module: Module, name: str, numbers: Numbers, height: int, width: int, epilogue: Epilogue | None
) -> Function:
    """``name(k, a, lda, b, ldb, c, ldc, bias, rows, columns)``: sums of products of rows of a and rows of b."""
    f = Function(module, name, [I64, PTR, I64, PTR, I64, PTR, I64, PTR, I64, I64], internal=True)
    k, a, lda, b, ldb, c, ldc, bias, rows, columns = f.args
    lanes = _VECTOR // numbers.compute.bytes
    left = [f.at(a, f.select(rows > i, lda * i, 0), numbers.memory) for i in range(height)]
    right = [f.at(b, f.select(columns > j, ldb * j, 0), numbers.memory) for j in range(width)]
    sums = [[f.variable(numbers.compute.vector(lanes), 0.0) for _ in right] for _ in left]

    def add(at: Value, mask: Value | None) -> None:
        ys = [numbers.load(f, lanes, p, at, mask) for p in right]
        for p, line in zip(left, sums, strict=True):
            x = numbers.load(f, lanes, p, at, mask)
            for y, total in zip(ys, line, strict=True):
                total.set(f.muladd(x, y, total.now))

    main = k & ~(lanes - 1)
    for at in f.range(0, main, lanes):
        add(at, None)
    with f.when(main < k):
        add(main, f.below(k - main, lanes))
    for i, line in enumerate(sums):
        for j, total in enumerate(line):
            with f.when((rows > i) & (columns > j)):
                found = f.variable(numbers.compute, f.reduce(total.now, lambda p, q: p + q))
                with f.when(bias.address().ne(0)):
                    found.set(found.now + numbers.load(f, 1, bias, j))
                done = found.now if epilogue is None else epilogue(f, found.now)
                numbers.store(f, done, f.at(c, ldc * i + j, numbers.memory))
    f.ret()
    return f


# -- dense rows: sums of rows ------------------------------------------------------------------------
def _define_sums(module: Module, numbers: Numbers, epilogue: Epilogue | None) -> Function:
    """``part(m, n, k, a, a_row, a_term, b, ldb, c, ldc, bias)``, by blocks of columns."""
    add = _define_add(module, numbers)
    f = Function(module, "part", _PART, internal=True)
    m, n, k, a, a_row, a_term, b, ldb, c, ldc, bias = f.args
    lanes = module.target.lanes(numbers.compute)
    t = numbers.compute.vector(lanes)
    sums = f.buffer(_SUMS * numbers.compute.bytes)
    block = f.constant(I64, _SUMS) // m & -_VECTOR
    for j in f.range(0, n, block):
        width = f.minimum(n - j, block)
        for i in f.range(0, m * block, lanes):
            f.store(f.constant(t, 0.0), sums, i)
        b_here = f.at(b, j, numbers.memory)
        f.call(add, m, width, k, a, a_row, a_term, b_here, ldb, sums, block)
        main = width & ~(lanes - 1)
        for i in f.range(0, m):

            def finish(at: Value, mask: Value | None, i: Value = i, j: Value = j) -> None:
                total = f.variable(t, f.load(t, sums, i * block + at))
                with f.when(bias.address().ne(0)):
                    total.set(total.now + numbers.load(f, lanes, bias, j + at, mask))
                done = total.now if epilogue is None else epilogue(f, total.now)
                numbers.store(f, done, c, i * ldc + j + at, mask)

            for at in f.range(0, main, lanes):
                finish(at, None)
            with f.when(main < width):
                finish(main, f.below(width - main, lanes))
    f.ret()
    return f


def _define_add(module: Module, numbers: Numbers) -> Function:
    """``add(m, n, k, a, a_row, a_term, b, ldb, sums, step)``: products of all rows of a, term by term, are added."""
    f = Function(module, "add", [*[I64] * 3, PTR, I64, I64, PTR, I64, PTR, I64], internal=True)
    m, n, k, a, a_row, a_term, b, ldb, sums, step = f.args
    lanes = module.target.lanes(numbers.compute)
    t = numbers.compute.vector(lanes)
    main = n & ~(lanes - 1)
    mask = f.below(n - main, lanes)

    def terms(first: Value, count: int) -> None:
        lines = [f.at(b, (first + r) * ldb, numbers.memory) for r in range(count)]
        for i in f.range(0, m):
            factors = [numbers.load(f, 1, a, i * a_row + (first + r) * a_term) for r in range(count)]
            to = f.at(sums, i * step, numbers.compute)

            def one(at: Value, mask: Value | None, factors: list[Value] = factors, to: Value = to) -> None:
                total = f.load(t, to, at)
                for factor, line in zip(factors, lines, strict=True):
                    if count > 1:
                        prefetch(f, f.at(line, ldb * count + at, numbers.memory))
                    total = f.muladd(f.splat(factor, lanes), numbers.load(f, lanes, line, at, mask), total)
                f.store(total, to, at)

            for at in f.range(0, main, lanes):
                one(at, None)
            with f.when(main < n):
                one(main, mask)

    whole = k & ~(_TERMS - 1)
    for first in f.range(0, whole, _TERMS):
        terms(first, _TERMS)
    for first in f.range(whole, k):
        terms(first, 1)
    f.ret()
    return f
