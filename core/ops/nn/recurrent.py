"""One layer of a recurrent network over a whole sequence, and its gradient.

The input's part of the gates, (T, N, gates * H), is computed before, for all steps in one matmul. The gradients
compute the gates again for all steps at once, walk the steps backwards, and sum the weight's gradient in one
matmul too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from flambeau.core.creation import zeros_like
from flambeau.core.declare import OpFunction, composite
from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import sigmoid_p, tanh_p, where
from flambeau.core.ops.joining import stack
from flambeau.core.ops.nn.rules import Shape, floats, through_body
from flambeau.core.ops.storage import cat_p
from flambeau.core.record import Infer
from flambeau.core.tensor import Tensor

Gates: TypeAlias = tuple[Tensor, Tensor, Tensor, Tensor]


def _infer(name: str, blocks: int) -> Infer:
    def infer(gates: Shape, h0: Shape, *others: Shape | None, **p: object) -> Shape | tuple[Shape, Shape]:
        hidden, weight = h0[-1], others[-1 if blocks == 4 else 0] or ()
        if (
            len(gates) != 3
            or tuple(h0) != (gates[1], hidden)
            or gates[2] != blocks * hidden
            or tuple(weight) != (gates[2], hidden)
        ):
            raise ShapeError(
                f"{name}: gates (T, N, {blocks} H), h0 (N, H) and weight ({blocks} H, H) must agree, "
                f"got {tuple(gates)}, {tuple(h0)} and {tuple(weight)}"
            )
        if not gates[0]:
            raise ShapeError(f"{name}: expected a sequence of at least one step, got gates {tuple(gates)}")
        out = (gates[0], gates[1], hidden)
        return (out, out) if blocks == 4 else out

    return infer


def _before(h0: Tensor, out: Tensor) -> Tensor:
    """The hidden state (T, N, H) before each step."""
    return cat_p([h0.unsqueeze(0), out[:-1]], 0)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])


def _weight_gradient(of_gates: Tensor, before: Tensor) -> Tensor:
    return _rows(of_gates).transpose(0, 1) @ _rows(before)


def _four(x: Tensor, hidden: int, count: int = 4) -> list[Tensor]:
    """The blocks of the last axis."""
    return [x[..., i * hidden : (i + 1) * hidden] for i in range(count)]


# -- LSTM --------------------------------------------------------------------------------------------
def _lstm_gates(gates: Tensor, hidden: int) -> Gates:
    """Input gate, forget gate, candidate, output gate."""
    i, f, g, o = _four(gates, hidden)
    return sigmoid_p(i), sigmoid_p(f), tanh_p(g), sigmoid_p(o)


@composite(
    "lstm_layer(gates: Tensor, h0: Tensor, c0: Tensor, weight: Tensor) -> (out: Tensor, cells: Tensor)",
    autocast="low",
    infer=_infer("lstm_layer", 4),
    dtype=floats,
    check=True,
    public=False,
    vjp=lambda g, needs, gates, h0, c0, weight, out, cells: lstm_layer_grad_p(
        g[0], g[1], gates, h0, c0, weight, out, cells
    ),
)
def lstm_layer_p(gates: Tensor, h0: Tensor, c0: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states and cells (T, N, H) of every step. Hochreiter and Schmidhuber, Neural Computation 9 (1997)."""
    steps = list(_lstm_steps(gates, h0, c0, weight))
    return stack([s[0] for s in steps], 0), stack([s[1] for s in steps], 0)


def _lstm_steps(gates: Tensor, h0: Tensor, c0: Tensor, weight: Tensor) -> Iterator[tuple[Tensor, Tensor, Gates]]:
    """The hidden state, the cell and the gates of each step."""
    hidden, turned = h0.shape[-1], weight.transpose(0, 1)
    for step in gates.unbind(0):
        found = _lstm_gates(step + h0 @ turned, hidden)
        i, f, g, o = found
        c0 = f * c0 + i * g
        h0 = o * tanh_p(c0)
        yield h0, c0, found


