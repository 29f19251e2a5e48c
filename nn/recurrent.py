"""Recurrent layers: RNN, LSTM and GRU over sequences."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from flambeau.core.arguments import bounded
from flambeau.core.blame import users_level
from flambeau.core.creation import empty
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.errors import ShapeError
from flambeau.core.state import current
from flambeau.core.tensor import Tensor
from flambeau.nn import init
from flambeau.nn.functional import recurrent
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter
from flambeau.nn.utils.rnn import PackedSequence, pad_packed_sequence, repacked

#: How many gates each kind has.
_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
S = TypeVar("S", Tensor, tuple[Tensor, Tensor])  # the state


class RNNBase(Module, Generic[S]):
    """What RNN, LSTM and GRU share: parameters by layer and direction, states, packed sequences.

    Parameters are named as in torch: ``weight_ih_l0`` (gates * H, input), ``weight_hh_l0`` (gates * H, H or P),
    ``bias_ih_l0``, ``bias_hh_l0``, ``weight_hr_l0`` (P, H) with a projection, and ``..._reverse``.
    """

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__()
        name = type(self).__name__
        if mode not in _GATES:
            raise ValueError(f"{name}: mode must be one of {', '.join(_GATES)}, got {mode!r}")
        self.mode = mode
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
        gates = _GATES[self.mode] * self.hidden_size
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
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _all_weights(self) -> list[list[str]]:
        """The names of the parameters of each layer and direction."""
        stems = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
        stems += ["weight_hr"] if self.proj_size else []
        return [[f"{stem}_l{layer}{suffix}" for stem in stems] for layer, suffix in self._places()]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Parameter | None]:
        return [getattr(self, name, None) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, value: Iterable[Parameter | None]) -> None:
        """The parameters are kept by name: there is nothing else to set."""

    def _places(self) -> list[tuple[int, str]]:
        return [(layer, s) for layer in range(self.num_layers) for s in ("", "_reverse")[: self._directions]]

    def _of(self, layer: int, suffix: str) -> list[Any]:
        """weight_ih, weight_hh, bias_ih, bias_hh, weight_hr of one layer and direction."""
        stems = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [getattr(self, f"{stem}_l{layer}{suffix}", None) for stem in stems]

    # -- torch's ways to look at states -------------------------------------------------------------
    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """An error for an input of the wrong dtype or sizes; with ``batch_sizes`` it is a packed one, (total, size)."""
        self._check_input(input, batch_sizes is None)

    def get_expected_hidden_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """The sizes of a hidden state for this input."""
        batch = int(batch_sizes[0]) if batch_sizes is not None else input.shape[0 if self.batch_first else 1]
        return self.num_layers * self._directions, batch, self._out_size

    def check_hidden_size(
        self, hx: Tensor, expected_hidden_size: tuple[int, int, int], msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """RuntimeError for a state of other sizes."""
        if tuple(hx.shape) != tuple(expected_hidden_size):
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.shape)))

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:  # Any: S
        """Look at the input and at the state, a pair for LSTM."""
        self.check_input(input, batch_sizes)
        lead, batch, size = self.get_expected_hidden_size(input, batch_sizes)
        states = hidden if self.mode == "LSTM" else (hidden,)
        for state, width in zip(states, (size, self.hidden_size), strict=False):
            self.check_hidden_size(state, (lead, batch, width))

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:  # Any: S
        """The state with its batch in another order."""
        if permutation is None:
            return hx
        if isinstance(hx, Tensor):
            return hx.index_select(1, permutation)
        return tuple(h.index_select(1, permutation) for h in hx)

    # -- states ----------------------------------------------------------------------------------
    def _check_input(self, input: Tensor, batched: bool) -> None:
        if input.ndim not in (2, 3):
            raise ValueError(
                f"{type(self).__name__}: expected input to be 2D or 3D, got {input.ndim}D of shape {tuple(input.shape)}"
            )
        weight = getattr(self, "weight_ih_l0", None)  # subclasses may compute it
        if weight is not None and input.dtype is not weight.dtype and current().casts is None:  # autocast casts both
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
        if not isinstance(given, (tuple, list)) or len(given) != len(sizes):
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
        weights = [self._of(layer, suffix) for layer, suffix in self._places()]
        p = self.dropout if self.training else 0.0
        return recurrent.through_layers(self._layer, x, states, weights, self._directions, p, lengths)

    @property
    def _layer(self) -> recurrent.Layer:
        """What one layer computes."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        parts += self._differing(
            proj_size=0, num_layers=1, bias=True, batch_first=False, dropout=0, bidirectional=False
        )
        return ", ".join(parts)


class RNN(RNNBase[Tensor]):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu of it.

    Input (T, N, input_size), or (N, T, input_size) with ``batch_first``, or (T, input_size).

    >>> output, h = fb.nn.RNN(3, 4)(fb.ones(5, 1, 3))
    >>> output.shape, h.shape
    (flambeau.Size([5, 1, 4]), flambeau.Size([1, 1, 4]))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, nonlinearity: str = "tanh", bias: bool = True,
        batch_first: bool = False, dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        device: DeviceLike = None, dtype: DType | None = None,
    ):  # fmt: skip
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(
            f"RNN_{nonlinearity.upper()}", input_size, hidden_size, num_layers, bias, batch_first, dropout,
            bidirectional, proj_size, device, dtype,
        )  # fmt: skip
        self.nonlinearity = nonlinearity

    @property
    def _layer(self) -> recurrent.Layer:
        return recurrent.rnn_tanh_layer if self.nonlinearity == "tanh" else recurrent.rnn_relu_layer


class LSTM(RNNBase[tuple[Tensor, Tensor]]):
    """Long short-term memory: input, forget, candidate and output gates, in this order in the parameters.

    Input (T, N, input_size), or (N, T, input_size) with ``batch_first``, or (T, input_size); states (h_0, c_0).

    >>> out, (h, c) = fb.nn.LSTM(4, 8, batch_first=True)(fb.ones(2, 5, 4))
    >>> out.shape, h.shape
    (flambeau.Size([2, 5, 8]), flambeau.Size([1, 2, 8]))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device,
            dtype,
        )  # fmt: skip

    @property
    def _layer(self) -> recurrent.Layer:
        return recurrent.lstm_layer


class GRU(RNNBase[Tensor]):
    """Gated recurrent units: reset, update and candidate gates, in this order in the parameters.

    >>> output, h = fb.nn.GRU(3, 4)(fb.ones(5, 1, 3))
    >>> output.shape, h.shape
    (flambeau.Size([5, 1, 4]), flambeau.Size([1, 1, 4]))
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, device,
            dtype,
        )  # fmt: skip

    @property
    def _layer(self) -> recurrent.Layer:
        return recurrent.gru_layer
