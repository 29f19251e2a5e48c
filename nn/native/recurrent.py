"""lstm, gru, rnn_tanh and rnn_relu of flat lists of weights, of padded and of packed sequences.

The weights of a layer and direction stand together, in the order w_ih, w_hh, b_ih, b_hh (the biases if there are any),
and w_hr where an LSTM projects; the reverse direction follows its forward one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.core.errors import ShapeError
from flambeau.core.tensor import Tensor
from flambeau.nn.functional import recurrent
from flambeau.nn.utils.rnn import PackedSequence, pad_packed_sequence, repacked

_SHARED = ("hx", "params", "has_biases", "num_layers", "dropout", "train", "bidirectional")
_PADDED = (*_SHARED, "batch_first")
_PACKED = ("batch_sizes", *_SHARED)


def lstm(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor, Tensor]:
    # Any: of two forms, which differ from the second argument on
    """Outputs, final hidden states and cells of an LSTM over (T, N, inputs), or (N, T, inputs) with ``batch_first``.

    ``lstm(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)``, and of packed
    sequences ``lstm(data, batch_sizes, hx, params, has_biases, num_layers, dropout, train, bidirectional)``.

    >>> h, weights = fb.zeros(1, 1, 1), [fb.zeros(4, 3), fb.zeros(4, 1)]
    >>> out, h, c = fb.lstm(fb.ones(2, 1, 3), (h, h), weights, False, 1, 0.0, False, False, False)
    >>> out.shape
    flambeau.Size([2, 1, 1])
    """
    out, (h, c) = _run("lstm", recurrent.lstm_layer, input, args, kwargs)
    return out, h, c


def gru(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    # Any: of two forms, which differ from the second argument on
    """Outputs and final states of gated recurrent units over (T, N, inputs), with the arguments of :func:`lstm`.

    >>> weights = [fb.zeros(3, 3), fb.zeros(3, 1)]
    >>> fb.gru(fb.ones(2, 1, 3), fb.zeros(1, 1, 1), weights, False, 1, 0.0, False, False, False)[0].shape
    flambeau.Size([2, 1, 1])
    """
    out, (h,) = _run("gru", recurrent.gru_layer, input, args, kwargs)
    return out, h


def rnn_tanh(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    # Any: of two forms, which differ from the second argument on
    """Outputs and final states of a plain recurrent network with tanh, with the arguments of :func:`lstm`.

    >>> weights = [fb.zeros(1, 3), fb.zeros(1, 1)]
    >>> fb.rnn_tanh(fb.ones(2, 1, 3), fb.zeros(1, 1, 1), weights, False, 1, 0.0, False, False, False)[0].shape
    flambeau.Size([2, 1, 1])
    """
    out, (h,) = _run("rnn_tanh", recurrent.rnn_tanh_layer, input, args, kwargs)
    return out, h


def rnn_relu(input: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
    # Any: of two forms, which differ from the second argument on
    """Outputs and final states of a plain recurrent network with relu, with the arguments of :func:`lstm`.

    >>> weights = [fb.zeros(1, 3), fb.zeros(1, 1)]
    >>> fb.rnn_relu(fb.ones(2, 1, 3), fb.zeros(1, 1, 1), weights, False, 1, 0.0, False, False, False)[0].shape
    flambeau.Size([2, 1, 1])
    """
    out, (h,) = _run("rnn_relu", recurrent.rnn_relu_layer, input, args, kwargs)
    return out, h


def _run(
    name: str, layer: recurrent.Layer, input: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, list[Tensor]]:
    packed = "batch_sizes" in kwargs or len(args) > 2 and isinstance(args[2], (list, tuple))
    given = _named(name, _PACKED if packed else _PADDED, args, kwargs)
    states = [given["hx"]] if isinstance(given["hx"], Tensor) else list(given["hx"])
    directions = 2 if given["bidirectional"] else 1
    weights = _weights(name, given["params"], given["has_biases"], given["num_layers"] * directions)
    p = given["dropout"] if given["train"] else 0.0
    if packed:
        sequences = PackedSequence(input, given["batch_sizes"])
        x, lengths = pad_packed_sequence(sequences)
        out, final = recurrent.through_layers(layer, x, states, weights, directions, p, lengths.to(x.device))
        return repacked(out, sequences).data, final
    if input.ndim != 3:
        raise ShapeError(
            f"{name}: input must be (T, N, inputs) or, with batch_first, (N, T, inputs), got {tuple(input.shape)}"
        )
    x = input.transpose(0, 1) if given["batch_first"] else input
    out, final = recurrent.through_layers(layer, x, states, weights, directions, p, None)
    return out.transpose(0, 1) if given["batch_first"] else out, final


def _named(name: str, names: Sequence[str], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    given = dict(zip(names, args, strict=False)) | kwargs
    if len(args) > len(names) or given.keys() != set(names) or len(given) != len(args) + len(kwargs):
        raise TypeError(f"{name}: takes input and {', '.join(names)}")
    return given


def _weights(name: str, params: Sequence[Tensor], has_biases: bool, places: int) -> list[list[Tensor | None]]:
    """w_ih, w_hh, b_ih, b_hh, w_hr of each layer and direction."""
    each = 4 if has_biases else 2
    projected = places > 0 and len(params) == places * (each + 1)
    if len(params) != places * (each + projected):
        raise ShapeError(
            f"{name}: expected {places * each} parameters, {each} for each layer and direction, got {len(params)}"
        )
    size = each + projected
    groups = [list(params[i * size : (i + 1) * size]) for i in range(places)]
    return [[*g[:2], *(g[2:4] if has_biases else (None, None)), g[-1] if projected else None] for g in groups]
