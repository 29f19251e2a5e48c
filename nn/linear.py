"""Linear layers and changes of shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flambeau.core.creation import empty
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn import init
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter


class Identity(Module):
    """The input as it is; takes and ignores any arguments.

    >>> fb.nn.Identity()(fb.ones(2))
    tensor([1., 1.])
    """

    def __init__(self, *args: object, **kwargs: object):
        super().__init__()

    def forward(self, input: Any) -> Any:  # Any: gives what it takes
        """``input``."""
        return input


class Linear(Module):
    """input weightᵀ + bias: (..., in_features) to (..., out_features).

    ``weight`` is (out_features, in_features); both start even in ±1 / sqrt(in_features).

    >>> fb.nn.Linear(3, 2)(fb.ones(4, 3)).shape
    flambeau.Size([4, 2])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if not hasattr(size, "__index__") or size < 0:
                raise ValueError(f"{type(self).__name__}: {name} must be an int of at least 0, got {size!r}")
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(empty(out_features, in_features, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """New random values."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class NonDynamicallyQuantizableLinear(Linear):
    """Linear, by the name under which torch keeps one from being quantized."""


class Bilinear(Module):
    """input1ᵀ weight[o] input2 + bias[o]: (..., in1_features) and (..., in2_features) to (..., out_features).

    >>> fb.nn.Bilinear(2, 3, 4)(fb.ones(5, 2), fb.ones(5, 3)).shape
    flambeau.Size([5, 4])
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True, device: DeviceLike = None,
        dtype: DType | None = None,
    ):  # fmt: skip
        super().__init__()
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = Parameter(empty(out_features, in1_features, in2_features, device=device, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_features, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """New random values."""
        bound = 1 / math.sqrt(self.in1_features)
        for p in self.parameters():
            init.uniform_(p, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """(..., out_features)."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Flatten(Module):
    """The axes from ``start_dim`` to ``end_dim`` made one.

    >>> fb.nn.Flatten()(fb.ones(2, 3, 4)).shape
    flambeau.Size([2, 12])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        """The same elements in fewer axes."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """One axis made several.

    >>> fb.nn.Unflatten(1, (3, 4))(fb.ones(2, 12)).shape
    flambeau.Size([2, 3, 4])
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]):
        super().__init__()
        self.dim, self.unflattened_size = dim, unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        """The same elements in more axes."""
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
