"""A layer of an LSTM over a whole sequence: a product and one more launch for each step."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau_webgpu.kernels.linalg import matmul, matmul_into

if TYPE_CHECKING:
    from flambeau_webgpu.backend import WebGPUBackend

#: tanh near 0 as a polynomial, else by exp (S. Moshier, Cephes mathematical library).
_FUNCTIONS: Final = """fn sigmoid_(x: f32) -> f32 { return 1.0 / (1.0 + exp_f32(-x)); }
fn tanh_(x: f32) -> f32 {
  let s = abs(x); let z = x * x; let far = 1.0 - 2.0 / (exp_f32(2.0 * s) + 1.0);
  let near = (((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z + 1.33314422036e-1) * z
    - 3.33332819422e-1;
  return select(select(far, -far, x < 0.0), x + x * z * near, s < 0.625);
}"""
_GATES: Final = """if (i >= a.rows * a.hidden) { return; }
  let j = i % a.hidden; let at = i / a.hidden * 4u * a.hidden + j; let h = a.hidden;
  let in_ = sigmoid_($gates[at] + $part[at]); let forget = sigmoid_($gates[at + h] + $part[at + h]);
  let new_ = tanh_($gates[at + 2u * h] + $part[at + 2u * h]);
  let out_ = sigmoid_($gates[at + 3u * h] + $part[at + 3u * h]);
"""
_CELL: Final = f"""{_GATES}
  let c = forget * $cells[i] + in_ * new_; $cells[i + a.rows * h] = c; $out[i] = out_ * tanh_(c);"""
_CELL_GRAD: Final = f"""{_GATES}
  let was = $before[i];
  let s = tanh_($cells[i]); let dh = $of_out[i] + $later[i];
  let dc = $of_cells[i] + $carried[i] + dh * out_ * (1.0 - s * s);
  $of_gates[at] = dc * new_ * in_ * (1.0 - in_); $of_gates[at + h] = dc * was * forget * (1.0 - forget);
  $of_gates[at + 2u * h] = dc * in_ * (1.0 - new_ * new_); $of_gates[at + 3u * h] = dh * s * out_ * (1.0 - out_);
  $carried[i] = dc * forget;"""


def bind(backend: WebGPUBackend) -> None:
    """Register the layer and its gradient."""
    backend.kernels.register("lstm_layer", partial(lstm_layer, backend), (dt.float32,))
    backend.kernels.register("lstm_layer_grad", partial(lstm_layer_grad, backend), (dt.float32,))


def _step(x: StridedArray, t: int) -> StridedArray:
    return x.viewed(x.shape[1:], x.strides[1:], x.offset + t * x.strides[0])


def lstm_layer(
    backend: WebGPUBackend, gates: StridedArray, h0: StridedArray, c0: StridedArray, weight: StridedArray
) -> tuple[StridedArray, StridedArray]:
    """Hidden states and cells (T, N, H), from the input's part of the gates (T, N, 4 H)."""
    steps, rows, wide = gates.shape
    hidden, index = h0.shape[-1], gates.index
    gates, state = backend.dense(gates), backend.dense(h0)
    out = backend.empty((steps, rows, hidden), gates.dtype, index)
    cells = backend.empty((steps + 1, rows, hidden), gates.dtype, index)  # the first before the first step
    part, turned = backend.empty((rows, wide), gates.dtype, index), weight.permuted((1, 0))
    numbers = {"rows": rows, "hidden": hidden}
    if cells.size:
        backend.copy(_step(cells, 0), c0)
    for t in range(steps if out.size else 0):
        matmul_into(backend, part, state, turned)
        outs, ins = {"out": _step(out, t), "cells": _step(cells, t)}, {"gates": _step(gates, t), "part": part}
        backend.run("cell", lambda: _CELL, outs, ins, numbers, threads=rows * hidden, shared=_FUNCTIONS)
        state = outs["out"]
    return out, cells.viewed(out.shape, out.strides, rows * hidden)


def lstm_layer_grad(
    backend: WebGPUBackend, of_out: StridedArray, of_cells: StridedArray, gates: StridedArray, h0: StridedArray,
    c0: StridedArray, weight: StridedArray, result: StridedArray, states: StridedArray,
) -> tuple[StridedArray, StridedArray, StridedArray, StridedArray]:  # fmt: skip
    """The gradients for gates, h0, c0 and weight; the gates are computed again, for all steps in one product."""
    steps, rows, wide = gates.shape
    hidden, dtype, index = h0.shape[-1], gates.dtype, gates.index
    of_out, of_cells, gates, c0, states = (backend.dense(x) for x in (of_out, of_cells, gates, c0, states))
    before = _before(backend, h0, result)
    parts, of_gates = matmul(backend, before, weight.permuted((1, 0))), backend.empty(gates.shape, dtype, index)
    later, carried = (backend.empty((rows, hidden), dtype, index) for _ in range(2))
    for x in (later, carried):
        if x.size:
            backend.fill(x, bytes(dtype.itemsize))
    numbers = {"rows": rows, "hidden": hidden}
    for t in range(steps - 1 if later.size else -1, -1, -1):
        ins = {"gates": _step(gates, t), "part": _step(parts, t), "before": _step(states, t - 1) if t else c0}
        ins |= {"cells": _step(states, t), "of_out": _step(of_out, t), "of_cells": _step(of_cells, t), "later": later}
        outs = {"of_gates": _step(of_gates, t), "carried": carried}
        backend.run("cell_grad", lambda: _CELL_GRAD, outs, ins, numbers, threads=rows * hidden, shared=_FUNCTIONS)
        matmul_into(backend, later, outs["of_gates"], weight)
    flat = of_gates.viewed((wide, steps * rows), (1, wide), 0)
    rest = before.viewed((steps * rows, hidden), (hidden, 1), 0)
    return of_gates, later, carried, matmul(backend, flat, rest)


def _before(backend: WebGPUBackend, h0: StridedArray, out: StridedArray) -> StridedArray:
    """The hidden state (T, N, H) before each step."""
    before = backend.empty(out.shape, out.dtype, out.index)
    if out.size:
        backend.copy(_step(before, 0), h0)
        if out.shape[0] > 1:
            shape = (out.shape[0] - 1, *out.shape[1:])
            later = before.viewed(shape, before.strides, before.strides[0])
            backend.copy(later, out.viewed(shape, out.strides, out.offset))
    return before
