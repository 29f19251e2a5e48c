"""Layers of recurrent networks and their gradients as machine code: what they check, and how their steps are cut.

Each takes the input's part of the gates (T, N, gates * H), whose steps over T and N may be any. The weights' gradients
are products over all steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.backends.cpu import threads
from flambeau.backends.cpu.native import matmul, micro, steps
from flambeau.backends.cpu.native.gates import CELLS
from flambeau.backends.cpu.native.lanes import dtype_name
from flambeau.backends.cpu.native.pack import NUMBERS
from flambeau.backends.cpu.native.steps import BEFORE, GATES
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.target import Target
from flambeau.backends.xp.sums import add_up

Array = np.ndarray[Any, Any]

#: Rows of the batch in a chunk, and bytes of a weight up to which all of it is one core's.
_ROWS: Final = 16
_NEAR: Final = 1 << 20
#: Rows in a chunk that has some hidden units alone, and how many multiplications it is worth.
_ROWS_FAR: Final = 128
_WORTH: Final = 1 << 19
_LINE: Final = 64  # bytes that are read at once


class Plan(NamedTuple):
    """Rows and hidden units of a chunk, how many there are, and whether each step is a call of its own."""

    rows: int
    units: int
    chunks: int
    by_steps: bool


@cache
def plan(width: int, itemsize: int, gates: int, rows: int, hidden: int) -> Plan:
    """The cuts for a tile ``width`` columns wide, by the shape alone."""
    if gates * hidden * hidden * itemsize <= _NEAR:
        parts = -(-rows // _ROWS)
        each = -(-rows // parts)
        return Plan(each, -(-hidden // width) * width, -(-rows // each), False)
    parts = -(-rows // _ROWS_FAR)
    each = -(-rows // parts)
    units = max(1, _WORTH // (each * gates * hidden * width)) * width
    return Plan(each, units, -(-rows // each) * -(-hidden // units), True)


def _alike(shapes: Sequence[tuple[Array, tuple[int, ...]]]) -> bool:
    """Whether arrays are of the shapes, of one dtype that is served, and where numbers may stand."""
    dtype = shapes[0][0].dtype
    return (
        dtype_name(dtype) in ("float32", "float64") and dtype.isnative
        and all(x.dtype == dtype and x.shape == shape and x.flags.aligned for x, shape in shapes)
    )  # fmt: skip


def _dense(x: Array) -> Array:
    return x if x.flags.c_contiguous else np.ascontiguousarray(x)


def _sequence(x: Array) -> tuple[Array, tuple[int, int, int]]:
    """A sequence (T, N, width) with dense rows, its address, and its steps over T and N in numbers."""
    if (x.strides[-1] != x.itemsize and x.shape[-1] > 1) or any(s % x.itemsize for s in x.strides[:-1]):
        x = np.ascontiguousarray(x)
    return x, (address(x), x.strides[0] // x.itemsize, x.strides[1] // x.itemsize)


def _gradient(x: Array | None, nothing: Array) -> tuple[Array, tuple[int, int, int]]:
    """The same of a gradient that may have not arrived: a row of zeros is read again and again."""
    return (nothing, (address(nothing), 0, 0)) if x is None else _sequence(x)


def _times(x: Array, y: Array) -> Array:
    """The product; where BLAS makes it, in one thread: its bits depend on how many there are."""
    found = matmul.product(x, y)
    if found is None:
        with threads.single_threaded_blas():
            found = np.matmul(x, y)
    return found


# -- packed weights --------------------------------------------------------------------------------
class _Panels:
    """A weight (gates * H, K) in panels, for products with it transposed, or as it is."""

    def __init__(self, target: Target, weight: Array, gates: int, turned: bool):
        name, hidden, depth = dtype_name(weight.dtype), weight.shape[0] // gates, weight.shape[1]
        shape = micro.tile(target, NUMBERS[name])
        across = -(-hidden // shape.width)
        deep = -(-depth // shape.lanes) * shape.lanes if turned else hidden
        numbers = (across * gates * deep + shape.lanes) * shape.width
        self.memory = np.empty(numbers * weight.itemsize + _LINE, np.uint8)
        self.address = -(-address(self.memory) // _LINE) * _LINE
        job = steps.packing(target, name)[0 if turned else 1]
        job(across * gates if turned else across, address(weight), hidden, depth, gates, self.address)


# -- one layer -------------------------------------------------------------------------------------
class _Layer:
    """A layer's sizes and operands, as the jobs take them."""

    def __init__(self, target: Target, mode: str, sizes: tuple[int, int, int], weight: Array, bias: Array | None):
        self.target, self.mode, self.cell = target, mode, CELLS[mode]
        self.steps, self.rows, self.hidden = sizes
        self.weight, self.bias = _dense(weight), None if bias is None else _dense(bias)
        self.dtype, self.name = weight.dtype, dtype_name(weight.dtype)
        self.height = steps.height(target, self.name, self.rows)
        width = micro.tile(target, NUMBERS[self.name]).width
        self.plan = plan(width, self.dtype.itemsize, self.cell.gates, self.rows, self.hidden)

    def panels(self, weight: Array, turned: bool) -> _Panels:
        """A dense weight packed."""
        return _Panels(self.target, weight, self.cell.gates, turned)

    def values(
        self, gates: tuple[int, int, int], h0: Array, c0: Array | None, out: Array, cells: Array | None,
        kept: Array | None, given: Array | None, panels: int,
    ) -> tuple[int, ...]:  # fmt: skip
        """What both jobs are called with behind the steps."""
        return (
            self.rows, self.hidden, self.plan.rows, self.plan.units, *gates,
            _at(given), panels, _at(self.bias), address(h0), _at(c0), address(out), _at(cells), _at(kept),
        )  # fmt: skip

    def given(self, before: Array) -> Array | None:
        """The hidden state's part of the gates of a single step, which packing the weight is not worth."""
        if self.steps > 1:
            return None
        found = _times(before, self.weight.T)
        return found if self.bias is None else np.add(found, self.bias, out=found)


