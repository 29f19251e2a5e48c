"""Recurrent layers: RNN, LSTM and GRU over sequences, and their single steps."""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar, Generic, TypeVar

from flambeau.core.arguments import bounded
from flambeau.core.blame import users_level
from flambeau.core.creation import empty
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.errors import ShapeError
from flambeau.core.ops.elementwise import sigmoid_p, tanh_p
from flambeau.core.ops.joining import cat, stack
from flambeau.core.ops.nn import recurrent as ops
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn import init
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter
from flambeau.nn.utils.rnn import PackedSequence, pad_packed_sequence, repacked, reverse_padded

S = TypeVar("S", Tensor, tuple[Tensor, Tensor])  # the state


class RNNBase(Module, Generic[S]):
    """What RNN, LSTM and GRU share: parameters by layer and direction, states, packed sequences.

    Parameters are named as in torch: ``weight_ih_l0`` (gates * H, input), ``weight_hh_l0`` (gates * H, H or P),
    ``bias_ih_l0``, ``bias_hh_l0``, ``weight_hr_l0`` (P, H) with a projection, and ``..._reverse``.
    """

    mode: ClassVar[str]
    blocks: ClassVar[int]  # how many gates

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if hidden_size <= 0 or num_layers <= 0:
            raise ValueError(
                f"{name}: hidden_size and num_layers must be greater than zero, got {hidden_size} and {num_layers}"
            )
        bounded(num_layers, f"{name}: num_layers")
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout should be a number in range [0, 1], got {dropout}")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"{name}: dropout={dropout} acts between layers, and num_layers is 1", stacklevel=users_level()
            )
        if proj_size < 0 or proj_size >= hidden_size or (proj_size and self.mode != "LSTM"):
            raise ValueError(
                f"{name}: proj_size must be at least 0, smaller than hidden_size, and 0 unless LSTM, got {proj_size}"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._make_parameters(device, dtype)
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _out_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _make_parameters(self, device: DeviceLike, dtype: DType | None) -> None:
        gates = self.blocks * self.hidden_size
        for layer in range(self.num_layers):
            inputs = self.input_size if layer == 0 else self._out_size * self._directions
            for suffix in ("", "_reverse")[: self._directions]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (gates, inputs),
                    "weight_hh": (gates, self._out_size),
                }
                shapes |= {"bias_ih": (gates,), "bias_hh": (gates,)} if self.bias else {}
                shapes |= {"weight_hr": (self.proj_size, self.hidden_size)} if self.proj_size else {}
                for stem, shape in shapes.items():
                    setattr(self, f"{stem}_l{layer}{suffix}", Parameter(empty(*shape, device=device, dtype=dtype)))

    def reset_parameters(self) -> None:
        """New random values, even in ±1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def flatten_parameters(self) -> None:
        """There is nothing to do: parameters need no common memory here."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[p for p in self._of(layer, suffix) if p is not None] for layer, suffix in self._places()]

    def _places(self) -> list[tuple[int, str]]:
        return [(layer, s) for layer in range(self.num_layers) for s in ("", "_reverse")[: self._directions]]

    def _of(self, layer: int, suffix: str) -> list[Any]:
        """weight_ih, weight_hh, bias_ih, bias_hh, weight_hr of one layer and direction."""
        stems = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [getattr(self, f"{stem}_l{layer}{suffix}", None) for stem in stems]

    # -- states ----------------------------------------------------------------------------------
    def _check_input(self, input: Tensor, batched: bool) -> None:
        if input.ndim not in (2, 3):
            raise ValueError(
                f"{type(self).__name__}: expected input to be 2D or 3D, got {input.ndim}D of shape {tuple(input.shape)}"
            )
        weight = self._parameters["weight_ih_l0"]
        if weight is not None and input.dtype is not weight.dtype:
            raise ValueError(
                f"{type(self).__name__}: input dtype ({input.dtype.name}) does not match weight dtype "
                f"({weight.dtype.name}); input.to(dtype) changes it"
            )
        if input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: input.size(-1) must be equal to input_size. Expected {self.input_size}, "
                f"got {input.shape[-1]} in input of shape {tuple(input.shape)}"
            )

    def _checked_state(self, name: str, state: Tensor, batch: int, size: int, batched: bool) -> Tensor:
        """A state (layers * directions, N, H); a batch axis is added to an unbatched one."""
        lead = self.num_layers * self._directions
        wanted = (lead, batch, size) if batched else (lead, size)
        if tuple(state.shape) != wanted:
            raise ShapeError(f"{type(self).__name__}: expected {name} of shape {wanted}, got {tuple(state.shape)}")
        return state if batched else state.unsqueeze(1)

    def _states(self, input: Tensor, hx: S | None, batch: int, batched: bool) -> tuple[Tensor, ...]:
        sizes = (self._out_size, self.hidden_size) if self.mode == "LSTM" else (self._out_size,)
        lead = self.num_layers * self._directions
        if hx is None:
            return tuple(input.new_zeros(lead, batch, s) for s in sizes)
        given: Any = hx if self.mode == "LSTM" else (hx,)
        if not isinstance(given, tuple) or len(given) != len(sizes):
            raise TypeError(
                f"{type(self).__name__}: hx must be {'a pair (h_0, c_0)' if len(sizes) == 2 else 'a tensor'}, got "
                f"{type(hx).__name__}"
            )
        names = ("h_0", "c_0")
        return tuple(
            self._checked_state(n, s, batch, size, batched) for n, s, size in zip(names, given, sizes, strict=False)
        )

    # -- the computation ---------------------------------------------------------------------------
    def forward(self, input: Tensor | PackedSequence, hx: S | None = None) -> tuple[Any, S]:  # Any: as the input is
        """Outputs (T, N, directions * H) of the last layer, and the final states (layers * directions, N, H)."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        self._check_input(input, True)
        batched = input.ndim == 3
        x = input if batched else input.unsqueeze(1)
        x = x.transpose(0, 1) if batched and self.batch_first else x
        states = self._states(x, hx, x.shape[1], batched)
        out, final = self._run(x, states, None)
        if not batched:
            return out.squeeze(1), self._final([s.squeeze(1) for s in final])
        return out.transpose(0, 1) if self.batch_first else out, self._final(final)

    def _final(self, states: list[Tensor]) -> Any:
        return tuple(states) if self.mode == "LSTM" else states[0]

    def _forward_packed(self, packed: PackedSequence, hx: S | None) -> tuple[PackedSequence, S]:
        x, lengths = pad_packed_sequence(packed)  # in the caller's order
        self._check_input(x, True)
        states = self._states(x, hx, x.shape[1], True)
        out, final = self._run(x, states, lengths.to(x.device))
        return repacked(out, packed), self._final(final)

    def _run(self, x: Tensor, states: tuple[Tensor, ...], lengths: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        finals: list[list[Tensor]] = [[] for _ in states]
        for layer in range(self.num_layers):
            outs = []
            for d in range(self._directions):
                at = layer * self._directions + d
                out, last = self._direction(
                    x, [s[at] for s in states], self._of(layer, "_reverse" if d else ""), bool(d), lengths
                )
                outs.append(out)
                for kept, s in zip(finals, last, strict=True):
                    kept.append(s)
            x = outs[0] if len(outs) == 1 else cat(outs, -1)
            if self.dropout and self.training and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout)
        return x, [stack(f, 0) for f in finals]

    def _direction(
        self, x: Tensor, states: list[Tensor], parameters: list[Any], reverse: bool, lengths: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """One layer in one direction: outputs, and the states after each sequence's last step."""
        if reverse:
            x = x.flip(0) if lengths is None else reverse_padded(x, lengths)
        sequences = self._layer(x, states, parameters)
        if lengths is None:
            last = [s[-1] for s in sequences]
        else:
            at = (lengths - 1).reshape(1, -1, 1)
            last = [s.gather(0, at.expand(1, s.shape[1], s.shape[2])).squeeze(0) for s in sequences]
        out = sequences[0]
        if reverse:
            out = out.flip(0) if lengths is None else reverse_padded(out, lengths)
        return out, last

    def _layer(self, x: Tensor, states: list[Tensor], parameters: list[Any]) -> list[Tensor]:
        """All hidden states (and cells) of one layer."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        parts += self._differing(
            proj_size=0, num_layers=1, bias=True, batch_first=False, dropout=0, bidirectional=False
        )
        return ", ".join(parts)


def _both(a: Tensor, b: Tensor | None) -> Tensor:
    return a if b is None else a + b


class RNN(RNNBase[Tensor]):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu of it.

    Input (T, N, input_size), or (N, T, input_size) with ``batch_first``, or (T, input_size).

    >>> output, h = fb.nn.RNN(3, 4)(fb.ones(5, 1, 3))
    >>> output.shape, h.shape
    (flambeau.Size([5, 1, 4]), flambeau.Size([1, 1, 4]))
    """

    mode, blocks = "RNN", 1

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        )
        self.nonlinearity = nonlinearity

    def _layer(self, x: Tensor, states: list[Tensor], parameters: list[Any]) -> list[Tensor]:
        w_ih, w_hh, b_ih, b_hh, _ = parameters
        return [ops.rnn_layer_p(F.linear(x, w_ih, _both(b_ih, b_hh)), states[0], w_hh, self.nonlinearity)]


