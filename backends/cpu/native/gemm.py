"""Products of matrices as a job: which part of the result a chunk makes, and how it goes through the caches.

A chunk is some rows and columns of one product, or some whole products of a batch, with all their terms: what is
added to what depends on the shape alone. Of B a block is packed, which stays in the second cache; A is read where it
lies, or packed a few rows at a time where its terms are apart in memory or its numbers must be widened.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

from flambeau.backends.cpu.native import micro, pack
from flambeau.backends.cpu.native.after import AHEAD, NOTHING, After, Follow
from flambeau.backends.cpu.native.micro import Epilogue
from flambeau.backends.cpu.native.pack import NUMBERS, Numbers, prefetch
from flambeau.backends.llvm.ir import Function, Value, Variable
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR

#: Terms that are added up in registers before they are added to the result: at most,
_TERMS: Final = 384
#: and up to how many are not cut at all.
_UNCUT: Final = 512
#: Columns and rows of a chunk. A that must be packed is packed for each chunk of columns, B for each of rows.
_COLUMNS, _COLUMNS_TURNED, _ROWS = 192, 384, 384
#: Rows of a chunk where B is not packed, columns up to which products are cut for the sake of threads, and the number
#: of chunks that are enough for them.
_ROWS_DIRECT, _COLUMNS_LEAST, _COLUMNS_LEAST_TURNED, _ENOUGH = 64, 64, 128, 4
#: Numbers in a packed block of B and in packed rows of A, with room for what is written behind a panel, and in the
#: sums of a chunk whose result is of 16 bits.
_BLOCK: Final = _COLUMNS_TURNED * (_UNCUT + 16)
_STRIP: Final = 1 << 15
_SUMS: Final = _COLUMNS_TURNED * 2 * _ROWS
_WORTH: Final = 1 << 21  # multiplications worth a chunk
#: Numbers of B up to which it is read where it lies, and those for so few rows that packing costs more. Rows of B are
#: often so far apart that they come into few places of the first cache, and out of it before they are read again.
_DIRECT, _DIRECT_FEW, _FEW = 1 << 16, 1 << 20, 64
#: Of the rows of A behind a tile's: how many are fetched for each of its tiles, and how many numbers of one.
_AHEAD_ROWS, _AHEAD = 2, 128
_LINE: Final = 64  # bytes of a cache line


def workspace_bytes(numbers: Numbers) -> int:
    """The memory that each thread needs, for products of any size."""
    return (_BLOCK + _STRIP + (_SUMS if numbers.is_low else 0)) * numbers.compute.bytes


class Plan(NamedTuple):
    """How a product is cut: numbers of rows, columns and terms at a time, products of a batch in a chunk."""

    rows: int
    columns: int
    terms: int
    batch: int
    chunks: int
    direct: bool


@cache
def plan(shape: micro.Tile, low: bool, m: int, n: int, k: int, batch: int, turned: bool, row_major: bool) -> Plan:
    """The cuts of ``batch`` products of (m, k) with (k, n) by a tile; by the shape alone.

    ``turned`` A is packed for each chunk of columns, B for each of rows unless it is read where it lies: there are
    fewer such chunks.
    """
    blocks = 1 if k <= _UNCUT else -(-k // _TERMS)
    terms = -(-k // (2 * blocks)) * 2
    work = m * n * k
    wanted = max(1, min(64, work // _WORTH))
    most = _DIRECT_FEW if m <= _FEW else _DIRECT
    direct = row_major and not low and k * n <= most
    packs = turned or low
    across = -(-n // (_COLUMNS_TURNED if packs else _COLUMNS))
    height = _ROWS_DIRECT if direct else _ROWS
    down = max(1, min(m // height, -(-wanted // across)), -(-m // (2 * _ROWS)) if low else 1)
    if across * down < min(wanted, _ENOUGH):
        across = max(across, min(n // (_COLUMNS_LEAST_TURNED if packs else _COLUMNS_LEAST), _ENOUGH // down))
    columns = _cut(n, across, shape.lanes)
    rows = _cut(m, down, 2 * shape.rows)
    across, down = -(-n // columns), -(-m // rows)
    each = max(1, _WORTH // max(1, work)) if across * down == 1 else 1
    return Plan(rows, columns, terms, each, -(-batch // each) * across * down, direct)


def _cut(size: int, parts: int, unit: int) -> int:
    """The length of equal parts, in whole units."""
    return -(-size // (parts * unit)) * unit


@dataclass(frozen=True)
class _Functions:
    """The functions of a module that a chunk calls."""

    micro: list[Function]  # by the vectors of a tile
    b_along: Function
    b_across: Function
    a_along: Function
    a_across: Function


@cache
def products(target: Target, name: str, epilogue: Epilogue | None = None, after: After = NOTHING.after) -> Job:
    """The job of products of a dtype, through an activation, and then a line.

    Its values: m, n, k; a, its steps over rows and terms; b, its steps over terms and columns; c and its step over
    rows; bias or 0; the offsets in a and b of each product of the batch (2 of 64 bits each) or 0, the size of the
    batch, the step over results; rows, columns, terms, batch of :class:`Plan`; direct; workspace, its bytes for each
    thread; those of the line, whose arrays lie as c does. Steps are in elements.
    """
    (job,) = jobs(define(Module(target), name, epilogue, after))
    return job


def define(module: Module, name: str, epilogue: Epilogue | None = None, after: After = NOTHING.after) -> JobFunction:
    """The job of :func:`products`, written."""
    numbers = NUMBERS[name]
    shape = micro.tile(module.target, numbers)
    count = pack.group(numbers, shape.rows)
    kernels = [
        micro.define(module, f"micro{v}", numbers, shape, v, epilogue) for v in range(1, shape.vectors + 1)
    ]  # fmt: skip
    functions = _Functions(
        kernels,
        pack.define_along(module, "b_along", numbers, shape.width),
        pack.define_across(module, "b_across", numbers, shape.width),
        pack.define_along(module, "a_along", numbers, shape.rows, count, ahead=True),
        pack.define_across(module, "a_across", numbers, shape.rows),
    )
    part = _define_part(module, numbers, shape, functions)
    return _define_job(module, numbers, part, after)


def _define_job(module: Module, numbers: Numbers, part: Function, after: After) -> JobFunction:
    values = [I64] * 3 + [PTR, I64, I64] + [PTR, I64, I64] + [PTR, I64] + [PTR] + [PTR, I64, I64] + [I64] * 5
    values += [PTR, I64]
    f = JobFunction(module, "products", [*values, *(after.parameters if after.sizes else [])])
    (
        m, n, k, a, a_row, a_term, b, b_term, b_column, c, ldc, bias, offsets, batch, c_step,
        rows, columns, terms, each, direct, room, room_bytes,
    ) = f.values[: len(values)]  # fmt: skip
    follow = Follow(f, after) if after.sizes else None
    across, down = (n + (columns - 1)) // columns, (m + (rows - 1)) // rows
    parts = across * down
    first, rest = f.chunk // parts * each, f.chunk % parts
    row, column = rest % down * rows, rest // down * columns
    height, width = f.minimum(m - row, rows), f.minimum(n - column, columns)
    mine = room + f.thread * room_bytes
    for number in f.range(first, f.minimum(first + each, batch)):
        a_here, b_here = f.variable(PTR, a), f.variable(PTR, b)
        with f.when(offsets.address().ne(0)):
            a_here.set(f.at(a, f.load(I64, offsets, number * 2), numbers.memory))
            b_here.set(f.at(b, f.load(I64, offsets, number * 2 + 1), numbers.memory))
        f.call(
            part, height, width, k, f.at(a_here.now, row * a_row, numbers.memory), a_row, a_term,
            f.at(b_here.now, column * b_column, numbers.memory), b_term, b_column,
            f.at(c, number * c_step + row * ldc + column, numbers.memory), ldc,
            f.select(bias.address().ne(0), f.at(bias, column, numbers.memory), bias), terms, direct, mine,
        )  # fmt: skip
        if follow is not None:
            at = number * c_step + row * ldc + column
            for i in f.range(0, height):
                follow.fetch(at + (i + AHEAD) * ldc, column, f.select(i + AHEAD < height, width, 0))
                follow(at + i * ldc, column, width)
    f.ret()
    return f


def _define_part(module: Module, numbers: Numbers, shape: micro.Tile, functions: _Functions) -> Function:
    """``part(m, n, k, a, …, c, ldc, bias, terms, direct, room)``: one thread's product, terms by terms."""
    f = Function(
        module, "part", [I64] * 3 + [PTR, I64, I64] * 2 + [PTR, I64, PTR, I64, I64, PTR], internal=True
    )  # fmt: skip
    m, n, k, a, a_row, a_term, b, b_term, b_column, out, ldo, bias, terms, direct, room = f.args
    strip = f.at(room, _BLOCK, numbers.compute)
    c, ldc = (f.at(room, _BLOCK + _STRIP, numbers.compute), n) if numbers.is_low else (out, ldo)
    packs = f.constant(I64, 1) if numbers.is_low else a_term.ne(1).zext(I64)
    count = pack.group(numbers, shape.rows)
    for first in f.range(0, k, terms):
        length = f.minimum(k - first, terms)
        add, last = (first > 0).zext(I64), (first + length >= k).zext(I64)
        b_here = f.at(b, first * b_term, numbers.memory)
        _pack_b(f, numbers, shape, functions, n, length, b_here, b_term, b_column, direct, room)
        for i in f.range(0, m, shape.rows * count):
            height = f.minimum(m - i, shape.rows * count)
            a_here = f.at(a, i * a_row + first * a_term, numbers.memory)
            with f.when(packs.ne(0)):
                _pack_a(f, numbers, shape, functions, height, length, a_here, a_row, a_term, strip)
            for down in f.range(0, height, shape.rows):
                rows = f.minimum(height - down, shape.rows)
                packed = f.at(strip, down * length, numbers.compute)
                lying = f.at(a_here, down * a_row, numbers.memory)
                a_from = f.select(packs.ne(0), packed, lying)
                row, term = f.select(packs.ne(0), 1, a_row), f.select(packs.ne(0), shape.rows, a_term)
                ahead = f.variable(I64, down + shape.rows)
                for j in f.range(0, n, shape.width):
                    columns = f.minimum(n - j, shape.width)
                    lies = _lies(f, shape, columns, direct)
                    b_from = f.select(lies, f.at(b_here, j, numbers.memory), f.at(room, j * length, numbers.compute))
                    at, to = f.at(c, (i + down) * ldc + j, numbers.compute), (i + down) * ldo + j
                    shift = f.select(bias.address().ne(0), f.at(bias, j, numbers.memory), bias)
                    args = [
                        length, a_from, row, term, b_from, f.select(lies, b_term, shape.width),
                        at, ldc, f.at(out, to, numbers.memory), ldo, rows, columns, add, last, shift,
                    ]  # fmt: skip
                    with f.when(packs.eq(0) & (ahead.now < down + 2 * shape.rows)):
                        for _ in range(_AHEAD_ROWS):
                            _fetch_row(f, numbers, a_here, a_row, ahead, length)
                    for v, kernel in enumerate(functions.micro):
                        fits = (columns > v * shape.lanes) & (columns <= (v + 1) * shape.lanes)
                        with f.when(fits):
                            f.call(kernel, *args)
    f.ret()
    return f


