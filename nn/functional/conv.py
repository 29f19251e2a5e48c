"""Convolutions and transposed convolutions of 1 to 3 dimensions, unfold and fold, in torch's signatures.

Shapes: input (N, C, *S) or, without a batch, (C, *S).
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from flambeau.core.autocast import autocasting
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.nn import conv as ops
from flambeau.core.ops.storage import view_p
from flambeau.core.tensor import Tensor
from flambeau.nn.functional.family import family

Sizes = int | Sequence[int]


def sizes(value: Sizes, n: int, name: str) -> tuple[int, ...]:
    """``n`` ints from one int (or a sequence of one) for all axes, or from one for each axis."""
    if value.__class__ is int:
        return (value,) * n
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    try:
        values = tuple(map(operator.index, values))
    except TypeError:
        raise TypeError(f"{name} must be an int or {n} ints, got {value!r}") from None
    if len(values) == 1:
        values *= n
    if len(values) != n:
        raise ShapeError(f"{name} must be an int or {n} ints, got {value!r}")
    return values


def batched(input: Tensor, n: int, name: str) -> tuple[Tensor, bool]:
    """The input with a batch axis, and whether one had to be added."""
    shape = input._array.shape
    if len(shape) not in (n + 1, n + 2):
        raise ShapeError(
            f"{name}: expected input of {n + 1} dimensions (unbatched) or {n + 2} (batched), got shape "
            f"{tuple(input.shape)}"
        )
    return (view_p(input, (1, *shape)), True) if len(shape) == n + 1 else (input, False)


def without_batch(out: Tensor) -> Tensor:
    """The result for an input that had no batch axis."""
    return view_p(out, tuple(out._array.shape[1:]))


def _check_weight(name: str, weight: Tensor, n: int, wanted: str) -> None:
    if weight.ndim != n + 2:
        raise ShapeError(f"{name}: weight must be {wanted}, of {n + 2} dimensions, got shape {tuple(weight.shape)}")
    if 0 in weight.shape[2:]:
        raise ShapeError(f"{name}: kernel size must be greater than zero, got weight of shape {tuple(weight.shape)}")


def _check_options(name: str, **options: tuple[tuple[int, ...], int]) -> None:
    """Each option's numbers must be at least so much."""
    for option, (values, least) in options.items():
        if any(v < least for v in values):
            raise ShapeError(f"{name}: {option} must be at least {least}, got {values}")


def _same_padding(kernel: Sequence[int], stride: tuple[int, ...], dilation: tuple[int, ...], name: str) -> list[int]:
    """How much padding in all keeps the sizes."""
    if any(s != 1 for s in stride):
        raise RuntimeError(f"{name}: padding='same' is not supported for strided convolutions, got stride={stride}")
    return [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]


