"""Dropout in its forms. A mask compares random integers, so it is the same on every device for one seed."""

from __future__ import annotations

from flambeau.core import dtype as dt
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.nn.sparse import masked_scale_p, random_mask
from flambeau.core.tensor import Tensor
from flambeau.nn.functional.family import family

_SELU_SATURATION = -1.7580993408473766  # what selu tends to at minus infinity


def _check(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: dropout probability has to be between 0 and 1, but got p={p}")


def _check_floating(name: str, input: Tensor) -> None:
    if input.dtype.category < dt.FLOATING:
        raise DTypeError(f"{name}: input must be a floating tensor in training, got {input.dtype.name}")


def _drop(name: str, input: Tensor, p: float, shape: tuple[int, ...], inplace: bool) -> Tensor:
    _check_floating(name, input)
    out: Tensor = input * 0.0 if p == 1 else masked_scale_p(input, random_mask(input, shape, 1 - p), 1 / (1 - p))
    return input.copy_(out) if inplace else out


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training each element is 0 with probability ``p`` and divided by 1 - p otherwise.

    Source: Srivastava et al., JMLR 15 (2014).

    >>> fb.nn.functional.dropout(fb.ones(3), training=False)
    tensor([1., 1., 1.])
    """
    _check("dropout", p)
    return _drop("dropout", input, p, tuple(input.shape), inplace) if training and p > 0 else input


@family
def dropout_nd(n: int, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Dropout of whole channels of (N, C, {axes}).

    >>> fb.nn.functional.dropout{n}d(fb.ones(1, 3{s:8}), 0.5).shape
    flambeau.Size([1, 3{s:8}])
    """
    if n == 1 and input.ndim not in (2, 3):
        raise RuntimeError(f"dropout1d: expected 2D or 3D input, got shape {tuple(input.shape)}")
    drawn = input.ndim - 1 if n == 1 else 2  # axes with a draw for each element
    return drop_channels(f"dropout{n}d", input, p, training, inplace, drawn)


def drop_channels(name: str, input: Tensor, p: float, training: bool, inplace: bool, drawn: int = 2) -> Tensor:
    """Dropout with a draw for each element of the first axes."""
    _check(name, p)
    if not training or p == 0:
        return input
    _check_channels(name, input)
    return _drop(name, input, p, (*input.shape[:drawn], *[1] * (input.ndim - drawn)), inplace)


dropout1d, dropout2d, dropout3d = dropout_nd


def _check_channels(name: str, input: Tensor) -> None:
    if input.ndim < 2:
        raise ShapeError(f"{name}: input must have channels in its second dimension, got shape {tuple(input.shape)}")


def _alpha(name: str, input: Tensor, p: float, shape: tuple[int, ...], training: bool, inplace: bool) -> Tensor:
    """Dropped elements take selu's saturation value; mean and variance of the result stay as they were."""
    _check(name, p)
    if not training or p == 0:
        return input
    _check_floating(name, input)
    if p == 1:
        out = input * 0.0
    else:
        scale = ((_SELU_SATURATION**2 * p + 1) * (1 - p)) ** -0.5
        mask = random_mask(input, shape, 1 - p)
        shift = mask.to(input.dtype) * -(scale * _SELU_SATURATION) + scale * _SELU_SATURATION * (1 - p)
        out = masked_scale_p(input, mask, scale) + shift
    return input.copy_(out) if inplace else out


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout for selu networks. Klambauer et al., arXiv:1706.02515.

    >>> fb.nn.functional.alpha_dropout(fb.ones(3), training=False)
    tensor([1., 1., 1.])
    """
    return _alpha("alpha_dropout", input, p, tuple(input.shape), training, inplace)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """alpha_dropout of whole channels of (N, C, ...).

    >>> fb.nn.functional.feature_alpha_dropout(fb.ones(3), training=False)
    tensor([1., 1., 1.])
    """
    if training and p > 0:
        _check_channels("feature_alpha_dropout", input)
    shape = (*input.shape[:2], *[1] * (input.ndim - 2))
    return _alpha("feature_alpha_dropout", input, p, shape, training, inplace)
