"""Dropout layers."""

from __future__ import annotations

from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.of_function import OfFunction


class _DropoutNd(OfFunction):
    _shown = ("p", "inplace")
    p: float = 0.5
    inplace: bool = False

    def _settle(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(
                f"{type(self).__name__}: dropout probability has to be between 0 and 1, but got p={self.p}"
            )

    def forward(self, input: Tensor) -> Tensor:
        """The same shape; in evaluation the input itself."""
        return self.function(input, self.p, self.training, self.inplace)


class Dropout(_DropoutNd, function=F.dropout):
    """In training each element is 0 with probability ``p`` and divided by 1 - p otherwise.

    >>> layer = fb.nn.Dropout(0.5).eval()
    >>> layer(fb.ones(3))
    tensor([1., 1., 1.])
    """


class _Channels(_DropoutNd):
    """One draw decides about a channel of an example.

    >>> fb.nn.Dropout{n}d(0.5)(fb.ones(1, 3{s:8})).shape
    flambeau.Size([1, 3{s:8}])
    """


class Dropout1d(_Channels, dims=1, function=F.dropout1d):
    """Dropout of whole channels of (N, C, L)."""


class Dropout2d(_Channels, dims=2, function=F.dropout2d):
    """Dropout of whole channels of (N, C, H, W)."""


class Dropout3d(_Channels, dims=3, function=F.dropout3d):
    """Dropout of whole channels of (N, C, D, H, W)."""


class AlphaDropout(_DropoutNd, function=F.alpha_dropout):
    """Dropout for selu networks: mean and variance stay.

    >>> fb.nn.AlphaDropout(0.1)(fb.ones(3)).shape
    flambeau.Size([3])
    """


class FeatureAlphaDropout(_DropoutNd, function=F.feature_alpha_dropout):
    """AlphaDropout of whole channels.

    >>> fb.nn.FeatureAlphaDropout(0.1)(fb.ones(1, 3, 8)).shape
    flambeau.Size([1, 3, 8])
    """
