"""What the cells of recurrent networks do with the gates of one step, forward and backward, as vectors of code.

LSTM: Hochreiter and Schmidhuber, Neural Computation 9 (1997), with the forget gate of Gers et al. (2000). GRU: Cho et
al., arXiv:1406.1078, its reset gate behind the product. The gradients are those of :mod:`flambeau.core.ops.nn.recurrent`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from flambeau.backends.llvm import maths
from flambeau.backends.llvm.ir import Function, Value


class Place(Protocol):
    """Some units of a row at one step; each function reads a vector of memory.

    ``gate`` is the input's part of a gate, ``product`` the hidden state's (with its bias); ``before`` and
    ``cell_before`` are the states before the step, ``hidden`` and ``cell`` those after it, ``of_hidden`` and
    ``of_cell`` their gradients.
    """

    f: Function

    def gate(self, number: int) -> Value: ...
    def product(self, number: int) -> Value: ...
    def before(self) -> Value: ...
    def cell_before(self) -> Value: ...
    def hidden(self) -> Value: ...
    def cell(self) -> Value: ...
    def of_hidden(self) -> Value: ...
    def of_cell(self) -> Value: ...


class Gradients(NamedTuple):
    """Those of the input's part of the gates and of the hidden state's, and what goes to the states before directly."""

    gates: Sequence[Value]
    products: Sequence[Value]
    before: Value | None = None
    cell_before: Value | None = None


@dataclass(frozen=True)
class Cell:
    """A kind of cell.

    Args:
        gates: how many there are.
        forward: the next hidden state, and the cell where there is one.
        backward: the gradients of a step.
        recomputes: whether the gradient needs the gates again.
    """

    gates: int
    forward: Callable[[Place], tuple[Value, Value | None]]
    backward: Callable[[Place], Gradients]
    recomputes: bool = True

    @property
    def has_state(self) -> bool:
        """Whether there is a cell beside the hidden state."""
        return self.gates == 4

    @property
    def parts_differ(self) -> bool:
        """Whether the two parts of the gates have different gradients."""
        return self.gates == 3


# -- LSTM ------------------------------------------------------------------------------------------
def _lstm_gates(at: Place) -> list[Value]:
    """Input gate, forget gate, candidate, output gate."""
    functions = (maths.sigmoid, maths.sigmoid, maths.tanh, maths.sigmoid)
    return [fn(at.f, at.gate(q) + at.product(q)) for q, fn in enumerate(functions)]


def _lstm(at: Place) -> tuple[Value, Value | None]:
    i, f, g, o = _lstm_gates(at)
    cell = at.f.muladd(f, at.cell_before(), i * g)
    return o * maths.tanh(at.f, cell), cell


def _lstm_backward(at: Place) -> Gradients:
    i, f, g, o = _lstm_gates(at)
    of_h, squashed = at.of_hidden(), maths.tanh(at.f, at.cell())
    of_c = at.f.muladd(of_h * o, 1.0 - squashed * squashed, at.of_cell())
    of_gates = [
        of_c * g * i * (1.0 - i),
        of_c * at.cell_before() * f * (1.0 - f),
        of_c * i * (1.0 - g * g),
        of_h * squashed * o * (1.0 - o),
    ]
    return Gradients(of_gates, of_gates, None, of_c * f)


# -- GRU -------------------------------------------------------------------------------------------
def _gru_gates(at: Place) -> tuple[Value, Value, Value]:
    """Reset gate, update gate, candidate."""
    r, z = (maths.sigmoid(at.f, at.gate(q) + at.product(q)) for q in range(2))
    return r, z, maths.tanh(at.f, at.f.muladd(r, at.product(2), at.gate(2)))


def _gru(at: Place) -> tuple[Value, Value | None]:
    _, z, n = _gru_gates(at)
    return at.f.muladd(z, at.before() - n, n), None


def _gru_backward(at: Place) -> Gradients:
    r, z, n = _gru_gates(at)
    of_h = at.of_hidden()
    of_n = of_h * (1.0 - z) * (1.0 - n * n)
    of_z = of_h * (at.before() - n) * z * (1.0 - z)
    of_r = of_n * at.product(2) * r * (1.0 - r)
    return Gradients([of_r, of_z, of_n], [of_r, of_z, of_n * r], of_h * z)


# -- plain: Elman, Cognitive Science 14 (1990) -----------------------------------------------------
def _relu(f: Function, x: Value) -> Value:
    return f.select(x < 0.0, 0.0, x)


def _plain(activation: Callable[[Function, Value], Value]) -> Callable[[Place], tuple[Value, Value | None]]:
    return lambda at: (activation(at.f, at.gate(0) + at.product(0)), None)


def _plain_backward(slope: Callable[[Function, Value], Value]) -> Callable[[Place], Gradients]:
    def backward(at: Place) -> Gradients:
        of_gates = [at.of_hidden() * slope(at.f, at.hidden())]
        return Gradients(of_gates, of_gates)

    return backward


#: By what the records call them.
CELLS: Final = {
    "lstm": Cell(4, _lstm, _lstm_backward),
    "gru": Cell(3, _gru, _gru_backward),
    "tanh": Cell(1, _plain(maths.tanh), _plain_backward(lambda f, h: 1.0 - h * h), recomputes=False),
    "relu": Cell(1, _plain(_relu), _plain_backward(lambda f, h: f.select(h > 0.0, 1.0, h * 0.0)), recomputes=False),
}
