"""The three products of attention, by the micro-kernel of :mod:`micro`, on blocks of queries and keys.

Where a query may look at the keys before it alone, ``base`` is how many of a block's keys stand before its first
query: only what is read of the products is computed. Where it may look at all, ``base`` is their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Any, Final, NamedTuple

from flambeau.backends.cpu.native import micro, pack
from flambeau.backends.cpu.native.lanes import UNROLL, Lanes, Span, lanes
from flambeau.backends.cpu.native.pack import NUMBERS, Numbers
from flambeau.backends.llvm.ir import Function, Operand, Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR, Type

#: Queries of a block; blocks of keys are whole multiples of it.
QUERIES: Final = 64
#: Numbers behind a row of scores, so that rows do not all begin in the same places of the cache.
GAP: Final = 16


class Sizes(NamedTuple):
    """What memory for packed operands depends on: widths of a tile and of a vector.

    Counts may be numbers or values of code.
    """

    tile: int
    lanes: int

    def packed(self, keys: Any, terms: Any) -> Any:
        """Numbers of so many packed keys, with what is written behind them."""
        return (keys + (self.tile - 1)) // self.tile * self.tile * terms + self.tile * self.lanes

    def padded(self, width: Any) -> Any:
        """The length of a copied row."""
        return (width + (self.lanes - 1)) // self.lanes * self.lanes


@cache
def sizes(target: Target, name: str) -> Sizes:
    """Those of a target and dtype."""
    shape = micro.tile(target, NUMBERS[name])
    return Sizes(shape.width, shape.lanes)


@dataclass(frozen=True)
class Products:
    """The functions of a module, and how its numbers are held."""

    numbers: Numbers
    read: Lanes
    shape: micro.Tile
    kernels: list[Function]
    across: Function
    copies: Function
    scores: Function
    weighted: Function
    turned: Function
    dots: Function
    sums: Function

    @property
    def type(self) -> Type:
        """One number."""
        return self.numbers.compute

    @property
    def sizes(self) -> Sizes:
        """What memory for packed operands depends on."""
        return Sizes(self.shape.width, self.shape.lanes)


def define(module: Module, name: str) -> Products:
    """The functions for a dtype that is computed in itself, float32 or float64.

    ``copies(src, row, count, width, dst)``: rows next to each other, each filled up with zeros to whole vectors.
    ``scores(rows, keys, terms, a, a_row, panels, c, ldc, base)``: c = a kᵀ with packed keys.
    ``weighted(rows, keys, width, a, lda, b, b_row, c, ldc, base, add)``: c = a b, or c + a b.
    ``turned(rows, keys, width, a, lda, b, b_row, c, ldc, base)``: c + aᵀ b, where c has a row for each key.
    ``dots(rows, keys, terms, a, a_row, b, b_row, c, ldc)`` and ``sums(rows, keys, width, a, lda, b, b_row, c, ldc,
    add)``: the first two for so few rows that packing costs more, of operands where they lie.
    """
    numbers = NUMBERS[name]
    shape = micro.tile(module.target, numbers)
    kernels = [micro.define(module, f"micro{v}", numbers, shape, v, None) for v in range(1, shape.vectors + 1)]
    across = pack.define_across(module, "across", numbers, shape.width)
    return Products(
        numbers, lanes(name), shape, kernels, across, _define_copies(module, numbers, shape),
        _define_scores(module, numbers, shape, kernels), _define_weighted(module, numbers, shape, kernels),
        _define_turned(module, numbers, shape, kernels), _define_dots(module, lanes(name)),
        _define_sums(module, lanes(name)),
    )  # fmt: skip


def pack_keys(f: Function, products: Products, src: Value, row: Value, count: Value, terms: Value, dst: Value) -> None:
    """``count`` keys, or values, of ``terms`` numbers as panels for ``scores``."""
    width = products.shape.width
    for j in f.range(0, count, width):
        here, to = f.at(src, j * row, products.type), f.at(dst, j * terms, products.type)
        f.call(products.across, here, row, terms, f.minimum(count - j, width), to)


def each_row(f: Function, read: Lanes, rows: Value, width: Value) -> Iterator[tuple[Value, Span]]:
    """The number of each row, and its vectors."""
    span = Span(f, width, read.count)
    for r in f.range(0, rows):
        yield r, span


def _define_copies(module: Module, numbers: Numbers, shape: micro.Tile) -> Function:
    f = Function(module, "copies", [PTR, I64, I64, I64, PTR], internal=True)
    src, row, count, width, dst = f.args
    main = width & ~(shape.lanes - 1)
    padded = (width + (shape.lanes - 1)) & ~(shape.lanes - 1)
    mask = f.below(width - main, shape.lanes)
    for r in f.range(0, count):
        here, to = f.at(src, r * row, numbers.compute), f.at(dst, r * padded, numbers.compute)
        for i in f.range(0, main, shape.lanes):
            f.store(numbers.load(f, shape.lanes, here, i), to, i)
        with f.when(main < width):
            f.store(numbers.load(f, shape.lanes, here, main, mask), to, main)
    f.ret()
    return f


def _tile(
    f: Function, numbers: Numbers, shape: micro.Tile, kernels: list[Function], terms: Value,
    a: tuple[Value, Operand, Operand], b: tuple[Value, Operand], c: tuple[Value, Value],
    rows: Value, columns: Value, add: Operand,
) -> None:  # fmt: skip
    """One tile: A with its steps over rows and terms, B with that over terms, C with that over rows."""
    null = f.constant(PTR, 0)
    args = [terms, *a, *b, *c, *c, f.minimum(rows, shape.rows), columns, add, 0, null]
    for v, kernel in enumerate(kernels):
        with f.when((columns > v * shape.lanes) & (columns <= (v + 1) * shape.lanes)):
            f.call(kernel, *args)


def _columns(f: Function, shape: micro.Tile, width: Value) -> Iterator[tuple[Value, Value]]:
    """(start, columns) of tiles: as wide as they can be, but no narrow one behind a wide one."""
    j = f.variable(I64, 0)
    with f.loop() as leave:
        now = j.now
        leave(now >= width)
        rest = width - now
        even = (rest > shape.width) & (rest <= 2 * (shape.vectors - 1) * shape.lanes)
        columns = f.minimum(rest, f.select(even, (shape.vectors - 1) * shape.lanes, f.constant(I64, shape.width)))
        yield now, columns
        j.set(now + columns)


def _define_scores(module: Module, numbers: Numbers, shape: micro.Tile, kernels: list[Function]) -> Function:
    f = Function(module, "scores", [I64] * 3 + [PTR, I64, PTR, PTR, I64, I64], internal=True)
    rows, keys, terms, a, a_row, panels, c, ldc, base = f.args
    for j in f.range(0, keys, shape.width):
        panel = f.at(panels, j * terms, numbers.compute)
        for i in f.range(0, rows, shape.rows):
            limit = f.minimum(keys, base + i + shape.rows)
            with f.when(limit > j):
                _tile(
                    f, numbers, shape, kernels, terms, (f.at(a, i * a_row, numbers.compute), a_row, 1),
                    (panel, shape.width), (f.at(c, i * ldc + j, numbers.compute), ldc), rows - i,
                    f.minimum(limit - j, shape.width), 0,
                )  # fmt: skip
    f.ret()
    return f


def _define_weighted(module: Module, numbers: Numbers, shape: micro.Tile, kernels: list[Function]) -> Function:
    f = Function(module, "weighted", [I64] * 3 + [PTR, I64, PTR, I64, PTR, I64, I64, I64], internal=True)
    rows, keys, width, a, lda, b, b_row, c, ldc, base, add = f.args
    for j, columns in _columns(f, shape, width):
        for i in f.range(0, rows, shape.rows):
            _tile(
                f, numbers, shape, kernels, f.minimum(keys, base + i + shape.rows),
                (f.at(a, i * lda, numbers.compute), lda, 1), (f.at(b, j, numbers.compute), b_row),
                (f.at(c, i * ldc + j, numbers.compute), ldc), rows - i, columns, add,
            )  # fmt: skip
    f.ret()
    return f


def _define_turned(module: Module, numbers: Numbers, shape: micro.Tile, kernels: list[Function]) -> Function:
    f = Function(module, "turned", [I64] * 3 + [PTR, I64, PTR, I64, PTR, I64, I64], internal=True)
    rows, keys, width, a, lda, b, b_row, c, ldc, base = f.args
    for j, columns in _columns(f, shape, width):
        for i in f.range(0, keys, shape.rows):
            first = f.select(i > base, i - base, f.constant(I64, 0))  # queries before it do not look here
            with f.when(first < rows):
                _tile(
                    f, numbers, shape, kernels, rows - first, (f.at(a, first * lda + i, numbers.compute), 1, lda),
                    (f.at(b, first * b_row + j, numbers.compute), b_row),
                    (f.at(c, i * ldc + j, numbers.compute), ldc), keys - i, columns, 1,
                )  # fmt: skip
    f.ret()
    return f


# -- few rows ----------------------------------------------------------------------------------------
def _define_dots(module: Module, read: Lanes) -> Function:
    f = Function(module, "dots", [I64] * 3 + [PTR, I64] * 3, internal=True)
    rows, keys, terms, a, a_row, b, b_row, c, ldc = f.args
    for r, span in each_row(f, read, rows, terms):
        line, to = f.at(a, r * a_row, read.compute), f.at(c, r * ldc, read.compute)

        def some(first: Value, count: int, line: Value = line, to: Value = to, span: Span = span) -> None:
            heres = [f.at(b, (first + u) * b_row, read.compute) for u in range(count)]
            accs = [f.variable(read.vector, 0.0) for _ in heres]

            def add(i: Value, mask: Value | None) -> None:
                x = read.load(f, line, i, mask)
                for here, acc in zip(heres, accs, strict=True):
                    acc.set(f.muladd(x, read.load(f, here, i, mask), acc.now))

            span.each(add)
            for u, acc in enumerate(accs):
                f.store(f.reduce(acc.now, lambda x, y: x + y), to, first + u)

        main = keys & ~(UNROLL - 1)
        for j in f.range(0, main, UNROLL):
            some(j, UNROLL)
        for j in f.range(main, keys):
            some(j, 1)
    f.ret()
    return f


def _define_sums(module: Module, read: Lanes) -> Function:
    f = Function(module, "sums", [I64] * 3 + [PTR, I64] * 3 + [I64], internal=True)
    rows, keys, width, a, lda, b, b_row, c, ldc, add = f.args
    step = UNROLL * read.count
    for r in f.range(0, rows):
        line, to = f.at(a, r * lda, read.compute), f.at(c, r * ldc, read.compute)

        def some(first: Value, masks: list[Value | None], line: Value = line, to: Value = to) -> None:
            places = [first + u * read.count for u in range(len(masks))]
            accs = [f.variable(read.vector, 0.0) for _ in masks]
            with f.when(add.ne(0)):
                for acc, at, mask in zip(accs, places, masks, strict=True):
                    acc.set(read.load(f, to, at, mask))
            for j in f.range(0, keys):
                k, here = f.splat(f.load(read.compute, line, j), read.count), f.at(b, j * b_row, read.compute)
                for acc, at, mask in zip(accs, places, masks, strict=True):
                    acc.set(f.muladd(k, read.load(f, here, at, mask), acc.now))
            for acc, at, mask in zip(accs, places, masks, strict=True):
                read.store(f, acc.now, to, at, mask)

        main, whole = width & ~(step - 1), width & ~(read.count - 1)
        for i in f.range(0, main, step):
            some(i, [None] * UNROLL)
        for i in f.range(main, whole, read.count):
            some(i, [None])
        with f.when(whole < width):
            some(whole, [f.below(width - whole, read.count)])
    f.ret()
    return f


# -- scores ----------------------------------------------------------------------------------------
def score_reader(f: Function, read: Lanes, p: Value, mask: Value | None, scale: Value, live: Value) -> Any:
    """``score(i, cut, less)``: scores at ``p[i]``, scaled, masked, less a number; -inf from ``live`` on if ``cut``."""
    scales = f.splat(scale, read.count)

    def score(i: Value, cut: bool, less: Value | None = None) -> Value:
        raw = f.load(read.vector, p, i)
        inside = f.below(f.select(live > i, live - i, 0), read.count) if cut else None
        if mask is not None:
            found = f.muladd(raw, scales, read.load(f, mask, i, inside))
            found = found if less is None else found - less
        else:
            found = raw * scales if less is None else f.muladd(raw, scales, -less)
        return found if inside is None else f.select(inside, found, -inf)

    return score
