"""What the cells of recurrent networks do with the gates of one step, forward and backward, as vectors of code.

LSTM: Hochreiter and Schmidhuber, Neural Computation 9 (1997), with the forget gate of Gers et al. (2000). GRU: Cho et
al., arXiv:1406.1078, its reset gate behind the product. The formulas of the gradients are those of
:mod:`flambeau.core.ops.nn.recurrent`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from flambeau.backends.llvm import maths
from flambeau.backends.llvm.ir import Function, Value


class Place(Protocol):
    """Some units of a row at one step; each function reads a vector of memory.

    ``gate`` is the input's part of a gate, ``product`` the hidden state's (with its bias), ``total`` their sum;
    ``before`` and ``cell_before`` are the states before the step, ``hidden`` and ``cell`` those after it,
    ``of_hidden`` and ``of_cell`` their gradients.
    """

    @property
    def f(self) -> Function: ...
    def gate(self, number: int) -> Value: ...
    def product(self, number: int) -> Value: ...
    def total(self, number: int) -> Value: ...
    def before(self) -> Value: ...
    def cell_before(self) -> Value: ...
    def hidden(self) -> Value: ...
    def cell(self) -> Value: ...
    def of_hidden(self) -> Value: ...
    def of_cell(self) -> Value: ...


class States(NamedTuple):
    """What a step gives: the hidden state, the cell where there is one, and what its gradient will read."""

    hidden: Value
    cell: Value | None = None
    kept: Sequence[Value] = ()


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
        forward: the next states.
        backward: the gradients of a step.
        recomputes: whether the gradient needs the gates again.
    """

    gates: int
    forward: Callable[[Place], States]
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


def _sigmoid(f: Function, x: Value) -> Value:
    """1 / (1 + e**-x), where e**-x may overflow: within 4 units in the last place, and quicker than the closer one."""
    return 1.0 / (maths.exp(f, -x) + 1.0)


# -- LSTM ------------------------------------------------------------------------------------------
def _lstm_gates(at: Place) -> list[Value]:
    """Input gate, forget gate, candidate, output gate."""
    functions = (_sigmoid, _sigmoid, maths.tanh, _sigmoid)
    return [fn(at.f, at.total(q)) for q, fn in enumerate(functions)]


def _lstm(at: Place) -> States:
    i, f, g, o = _lstm_gates(at)
    cell = at.f.muladd(f, at.cell_before(), i * g)
    return States(o * maths.tanh(at.f, cell), cell)


def _lstm_keeping(at: Place) -> States:
    i, f, g, o = _lstm_gates(at)
    cell = at.f.muladd(f, at.cell_before(), i * g)
    return States(o * maths.tanh(at.f, cell), cell, (i, f, g, o))


def _lstm_backward(at: Place) -> Gradients:
    return _lstm_gradients(at, _lstm_gates(at))


def _lstm_backward_kept(at: Place) -> Gradients:
    return _lstm_gradients(at, [at.gate(q) for q in range(4)])


def _lstm_gradients(at: Place, gates: Sequence[Value]) -> Gradients:
    i, f, g, o = gates
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
    r, z = (_sigmoid(at.f, at.total(q)) for q in range(2))
    return r, z, maths.tanh(at.f, at.f.muladd(r, at.product(2), at.gate(2)))


def _gru(at: Place) -> States:
    _, z, n = _gru_gates(at)
    return States(at.f.muladd(z, at.before() - n, n))


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


def _plain(activation: Callable[[Function, Value], Value]) -> Callable[[Place], States]:
    return lambda at: States(activation(at.f, at.total(0)))


def _plain_backward(slope: Callable[[Function, Value], Value]) -> Callable[[Place], Gradients]:
    def backward(at: Place) -> Gradients:
        of_gates = [at.of_hidden() * slope(at.f, at.hidden())]
        return Gradients(of_gates, of_gates)

    return backward


#: By what the records call them.
CELLS: Final = {
    "lstm": Cell(4, _lstm, _lstm_backward),
    "lstm_kept": Cell(4, _lstm_keeping, _lstm_backward_kept, recomputes=False),
    "gru": Cell(3, _gru, _gru_backward),
    "tanh": Cell(1, _plain(maths.tanh), _plain_backward(lambda f, h: 1.0 - h * h), recomputes=False),
    "relu": Cell(1, _plain(_relu), _plain_backward(lambda f, h: f.select(h > 0.0, 1.0, h * 0.0)), recomputes=False),
}