class LSTM(RNNBase[tuple[Tensor, Tensor]]):
    """Long short-term memory: input, forget, candidate and output gates, in this order in the parameters.

    Input (T, N, input_size), or (N, T, input_size) with ``batch_first``, or (T, input_size); states (h_0, c_0).

    >>> out, (h, c) = fb.nn.LSTM(4, 8, batch_first=True)(fb.ones(2, 5, 4))
    >>> out.shape, h.shape
    (flambeau.Size([2, 5, 8]), flambeau.Size([1, 2, 8]))
    """

    mode, blocks = "LSTM", 4

    def _layer(self, x: Tensor, states: list[Tensor], parameters: list[Any]) -> list[Tensor]:
        w_ih, w_hh, b_ih, b_hh, w_hr = parameters
        gates = F.linear(x, w_ih, _both(b_ih, b_hh))
        if w_hr is None:
            return list(ops.lstm_layer_p(gates, *states, w_hh))
        (h, c), outs, cells = states, [], []
        for step in gates.unbind(0):
            h, c = _lstm_step(step + h @ w_hh.t(), c)
            h = h @ w_hr.t()
            outs.append(h)
            cells.append(c)
        return [stack(outs, 0), stack(cells, 0)]


class GRU(RNNBase[Tensor]):
    """Gated recurrent units: reset, update and candidate gates, in this order in the parameters.

    >>> output, h = fb.nn.GRU(3, 4)(fb.ones(5, 1, 3))
    >>> output.shape, h.shape
    (flambeau.Size([5, 1, 4]), flambeau.Size([1, 1, 4]))
    """

    mode, blocks = "GRU", 3

    def _layer(self, x: Tensor, states: list[Tensor], parameters: list[Any]) -> list[Tensor]:
        w_ih, w_hh, b_ih, b_hh, _ = parameters
        return [ops.gru_layer_p(F.linear(x, w_ih, b_ih), states[0], w_hh, b_hh)]


