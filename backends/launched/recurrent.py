"""A layer of an LSTM over a whole sequence: a matrix product and one more launch for each step."""

from __future__ import annotations

from functools import partial

from flambeau.backends.dialect import recurrent as texts
from flambeau.backends.launched import elementwise
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.launched.linalg import matmul, matmul_into
from flambeau.backends.strided import StridedArray


def register(backend: Launcher) -> None:
    """Enter the layer and its gradient."""
    backend.kernels.register("lstm_layer", partial(lstm_layer, backend), texts.DTYPES)
    backend.kernels.register("lstm_layer_grad", partial(lstm_layer_grad, backend), texts.DTYPES)


def lstm_layer(
    backend: Launcher, gates: StridedArray, h0: StridedArray, c0: StridedArray, weight: StridedArray
) -> tuple[StridedArray, StridedArray]:
    """Hidden states and cells (T, N, H), from the input's part of the gates (T, N, 4 H)."""
    steps, rows, wide = gates.shape
    hidden, device = h0.shape[-1], backend.device(gates.index)
    gates, hidden_state, cell = (backend.dense(x) for x in (gates, h0, c0))
    out, cells = (backend.empty((steps, rows, hidden), gates.dtype, gates.index) for _ in range(2))
    part, turned = backend.empty((rows, wide), gates.dtype, gates.index), _turned(weight)
    for t in range(steps if out.size else 0):
        matmul_into(backend, part, hidden_state, turned)
        ins, outs = (_step(gates, t), part, cell), (_step(out, t), _step(cells, t))
        offsets = [x.offset for x in (*ins, *outs)]
        device.enqueue(texts.cell(device, gates.dtype, rows, hidden, offsets), ins, outs)
        hidden_state, cell = outs
    return out, cells


def lstm_layer_grad(
    backend: Launcher, of_out: StridedArray, of_cells: StridedArray, gates: StridedArray, h0: StridedArray,
    c0: StridedArray, weight: StridedArray, result: StridedArray, states: StridedArray,
) -> tuple[StridedArray, StridedArray, StridedArray, StridedArray]:  # fmt: skip
    """The gradients for gates, h0, c0 and weight; the gates are computed again, for all steps in one product."""
    steps, rows = gates.shape[:2]
    hidden, device, dtype, index = h0.shape[-1], backend.device(gates.index), gates.dtype, gates.index
    of_out, of_cells, gates, c0, states = (backend.dense(x) for x in (of_out, of_cells, gates, c0, states))
    before = _before(backend, h0, result)
    parts, of_gates = matmul(backend, before, _turned(weight)), backend.empty(gates.shape, dtype, index)
    later, carried = (backend.empty((rows, hidden), dtype, index) for _ in range(2))
    for x in (later, carried):
        elementwise.fill(backend, x, 0)
    for t in range(steps - 1 if later.size else -1, -1, -1):
        cell = _step(states, t - 1) if t else c0
        ins = (*(_step(x, t) for x in (gates, parts)), cell, *(_step(x, t) for x in (states, of_out, of_cells)), later)
        outs = (_step(of_gates, t), carried)
        offsets = [x.offset for x in (*ins, *outs)]
        device.enqueue(texts.cell_grad(device, dtype, rows, hidden, offsets), ins, outs)
        matmul_into(backend, later, outs[0], weight)
    whole, rest = _flat(of_gates), _flat(before)
    return of_gates, later, carried, matmul(backend, _turned(whole), rest)


def _before(backend: Launcher, h0: StridedArray, out: StridedArray) -> StridedArray:
    """The hidden state (T, N, H) before each step."""
    before = backend.empty(out.shape, out.dtype, out.index)
    if out.size:
        backend.copy(_step(before, 0), h0)
        shape = (out.shape[0] - 1, *out.shape[1:])
        later = before.viewed(shape, before.strides, before.strides[0])
        backend.copy(later, out.viewed(shape, out.strides, out.offset))
    return before


def _step(x: StridedArray, t: int) -> StridedArray:
    return x.viewed(x.shape[1:], x.strides[1:], x.offset + t * x.strides[0])


def _turned(x: StridedArray) -> StridedArray:
    return x.viewed(x.shape[::-1], x.strides[::-1], x.offset)


def _flat(x: StridedArray) -> StridedArray:
    """The steps and rows of a contiguous array as one axis."""
    steps, rows, width = x.shape
    return x.viewed((steps * rows, width), (width, 1), x.offset)
