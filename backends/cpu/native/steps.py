"""The steps of a recurrent layer as jobs: a product with packed weights, and at once what the cell does with the gates.

A chunk is some rows of the batch, which have nothing to do with one another, through all steps; or, where the weights
are too large for the caches of one core, some rows and some hidden units through one step. What is added to what does
not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from flambeau.backends.cpu.native import micro, pack
from flambeau.backends.cpu.native.gates import CELLS, Cell
from flambeau.backends.cpu.native.pack import NUMBERS, Numbers
from flambeau.backends.llvm.ir import Function, Operand, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR, Type

#: Rows whose products are held before the cell takes them.
PIECE: Final = 32
#: What a backward job does of a step: the gates' gradients, and that of the hidden state before.
GATES, BEFORE = 1, 2


def height(target: Target, name: str, rows: int) -> int:
    """The rows of the registers' shape for products of so many."""
    usual = micro.tile(target, NUMBERS[name]).rows
    return next((n for n in (1, 2, 4) if rows <= n < usual), usual)


# -- packed weights --------------------------------------------------------------------------------
@cache
def packing(target: Target, name: str) -> tuple[Job, Job]:
    """The jobs that pack a weight (gates * H, K), for products with it transposed and, where K is H, as it is.

    Their values: the weight, H, K, the number of gates, what they write to. A chunk is a panel: of some hidden units of
    one gate, or of some columns. The first is followed by room for a vector's lanes of rows.
    """
    module = Module(target)
    shape, numbers = micro.tile(target, NUMBERS[name]), NUMBERS[name]
    across = pack.define_across(module, "across", numbers, shape.width)
    along = pack.define_along(module, "along", numbers, shape.width)
    turned = JobFunction(module, "turned", [PTR, I64, I64, I64, PTR])
    weight, hidden, depth, gates, room = turned.values
    unit, gate = turned.chunk // gates * shape.width, turned.chunk % gates
    columns, height = turned.minimum(hidden - unit, shape.width), _padded(depth, shape.lanes)
    source = turned.at(weight, (gate * hidden + unit) * depth, numbers.memory)
    panel = turned.at(room, turned.chunk * height * shape.width, numbers.memory)
    turned.call(across, source, depth, depth, columns, panel)
    turned.ret()
    plain = JobFunction(module, "plain", [PTR, I64, I64, I64, PTR])
    weight, hidden, _, gates, room = plain.values
    unit, height = plain.chunk * shape.width, gates * hidden
    columns = plain.minimum(hidden - unit, shape.width)
    panel = plain.at(room, plain.chunk * height * shape.width, numbers.memory)
    plain.call(along, plain.at(weight, unit, numbers.memory), hidden, height, columns, panel)
    plain.ret()
    first, second = jobs(turned, plain)
    return first, second


def _padded(count: Value, lanes: int) -> Value:
    return (count + (lanes - 1)) & -lanes


# -- what both directions share --------------------------------------------------------------------
@dataclass(frozen=True)
class _Kernel:
    """What the functions of one module are made for, and those that they call."""

    numbers: Numbers
    shape: micro.Tile
    cell: Cell
    fused: bool  # whether the input's part of the gates is computed with the hidden state's
    micros: list[Function]

    def at(self, p: Value, index: Operand) -> Value:
        """The address of a number."""
        return p.function.at(p, index, self.numbers.memory)

    def product(
        self, f: Function, rows: Value, columns: Value, k: Value, a: Value, lda: Value, panel: Value, out: Value,
        ldo: Operand, bias: Value, add: int = 0,
    ) -> None:  # fmt: skip
        """out = a @ panel + bias, or the same added to ``out``: some rows, up to a tile's width of columns."""
        for i in f.range(0, rows, self.shape.rows):
            here, count = self.at(out, i * f.value(I64, ldo)), f.minimum(rows - i, self.shape.rows)
            a_here = self.at(a, i * lda)
            for v, kernel in enumerate(self.micros):
                with f.when((columns > v * self.shape.lanes) & (columns <= (v + 1) * self.shape.lanes)):
                    f.call(
                        kernel, k, a_here, lda, 1, panel, self.shape.width, here, ldo, here, ldo, count, columns,
                        add, 1, bias,
                    )  # fmt: skip


def _kernel(module: Module, name: str, mode: str, height: int, fused: bool = False) -> _Kernel:
    numbers = NUMBERS[name]
    usual = micro.tile(module.target, numbers)
    shape = replace(usual, rows=height)
    micros = [micro.define(module, f"micro{v}", numbers, shape, v, None) for v in range(1, shape.vectors + 1)]
    return _Kernel(numbers, shape, CELLS[mode], fused, micros)