@family
def conv_nd(
    n: int, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1, padding: Sizes | str = 0,
    dilation: Sizes = 1, groups: int = 1,
) -> Tensor:  # fmt: skip
    """Cross-correlation of (N, C, {axes}) with weight (O, C / groups, {kernel}).

    >>> fb.nn.functional.conv{n}d(fb.ones(1, 3{s:8}), fb.ones(4, 3{s:3})).shape
    flambeau.Size([1, 4{s:6}])
    """
    name = f"conv{n}d"
    input, added = batched(input, n, name)
    _check_weight(name, weight, n, "(O, C / groups, *kernel)")
    stride, dilation = sizes(stride, n, f"{name}: stride"), sizes(dilation, n, f"{name}: dilation")
    if padding == "valid":
        padding = 0
    elif padding == "same":
        total = _same_padding(weight.shape[2:], stride, dilation, name)
        if any(t % 2 for t in total):  # the odd one goes to the end, as in torch
            input = ops.padded(input, [0] * n, [t % 2 for t in total])
        padding = tuple(t // 2 for t in total)
    elif isinstance(padding, str):
        raise ValueError(f"{name}: padding must be ints, 'same' or 'valid', got {padding!r}")
    out: Tensor = ops.conv_p(input, weight, bias, stride, sizes(padding, n, f"{name}: padding"), dilation, groups)
    return without_batch(out) if added else out


conv1d, conv2d, conv3d = conv_nd


def _check_bias(name: str, bias: Tensor, channels: int, input: Tensor) -> None:
    if tuple(bias.shape) != (channels,):
        raise ShapeError(f"{name}: bias of shape {tuple(bias.shape)} must be ({channels},), one per output channel")
    if bias.dtype.category > input.dtype.category:
        raise DTypeError(f"{name}: bias of dtype {bias.dtype.name} does not go to the input's, {input.dtype.name}")


@family
@autocasting("low")
def conv_transpose_nd(
    n: int, input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Sizes = 1, padding: Sizes = 0,
    output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Tensor:  # fmt: skip
    """The gradient of conv{n}d for its input, as a layer: weight (C, O / groups, {kernel}).

    >>> fb.nn.functional.conv_transpose{n}d(fb.ones(1, 3{s:8}), fb.ones(3, 4{s:2}), stride=2).shape
    flambeau.Size([1, 4{s:16}])
    """
    name = f"conv_transpose{n}d"
    input, added = batched(input, n, name)
    _check_weight(name, weight, n, "(C, O / groups, *kernel)")
    if groups < 1 or input.shape[1] != weight.shape[0] or weight.shape[0] % groups or 0 in weight.shape[:2]:
        raise ShapeError(
            f"{name}: input of shape {tuple(input.shape)} has {input.shape[1]} channels, weight must be "
            f"({input.shape[1]}, O / groups, *kernel) with groups={groups}, got {tuple(weight.shape)}"
        )
    stride, padding = sizes(stride, n, f"{name}: stride"), sizes(padding, n, f"{name}: padding")
    dilation, extra = sizes(dilation, n, f"{name}: dilation"), sizes(output_padding, n, f"{name}: output_padding")
    _check_options(name, stride=(stride, 1), padding=(padding, 0), dilation=(dilation, 1), output_padding=(extra, 0))
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise RuntimeError(
            f"{name}: output_padding {extra} must be smaller than stride {stride} or dilation {dilation}"
        )
    rows = zip(input.shape[2:], weight.shape[2:], stride, padding, dilation, extra, strict=True)
    spatial = tuple((length - 1) * s - 2 * p + d * (k - 1) + e + 1 for length, k, s, p, d, e in rows)
    if any(size < 1 for size in spatial) or 0 in input.shape[2:]:
        raise ShapeError(f"{name}: input of shape {tuple(input.shape)} with padding={padding} gives sizes {spatial}")
    shape = (input.shape[0], weight.shape[1] * groups, *spatial)
    if bias is not None:
        _check_bias(name, bias, shape[1], input)
    beyond = [e // s for e, s in zip(extra, stride, strict=True)]  # places of the convolution that no input stands for
    if any(beyond):
        input = ops.padded(input, [0] * n, beyond)
    out: Tensor = ops.conv_grad_input_p(input, weight, shape, stride, padding, dilation, groups)
    if bias is not None:
        out = out + bias.to(out.dtype).reshape(-1, *[1] * n)
    return without_batch(out) if added else out


conv_transpose1d, conv_transpose2d, conv_transpose3d = conv_transpose_nd


# -- windows as columns ------------------------------------------------------------------------------
def unfold(input: Tensor, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> Tensor:
    """Every window of (N, C, H, W) as a column: (N, C * KH * KW, L).

    >>> fb.nn.functional.unfold(fb.ones(1, 3, 4, 4), 2).shape
    flambeau.Size([1, 12, 9])
    """
    input, added = batched(input, 2, "unfold")
    kernel, dilation, padding, stride = _four(kernel_size, dilation, padding, stride, "unfold")
    if 0 in input.shape[1:]:
        raise ShapeError(f"unfold: only the batch of input may be empty, got shape {tuple(input.shape)}")
    windows = ops.windows(ops.padded(input, padding, padding), kernel, stride, dilation)
    rows = input.shape[1] * kernel[0] * kernel[1]
    out: Tensor = windows.permute(0, 1, 4, 5, 2, 3).reshape(input.shape[0], rows, windows.shape[2] * windows.shape[3])
    return without_batch(out) if added else out


def fold(
    input: Tensor, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> Tensor:
    """Columns (N, C * KH * KW, L) added back to where :func:`unfold` took them from: (N, C, *output_size).

    >>> fb.nn.functional.fold(fb.ones(1, 12, 9), (4, 4), 2).shape
    flambeau.Size([1, 3, 4, 4])
    """
    input, added = batched(input, 1, "fold")
    kernel, dilation, padding, stride = _four(kernel_size, dilation, padding, stride, "fold")
    size = sizes(output_size, 2, "fold: output_size")
    taps = kernel[0] * kernel[1]
    places = [ops.conv_size(*v) for v in zip(size, kernel, stride, padding, dilation, strict=True)]
    if 0 in input.shape[1:] or input.shape[1] % taps or input.shape[2] != places[0] * places[1]:
        raise ShapeError(
            f"fold: input must be (N, C * {taps}, {places[0] * places[1]}) for output_size={size}, "
            f"kernel_size={kernel}, "
            f"stride={stride}, padding={padding}, dilation={dilation}; got {tuple(input.shape)}"
        )
    channels = input.shape[1] // taps
    columns = input.reshape(input.shape[0] * channels, taps, *places)
    # Column (k, l) comes from one element of an identity kernel: the gradient of a convolution with it adds up.
    identity = input.new_ones(taps).diag().reshape(taps, 1, *kernel)
    shape = (columns.shape[0], 1, *size)
    out: Tensor = ops.conv_grad_input_p(columns, identity, shape, stride, padding, dilation, 1)
    out = out.reshape(input.shape[0], channels, *size)
    return without_batch(out) if added else out


def _four(*values: Any) -> tuple[tuple[int, ...], ...]:
    *given, name = values
    labels = {"kernel_size": 1, "dilation": 1, "padding": 0, "stride": 1}
    found = {label: sizes(v, 2, f"{name}: {label}") for v, label in zip(given, labels, strict=True)}
    _check_options(name, **{label: (found[label], least) for label, least in labels.items()})
    return tuple(found.values())
