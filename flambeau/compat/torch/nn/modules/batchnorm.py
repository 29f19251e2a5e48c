"""Batch normalisation: its common base, and that of all norms over channels."""

from flambeau.nn.norm import _BatchNorm, _NormBase

__all__ = ["_BatchNorm", "_NormBase"]
