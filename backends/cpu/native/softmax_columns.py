"""softmax and its relatives along an axis that is not the last: the numbers of one result stand in a column."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import inf
from typing import Final

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import Lanes, Span, lanes
from flambeau.backends.llvm import maths
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, I64, PTR, Type

#: The most columns of a chunk.
BLOCK: Final = 256
Mask = Value | None


class Block:
    """Columns side by side, ``down`` numbers from one row to the next, and numbers for each of them.

    ``row`` is the number of the row that :meth:`each` is at.
    """

    def __init__(self, f: Function, read: Lanes, columns: Value, count: Value, down: Value):
        self.f, self.read = f, read
        self.span, self.count, self.down = Span(f, columns, read.count), count, down
        self.row = f.variable(I64, 0)
        self.buffers: dict[str, Value] = {}

    def buffer(self, name: str, type: Type, start: float) -> Value:
        """A number for each column, the same memory for all that are called so."""
        found = self.buffers.setdefault(name, self.f.buffer(BLOCK * type.bytes))
        x = self.f.constant(type.vector(self.read.count), start)
        self.span.each(lambda j, mask: self.f.store(x, found, j))
        return found

    def each(self, body: Callable[[Value, Value, Mask], None]) -> None:
        """``body(place, column, mask)`` for all vectors, row by row."""

        def row(start: Value) -> None:
            self.span.each(lambda j, mask: body(start + j, j, mask))

        for r in self.f.range(0, self.count):
            self.row.set(r)
            row(r * self.down)

    def add(self, x: Value, sums: Value, j: Value) -> None:
        """Add a vector to sums in float64."""
        f = self.f
        have = f.load(F64.vector(self.read.count), sums, j)
        f.store(have + (x if x.type == have.type else x.convert("fpext", F64)), sums, j)

    def sums(self, p: Value, j: Value) -> Value:
        """Sums in the computing type."""
        found = self.f.load(F64.vector(self.read.count), p, j)
        return found if self.read.compute == F64 else found.convert("fptrunc", self.read.compute)


def tops(f: Function, block: Block, x: Value) -> Value:
    """The largest number of each column; a nan may be missed."""
    read, high = block.read, block.buffer("tops", block.read.compute, -inf)

    def body(i: Value, j: Value, mask: Mask) -> None:
        f.store(f.maximum(read.load(f, x, i, mask), f.load(read.vector, high, j)), high, j)

    block.each(body)
    return high


def _forward(f: Function, block: Block, log: bool, x: Value, y: Value) -> None:
    read, high, totals = block.read, tops(f, block, x), block.buffer("sums", F64, 0.0)
    exact = read.memory == read.compute

    def shifted(i: Value, j: Value, mask: Mask) -> Value:
        return read.load(f, x, i, mask) - f.load(read.vector, high, j)

    def powers(i: Value, j: Value, mask: Mask) -> None:
        e = maths.exp_nonpositive(f, shifted(i, j, mask))
        block.add(e, totals, j)
        if exact and not log:
            read.store(f, e, y, i, mask)

    block.each(powers)
    last = block.buffer("last", read.compute, 0.0)

    def finish(j: Value, mask: Mask) -> None:
        total = block.sums(totals, j)
        f.store(maths.log(f, total) if log else 1.0 / total, last, j)

    block.span.each(finish)

    def write(i: Value, j: Value, mask: Mask) -> None:
        k = f.load(read.vector, last, j)
        if log:
            value = shifted(i, j, mask) - k
        else:
            e = read.load(f, y, i, mask) if exact else maths.exp_nonpositive(f, shifted(i, j, mask))
            value = e * k
        read.store(f, value, y, i, mask)

    block.each(write)


def _softmax(f: Function, block: Block, x: Value, y: Value) -> None:
    _forward(f, block, False, x, y)


def _log_softmax(f: Function, block: Block, x: Value, y: Value) -> None:
    _forward(f, block, True, x, y)


def _softmax_grad(f: Function, block: Block, g: Value, r: Value, out: Value) -> None:
    read, dots = block.read, block.buffer("sums", F64, 0.0)
    block.each(lambda i, j, mask: block.add(read.load(f, g, i, mask) * read.load(f, r, i, mask), dots, j))

    def write(i: Value, j: Value, mask: Mask) -> None:
        d = read.load(f, g, i, mask) - block.sums(dots, j)
        read.store(f, d * read.load(f, r, i, mask), out, i, mask)

    block.each(write)


def _log_softmax_grad(f: Function, block: Block, g: Value, r: Value, out: Value) -> None:
    read, totals = block.read, block.buffer("sums", F64, 0.0)
    block.each(lambda i, j, mask: block.add(read.load(f, g, i, mask), totals, j))

    def write(i: Value, j: Value, mask: Mask) -> None:
        e = maths.exp_nonpositive(f, read.load(f, r, i, mask))
        read.store(f, read.load(f, g, i, mask) - e * block.sums(totals, j), out, i, mask)

    block.each(write)


_BODIES: Final[dict[str, tuple[int, Callable[..., None]]]] = {
    "softmax": (2, _softmax),
    "log_softmax": (2, _log_softmax),
    "softmax_grad": (3, _softmax_grad),
    "log_softmax_grad": (3, _log_softmax_grad),
}


@cache
def softmax(target: Target, source: str, name: str) -> Job:
    """The job of one of them: (operands, result, columns, blocks, length, outer ones of a chunk, outer ones)."""
    pointers, body = _BODIES[name]
    f = JobFunction(Module(target), f"{name}_columns_{source}", [PTR] * pointers + [I64] * 5)
    *ps, width, blocks, count, per, total = f.values
    read = lanes(source)
    first, parts = folds.blocks_of(f, blocks, BLOCK, per, total)
    block = Block(f, read, folds.least(f, width - first, BLOCK), count, width)
    for o in parts:
        body(f, block, *[p + (o * count * width + first) * read.memory.bytes for p in ps])
    f.ret()
    return jobs(f)[0]
