"""Linear layers, and the one that attention ends with."""

from flambeau.nn.lazy import LazyLinear
from flambeau.nn.linear import Bilinear, Identity, Linear, NonDynamicallyQuantizableLinear

__all__ = ["Bilinear", "Identity", "LazyLinear", "Linear", "NonDynamicallyQuantizableLinear"]
