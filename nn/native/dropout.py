"""Dropout in torch's own namespace: ``train`` must be said, and what is done in place has a name of its own."""

from __future__ import annotations

from flambeau.core import dtype as dt
from flambeau.core.creation import ones_like
from flambeau.core.ops.nn.sparse import masked_scale_p, random_mask
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.functional.dropout import drop_channels


def dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """With ``train`` each element is 0 with probability ``p``, and divided by 1 - p otherwise.

    >>> fb.dropout(fb.ones(3), 0.5, False)
    tensor([1., 1., 1.])
    """
    return F.dropout(input, p, train)


def dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """:func:`dropout` in place.

    >>> fb.dropout_(fb.ones(3), 1.0, True)
    tensor([0., 0., 0.])
    """
    return F.dropout(input, p, train, inplace=True)


def native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """:func:`dropout` (``train`` None: as True) and the mask of what was kept.

    >>> fb.native_dropout(fb.ones(2), 0.5, False)
    (tensor([1., 1.]), tensor([True, True]))
    """
    if train is False or p == 0:
        return input.clone(), ones_like(input, dtype=dt.bool_)
    if p == 1:
        return input * 0.0, ones_like(input, dtype=dt.bool_).logical_not()
    mask = random_mask(input, tuple(input.shape), 1 - p)
    return masked_scale_p(input, mask, 1 / (1 - p)), mask.to(dt.bool_)


def feature_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """:func:`dropout` of whole channels of (N, C, ...).

    >>> fb.feature_dropout(fb.ones(1, 3), 0.5, False)
    tensor([[1., 1., 1.]])
    """
    return drop_channels("feature_dropout", input, p, train, False)


def feature_dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """:func:`feature_dropout` in place.

    >>> fb.feature_dropout_(fb.ones(1, 3), 1.0, True)
    tensor([[0., 0., 0.]])
    """
    return drop_channels("feature_dropout_", input, p, train, True)


def alpha_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """Dropout that keeps mean and variance of what selu networks have. Klambauer et al., arXiv:1706.02515.

    >>> fb.alpha_dropout(fb.ones(3), 0.5, False)
    tensor([1., 1., 1.])
    """
    return F.alpha_dropout(input, p, train)


def alpha_dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """:func:`alpha_dropout` in place.

    >>> fb.alpha_dropout_(fb.ones(3), 0.5, False)
    tensor([1., 1., 1.])
    """
    return F.alpha_dropout(input, p, train, inplace=True)


def feature_alpha_dropout(input: Tensor, p: float, train: bool) -> Tensor:
    """:func:`alpha_dropout` of whole channels of (N, C, ...).

    >>> fb.feature_alpha_dropout(fb.ones(1, 3), 0.5, False)
    tensor([[1., 1., 1.]])
    """
    return F.feature_alpha_dropout(input, p, train)


def feature_alpha_dropout_(input: Tensor, p: float, train: bool) -> Tensor:
    """:func:`feature_alpha_dropout` in place.

    >>> fb.feature_alpha_dropout_(fb.ones(1, 3), 0.5, False)
    tensor([[1., 1., 1.]])
    """
    return F.feature_alpha_dropout(input, p, train, inplace=True)