def _fetch_row(f: Function, numbers: Numbers, a: Value, step: Value, number: Variable, length: Value) -> None:
    """Ask for the begin of a row that is multiplied soon, from where on the processor sees for itself what comes."""
    here = f.at(a, number.now * step, numbers.memory)
    for i in f.range(0, f.minimum(length, _AHEAD), _LINE // numbers.memory.bytes):
        prefetch(f, f.at(here, i, numbers.memory), near=True)
    number.set(number.now + 1)


def _lies(f: Function, shape: micro.Tile, columns: Value, direct: Value) -> Value:
    """Whether B's columns are read where they lie: those that whole vectors may be loaded of."""
    return direct.ne(0) & (columns & (shape.lanes - 1)).eq(0)


def _pack_b(
    f: Function, numbers: Numbers, shape: micro.Tile, functions: _Functions,
    n: Value, length: Value, b: Value, term: Value, column: Value, direct: Value, room: Value,
) -> None:  # fmt: skip
    for j in f.range(0, n, shape.width):
        columns = f.minimum(n - j, shape.width)
        with f.unless(_lies(f, shape, columns, direct)):
            src, dst = f.at(b, j * column, numbers.memory), f.at(room, j * length, numbers.compute)
            with f.when(column.eq(1)):
                f.call(functions.b_along, src, term, length, columns, dst)
            with f.unless(column.eq(1)):
                f.call(functions.b_across, src, column, length, columns, dst)


def _pack_a(
    f: Function, numbers: Numbers, shape: micro.Tile, functions: _Functions,
    height: Value, length: Value, a: Value, row: Value, term: Value, strip: Value,
) -> None:  # fmt: skip
    with f.when(term.ne(1)):
        f.call(functions.a_along, a, term, length, height, strip)
    with f.when(term.eq(1)):
        for i in f.range(0, height, shape.rows):
            rows = f.minimum(height - i, shape.rows)
            src, dst = f.at(a, i * row, numbers.memory), f.at(strip, i * length, numbers.compute)
            f.call(functions.a_across, src, row, length, rows, dst)
