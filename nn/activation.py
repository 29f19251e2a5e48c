"""Activations as modules; each does what the function of its name in nn.functional does."""

from __future__ import annotations

from typing import Any

from flambeau.core.creation import full
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.factory import module_of
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter


def _module(name: str, function: str, doc: str, **options: Any) -> Any:
    return module_of(name, function, doc, module=__name__, **options)


ReLU = _module("ReLU", "relu", "max(x, 0).", inplace=False)
ReLU6 = _module("ReLU6", "relu6", "min(max(x, 0), 6).", inplace=False)
LeakyReLU = _module(
    "LeakyReLU", "leaky_relu", "x above 0, x * negative_slope below.", negative_slope=0.01, inplace=False
)
ELU = _module("ELU", "elu", "x above 0, alpha (exp(x) - 1) below.", alpha=1.0, inplace=False)
SELU = _module("SELU", "selu", "ELU with the constants that keep mean and variance.", inplace=False)
CELU = _module("CELU", "celu", "x above 0, alpha (exp(x / alpha) - 1) below.", alpha=1.0, inplace=False)
GELU = _module("GELU", "gelu", "x times the normal distribution function of x.", approximate="none")
SiLU = _module("SiLU", "silu", "x sigmoid(x).", inplace=False)
Mish = _module("Mish", "mish", "x tanh(softplus(x)).", inplace=False)
Softplus = _module("Softplus", "softplus", "log(1 + exp(beta x)) / beta.", beta=1.0, threshold=20.0)
Softsign = _module("Softsign", "softsign", "x / (1 + abs(x)).")
Softshrink = _module("Softshrink", "softshrink", "x moved towards 0 by lambd.", lambd=0.5)
Hardshrink = _module("Hardshrink", "hardshrink", "x, or 0 where abs(x) <= lambd.", lambd=0.5)
Tanhshrink = _module("Tanhshrink", "tanhshrink", "x - tanh(x).")
Hardtanh = _module("Hardtanh", "hardtanh", "x cut to min_val ... max_val.", min_val=-1.0, max_val=1.0, inplace=False)
Hardsigmoid = _module("Hardsigmoid", "hardsigmoid", "x / 6 + 1/2 cut to 0 ... 1.", inplace=False)
Hardswish = _module("Hardswish", "hardswish", "x hardsigmoid(x).", inplace=False)
Threshold = _module(
    "Threshold", "threshold", "x where it is above threshold, value elsewhere.", threshold=..., value=..., inplace=False
)
Sigmoid = _module("Sigmoid", "sigmoid", "1 / (1 + exp(-x)).")
LogSigmoid = _module("LogSigmoid", "logsigmoid", "log(sigmoid(x)).")
Tanh = _module("Tanh", "tanh", "The hyperbolic tangent.")
Softmax = _module("Softmax", "softmax", "exp(x) over its sum along dim.", dim=None)
LogSoftmax = _module("LogSoftmax", "log_softmax", "log(softmax(x)) along dim.", dim=None)
Softmin = _module("Softmin", "softmin", "softmax of -x along dim.", dim=None)
GLU = _module("GLU", "glu", "The first half along dim times the sigmoid of the second.", dim=-1)


class RReLU(Module):
    """LeakyReLU with a slope drawn between ``lower`` and ``upper`` for each element in training.

    >>> fb.nn.RReLU()(fb.tensor([-2.0, 0.5, 3.0])).shape
    flambeau.Size([3])
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3, inplace: bool = False):
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}" + (", inplace=True" if self.inplace else "")


class PReLU(Module):
    """LeakyReLU with a slope that is learnt: one, or one per channel (axis 1). He et al., arXiv:1502.01852.

    >>> fb.nn.PReLU()(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-0.5000,  0.5000,  3.0000], grad_fn=<LeakyReluBackward0>)
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None):
        super().__init__()
        self.num_parameters, self.init = num_parameters, float(init)
        self.weight = Parameter(full((num_parameters,), float(init), device=device, dtype=dtype))

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W).

    >>> fb.nn.Softmax2d()(fb.zeros(1, 2, 1, 1)).shape
    flambeau.Size([1, 2, 1, 1])
    """

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        if input.ndim not in (3, 4):
            raise ValueError(f"Softmax2d: expected input to be 3D or 4D, got shape {tuple(input.shape)}")
        return F.softmax(input, -3)
