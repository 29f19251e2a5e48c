"""Dropout: its common base."""

from flambeau.nn.dropout import _DropoutNd

__all__ = ["_DropoutNd"]
