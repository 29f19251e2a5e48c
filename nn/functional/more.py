"""Functions that torch has beside the layers': activations in place, older names."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from flambeau.core.autocast import autocasting
from flambeau.core.blame import users_level
from flambeau.core.errors import ShapeError
from flambeau.core.ops.statistics import pdist as pdist
from flambeau.core.tensor import Tensor
from flambeau.nn.functional import activation
from flambeau.nn.functional.conv import Sizes, conv1d
from flambeau.nn.functional.vision import channel_shuffle, interpolate


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """:func:`celu` in place.

    >>> fb.nn.functional.celu_(fb.tensor([-2.0, 3.0]))
    tensor([-0.8647,  3.0000])
    """
    return activation.celu(input, alpha, True)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """:func:`elu` in place.

    >>> fb.nn.functional.elu_(fb.tensor([-2.0, 3.0]))
    tensor([-0.8647,  3.0000])
    """
    return activation.elu(input, alpha, True)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """:func:`hardtanh` in place.

    >>> fb.nn.functional.hardtanh_(fb.tensor([-2.0, 0.5]))
    tensor([-1.0000,  0.5000])
    """
    return activation.hardtanh(input, min_val, max_val, True)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """:func:`leaky_relu` in place.

    >>> fb.nn.functional.leaky_relu_(fb.tensor([-2.0, 0.5]))
    tensor([-0.0200,  0.5000])
    """
    return activation.leaky_relu(input, negative_slope, True)


def rrelu_(input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Tensor:
    """:func:`rrelu` in place.

    >>> fb.nn.functional.rrelu_(fb.tensor([-24.0, 0.5]))
    tensor([-5.5000,  0.5000])
    """
    return activation.rrelu(input, lower, upper, training, True)


def selu_(input: Tensor) -> Tensor:
    """:func:`selu` in place.

    >>> fb.nn.functional.selu_(fb.tensor([-2.0, 3.0]))
    tensor([-1.5202,  3.1521])
    """
    return activation.selu(input, True)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """:func:`threshold` in place.

    >>> fb.nn.functional.threshold_(fb.tensor([-2.0, 3.0]), 0.1, 20.0)
    tensor([20.,  3.])
    """
    return activation.threshold(input, threshold, value, True)


# -- older names ---------------------------------------------------------------------------------------
def upsample_nearest(
    input: Tensor, size: Sizes | None = None, scale_factor: float | Sequence[float] | None = None
) -> Tensor:
    """:func:`interpolate` to the nearest element.

    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     fb.nn.functional.upsample_nearest(fb.ones(1, 1, 4, 4), scale_factor=2).shape
    flambeau.Size([1, 1, 8, 8])
    """
    _use_interpolate("upsample_nearest")
    return interpolate(input, size, scale_factor, "nearest")


def upsample_bilinear(
    input: Tensor, size: Sizes | None = None, scale_factor: float | Sequence[float] | None = None
) -> Tensor:
    """:func:`interpolate` with bilinear weights and aligned corners.

    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     fb.nn.functional.upsample_bilinear(fb.ones(1, 1, 4, 4), scale_factor=2).shape
    flambeau.Size([1, 1, 8, 8])
    """
    _use_interpolate("upsample_bilinear")
    return interpolate(input, size, scale_factor, "bilinear", True)


def _use_interpolate(name: str) -> None:
    warnings.warn(
        f"`nn.functional.{name}` is deprecated; use `nn.functional.interpolate` instead", stacklevel=users_level()
    )


def native_channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """:func:`channel_shuffle` under another name.

    >>> fb.nn.functional.native_channel_shuffle(fb.ones(1, 4, 2, 2), 2).shape
    flambeau.Size([1, 4, 2, 2])
    """
    return channel_shuffle(input, groups)


# -- products and distances ------------------------------------------------------------------------------
@autocasting("low")
def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """Convolution of (T, N, C) with a weight (K, C, O): :func:`conv1d` with the time first.

    >>> fb.nn.functional.conv_tbc(fb.ones(5, 2, 3), fb.ones(3, 3, 4), fb.zeros(4)).shape
    flambeau.Size([3, 2, 4])
    """
    if input.ndim != 3 or weight.ndim != 3 or bias.ndim != 1:
        raise ShapeError(
            f"conv_tbc: input must be (T, N, C), weight (K, C, O) and bias (O,), got {tuple(input.shape)}, "
            f"{tuple(weight.shape)} and {tuple(bias.shape)}"
        )
    return conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)
