"""The single steps of recurrent layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.core.creation import empty
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.errors import ShapeError
from flambeau.core.tensor import Tensor
from flambeau.nn import init
from flambeau.nn.functional import recurrent
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter


class RNNCellBase(Module):
    """What the cells share: parameters for ``num_chunks`` gates."""

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        gates = num_chunks * hidden_size
        self.weight_ih = Parameter(empty(gates, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(empty(gates, hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(gates, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """New random values, even in ±1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def _wanted(self, input: Tensor) -> tuple[int, ...]:
        """The shape of a state for an input, which is looked at."""
        shape = tuple(input.shape)
        if len(shape) not in (1, 2) or shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: expected input (N, {self.input_size}) or ({self.input_size},), got {shape}"
            )
        return (*shape[:-1], self.hidden_size)

    def _state(self, wanted: tuple[int, ...], input: Tensor, state: Tensor | None) -> Tensor:
        if state is None:
            return input.new_zeros(*wanted)
        if tuple(state.shape) != wanted:
            raise ShapeError(f"{type(self).__name__}: expected a state of shape {wanted}, got {tuple(state.shape)}")
        return state

    def _weights(self) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def extra_repr(self) -> str:
        more = self._differing(bias=True)
        more += self._differing(nonlinearity="tanh") if hasattr(self, "nonlinearity") else []
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *more])


class RNNCell(RNNCellBase):
    """One step of :class:`RNN`: input (N, input_size) or (input_size,), state (N, hidden_size).

    >>> fb.nn.RNNCell(3, 4)(fb.ones(1, 3)).shape
    flambeau.Size([1, 4])
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next hidden state."""
        cell = recurrent.rnn_tanh_cell if self.nonlinearity == "tanh" else recurrent.rnn_relu_cell
        return cell(input, self._state(self._wanted(input), input, hx), *self._weights())


class LSTMCell(RNNCellBase):
    """One step of :class:`LSTM`: input (N, input_size) or (input_size,), states (h, c).

    >>> h, c = fb.nn.LSTMCell(3, 4)(fb.ones(1, 3))
    >>> h.shape, c.shape
    (flambeau.Size([1, 4]), flambeau.Size([1, 4]))
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """The next hidden state and cell."""
        wanted = self._wanted(input)
        states = [self._state(wanted, input, s) for s in ((None, None) if hx is None else hx)]
        return recurrent.lstm_cell(input, states, *self._weights())


class GRUCell(RNNCellBase):
    """One step of :class:`GRU`: input (N, input_size) or (input_size,), state (N, hidden_size).

    >>> fb.nn.GRUCell(3, 4)(fb.ones(1, 3)).shape
    flambeau.Size([1, 4])
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next hidden state."""
        return recurrent.gru_cell(input, self._state(self._wanted(input), input, hx), *self._weights())