@dataclass(frozen=True)
class _Units:
    """A vector of hidden units of a row, whose numbers are read as they are asked for: a :class:`gates.Place`."""

    f: Function
    kernel: _Kernel
    places: dict[str, Value]  # where each operand's numbers of the row begin
    apart: dict[str, Value]  # how far a gate's numbers are from those of the next one
    index: Value
    mask: Value | None

    def read(self, name: str, gate: int = 0) -> Value:
        """A vector of an operand."""
        return self.kernel.numbers.load(self.f, self.kernel.shape.lanes, self._of(name, gate), self.index, self.mask)

    def write(self, x: Value, name: str, gate: int = 0) -> None:
        """Store a vector of a result."""
        self.kernel.numbers.store(self.f, x, self._of(name, gate), self.index, self.mask)

    def _of(self, name: str, gate: int) -> Value:
        return self.kernel.at(self.places[name], self.apart[name] * gate) if gate else self.places[name]

    def gate(self, number: int) -> Value:
        return self.read("gates", number)

    def product(self, number: int) -> Value:
        return self.read("products", number)

    def total(self, number: int) -> Value:
        product = self.product(number)
        return product if self.kernel.fused else self.gate(number) + product

    def before(self) -> Value:
        return self.read("before")

    def cell_before(self) -> Value:
        return self.read("cell_before")

    def hidden(self) -> Value:
        return self.read("out")

    def cell(self) -> Value:
        return self.read("cells")

    def of_hidden(self) -> Value:
        return self.read("of_out") + self.read("of_before")

    def of_cell(self) -> Value:
        return self.read("of_cells") + self.read("of_cell_before")


class _Chunk:
    """The rows and hidden units of a chunk, and where a job's operands have theirs."""

    def __init__(self, module: Module, name: str, params: dict[str, Type], kernel: _Kernel):
        self.f = f = JobFunction(module, name, list(params.values()))
        self.kernel, self.v = kernel, dict(zip(params, f.values, strict=True))
        self.n, self.hidden = self.v["n"], self.v["hidden"]
        self.wide = self.hidden * kernel.cell.gates
        rows, units = self.v["rows"], self.v["units"]
        groups = (self.hidden + (units - 1)) // units
        self.row, self.unit = f.chunk // groups * rows, f.chunk % groups * units
        self.rows_end = self.row + f.minimum(self.n - self.row, rows)
        self.units_end = self.unit + f.minimum(self.hidden - self.unit, units)
        self.sums = f.buffer(PIECE * kernel.cell.gates * kernel.shape.width * kernel.numbers.compute.bytes)
        self.apart = {
            "gates": self.hidden, "products": self.hidden, "of_gates": self.hidden, "of_products": self.hidden,
            "kept": self.hidden,
        }  # fmt: skip

    def state(self, name: str, start: str, t: Value) -> Value:
        """A dense sequence's (N, H) before step ``t``."""
        step = self.n * self.hidden
        return self.f.select(t > 0, self.kernel.at(self.v[name], (t - 1) * step), self.v[start])

    def step(self, name: str, t: Value, row: Value, width: Value) -> Value:
        """Row ``row`` at step ``t`` of a dense sequence (T, N, width)."""
        return self.kernel.at(self.v[name], (t * self.n + row) * width)

    def strided(self, name: str, t: Value, row: Value) -> Value:
        """The same of a sequence with steps of its own."""
        return self.kernel.at(self.v[name], t * self.v[f"{name}_step"] + row * self.v[f"{name}_row"])

    def pieces(self, end: Value) -> Iterator[tuple[Value, Value, Value, Value]]:
        """(unit, number of units, row, number of rows) of what is done at a time."""
        f, width = self.f, self.kernel.shape.width
        for unit in f.range(self.unit, end, width):
            columns = f.minimum(end - unit, width)
            for row in f.range(self.row, self.rows_end, PIECE):
                yield unit, columns, row, f.minimum(self.rows_end - row, PIECE)

    def products(self, t: Value, unit: Value, columns: Value, row: Value, count: Value) -> None:
        """The hidden state's part of the gates of some units and rows unless it is given, with the input's if fused."""
        f, v, kernel = self.f, self.v, self.kernel
        width, gates = kernel.shape.width, kernel.cell.gates
        before = kernel.at(self.state("out", "h0", t), row * self.hidden)
        with f.when(v["given"].address().eq(0)):
            for q in range(gates):
                bias = f.select(v["bias"].address().eq(0), v["bias"], kernel.at(v["bias"], self.hidden * q + unit))
                sums = kernel.at(self.sums, q * width)
                if kernel.fused:
                    kernel.product(
                        f, count, columns, v["inputs"], self.strided("x", t, row), v["x_row"],
                        self._panel("input_panels", v["inputs"], unit, q), sums, gates * width, bias,
                    )  # fmt: skip
                    bias = f.constant(PTR, 0)
                kernel.product(
                    f, count, columns, self.hidden, before, self.hidden,
                    self._panel("panels", self.hidden, unit, q), sums, gates * width, bias, int(kernel.fused),
                )  # fmt: skip

    def _panel(self, name: str, depth: Value, unit: Value, gate: int) -> Value:
        """Where the columns of some units of a gate are packed."""
        panel = _padded(depth, self.kernel.shape.lanes) * self.kernel.shape.width
        first = unit // self.kernel.shape.width * self.kernel.cell.gates
        return self.kernel.at(self.v[name], (first + gate) * panel)

    def row_products(self, t: Value, row: Value, at: Value, unit: Value) -> tuple[Value, Value]:
        """Where the products of a row stand, that is number ``at`` of its piece, and how far gates are apart."""
        f, width = self.f, self.kernel.shape.width
        is_given = self.v["given"].address().ne(0)
        held = self.kernel.at(self.sums, at * (self.kernel.cell.gates * width))
        given = self.kernel.at(self.step("given", t, row, self.wide), unit)
        return f.select(is_given, given, held), f.select(is_given, self.hidden, f.constant(I64, width))

    def places(self, t: Value, row: Value, unit: Value, before: Value, cell_before: Value) -> dict[str, Value]:
        """Where both directions have the numbers of a row from ``unit`` on; ``before`` are the states before it."""
        at, here = self.kernel.at, row * self.hidden + unit
        return {
            "gates": at(self.strided("gates", t, row), unit),
            "before": at(before, here),
            "cell_before": at(cell_before, here),
            "out": at(self.step("out", t, row, self.hidden), unit),
            "cells": at(self.step("cells", t, row, self.hidden), unit),
        }

    def vectors(self, columns: Value, places: dict[str, Value], apart: dict[str, Value]) -> Iterator[_Units]:
        """The vectors of some units."""
        f, lanes = self.f, self.kernel.shape.lanes
        main = f.constant(I64, 0) if f.target.masks else columns & ~(lanes - 1)
        for i in f.range(0, main, lanes):
            yield _Units(f, self.kernel, places, apart, i, None)
        for i in f.range(main, columns, lanes):
            yield _Units(f, self.kernel, places, apart, i, f.below(columns - i, lanes))


