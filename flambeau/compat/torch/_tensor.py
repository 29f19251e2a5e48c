"""Where torch keeps its Tensor."""

from flambeau.core.tensor import Tensor

__all__ = ["Tensor"]
