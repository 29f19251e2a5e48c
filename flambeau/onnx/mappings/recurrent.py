"""Recurrent layers. The gates of ONNX stand in another order: LSTM i o f c, GRU z r h."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flambeau.export.graph import Node, Value
from flambeau.export.laws import Law
from flambeau.onnx.errors import Unmapped
from flambeau.onnx.table import maps
from flambeau.onnx.writer import Call

_LSTM, _GRU, _RNN = (0, 3, 1, 2), (1, 0, 2), (0,)


def _ordered(call: Call, name: str, order: Sequence[int], hidden: int) -> str:
    """A weight or bias with its gates in another order, and a first dimension of size one."""
    rows = np.concatenate([np.arange(hidden, dtype=np.int64) + g * hidden for g in order])
    if call.array(name) is not None:
        return call.derived(name, "gates", "Gather", lambda a: a[rows][None])
    return call.unsqueezed(call.emit("Gather", name, call.constant(rows), axis=0), 0)


def _zeros(call: Call, length: int) -> str:
    return call.constant(np.zeros((1, length), call.array(call.writer.number(0.0, call.dtype)).dtype))  # type: ignore[union-attr]


def _bias(call: Call, given: str | None, recurrent: str | None, order: Sequence[int], hidden: int) -> str | None:
    """Both biases, one behind the other."""
    if given is None and recurrent is None:
        return None
    parts = [_zeros(call, hidden * len(order)) if b is None else _ordered(call, b, order, hidden)
             for b in (given, recurrent)]  # fmt: skip
    arrays = [call.array(p) for p in parts]
    if any(a is None for a in arrays):
        return str(call.emit("Concat", *parts, axis=1))
    return call.constant(np.concatenate([a for a in arrays if a is not None], 1), f"{given or recurrent}.both")


def _inputs(call: Call, gates: str, order: Sequence[int], hidden: int) -> tuple[str, str, str | None]:
    """The input, weight and bias of what made the gates; an identity where no linear layer did."""
    source = call.value(0).node
    if source is not None and source.op == "linear" and len(source.args[0].shape) == 3:
        x, weight, bias = (call.writer.names[a] if isinstance(a, Value) else None for a in source.args)
        return str(x), _ordered(call, str(weight), order, hidden), bias
    kind = call.array(call.writer.number(0.0, call.dtype)).dtype  # type: ignore[union-attr]
    eye = np.eye(hidden * len(order), dtype=kind)
    return gates, _ordered(call, call.constant(eye, "identity"), order, hidden), None


def _hidden(call: Call, operand: int) -> int:
    n = call.shape(operand)[-1]
    if isinstance(n, Law):
        raise Unmapped("a hidden size that may change")
    return n


def _last_only(call: Call, users: Sequence[Node | None], steps: Any) -> bool:
    """Whether all that is read of the cells is the last step."""
    end = replace(steps, constant=steps.constant - steps.divisor) if isinstance(steps, Law) else steps - 1
    return all(u is not None and u.op == "basic_index" and u.params["index"][:1] in ([end], (end,)) for u in users)


def _lstm(call: Call, x: str, h0: str, c0: str, w: str, r: str, bias: str | None, hidden: int) -> tuple[str, str]:
    if call.users(1):
        if not _last_only(call, call.users(1), call.shape()[0]):
            raise Unmapped("the cells of all steps")
        cells = call.node.outs[1]
        assert cells is not None
        call.writer.last.add(cells)
    y, _, last = call.emit("LSTM", x, w, r, bias, None, call.unsqueezed(h0, 0), call.unsqueezed(c0, 0), count=3,
                           hidden_size=hidden)  # fmt: skip
    return call.squeezed(y, 1), str(last)


@maps("lstm_sequence")
def lstm_sequence(
    call: Call, x: str, h0: str, c0: str, w_ih: str, w_hh: str, bias: str | None
) -> tuple[str, str, None]:
    """An LSTM of one layer and direction."""
    hidden = _hidden(call, 1)
    if call.users(2):
        raise Unmapped("the gates of all steps")
    w, r = (_ordered(call, n, _LSTM, hidden) for n in (w_ih, w_hh))
    out, cells = _lstm(call, x, h0, c0, w, r, _bias(call, bias, None, _LSTM, hidden), hidden)
    return out, cells, None


@maps("lstm_layer")
def lstm_layer(call: Call, gates: str, h0: str, c0: str, weight: str) -> tuple[str, str]:
    """An LSTM from the inputs' part of the gates on."""
    hidden = _hidden(call, 1)
    x, w, bias = _inputs(call, gates, _LSTM, hidden)
    return _lstm(
        call, x, h0, c0, w, _ordered(call, weight, _LSTM, hidden), _bias(call, bias, None, _LSTM, hidden), hidden
    )


@maps("gru_layer")
def gru_layer(call: Call, gates: str, h0: str, weight: str, bias: str | None) -> str:
    """A GRU whose reset gate comes after the product."""
    hidden = _hidden(call, 1)
    x, w, given = _inputs(call, gates, _GRU, hidden)
    both = _bias(call, given, bias, _GRU, hidden)
    y, _ = call.emit("GRU", x, w, _ordered(call, weight, _GRU, hidden), both, None, call.unsqueezed(h0, 0), count=2,
                     hidden_size=hidden, linear_before_reset=1)  # fmt: skip
    return call.squeezed(y, 1)


@maps("rnn_layer")
def rnn_layer(call: Call, gates: str, h0: str, weight: str) -> str:
    """A plain recurrent layer."""
    hidden, kind = _hidden(call, 1), {"tanh": "Tanh", "relu": "Relu"}[call.params["nonlinearity"]]
    x, w, given = _inputs(call, gates, _RNN, hidden)
    both = _bias(call, given, None, _RNN, hidden)
    y, _ = call.emit("RNN", x, w, _ordered(call, weight, _RNN, hidden), both, None, call.unsqueezed(h0, 0), count=2,
                     hidden_size=hidden, activations=[kind])  # fmt: skip
    return call.squeezed(y, 1)