# -- single steps --------------------------------------------------------------------------------------
def _lstm_step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.chunk(4, -1)
    c = sigmoid_p(f) * c + sigmoid_p(i) * tanh_p(g)
    return sigmoid_p(o) * tanh_p(c), c


class RNNCellBase(Module):
    """What the cells share."""

    blocks: ClassVar[int]
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        gates = self.blocks * hidden_size
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

    def _state(self, input: Tensor, state: Tensor | None) -> Tensor:
        name = type(self).__name__
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{name}: expected input (N, {self.input_size}) or ({self.input_size},), got {tuple(input.shape)}"
            )
        wanted = (*input.shape[:-1], self.hidden_size)
        if state is None:
            return input.new_zeros(*wanted)
        if tuple(state.shape) != wanted:
            raise ShapeError(f"{name}: expected a state of shape {wanted}, got {tuple(state.shape)}")
        return state

    def _gates(self, input: Tensor, h: Tensor) -> Tensor:
        return F.linear(input, self.weight_ih, self.bias_ih) + F.linear(h, self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *self._differing(bias=True)])


class RNNCell(RNNCellBase):
    """One step of :class:`RNN`: input (N, input_size) or (input_size,), state (N, hidden_size).

    >>> fb.nn.RNNCell(3, 4)(fb.ones(1, 3)).shape
    flambeau.Size([1, 4])
    """

    blocks = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
        device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__(input_size, hidden_size, bias, device, dtype)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next hidden state."""
        gates = self._gates(input, self._state(input, hx))
        return tanh_p(gates) if self.nonlinearity == "tanh" else gates.relu()


class LSTMCell(RNNCellBase):
    """One step of :class:`LSTM`: input (N, input_size) or (input_size,), states (h, c).

    >>> h, c = fb.nn.LSTMCell(3, 4)(fb.ones(1, 3))
    >>> h.shape, c.shape
    (flambeau.Size([1, 4]), flambeau.Size([1, 4]))
    """

    blocks = 4

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """The next hidden state and cell."""
        h, c = (self._state(input, s) for s in (hx or (None, None)))
        return _lstm_step(self._gates(input, h), c)


class GRUCell(RNNCellBase):
    """One step of :class:`GRU`: input (N, input_size) or (input_size,), state (N, hidden_size).

    >>> fb.nn.GRUCell(3, 4)(fb.ones(1, 3)).shape
    flambeau.Size([1, 4])
    """

    blocks = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next hidden state."""
        h = self._state(input, hx)
        r, z, n = F.linear(input, self.weight_ih, self.bias_ih).chunk(3, -1)
        hr, hz, hn = F.linear(h, self.weight_hh, self.bias_hh).chunk(3, -1)
        z = sigmoid_p(z + hz)
        n = tanh_p(n + sigmoid_p(r + hr) * hn)
        return n + z * (h - n)
