"""What the convolutions compute with: a tile of results in registers, and panels of a matrix in the order of reading.

The scheme is that of K. Goto and R. van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008): a tile of
``rows`` times some vectors stays in registers while one of the operands goes by as vectors, the other number by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from flambeau.backends.cpu import threads
from flambeau.backends.cpu.native.micro import Tile, tile
from flambeau.backends.cpu.native.pack import NUMBERS, transpose
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Function, Value, Variable
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F32, I32, I64, PTR

#: Steps of the innermost loop at a time; a power of two.
UNROLL: Final = 4


def tile_of(target: Target) -> Tile:
    """The tile that fills the registers of a target with float32."""
    return tile(target, NUMBERS["float32"])


def below(f: Function, count: Value, lanes: int) -> Value:
    """The mask of the lanes whose number is below ``count``, which may be negative; |count| < 2^31."""
    numbers = I32.vector(lanes)
    return f.lanes(numbers).compare("lt", f.value(numbers, count.trunc(I32)))


def unrolled(f: Function, count: Value) -> Sequence[Value]:
    """The bounds of a loop of ``UNROLL`` steps at a time, and of the loop for the rest."""
    return f.value(I64, 0), count & ~(UNROLL - 1), count


class Memory:
    """Zeros for each thread, or for so many, which start a cache line."""

    def __init__(self, floats: int, count: int = 0):
        self.bytes = (floats * 4 + 63) // 64 * 64 + 64
        self._block = np.zeros((count or threads.num_threads()) * self.bytes + 64, np.uint8)
        self.address = (address(self._block) + 63) & ~63


class Accumulators:
    """The tile in registers; ``vectors`` of it are in use."""

    def __init__(self, f: Function, tile: Tile, vectors: int):
        self.f, self.tile, self.vectors = f, tile, vectors
        self.sums = [[f.variable(tile.vector, 0.0) for _ in range(vectors)] for _ in range(tile.rows)]

    def step(self, numbers: Sequence[Value], panel: Variable) -> None:
        """Add the products of one column of numbers, by their addresses, with one row of the panel; go to the next."""
        f, tile = self.f, self.tile
        row = [f.load(tile.vector, panel.now, j * tile.lanes) for j in range(self.vectors)]
        for place, sums in zip(numbers, self.sums, strict=True):
            number = f.splat(f.load(F32, place), tile.lanes)
            for j in range(self.vectors):
                sums[j].set(f.muladd(number, row[j], sums[j].now))
        panel.set(panel.now + tile.width * 4)


def product(module: Module, name: str, tile: Tile, vectors: int) -> Function:
    """``name(depth, a, row, step, panel, c, ldc, rows, columns, add, bias)``: one tile of c = a @ panel + bias.

    Args (of the function):
        a: its rows are ``row`` numbers apart, its columns ``step``; ``rows`` of a tile's rows are there.
        panel: ``depth`` rows of the width of a tile; ``columns`` of each count, which end in the last vector.
        add: not 0: c is added to; 0: it starts with ``bias``, one number a row.
    """
    f = Function(module, name, [I64, PTR, I64, I64, PTR, PTR, I64, I64, I64, I64, PTR], internal=True)
    depth, a, row, step, panel, c, ldc, rows, columns, add, bias = f.args
    sums = Accumulators(f, tile, vectors)
    there = [rows > i for i in range(tile.rows)]
    which = [f.select(there[i], f.value(I64, i), 0) for i in range(tile.rows)]  # others read the first row again
    last = below(f, columns - (vectors - 1) * tile.lanes, tile.lanes)

    with f.when(add.eq(0)):
        for i, row_sums in enumerate(sums.sums):
            for total in row_sums:
                total.set(f.splat(f.load(F32, bias, which[i]), tile.lanes))
    with f.unless(add.eq(0)):
        for i, row_sums in enumerate(sums.sums):
            at = c + which[i] * ldc * 4
            for j, total in enumerate(row_sums):
                before = (at, j * tile.lanes)
                total.set(
                    f.load(tile.vector, *before) if j < vectors - 1 else f.load_masked(tile.vector, *before, last)
                )

    starts = [a + number * row * 4 for number in which]
    along, at_panel = f.variable(I64, 0), f.variable(PTR, panel)
    first, whole, end = unrolled(f, depth)
    for begin, stop, times in ((first, whole, UNROLL), (whole, end, 1)):
        for _ in f.range(begin, stop, times):
            for _ in range(times):
                here = along.now
                sums.step([start + here for start in starts], at_panel)
                along.set(here + step * 4)

    for i, row_sums in enumerate(sums.sums):
        with f.when(there[i]):
            at = c + ldc * (4 * i)
            for j, total in enumerate(row_sums):
                if j < vectors - 1:
                    f.store(total.now, at, j * tile.lanes)
                else:
                    f.store_masked(total.now, at, j * tile.lanes, last)
    f.ret()
    return f


def products(module: Module, name: str, tile: Tile) -> list[Function]:
    """:func:`product` for 1, 2 … vectors."""
    return [product(module, f"{name}{n}", tile, n) for n in range(1, tile.vectors + 1)]


def call_for(f: Function, callees: Sequence[Function], columns: Value, lanes: int, *args: Value) -> None:
    """Call the one whose vectors just hold ``columns``."""
    for n, callee in enumerate(callees):
        with f.when((columns > n * lanes) & (columns <= (n + 1) * lanes)):
            f.call(callee, *args)


def turned_panel(module: Module, name: str, tile: Tile) -> Function:
    """``name(source, pitch, depth, columns, panel)``: panel[k][j] = source[j][k], 0 for the j that do not count.

    Rows of ``source`` are ``pitch`` numbers apart. Of the panel, the vectors in which a column counts are written.
    """
    lanes, vector = tile.lanes, tile.vector
    f = Function(module, name, [PTR, I64, I64, I64, PTR], internal=True)
    source, pitch, depth, columns, panel = f.args
    main = depth & ~(lanes - 1)
    rest = below(f, depth - main, lanes)
    for begin in range(0, tile.width, lanes):
        with f.when(columns > begin):
            rows = [
                source + pitch * f.select(columns > begin + i, f.value(I64, begin + i), 0) * 4 for i in range(lanes)
            ]
            counts = below(f, columns - begin, lanes)
            for k in f.range(0, main, lanes):
                for i, row in enumerate(transpose(f, [f.load(vector, r, k) for r in rows])):
                    f.store(f.select(counts, row, 0.0), panel, (k + i) * tile.width + begin)
            with f.when(main < depth):
                for i, row in enumerate(transpose(f, [f.load_masked(vector, r, main, rest) for r in rows])):
                    with f.when(depth - main > i):
                        f.store(f.select(counts, row, 0.0), panel, (main + i) * tile.width + begin)
    f.ret()
    return f
