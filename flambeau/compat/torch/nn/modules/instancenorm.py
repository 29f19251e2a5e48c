"""Instance normalisation: its common base."""

from flambeau.nn.norm import _InstanceNorm

__all__ = ["_InstanceNorm"]