def _at(x: Array | None) -> int:
    return 0 if x is None else address(x)


class _Input(NamedTuple):
    """What an LSTM's gates are made of: the input (T, N, I) and its weight; the layer's bias is its too."""

    x: Array
    weight: Array


def _forward(
    target: Target, mode: str, gates: Array | _Input, h0: Array, c0: Array | None, weight: Array, bias: Array | None
) -> tuple[Array, Array | None, Array | None] | None:
    """Hidden states, cells, and what is kept for the gradient."""
    first = gates.x if isinstance(gates, _Input) else gates
    if first.ndim != 3 or h0.ndim != 2 or not first.size or not h0.size:
        return None
    (count, rows, width), hidden = first.shape, h0.shape[1]
    wide = CELLS[mode].gates * hidden
    shapes: list[tuple[Array, tuple[int, ...]]] = [(h0, (rows, hidden)), (weight, (wide, hidden))]
    shapes += [(gates.weight, (wide, width)), (first, first.shape)] if isinstance(gates, _Input) else []
    shapes += [] if isinstance(gates, _Input) else [(gates, (count, rows, wide))]
    shapes += [] if c0 is None else [(c0, (rows, hidden))]
    shapes += [] if bias is None else [(bias, (wide,))]
    if not _alike(shapes):
        return None
    layer = _Layer(target, mode, (count, rows, hidden), weight, bias)
    source = None
    if isinstance(gates, _Input):
        if count > 1 and gates.weight.nbytes + weight.nbytes <= _NEAR:
            source = gates
        else:
            gates, layer.bias = _linear(gates.x, gates.weight, layer.bias), None
    return _run_forward(layer, None if isinstance(gates, _Input) else gates, source, _dense(h0), c0)


def _run_forward(
    layer: _Layer, gates: Array | None, source: _Input | None, h0: Array, c0: Array | None
) -> tuple[Array, Array | None, Array | None]:
    count, rows, hidden = layer.steps, layer.rows, layer.hidden
    gates, gates_at = (None, (0, 0, 0)) if gates is None else _sequence(gates)
    c0 = None if c0 is None else _dense(c0)
    out = np.empty((count, rows, hidden), layer.dtype)
    cells = None if c0 is None else np.empty_like(out)
    kept = np.empty((count, rows, layer.cell.gates * hidden), layer.dtype) if layer.mode == "lstm_kept" else None
    given = layer.given(h0)
    panels = layer.panels(layer.weight, True) if given is None else None
    values = layer.values(gates_at, h0, c0, out, cells, kept, given, 0 if panels is None else panels.address)
    job = steps.forward(layer.target, layer.name, layer.mode, layer.height, source is not None)
    if source is not None:
        x, x_at = _sequence(source.x)
        of_input = layer.panels(_dense(source.weight), True)
        values = (*values, *x_at, x.shape[-1], of_input.address)
    if layer.plan.by_steps:
        for t in range(count):
            job(layer.plan.chunks, t, t + 1, *values)
    else:
        job(layer.plan.chunks, 0, count, *values)
    return out, cells, kept