# -- forward ---------------------------------------------------------------------------------------
_SHARED: Final = {
    "first": I64, "last": I64, "n": I64, "hidden": I64, "rows": I64, "units": I64,
    "gates": PTR, "gates_step": I64, "gates_row": I64, "given": PTR, "panels": PTR, "bias": PTR, "h0": PTR, "c0": PTR,
    "out": PTR, "cells": PTR, "kept": PTR,
}  # fmt: skip


_FUSED: Final = {"x": PTR, "x_step": I64, "x_row": I64, "inputs": I64, "input_panels": PTR}


@cache
def forward(target: Target, name: str, mode: str, height: int, fused: bool) -> Job:
    """The job of steps ``first`` to ``last``.

    Its values: first, last, N, H, rows and hidden units of a chunk; the gates, their steps over T and N; the hidden
    state's part of the gates (T, N, gates * H) or 0 where it is to be computed, then the weight's panels and the bias
    or 0; h0, c0 (N, H); the results (T, N, H) and what is kept for the gradient, (T, N, gates * H), each 0
    where there are none. With ``fused`` the gates are not read: there follow the input (T, N, I), its steps over T
    and N, I, and the panels of its weight.
    """
    (job,) = jobs(define_forward(Module(target), name, mode, height, fused))
    return job


def define_forward(module: Module, name: str, mode: str, height: int, fused: bool) -> JobFunction:
    """The job of :func:`forward`, written."""
    kernel = _kernel(module, name, mode, height, fused)
    chunk = _Chunk(module, "forward", {**_SHARED, **(_FUSED if fused else {})}, kernel)
    f, v = chunk.f, chunk.v
    for t in f.range(v["first"], v["last"]):
        before = chunk.state("out", "h0", t)
        cell_before = chunk.state("cells", "c0", t)
        for unit, columns, first, count in chunk.pieces(chunk.units_end):
            chunk.products(t, unit, columns, first, count)
            for at in f.range(0, count):
                row = first + at
                products, apart = chunk.row_products(t, row, at, unit)
                places = chunk.places(t, row, unit, before, cell_before) | {
                    "products": products,
                    "kept": kernel.at(chunk.step("kept", t, row, chunk.wide), unit),
                }
                for units in chunk.vectors(columns, places, {**chunk.apart, "products": apart}):
                    _write_states(kernel.cell, units)
    f.ret()
    return f


