"""Convolutions: their common base."""

from flambeau.nn.conv import _Conv as _ConvNd
from flambeau.nn.conv import _Transposed as _ConvTransposeNd

__all__ = ["_ConvNd", "_ConvTransposeNd"]