def _linear(x: Array, weight: Array, bias: Array | None) -> Array:
    """x @ weight.T + bias of a sequence, laid out as the input is."""
    swapped = not x.flags.c_contiguous and x.transpose(1, 0, 2).flags.c_contiguous
    rows = np.ascontiguousarray(x.transpose(1, 0, 2) if swapped else x)
    flat = rows.reshape(-1, x.shape[-1])
    found = matmul.product(flat, weight.T, bias)
    if found is None:
        found = _times(flat, weight.T)
        found = found if bias is None else np.add(found, bias, out=found)
    found = found.reshape(*rows.shape[:2], -1)
    return found.transpose(1, 0, 2) if swapped else found


def _backward(
    target: Target, mode: str, of_out: Array | None, of_cells: Array | None, gates: Array | None, h0: Array,
    c0: Array | None, weight: Array, bias: Array | None, out: Array, cells: Array | None, x: Array | None = None,
) -> tuple[Array, Array, Array, Array, Array] | None:  # fmt: skip
    """The gradients of both parts of the gates, of the states before, and of the weight.

    With ``x`` that of its weight stands beside the last, (gates * H, H + I): they are one product.
    """
    if out.ndim != 3 or not out.size:
        return None
    (count, rows, hidden), cell = out.shape, CELLS[mode]
    wide = cell.gates * hidden
    shapes = [(x, out.shape) for x in (out, of_out, of_cells, cells) if x is not None]
    shapes += [(x, (rows, hidden)) for x in (h0, c0) if x is not None] + [(weight, (wide, hidden))]
    shapes += [] if gates is None else [(gates, (count, rows, wide))]
    shapes += [] if x is None else [(x, (count, rows, *x.shape[2:]))]
    shapes += [] if bias is None else [(bias, (wide,))]
    if not _alike(shapes):
        return None
    layer = _Layer(target, mode, (count, rows, hidden), weight, bias)
    out, h0 = _dense(out), _dense(h0)
    c0, cells = (None if x is None else _dense(x) for x in (c0, cells))
    nothing = np.zeros(hidden, out.dtype)
    (of_out, of_out_at), (of_cells, of_cells_at) = (_gradient(x, nothing) for x in (of_out, of_cells))
    gates, gates_at = (None, (0, 0, 0)) if gates is None else _sequence(gates)
    given = layer.given(h0) if cell.recomputes else None
    needed = cell.recomputes and given is None
    panels = layer.panels(layer.weight, True) if needed else None
    turned = None if count == 1 else layer.panels(layer.weight, False)
    of_gates = np.empty((count, rows, wide), out.dtype)
    of_products = np.empty_like(of_gates) if cell.parts_differ else of_gates
    of_before, of_cell = np.zeros((rows, hidden), out.dtype), np.zeros((rows, hidden), out.dtype)
    job = steps.backward(target, layer.name, mode, layer.height)
    values = layer.values(gates_at, h0, c0, out, cells, None, given, 0 if panels is None else panels.address)
    rest = (
        0 if turned is None else turned.address, *of_out_at, *of_cells_at, address(of_gates), address(of_products),
        address(of_before), address(of_cell),
    )  # fmt: skip
    chunks = layer.plan.chunks
    if turned is None:
        job(chunks, 0, 1, *values, GATES, *rest)
        through = _times(of_products[0], layer.weight)
        of_before = of_before + through if cell.parts_differ else through
    elif layer.plan.by_steps:
        for t in range(count - 1, -1, -1):
            job(chunks, t, t + 1, *values, GATES, *rest)
            job(chunks, t, t + 1, *values, BEFORE, *rest)
    else:
        job(chunks, 0, count, *values, GATES | BEFORE, *rest)
    return of_gates, of_products, of_before, of_cell, _of_weight(of_products, h0, out, x)


def _of_weight(of_products: Array, h0: Array, out: Array, x: Array | None) -> Array:
    """The sum over all steps of what the gates' gradients are with the hidden states before, and the input."""
    if x is not None:
        hidden = h0.shape[1]
        beside = np.empty((*out.shape[:2], hidden + x.shape[2]), out.dtype)
        beside[0, :, :hidden], beside[1:, :, :hidden], beside[:, :, hidden:] = h0, out[:-1], x
        return _times(of_products.reshape(-1, of_products.shape[-1]).T, beside.reshape(-1, beside.shape[-1]))
    found = _times(of_products[0].T, h0)
    if len(out) > 1:
        later, before = of_products[1:], out[:-1]
        found += _times(later.reshape(-1, later.shape[-1]).T, before.reshape(-1, before.shape[-1]))
    return found


