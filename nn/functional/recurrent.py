"""Recurrent networks as functions of their weights: one layer, all layers, one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flambeau.core.autocast import autocasting
from flambeau.core.ops.elementwise import sigmoid_p, tanh_p
from flambeau.core.ops.joining import cat, stack
from flambeau.core.ops.nn import recurrent as ops
from flambeau.core.out import in_dtype
from flambeau.core.state import current, is_grad_enabled
from flambeau.core.tensor import Tensor
from flambeau.nn.functional.dropout import dropout
from flambeau.nn.functional.linear import linear
from flambeau.nn.utils.rnn import reverse_padded

#: w_ih, w_hh, b_ih, b_hh, w_hr of one layer in one direction; the last three may be None.
Weights = Sequence[Any]  # Any: Tensor | None, of which most are never None
#: (x, states, weights) to all hidden states, and all cells where there are any.
Layer = Callable[[Tensor, list[Tensor], Weights], list[Tensor]]


def _both(a: Tensor, b: Tensor | None) -> Tensor:
    return a if b is None else a + b


# -- one layer -----------------------------------------------------------------------------------------
def rnn_tanh_layer(x: Tensor, states: list[Tensor], weights: Weights) -> list[Tensor]:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    return _rnn_layer(x, states, weights, "tanh")


def rnn_relu_layer(x: Tensor, states: list[Tensor], weights: Weights) -> list[Tensor]:
    """h' = relu(W_ih x + b_ih + W_hh h + b_hh)."""
    return _rnn_layer(x, states, weights, "relu")


def _rnn_layer(x: Tensor, states: list[Tensor], weights: Weights, nonlinearity: str) -> list[Tensor]:
    w_ih, w_hh, b_ih, b_hh, _ = weights
    return [ops.rnn_layer_p(linear(x, w_ih, _both(b_ih, b_hh)), states[0], w_hh, nonlinearity)]


def lstm_layer(x: Tensor, states: list[Tensor], weights: Weights) -> list[Tensor]:
    """Input, forget, candidate and output gates; with w_hr the hidden state is projected."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    if w_hr is None and _fused("lstm_sequence", x, *states, w_ih, w_hh):
        return _lstm_sequence(x, states, weights)
    gates = linear(x, w_ih, _both(b_ih, b_hh))
    if w_hr is None:
        return list(ops.lstm_layer_p(gates, *states, w_hh))
    (h, c), outs, cells = states, [], []
    for step in gates.unbind(0):
        h, c = _lstm_step(step + h @ w_hh.t(), c)
        h = h @ w_hr.t()
        outs.append(h)
        cells.append(c)
    return [stack(outs, 0), stack(cells, 0)]


def _fused(record: str, x: Tensor, *others: Tensor) -> bool:
    """Whether the backend has a kernel for a record, for tensors that no transform or autocast looks at.

    A layer may say that it is content with such a record: by an attribute ``takes_fused``.
    """
    key, state = x._key, current()
    return (
        key.level is None
        and all(getattr(layer, "takes_fused", False) for layer in state.layers)
        and state.casts is None
        and all(t._key is key for t in others)
        and getattr(key, record) is not None
    )


def _lstm_sequence(x: Tensor, states: Sequence[Tensor], weights: Weights) -> list[Tensor]:
    """Hidden states and cells, computed with the input's part of the gates; these are kept if a gradient may follow."""
    w_ih, w_hh, b_ih, b_hh = weights[:4]
    keep = is_grad_enabled() and any(t.requires_grad for t in (x, *states, *weights[:4]) if t is not None)
    return list(ops.lstm_sequence_p(x, *states, w_ih, w_hh, _both(b_ih, b_hh), keep)[:2])


def gru_layer(x: Tensor, states: list[Tensor], weights: Weights) -> list[Tensor]:
    """Reset, update and candidate gates."""
    w_ih, w_hh, b_ih, b_hh, _ = weights
    out = ops.gru_layer_p(linear(x, w_ih, b_ih), states[0], w_hh, b_hh)
    return [in_dtype(out, states[0].dtype)]  # as the states have it, where autocast made the gates of another


