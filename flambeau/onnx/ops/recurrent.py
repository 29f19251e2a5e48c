"""RNN, GRU and LSTM, in both directions, with sequences of several lengths, peepholes and clipping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op

Activation = Callable[[Tensor], Tensor]
#: One step: the gates' input for it, and the states before it, to the states after it.
Cell = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]

_PLAIN: Final[dict[str, Activation]] = {
    "relu": fb.relu, "tanh": fb.tanh, "sigmoid": fb.sigmoid, "softsign": F.softsign, "softplus": F.softplus,
}  # fmt: skip
#: Activations with numbers: what alpha and beta are unless they are given.
_DEFAULTS: Final[dict[str, tuple[float, float]]] = {
    "leakyrelu": (0.01, 0.0), "thresholdedrelu": (1.0, 0.0), "elu": (1.0, 0.0), "hardsigmoid": (0.2, 0.5),
    "affine": (1.0, 0.0), "scaledtanh": (1.0, 1.0),
}  # fmt: skip


def _with_numbers(name: str, alpha: float, beta: float) -> Activation:
    table: dict[str, Activation] = {
        "leakyrelu": lambda x: F.leaky_relu(x, alpha),
        "thresholdedrelu": lambda x: fb.where(x >= alpha, x, fb.zeros_like(x)),
        "elu": lambda x: F.elu(x, alpha),
        "hardsigmoid": lambda x: (alpha * x + beta).clamp(0, 1),
        "affine": lambda x: alpha * x + beta,
        "scaledtanh": lambda x: alpha * fb.tanh(beta * x),
    }
    return table[name]


def _activations(call: Call, usual: tuple[str, ...], directions: int) -> list[list[Activation]]:
    names = [n.lower() for n in call["activations"] or usual * directions]
    if names == ["tanh", "tanh"] and len(usual) == 1:  # the default of RNN is written for two directions
        names = names[:directions]
    if len(names) != len(usual) * directions:
        raise OnnxError(f"{len(names)} activations are given, and {len(usual) * directions} wanted")
    alphas, betas = iter(call["activation_alpha"] or ()), iter(call["activation_beta"] or ())
    found = []
    for name in names:
        if name in _PLAIN:
            found.append(_PLAIN[name])
        elif name in _DEFAULTS:
            alpha, beta = _DEFAULTS[name]
            found.append(_with_numbers(name, next(alphas, alpha), next(betas, beta)))
        else:
            raise call.refuse(f"the activation {name!r}")
    return [found[i : i + len(usual)] for i in range(0, len(found), len(usual))]


def _directions(call: Call) -> list[bool]:
    """Whether each direction runs from the end."""
    found = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}.get(call["direction"])
    if found is None:
        raise OnnxError(f"there is no direction {call['direction']!r}")
    return found


def _run(
    inputs: Tensor, cell: Cell, states: tuple[Tensor, ...], lengths: Tensor | None, *, backward: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All steps of one direction: the outputs of shape (time, batch, hidden), 0 where a sequence has ended."""
    size = inputs.shape[0]
    outputs: list[Tensor] = [inputs] * size
    for t in reversed(range(size)) if backward else range(size):
        after = cell(inputs[t], states)
        if lengths is not None:
            alive = (lengths > t)[:, None]
            states = tuple(fb.where(alive, new, old) for new, old in zip(after, states, strict=True))
            outputs[t] = fb.where(alive, after[0], fb.zeros_like(after[0]))
        else:
            states = after
            outputs[t] = after[0]
    return fb.stack(outputs), states


def _layer(
    call: Call,
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    lengths: Tensor | None,
    starts: list[Tensor | None],
    gates: int,
    cell_of: Callable[[int], Cell],
    input_bias: Callable[[Tensor], Tensor],
) -> tuple[Tensor, ...]:
    """Run every direction and put the outputs together: (time, direction, batch, hidden) and the last states."""
    if call["layout"]:
        x = x.transpose(0, 1)
        starts = [None if s is None else s.transpose(0, 1) for s in starts]
    hidden = w.shape[1] // gates
    outputs, finals = [], []
    for d, backward in enumerate(_directions(call)):
        projected = fb.matmul(x, w[d].t())
        if bias is not None:
            projected = projected + input_bias(bias[d])
        first = fb.zeros((x.shape[1], hidden), dtype=x.dtype, device=x.device)
        states = tuple(first if s is None else s[d] for s in starts)
        out, last = _run(projected, cell_of(d), states, lengths, backward=backward)
        outputs.append(out)
        finals.append(last)
    out = fb.stack(outputs, 1)
    ends = [fb.stack(list(kind)) for kind in zip(*finals, strict=True)]
    if call["layout"]:
        return (out.permute((2, 0, 1, 3)), *(e.transpose(0, 1) for e in ends))
    return (out, *ends)


def _clipper(call: Call) -> Activation:
    bound = call["clip"]
    return (lambda x: x) if not bound else (lambda x: x.clamp(-bound, bound))


