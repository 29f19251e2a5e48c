"""Dropout layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.module import Module


class _Dropout(Module):
    function: ClassVar[Callable[..., Tensor]]

    def __init__(self, p: float = 0.5, inplace: bool = False):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: dropout probability has to be between 0 and 1, but got p={p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        """The same shape; in evaluation the input itself."""
        return type(self).function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training each element is 0 with probability ``p`` and divided by 1 - p otherwise.

    >>> layer = fb.nn.Dropout(0.5).eval()
    >>> layer(fb.ones(3))
    tensor([1., 1., 1.])
    """

    function = staticmethod(F.dropout)


class Dropout1d(_Dropout):
    """Dropout of whole channels of (N, C, L).

    >>> fb.nn.Dropout1d(0.5)(fb.ones(1, 3, 8)).shape
    flambeau.Size([1, 3, 8])
    """

    function = staticmethod(F.dropout1d)


class Dropout2d(_Dropout):
    """Dropout of whole channels of (N, C, H, W).

    >>> fb.nn.Dropout2d(0.5)(fb.ones(1, 3, 8, 8)).shape
    flambeau.Size([1, 3, 8, 8])
    """

    function = staticmethod(F.dropout2d)


class Dropout3d(_Dropout):
    """Dropout of whole channels of (N, C, D, H, W).

    >>> fb.nn.Dropout3d(0.5)(fb.ones(1, 3, 8, 8, 8)).shape
    flambeau.Size([1, 3, 8, 8, 8])
    """

    function = staticmethod(F.dropout3d)


class AlphaDropout(_Dropout):
    """Dropout for selu networks: mean and variance stay.

    >>> fb.nn.AlphaDropout(0.1)(fb.ones(3)).shape
    flambeau.Size([3])
    """

    function = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels.

    >>> fb.nn.FeatureAlphaDropout(0.1)(fb.ones(1, 3, 8)).shape
    flambeau.Size([1, 3, 8])
    """

    function = staticmethod(F.feature_alpha_dropout)
