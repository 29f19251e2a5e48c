"""The micro-kernel of all products: a tile of the result held in registers while k runs over the terms.

Per term it loads a row of the tile's width from B and spreads one number of A for each of the tile's rows (Van Zee
and van de Geijn, "BLIS: A Framework for Rapidly Instantiating BLAS Functionality", ACM TOMS 41, 2015).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flambeau.backends.cpu.native.pack import Numbers, prefetch
from flambeau.backends.llvm.ir import Function, Value, Variable
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR, Type

#: What is done to vectors of a finished result: an activation.
Epilogue = Callable[[Function, Value], Value]

_UNROLL: Final = 2


@dataclass(frozen=True)
class Tile:
    """The registers' shape: ``rows`` times ``vectors`` of ``lanes`` numbers of type ``number``."""

    rows: int
    vectors: int
    lanes: int
    number: Type

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.vectors * self.lanes

    @property
    def vector(self) -> Type:
        """The type of one vector."""
        return self.number.vector(self.lanes)


def tile(target: Target, numbers: Numbers) -> Tile:
    """What fits the registers with a row of B and a number of A beside it."""
    if target.registers >= 32:
        rows, vectors = 8, 3
    else:
        rows, vectors = 6 if target.fma else 4, 2  # a product that is to be added takes a register of its own
    return Tile(rows, vectors, target.lanes(numbers.compute), numbers.compute)


def define(
    module: Module, name: str, numbers: Numbers, shape: Tile, vectors: int, epilogue: Epilogue | None
) -> Function:
    """``name(k, a, row, term, b, width, c, ldc, out, ldo, rows, columns, add, last, bias)``: one tile.

    A has its rows ``row`` apart and its terms ``term``, B its terms ``width``; all computed numbers, like ``c``, to
    which ``add`` adds. With ``last`` the sums are finished: plus ``bias`` (unless null), through the epilogue, to
    ``out`` in the numbers' own format. ``rows`` of the tile's rows count, and ``columns`` of its columns, of which
    all but the last vector's are full.
    """
    f = Function(
        module, name, [I64, PTR, I64, I64, PTR, I64, PTR, I64, PTR, I64, I64, I64, I64, I64, PTR], internal=True
    )
    k, a, row, term, b, width, c, ldc, out, ldo, rows, columns, add, last, bias = f.args
    for line in _rows(f, numbers, shape, c, ldc, rows):  # stores would wait for what no cache holds
        for j in range(vectors):
            prefetch(f, f.at(line, j * shape.lanes, numbers.compute), write=True, near=True)
    sums = _sums(f, numbers, shape, vectors, k, _rows(f, numbers, shape, a, row, rows), term, b, width)
    lanes = shape.lanes
    rest = columns - (vectors - 1) * lanes
    mask = f.below(rest, lanes)

    def finish(whole: bool) -> None:
        masks = [None if whole or j < vectors - 1 else mask for j in range(vectors)]

        def read(p: Value, j: int, stored: Numbers) -> Value:
            return stored.load(f, lanes, p, j * lanes, masks[j])

        computed = Numbers(numbers.compute.name, numbers.compute, numbers.compute)
        with f.when(add.ne(0)):
            for i in range(shape.rows):
                with f.when(rows > i):
                    here = f.at(c, ldc * i, numbers.compute)
                    for j in range(vectors):
                        sums[i][j].set(sums[i][j].now + read(here, j, computed))
        with f.when(last.eq(0)):
            for i in range(shape.rows):
                with f.when(rows > i):
                    here = f.at(c, ldc * i, numbers.compute)
                    for j in range(vectors):
                        computed.store(f, sums[i][j].now, here, j * lanes, masks[j])
            f.ret()
        with f.when(bias.address().ne(0)):
            for j in range(vectors):
                shift = read(bias, j, numbers)
                for i in range(shape.rows):
                    sums[i][j].set(sums[i][j].now + shift)
        for i in range(shape.rows):
            with f.when(rows > i):
                here = f.at(out, ldo * i, numbers.memory)
                for j in range(vectors):
                    done = sums[i][j].now if epilogue is None else epilogue(f, sums[i][j].now)
                    numbers.store(f, done, here, j * lanes, masks[j])
        f.ret()

    if not f.target.masks:
        with f.when(rest.eq(lanes), likely=True):
            finish(True)
    finish(False)
    return f


def _rows(f: Function, numbers: Numbers, shape: Tile, a: Value, step: Value, rows: Value) -> list[Value]:
    """Where rows of the tile's height begin; those that do not count are the first one again."""
    return [a, *(f.at(a, f.select(rows > i, step * i, 0), numbers.compute) for i in range(1, shape.rows))]


def _sums(
    f: Function, numbers: Numbers, shape: Tile, vectors: int,
    k: Value, rows: list[Value], term: Value, b: Value, width: Value,
) -> list[list[Variable]]:  # fmt: skip
    """The tile's sums over all terms, in order."""
    t = shape.vector
    sums = [[f.variable(t, 0.0) for _ in range(vectors)] for _ in rows]
    at, here = f.variable(I64, 0), f.variable(PTR, b)
    step = term * numbers.compute.bytes

    def one() -> None:
        line = [f.load(t, here.now, j * shape.lanes) for j in range(vectors)]
        for i, row in enumerate(rows):
            factor = f.splat(f.load(numbers.compute, row + at.now), shape.lanes)
            for j in range(vectors):
                sums[i][j].set(f.muladd(factor, line[j], sums[i][j].now))
        at.set(at.now + step)
        here.set(f.at(here.now, width, numbers.compute))

    main = k & ~(_UNROLL - 1)
    for _ in f.range(0, main, _UNROLL):
        for _ in range(_UNROLL):
            one()
    for _ in f.range(main, k):
        one()
    return sums