# -- all layers ----------------------------------------------------------------------------------------
def through_layers(
    layer: Layer, x: Tensor, states: Sequence[Tensor], weights: Sequence[Weights], directions: int, p: float,
    lengths: Tensor | None,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Outputs (T, N, directions * H) of the last layer and the final states (layers * directions, N, H).

    ``weights`` has those of each layer and direction, ``p`` is the dropout between layers, ``lengths`` those of padded
    sequences.
    """
    finals: list[list[Tensor]] = [[] for _ in states]
    for first in range(0, len(weights), directions):
        outs = []
        for at in range(first, first + directions):
            out, last = _direction(layer, x, [s[at] for s in states], weights[at], at > first, lengths)
            outs.append(out)
            for kept, s in zip(finals, last, strict=True):
                kept.append(s)
        x = outs[0] if len(outs) == 1 else cat(outs, -1)
        if p and first + directions < len(weights):
            x = dropout(x, p)
    return x, [stack(f, 0) for f in finals]


def _direction(
    layer: Layer, x: Tensor, states: list[Tensor], weights: Weights, reverse: bool, lengths: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """One layer in one direction: outputs, and the states after each sequence's last step."""
    if reverse:
        x = x.flip(0) if lengths is None else reverse_padded(x, lengths)
    sequences = layer(x, states, weights)
    if lengths is None:
        last = [s[-1] for s in sequences]
    else:
        at = (lengths - 1).reshape(1, -1, 1)
        last = [s.gather(0, at.expand(1, s.shape[1], s.shape[2])).squeeze(0) for s in sequences]
    out = sequences[0]
    if reverse:
        out = out.flip(0) if lengths is None else reverse_padded(out, lengths)
    return out, last


# -- one step ------------------------------------------------------------------------------------------
def _gates(input: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None) -> Tensor:
    return linear(input, w_ih, b_ih) + linear(h, w_hh, b_hh)


@autocasting("inside|low")
def rnn_tanh_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """tanh(W_ih input + b_ih + W_hh hx + b_hh), input (N, input_size) and hx (N, H).

    >>> fb.rnn_tanh_cell(fb.ones(1, 2), fb.zeros(1, 1), fb.zeros(1, 2), fb.zeros(1, 1))
    tensor([[0.]])
    """
    return tanh_p(_gates(input, hx, w_ih, w_hh, b_ih, b_hh))


@autocasting("inside|low")
def rnn_relu_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """relu(W_ih input + b_ih + W_hh hx + b_hh), input (N, input_size) and hx (N, H).

    >>> fb.rnn_relu_cell(fb.ones(1, 2), fb.zeros(1, 1), fb.ones(1, 2), fb.zeros(1, 1))
    tensor([[2.]])
    """
    return _gates(input, hx, w_ih, w_hh, b_ih, b_hh).relu()


def _lstm_step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.chunk(4, -1)
    c = sigmoid_p(f) * c + sigmoid_p(i) * tanh_p(g)
    return sigmoid_p(o) * tanh_p(c), c


@autocasting("inside|low")
def lstm_cell(
    input: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One step of an LSTM from the states (h, c): the next ones. The weights (4 * H, ...) have gates i, f, g, o.

    >>> h, c = fb.lstm_cell(fb.ones(1, 2), (fb.zeros(1, 1), fb.zeros(1, 1)), fb.ones(4, 2), fb.ones(4, 1))
    >>> c
    tensor([[0.8491]])
    """
    h, c = hx
    if input.ndim == 2 and _fused("lstm_sequence", input, h, c, w_ih, w_hh):
        out, cells = _lstm_sequence(input.unsqueeze(0), (h, c), (w_ih, w_hh, b_ih, b_hh))
        return out[0], cells[0]
    return _lstm_step(_gates(input, h, w_ih, w_hh, b_ih, b_hh), c)


@autocasting("inside|low")
def gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """One step of gated recurrent units: the next state. The weights (3 * H, ...) have the gates r, z, n.

    >>> fb.gru_cell(fb.ones(1, 2), fb.zeros(1, 1), fb.zeros(3, 2), fb.zeros(3, 1))
    tensor([[0.]])
    """
    gates = linear(input, w_ih, b_ih)
    if input.ndim == 2 and _fused("gru_layer", input, hx, w_hh):
        return ops.gru_layer_p(gates.unsqueeze(0), hx, w_hh, b_hh)[0]
    r, z, n = gates.chunk(3, -1)
    hr, hz, hn = linear(hx, w_hh, b_hh).chunk(3, -1)
    z = sigmoid_p(z + hz)
    n = tanh_p(n + sigmoid_p(r + hr) * hn)
    return n + z * (hx - n)
