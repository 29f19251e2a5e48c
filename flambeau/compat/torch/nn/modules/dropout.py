"""Dropout: its common base."""

from flambeau.nn.dropout import _Dropout as _DropoutNd

__all__ = ["_DropoutNd"]
