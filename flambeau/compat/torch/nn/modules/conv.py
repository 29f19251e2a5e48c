"""Convolutions: their common base."""

from flambeau.nn.conv import _ConvNd, _ConvTransposeNd

__all__ = ["_ConvNd", "_ConvTransposeNd"]