# -- the records -----------------------------------------------------------------------------------
def lstm_layer(target: Target, gates: Array, h0: Array, c0: Array, weight: Array) -> tuple[Array, Array] | None:
    """Hidden states and cells (T, N, H)."""
    found = _forward(target, "lstm", gates, h0, c0, weight, None)
    if found is None or found[1] is None:
        return None
    return found[0], found[1]


def lstm_layer_grad(
    target: Target, of_out: Array, of_cells: Array, gates: Array, h0: Array, c0: Array, weight: Array, result: Array,
    states: Array,
) -> tuple[Array, Array, Array, Array] | None:  # fmt: skip
    """The gradients for gates, h0, c0 and weight."""
    found = _backward(target, "lstm", of_out, of_cells, gates, h0, c0, weight, None, result, states)
    return None if found is None else (found[0], *found[2:])


def lstm_sequence(
    target: Target, x: Array, h0: Array, c0: Array, w_ih: Array, w_hh: Array, bias: Array | None, *, keep: bool
) -> tuple[Array, Array, Array] | None:
    """Hidden states, cells (T, N, H), and the gates (T, N, 4 H) if they are to be kept."""
    mode = "lstm_kept" if keep else "lstm"
    found = _forward(target, mode, _Input(x, w_ih), h0, c0, w_hh, bias)
    if found is None or found[1] is None:
        return None
    kept = np.empty((0, x.shape[1], w_hh.shape[0]), x.dtype) if found[2] is None else found[2]
    return found[0], found[1], kept


def lstm_sequence_grad(
    target: Target, kept: Array, of_out: Array | None, of_cells: Array | None, x: Array, h0: Array, c0: Array,
    w_hh: Array, result: Array, states: Array,
) -> tuple[Array, Array, Array, Array, Array] | None:  # fmt: skip
    """The gradients for the gates before their functions, for h0, c0, w_ih and w_hh."""
    found = _backward(target, "lstm_kept", of_out, of_cells, kept, h0, c0, w_hh, None, result, states, x)
    if found is None:
        return None
    hidden = h0.shape[1]
    of_w_hh, of_w_ih = (np.ascontiguousarray(v) for v in (found[4][:, :hidden], found[4][:, hidden:]))
    return found[0], found[2], found[3], of_w_ih, of_w_hh


def gru_layer(target: Target, gates: Array, h0: Array, weight: Array, bias: Array | None) -> Array | None:
    """Hidden states (T, N, H)."""
    found = _forward(target, "gru", gates, h0, None, weight, bias)
    return None if found is None else found[0]


def gru_layer_grad(
    target: Target, of_out: Array, gates: Array, h0: Array, weight: Array, bias: Array | None, result: Array
) -> tuple[Array, Array, Array, Array] | None:
    """The gradients for gates, h0, weight and bias."""
    found = _backward(target, "gru", of_out, None, gates, h0, None, weight, bias, result, None)
    if found is None:
        return None
    of_gates, of_products, of_before, _, of_weight = found
    return of_gates, of_before, of_weight, add_up(np, of_products.reshape(-1, of_products.shape[-1]), (0,))


def rnn_layer(target: Target, gates: Array, h0: Array, weight: Array, *, nonlinearity: str) -> Array | None:
    """Hidden states (T, N, H)."""
    found = _forward(target, nonlinearity, gates, h0, None, weight, None)
    return None if found is None else found[0]


def rnn_layer_grad(
    target: Target, of_out: Array, h0: Array, weight: Array, result: Array, *, nonlinearity: str
) -> tuple[Array, Array, Array] | None:
    """The gradients for gates, h0 and weight."""
    found = _backward(target, nonlinearity, of_out, None, None, h0, None, weight, None, result, None)
    return None if found is None else (found[0], found[2], found[4])


KERNELS: Final = {
    fn.__name__: fn
    for fn in (
        lstm_layer, lstm_layer_grad, lstm_sequence, lstm_sequence_grad, gru_layer, gru_layer_grad, rnn_layer,
        rnn_layer_grad,
    )
}  # fmt: skip
