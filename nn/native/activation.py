"""Activations of which torch's own namespace has other arguments, and their in-place forms."""

from __future__ import annotations

from flambeau.core.autograd.inplace import readable
from flambeau.core.creation import empty_like
from flambeau.core.generator import Generator
from flambeau.core.ops.nn.activation import leaky_relu_p
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F


def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x above 0, alpha * (exp(x / alpha) - 1) below.

    >>> fb.celu(fb.tensor([-2.0, 3.0]))
    tensor([-0.8647,  3.0000])
    """
    return F.celu(input, alpha)


def selu(input: Tensor) -> Tensor:
    """elu with the constants that keep mean and variance.

    >>> fb.selu(fb.tensor([-2.0, 3.0]))
    tensor([-1.5202,  3.1521])
    """
    return F.selu(input)


def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """leaky_relu with a slope drawn for each element in training, and the mean slope otherwise.

    >>> fb.rrelu(fb.tensor([-24.0, 3.0]))
    tensor([-5.5000,  3.0000])
    """
    if generator is None or not training:
        return F.rrelu(input, lower, upper, training)
    return leaky_relu_p(input, empty_like(input).uniform_(lower, upper, generator=generator))


def rrelu_(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False,
    generator: Generator | None = None,
) -> Tensor:  # fmt: skip
    """:func:`rrelu` in place.

    >>> fb.rrelu_(fb.tensor([-24.0, 3.0]))
    tensor([-5.5000,  3.0000])
    """
    return input.copy_(rrelu(readable(input), lower, upper, training, generator))


def threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """x where it is above ``threshold``, ``value`` elsewhere.

    >>> fb.threshold(fb.tensor([-2.0, 3.0]), 0.1, 20.0)
    tensor([20.,  3.])
    """
    return F.threshold(input, threshold, value)