def _write_states(cell: Cell, units: _Units) -> None:
    found = cell.forward(units)
    units.write(found.hidden, "out")
    if found.cell is not None:
        units.write(found.cell, "cells")
    for q, value in enumerate(found.kept):
        units.write(value, "kept", q)


# -- backward --------------------------------------------------------------------------------------
_BACKWARD: Final = {
    **_SHARED, "phases": I64, "turned": PTR, "of_out": PTR, "of_out_step": I64, "of_out_row": I64,
    "of_cells": PTR, "of_cells_step": I64, "of_cells_row": I64,
    "of_gates": PTR, "of_products": PTR, "of_before": PTR, "of_cell_before": PTR,
}  # fmt: skip


@cache
def backward(target: Target, name: str, mode: str, height: int) -> Job:
    """The job of the gradients of steps ``last`` - 1 down to ``first``.

    Its values: those of :func:`forward`; GATES, BEFORE or both; the panels of the weight as it is; the gradients of
    the results with their steps over T and N; the gradients (T, N, gates * H) of the input's and of the hidden
    state's part of the gates, the same where they do not differ; those of the states before, (N, H), which at first
    are zeros.
    """
    (job,) = jobs(define_backward(Module(target), name, mode, height))
    return job


def define_backward(module: Module, name: str, mode: str, height: int) -> JobFunction:
    """The job of :func:`backward`, written."""
    kernel = _kernel(module, name, mode, height)
    chunk = _Chunk(module, "backward", _BACKWARD, kernel)
    f, v = chunk.f, chunk.v
    for back in f.range(v["first"], v["last"]):
        t = v["last"] - 1 - (back - v["first"])
        with f.when((v["phases"] & GATES).ne(0)):
            _gradients_of_gates(chunk, t)
        with f.when((v["phases"] & BEFORE).ne(0)):
            _gradients_before(chunk, t)
    f.ret()
    return f


def _gradients_of_gates(chunk: _Chunk, t: Value) -> None:
    """The gradients of a step's gates, and what goes to the states before directly."""
    f, kernel, hidden = chunk.f, chunk.kernel, chunk.hidden
    before, cell_before = chunk.state("out", "h0", t), chunk.state("cells", "c0", t)
    for unit, columns, first, count in chunk.pieces(chunk.units_end):
        if kernel.cell.recomputes:
            chunk.products(t, unit, columns, first, count)
        for at in f.range(0, count):
            row = first + at
            products, apart = chunk.row_products(t, row, at, unit)
            here = row * hidden + unit
            places = chunk.places(t, row, unit, before, cell_before) | {
                "products": products,
                "of_out": kernel.at(chunk.strided("of_out", t, row), unit),
                "of_cells": kernel.at(chunk.strided("of_cells", t, row), unit),
                "of_gates": kernel.at(chunk.step("of_gates", t, row, chunk.wide), unit),
                "of_products": kernel.at(chunk.step("of_products", t, row, chunk.wide), unit),
                "of_before": kernel.at(chunk.v["of_before"], here),
                "of_cell_before": kernel.at(chunk.v["of_cell_before"], here),
            }
            for units in chunk.vectors(columns, places, {**chunk.apart, "products": apart}):
                _write(kernel.cell, units)


def _write(cell: Cell, units: _Units) -> None:
    found = cell.backward(units)
    for q, of_gate in enumerate(found.gates):
        units.write(of_gate, "of_gates", q)
    if cell.parts_differ:
        for q, of_product in enumerate(found.products):
            units.write(of_product, "of_products", q)
    if found.before is not None:
        units.write(found.before, "of_before")
    if found.cell_before is not None:
        units.write(found.cell_before, "of_cell_before")


def _gradients_before(chunk: _Chunk, t: Value) -> None:
    """What goes to the hidden state before through the product."""
    f, v, kernel = chunk.f, chunk.v, chunk.kernel
    width, none = kernel.shape.width, f.constant(PTR, 0)
    for unit, columns, row, count in chunk.pieces(chunk.units_end):
        kernel.product(
            f, count, columns, chunk.wide, chunk.step("of_products", t, row, chunk.wide), chunk.wide,
            kernel.at(v["turned"], unit // width * (chunk.wide * width)),
            kernel.at(v["of_before"], row * chunk.hidden + unit), chunk.hidden, none, int(kernel.cell.parts_differ),
        )  # fmt: skip