def _lstm_layer_grad(
    of_out: Tensor, of_cells: Tensor, gates: Tensor, h0: Tensor, c0: Tensor, weight: Tensor, result: Tensor,
    states: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    recurrent = _before(h0, result) @ weight.transpose(0, 1)
    found = _lstm_gates(gates + recurrent, h0.shape[-1])
    return _lstm_gradients(found, of_out, of_cells, h0, c0, weight, result, states)


def _lstm_gradients(
    gates: Gates, of_out: Tensor | None, of_cells: Tensor | None, h0: Tensor, c0: Tensor, weight: Tensor,
    result: Tensor, states: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    steps, before, cell_before = result.shape[0], _before(h0, result), _before(c0, states)
    i, f, g, o = gates
    squashed = tanh_p(states)
    # What a step's gradients are multiplied by, for all steps at once.
    to_cell, to_o = o * (1 - squashed * squashed), squashed * o * (1 - o)
    to_i, to_f, to_g = g * i * (1 - i), cell_before * f * (1 - f), i * (1 - g * g)
    of_out, of_cells = (zeros_like(result) if x is None else x for x in (of_out, of_cells))
    of_h, of_c = of_out[steps - 1], of_cells[steps - 1]
    of_gates = [of_h] * steps
    for t in range(steps - 1, -1, -1):
        of_c = of_c + of_h * to_cell[t]
        of_gates[t] = cat_p([of_c * to_i[t], of_c * to_f[t], of_c * to_g[t], of_h * to_o[t]], -1)
        of_h, of_c = of_gates[t] @ weight, of_c * f[t]
        if t:
            of_h, of_c = of_h + of_out[t - 1], of_c + of_cells[t - 1]
    whole = stack(of_gates, 0)
    return whole, of_h, of_c, _weight_gradient(whole, before)


_LSTM = ("of_out", "of_cells", "gates", "h0", "c0", "weight", "result", "states")
lstm_layer_grad_p: OpFunction[tuple[Tensor, ...]] = composite(
    f"lstm_layer_grad({', '.join(f'{n}: Tensor' for n in _LSTM)})"
    " -> (of_gates: Tensor, of_h0: Tensor, of_c0: Tensor, of_weight: Tensor)",
    infer=lambda of_out, of_cells, gates, h0, c0, weight, *p: (gates, h0, c0, weight),
    dtype=floats,
    public=False,
    doc="The gradients of lstm_layer for its operands; ``result`` and ``states`` are what it returned.",
    vjp=through_body(_lstm_layer_grad, _LSTM),
)(_lstm_layer_grad)


# -- LSTM, with the input's part of the gates, which may be kept for the gradient --------------------------
def _sequence_infer(
    x: Shape, h0: Shape, c0: Shape, w_ih: Shape, w_hh: Shape, bias: Shape | None, *, keep: bool
) -> tuple[Shape, Shape, Shape]:
    if len(x) != 3 or len(w_ih) != 2 or x[2] != w_ih[1] or (bias is not None and tuple(bias) != (w_ih[0],)):
        raise ShapeError(
            f"lstm_sequence: x (T, N, I), w_ih (4 H, I) and bias (4 H,) must agree, got {tuple(x)}, {tuple(w_ih)} and "
            f"{bias and tuple(bias)}"
        )
    gates = (x[0], x[1], w_ih[0])
    out, cells = _infer("lstm_sequence", 4)(gates, h0, c0, w_hh)
    return out, cells, gates if keep else (0, *gates[1:])


def _sequence_vjp(
    g: list[Tensor | None], needs: Sequence[bool], x: Tensor, h0: Tensor, c0: Tensor, w_ih: Tensor, w_hh: Tensor,
    bias: Tensor | None, out: Tensor, cells: Tensor, kept: Tensor, keep: bool,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    of_out, of_cells, of_kept = g
    if not keep:
        before = _before(h0, out) @ w_hh.transpose(0, 1)
        kept, of_kept = cat_p(list(_lstm_gates(_recurrent(x, w_ih, bias) + before, h0.shape[-1])), -1), None
    if of_kept is None:
        found = lstm_sequence_grad_p(kept, of_out, of_cells, x, h0, c0, w_hh, out, cells)
    else:
        found = _with_kept(of_out, of_cells, of_kept, x, h0, c0, w_hh, out, cells, kept)
    of_gates, *others = found
    of_x = of_gates @ w_ih if needs[0] else None
    return of_x, *others, _rows(of_gates).sum(dim=0) if needs[5] and bias is not None else None


def _with_kept(
    of_out: Tensor | None, of_cells: Tensor | None, of_kept: Tensor, x: Tensor, h0: Tensor, c0: Tensor, w_hh: Tensor,
    out: Tensor, cells: Tensor, kept: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The gradients where the gates that were kept have one too, as they have in a second derivative."""
    i, f, c, o = _four(kept, h0.shape[-1])
    direct = of_kept * cat_p([i * (1 - i), f * (1 - f), 1 - c * c, o * (1 - o)], -1)
    through = direct @ w_hh  # what the gates' gradients are for the state before each step
    later = cat_p([through[1:], zeros_like(h0).unsqueeze(0)], 0)
    of_gates, of_h0, of_c0, of_w_ih, of_w_hh = lstm_sequence_grad_p(
        kept, later if of_out is None else of_out + later, of_cells, x, h0, c0, w_hh, out, cells
    )
    return (
        of_gates + direct, of_h0 + through[0], of_c0, of_w_ih + _weight_gradient(direct, x),
        of_w_hh + _weight_gradient(direct, _before(h0, out)),
    )  # fmt: skip


@composite(
    "lstm_sequence(x: Tensor, h0: Tensor, c0: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor?, *, keep: bool)"
    " -> (out: Tensor, cells: Tensor, kept: Tensor)",
    autocast="low",
    infer=_sequence_infer,
    dtype=floats,
    check=True,
    public=False,
    fills=False,
    vjp=_sequence_vjp,
)
def lstm_sequence_p(
    x: Tensor, h0: Tensor, c0: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor | None, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """lstm_layer of x @ w_ih.T + bias, and the gates (T, N, 4 H) behind their functions, none unless ``keep``."""
    gates = _recurrent(x, w_ih, bias)
    steps = list(_lstm_steps(gates, h0, c0, w_hh))
    kept = stack([cat_p(list(s[2]), -1) for s in steps], 0) if keep else gates[:0]
    return stack([s[0] for s in steps], 0), stack([s[1] for s in steps], 0), kept


def _lstm_sequence_grad(
    kept: Tensor, of_out: Tensor | None, of_cells: Tensor | None, x: Tensor, h0: Tensor, c0: Tensor, w_hh: Tensor,
    result: Tensor, states: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    i, f, g, o = _four(kept, h0.shape[-1])
    of_gates, of_h0, of_c0, of_w_hh = _lstm_gradients((i, f, g, o), of_out, of_cells, h0, c0, w_hh, result, states)
    return of_gates, of_h0, of_c0, _weight_gradient(of_gates, x), of_w_hh


_SEQUENCE = ("kept", "of_out", "of_cells", "x", "h0", "c0", "w_hh", "result", "states")
lstm_sequence_grad_p: OpFunction[tuple[Tensor, ...]] = composite(
    "lstm_sequence_grad(kept: Tensor, of_out: Tensor?, of_cells: Tensor?, x: Tensor, h0: Tensor, c0: Tensor, "
    "w_hh: Tensor, result: Tensor, states: Tensor)"
    " -> (of_gates: Tensor, of_h0: Tensor, of_c0: Tensor, of_w_ih: Tensor, of_w_hh: Tensor)",
    infer=lambda kept, of_out, of_cells, x, h0, c0, w_hh, *p: (kept, h0, c0, (w_hh[0], x[-1]), w_hh),
    dtype=floats,
    public=False,
    doc="The gradients of lstm_sequence for the gates before their functions, h0, c0 and the weights; ``kept``, "
    "``result`` and ``states`` are what it returned.",
    vjp=through_body(_lstm_sequence_grad, _SEQUENCE),
)(_lstm_sequence_grad)


# -- GRU ---------------------------------------------------------------------------------------------
def _recurrent(h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out = h @ weight.transpose(0, 1)
    return out if bias is None else out + bias


def _gru_gates(gates: Tensor, recurrent: Tensor, hidden: int) -> tuple[Tensor, Tensor, Tensor]:
    """Reset gate, update gate, candidate."""
    (r, z, n), (hr, hz, hn) = _four(gates, hidden, 3), _four(recurrent, hidden, 3)
    r = sigmoid_p(r + hr)
    return r, sigmoid_p(z + hz), tanh_p(n + r * hn)


@composite(
    "gru_layer(gates: Tensor, h0: Tensor, weight: Tensor, bias: Tensor?) -> Tensor",
    autocast="same|low",
    infer=_infer("gru_layer", 3),
    dtype=floats,
    check=True,
    public=False,
    vjp=lambda g, needs, gates, h0, weight, bias, out: gru_layer_grad_p(g, gates, h0, weight, bias, out),
)
def gru_layer_p(gates: Tensor, h0: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Hidden states (T, N, H) of every step; ``bias`` is of the hidden state's part. Cho et al., arXiv:1406.1078."""
    outs = []
    for step in gates.unbind(0):
        _, z, n = _gru_gates(step, _recurrent(h0, weight, bias), h0.shape[-1])
        h0 = n + z * (h0 - n)
        outs.append(h0)
    return stack(outs, 0)


def _gru_layer_grad(
    of_out: Tensor, gates: Tensor, h0: Tensor, weight: Tensor, bias: Tensor | None, result: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    hidden, steps = h0.shape[-1], gates.shape[0]
    before = _before(h0, result)
    recurrent = _recurrent(before, weight, bias)
    r, z, n = _gru_gates(gates, recurrent, hidden)
    to_n, to_z = (1 - z) * (1 - n * n), (before - n) * z * (1 - z)
    to_r = to_n * recurrent[..., 2 * hidden :] * r * (1 - r)
    of_h = of_out[steps - 1]
    of_gates = [of_h] * steps
    of_recurrent = [of_h] * steps
    for t in range(steps - 1, -1, -1):
        of_r, of_z, of_n = of_h * to_r[t], of_h * to_z[t], of_h * to_n[t]
        of_gates[t] = cat_p([of_r, of_z, of_n], -1)
        of_recurrent[t] = cat_p([of_r, of_z, of_n * r[t]], -1)
        of_h = of_h * z[t] + of_recurrent[t] @ weight
        if t:
            of_h = of_h + of_out[t - 1]
    whole = stack(of_recurrent, 0)
    return stack(of_gates, 0), of_h, _weight_gradient(whole, before), _rows(whole).sum(dim=0)


_GRU = ("of_out", "gates", "h0", "weight", "bias", "result")
gru_layer_grad_p: OpFunction[tuple[Tensor, ...]] = composite(
    "gru_layer_grad(of_out: Tensor, gates: Tensor, h0: Tensor, weight: Tensor, bias: Tensor?, result: Tensor)"
    " -> (of_gates: Tensor, of_h0: Tensor, of_weight: Tensor, of_bias: Tensor)",
    infer=lambda of_out, gates, h0, weight, *p: (gates, h0, weight, weight[:1]),
    dtype=floats,
    public=False,
    doc="The gradients of gru_layer for its operands; ``result`` is what it returned.",
    vjp=through_body(_gru_layer_grad, _GRU),
)(_gru_layer_grad)


# -- plain -------------------------------------------------------------------------------------------
@composite(
    "rnn_layer(gates: Tensor, h0: Tensor, weight: Tensor, *, nonlinearity: str) -> Tensor",
    autocast="low",
    infer=_infer("rnn_layer", 1),
    dtype=floats,
    check=True,
    public=False,
    vjp=lambda g, needs, h0, weight, out, nonlinearity: rnn_layer_grad_p(g, h0, weight, out, nonlinearity),
)
def rnn_layer_p(gates: Tensor, h0: Tensor, weight: Tensor, *, nonlinearity: str) -> Tensor:
    """Hidden states (T, N, H) of every step: tanh or relu of the gates. Elman, Cognitive Science 14 (1990)."""
    turned, outs = weight.transpose(0, 1), []
    for step in gates.unbind(0):
        h0 = step + h0 @ turned
        h0 = tanh_p(h0) if nonlinearity == "tanh" else h0.relu()
        outs.append(h0)
    return stack(outs, 0)


def _rnn_layer_grad(
    of_out: Tensor, h0: Tensor, weight: Tensor, result: Tensor, *, nonlinearity: str
) -> tuple[Tensor, Tensor, Tensor]:
    steps = result.shape[0]
    slope = 1 - result * result if nonlinearity == "tanh" else where(result > 0, 1.0, result * 0)
    of_h = of_out[steps - 1]
    of_gates = [of_h] * steps
    for t in range(steps - 1, -1, -1):
        of_gates[t] = of_h * slope[t]
        of_h = of_gates[t] @ weight
        if t:
            of_h = of_h + of_out[t - 1]
    whole = stack(of_gates, 0)
    return whole, of_h, _weight_gradient(whole, _before(h0, result))


rnn_layer_grad_p: OpFunction[tuple[Tensor, ...]] = composite(
    "rnn_layer_grad(of_out: Tensor, h0: Tensor, weight: Tensor, result: Tensor, *, nonlinearity: str)"
    " -> (of_gates: Tensor, of_h0: Tensor, of_weight: Tensor)",
    infer=lambda of_out, h0, weight, result, **p: (result, h0, weight),
    dtype=floats,
    public=False,
    doc="The gradients of rnn_layer for its operands; ``result`` is what it returned.",
    vjp=through_body(_rnn_layer_grad, ("of_out", "h0", "weight", "result"), ("nonlinearity",)),
)(_rnn_layer_grad)
