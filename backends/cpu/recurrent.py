"""Layers of recurrent networks on numpy: a product and a few calls a step, and machine code over them.

The formulas are those of :mod:`flambeau.core.ops.nn.recurrent`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu import threads
from flambeau.backends.cpu.native.arrays import over
from flambeau.backends.xp.sums import add_up
from flambeau.core import dtype as dt

Array = np.ndarray[Any, Any]

_DTYPES: Final = (dt.float32, dt.float64)
#: Numbers of the gates from which on machine code is worth what it takes to load,
_LEAST: Final = 1 << 10
#: and how many there are (about) to each number of the first operand, by record.
_RECORDS: Final = {
    "lstm_layer": 1, "lstm_layer_grad": 4, "lstm_sequence": 4, "lstm_sequence_grad": 1,
    "gru_layer": 1, "gru_layer_grad": 3, "rnn_layer": 1, "rnn_layer_grad": 1,
}  # fmt: skip


def bind(table: KernelTable) -> None:
    """Enter the layers and their gradients."""
    for name, gates in _RECORDS.items():
        table.register(name, threads.single_threaded_blas()(globals()[name]), _DTYPES)
        over(table, name, _DTYPES, "recurrent", _LEAST // gates)


def _sigmoid(x: Array) -> Array:
    out = np.negative(x)
    np.exp(out, out)
    out += 1
    return np.reciprocal(out, out)


def _before(h0: Array, out: Array) -> Array:
    """The state (T, N, H) before each step."""
    return np.concatenate([h0[None], out[:-1]])


def _of_weight(of_gates: Array, before: Array) -> Array:
    count = before.shape[0] * before.shape[1]
    return of_gates.reshape(count, of_gates.shape[-1]).T @ before.reshape(count, before.shape[-1])


def _linear(x: Array, weight: Array, bias: Array | None) -> Array:
    out = x @ weight.T
    return out if bias is None else np.add(out, bias, out)


# -- LSTM ------------------------------------------------------------------------------------------
def _lstm_gates(x: Array) -> Array:
    """Input gate, forget gate, candidate, output gate beside each other; a quarter more sigmoids, but fewer calls."""
    hidden = x.shape[-1] // 4
    out = _sigmoid(x)
    np.tanh(x[..., 2 * hidden : 3 * hidden], out[..., 2 * hidden : 3 * hidden])
    return out


def _four(x: Array, hidden: int) -> tuple[Array, Array, Array, Array]:
    return x[..., :hidden], x[..., hidden : 2 * hidden], x[..., 2 * hidden : 3 * hidden], x[..., 3 * hidden :]


def _lstm(gates: Array, h0: Array, c0: Array, weight: Array, kept: Array | None) -> tuple[Array, Array]:
    hidden, turned = h0.shape[1], weight.T
    shape = (*gates.shape[:2], hidden)
    out, cells = np.empty(shape, gates.dtype), np.empty(shape, gates.dtype)
    for t, step in enumerate(gates):
        found = h0.dot(turned)
        found += step
        found = _lstm_gates(found)
        i, f, g, o = _four(found, hidden)
        c0 = np.multiply(f, c0, cells[t])
        c0 += i * g
        h0 = np.multiply(o, np.tanh(c0), out[t])
        if kept is not None:
            kept[t] = found
    return out, cells


def lstm_layer(gates: Array, h0: Array, c0: Array, weight: Array) -> tuple[Array, Array]:
    """Hidden states and cells (T, N, H)."""
    return _lstm(gates, h0, c0, weight, None)


def lstm_sequence(
    x: Array, h0: Array, c0: Array, w_ih: Array, w_hh: Array, bias: Array | None, *, keep: bool
) -> tuple[Array, Array, Array]:
    """The same from the input (T, N, I), and the gates (T, N, 4 H) if they are to be kept."""
    gates = _linear(x, w_ih, bias)
    kept = np.empty((len(x) if keep else 0, *gates.shape[1:]), x.dtype)
    return (*_lstm(gates, h0, c0, w_hh, kept if keep else None), kept)


def lstm_layer_grad(
    of_out: Array, of_cells: Array, gates: Array, h0: Array, c0: Array, weight: Array, result: Array, states: Array
) -> tuple[Array, Array, Array, Array]:
    """The gradients for gates, h0, c0 and weight."""
    kept = _lstm_gates(gates + _before(h0, result) @ weight.T)
    return _lstm_grad(kept, of_out, of_cells, h0, c0, weight, result, states)


def lstm_sequence_grad(
    kept: Array, of_out: Array | None, of_cells: Array | None, x: Array, h0: Array, c0: Array, w_hh: Array,
    result: Array, states: Array,
) -> tuple[Array, Array, Array, Array, Array]:  # fmt: skip
    """The gradients for the gates before their functions, h0, c0, w_ih and w_hh."""
    of_gates, of_h0, of_c0, of_w_hh = _lstm_grad(kept, of_out, of_cells, h0, c0, w_hh, result, states)
    return of_gates, of_h0, of_c0, _of_weight(of_gates, x), of_w_hh


def _lstm_grad(
    kept: Array, of_out: Array | None, of_cells: Array | None, h0: Array, c0: Array, weight: Array, result: Array,
    states: Array,
) -> tuple[Array, Array, Array, Array]:  # fmt: skip
    hidden, cell_before = h0.shape[1], _before(c0, states)
    i, f, g, o = _four(kept, hidden)
    squashed = np.tanh(states)
    to_cell = o * (1 - squashed * squashed)
    # What a step's gradients are multiplied by: those of the cell, and that of the hidden state.
    to_gates = np.concatenate([g * i * (1 - i), cell_before * f * (1 - f), i * (1 - g * g)], -1)
    to_o = squashed * o * (1 - o)
    of_gates, of_h, of_c = np.empty(kept.shape, kept.dtype), np.zeros_like(h0), np.zeros_like(c0)
    for t in range(len(kept) - 1, -1, -1):
        of_h = of_h if of_out is None else of_h + of_out[t]
        of_c = (of_c if of_cells is None else of_c + of_cells[t]) + of_h * to_cell[t]
        np.multiply(np.concatenate([of_c] * 3, -1), to_gates[t], out=of_gates[t, :, : 3 * hidden])
        np.multiply(of_h, to_o[t], out=of_gates[t, :, 3 * hidden :])
        of_h, of_c = of_gates[t] @ weight, of_c * f[t]
    return of_gates, of_h, of_c, _of_weight(of_gates, _before(h0, result))


# -- GRU -------------------------------------------------------------------------------------------
def _gru_gates(gates: Array, recurrent: Array) -> tuple[Array, Array, Array]:
    """Reset gate, update gate, candidate."""
    hidden = gates.shape[-1] // 3
    both = _sigmoid(gates[..., : 2 * hidden] + recurrent[..., : 2 * hidden])
    r, z = both[..., :hidden], both[..., hidden:]
    return r, z, np.tanh(gates[..., 2 * hidden :] + r * recurrent[..., 2 * hidden :])


def gru_layer(gates: Array, h0: Array, weight: Array, bias: Array | None) -> Array:
    """Hidden states (T, N, H)."""
    out = np.empty((*gates.shape[:2], h0.shape[1]), gates.dtype)
    for t, step in enumerate(gates):
        _, z, n = _gru_gates(step, _linear(h0, weight, bias))
        h0 = np.add(n, z * (h0 - n), out=out[t])
    return out


def gru_layer_grad(
    of_out: Array, gates: Array, h0: Array, weight: Array, bias: Array | None, result: Array
) -> tuple[Array, Array, Array, Array]:
    """The gradients for gates, h0, weight and bias."""
    hidden, before = h0.shape[1], _before(h0, result)
    recurrent = _linear(before, weight, bias)
    r, z, n = _gru_gates(gates, recurrent)
    to_n, to_z = (1 - z) * (1 - n * n), (before - n) * z * (1 - z)
    to_gates = np.concatenate([to_n * recurrent[..., 2 * hidden :] * r * (1 - r), to_z, to_n], -1)
    of_gates, of_recurrent = np.empty(gates.shape, gates.dtype), np.empty(gates.shape, gates.dtype)
    of_h = np.zeros_like(h0)
    for t in range(len(gates) - 1, -1, -1):
        of_h = of_h + of_out[t]
        of_gates[t] = of_recurrent[t] = np.concatenate([of_h] * 3, -1) * to_gates[t]
        of_recurrent[t, :, 2 * hidden :] *= r[t]
        of_h = of_h * z[t] + of_recurrent[t] @ weight
    of_bias = add_up(np, of_recurrent.reshape(-1, 3 * hidden), (0,))
    return of_gates, of_h, _of_weight(of_recurrent, before), of_bias


# -- plain -----------------------------------------------------------------------------------------
def rnn_layer(gates: Array, h0: Array, weight: Array, *, nonlinearity: str) -> Array:
    """Hidden states (T, N, H)."""
    out, turned = np.empty(gates.shape, gates.dtype), weight.T
    for t, step in enumerate(gates):
        h0 = step + h0 @ turned
        h0 = np.tanh(h0, out=out[t]) if nonlinearity == "tanh" else np.maximum(h0, 0, out=out[t])
    return out


def rnn_layer_grad(
    of_out: Array, h0: Array, weight: Array, result: Array, *, nonlinearity: str
) -> tuple[Array, Array, Array]:
    """The gradients for gates, h0 and weight."""
    slope = 1 - result * result if nonlinearity == "tanh" else np.where(result > 0, 1, result * 0)
    of_gates, of_h = np.empty(result.shape, result.dtype), np.zeros_like(h0)
    for t in range(len(result) - 1, -1, -1):
        np.multiply(of_h + of_out[t], slope[t], out=of_gates[t])
        of_h = of_gates[t] @ weight
    return of_gates, of_h, _of_weight(of_gates, _before(h0, result))