def _usual(call: Call, lengths: Tensor | None, x: Tensor, names: tuple[str, ...]) -> bool:
    """Whether flambeau's own layer computes this form."""
    given = [n.lower() for n in call["activations"] or ()]
    plain = not call["clip"] and not call["layout"] and not call["input_forget"] and lengths is None
    return plain and call["direction"] != "reverse" and given in ([], list(names) * 2, list(names)) and x.numel() > 0


def _reordered(value: Tensor, order: tuple[int, ...]) -> Tensor:
    """The gates in flambeau's order."""
    parts = fb.split(value, value.shape[0] // len(order))
    return fb.cat([parts[i] for i in order])


def _weights(w: Tensor, r: Tensor, b: Tensor | None, order: tuple[int, ...]) -> list[Tensor]:
    """The weights of each direction as flambeau's layers take them."""
    found = []
    for d in range(w.shape[0]):
        found += [_reordered(w[d], order), _reordered(r[d], order)]
        if b is not None:
            found += [_reordered(half, order) for half in fb.split(b[d], w.shape[1])]
    return found


def _start(x: Tensor, r: Tensor, start: Tensor | None) -> Tensor:
    shape = (r.shape[0], x.shape[1], r.shape[2])
    return fb.zeros(shape, dtype=x.dtype, device=x.device) if start is None else start


def _by_direction(out: Tensor, r: Tensor) -> Tensor:
    """(time, direction, batch, hidden) of (time, batch, direction · hidden)."""
    return out.reshape((*out.shape[:2], r.shape[0], r.shape[2])).permute((0, 2, 1, 3))


@op("RNN")
def rnn(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    start: Tensor | None = None,
) -> tuple[Tensor, ...]:
    functions, clip = _activations(call, ("tanh",), w.shape[0]), _clipper(call)
    hidden = r.shape[2]

    def cell_of(d: int) -> Cell:
        (f,) = functions[d]
        return lambda g, s: (f(clip(g + fb.matmul(s[0], r[d].t()))),)

    return _layer(call, x, w, b, lengths, [start], 1, cell_of, lambda v: v[:hidden] + v[hidden:])


@op("GRU")
def gru(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    start: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gates in the order z, r, h; ``linear_before_reset`` multiplies by r after the product."""
    if call["linear_before_reset"] and _usual(call, lengths, x, ("sigmoid", "tanh")):
        weights = _weights(w, r, b, (1, 0, 2))
        out, last = fb.gru(x, _start(x, r, start), weights, b is not None, 1, 0.0, False, r.shape[0] == 2, False)
        return _by_direction(out, r), last
    functions, clip = _activations(call, ("sigmoid", "tanh"), w.shape[0]), _clipper(call)
    n = r.shape[2]

    def cell_of(d: int) -> Cell:
        f, g = functions[d]
        inner, outer = r[d][: 2 * n], r[d][2 * n :]
        extra = None if b is None else b[d][5 * n :]

        def cell(gates: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            (h,) = states
            z, reset = fb.split(f(clip(gates[:, : 2 * n] + fb.matmul(h, inner.t()))), n, 1)
            if call["linear_before_reset"]:
                product = fb.matmul(h, outer.t())
                new = reset * (product if extra is None else product + extra)
            else:
                new = fb.matmul(reset * h, outer.t())
                new = new if extra is None else new + extra
            return ((1 - z) * g(clip(gates[:, 2 * n :] + new)) + z * h,)

        return cell

    def input_bias(v: Tensor) -> Tensor:
        return v[: 3 * n] + fb.cat([v[3 * n : 5 * n], fb.zeros_like(v[:n])])

    return _layer(call, x, w, b, lengths, [start], 3, cell_of, input_bias)


@op("LSTM")
def lstm(
    call: Call,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    lengths: Tensor | None = None,
    start: Tensor | None = None,
    start_c: Tensor | None = None,
    peepholes: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gates in the order i, o, f, c; peepholes add the cell's state to i, o and f."""
    if peepholes is None and _usual(call, lengths, x, ("sigmoid", "tanh", "tanh")):
        states = (_start(x, r, start), _start(x, r, start_c))
        weights = _weights(w, r, b, (0, 2, 3, 1))
        out, last, last_c = fb.lstm(x, states, weights, b is not None, 1, 0.0, False, r.shape[0] == 2, False)
        return _by_direction(out, r), last, last_c
    functions, clip = _activations(call, ("sigmoid", "tanh", "tanh"), w.shape[0]), _clipper(call)
    n = r.shape[2]

    def cell_of(d: int) -> Cell:
        f, g, h = functions[d]
        look = None if peepholes is None else fb.split(peepholes[d], n)

        def cell(gates: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            before, c = states
            i, o, forget, new = fb.split(gates + fb.matmul(before, r[d].t()), n, 1)
            if look is not None:
                i, forget = i + look[0] * c, forget + look[2] * c
            i = f(clip(i))
            keep = 1 - i if call["input_forget"] else f(clip(forget))
            c = keep * c + i * g(clip(new))
            o = f(clip(o if look is None else o + look[1] * c))
            return o * h(c), c

        return cell

    return _layer(call, x, w, b, lengths, [start, start_c], 4, cell_of, lambda v: v[: 4 * n] + v[4 * n :])
