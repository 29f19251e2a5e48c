"""Activations as modules; each does what the function of its name in nn.functional does."""

from __future__ import annotations

from flambeau.core.creation import full
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.errors import OptionError
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F
from flambeau.nn.module import Module
from flambeau.nn.of_function import OfFunction, OfTensor
from flambeau.nn.parameter import Parameter

__all__ = [
    "CELU", "ELU", "GELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "RReLU", "ReLU", "ReLU6", "SiLU", "Sigmoid", "Softmax", "Softmax2d",
    "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh", "Tanhshrink", "Threshold",
]  # fmt: skip


class ReLU(OfTensor, function=F.relu):
    """max(x, 0)."""

    inplace: bool = False


class ReLU6(OfTensor, function=F.relu6):
    """min(max(x, 0), 6)."""

    inplace: bool = False


class LeakyReLU(OfTensor, function=F.leaky_relu):
    """x above 0, x * negative_slope below."""

    negative_slope: float = 0.01
    inplace: bool = False


class ELU(OfTensor, function=F.elu):
    """x above 0, alpha (exp(x) - 1) below."""

    alpha: float = 1.0
    inplace: bool = False


class SELU(OfTensor, function=F.selu):
    """ELU with the constants that keep mean and variance."""

    inplace: bool = False


class CELU(OfTensor, function=F.celu):
    """x above 0, alpha (exp(x / alpha) - 1) below."""

    alpha: float = 1.0
    inplace: bool = False


class GELU(OfTensor, function=F.gelu):
    """x times the normal distribution function of x."""

    approximate: str = "none"


class SiLU(OfTensor, function=F.silu):
    """x sigmoid(x)."""

    inplace: bool = False


class Mish(OfTensor, function=F.mish):
    """x tanh(softplus(x))."""

    inplace: bool = False


class Softplus(OfTensor, function=F.softplus):
    """log(1 + exp(beta x)) / beta."""

    beta: float = 1.0
    threshold: float = 20.0


class Softsign(OfTensor, function=F.softsign):
    """x / (1 + abs(x))."""


class _Shrink(OfTensor):
    lambd: float = 0.5

    def extra_repr(self) -> str:
        return str(self.lambd)


class Softshrink(_Shrink, function=F.softshrink):
    """x moved towards 0 by lambd."""


class Hardshrink(_Shrink, function=F.hardshrink):
    """x, or 0 where abs(x) <= lambd."""


class Tanhshrink(OfTensor, function=F.tanhshrink):
    """x - tanh(x)."""


class Hardtanh(OfTensor, function=F.hardtanh):
    """x cut to min_val ... max_val."""

    min_val: float = -1.0
    max_val: float = 1.0
    inplace: bool = False

    def _settle(self) -> None:
        if self.max_val <= self.min_val:
            raise OptionError(f"Hardtanh: max_val={self.max_val} must be greater than min_val={self.min_val}")


class Hardsigmoid(OfTensor, function=F.hardsigmoid):
    """x / 6 + 1/2 cut to 0 ... 1."""

    _shown = ()
    inplace: bool = False


class Hardswish(OfTensor, function=F.hardswish):
    """x hardsigmoid(x)."""

    _shown = ()
    inplace: bool = False


class Threshold(OfTensor, function=F.threshold):
    """x where it is above threshold, value elsewhere.

    >>> fb.nn.Threshold(0.1, 20.0)(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([20.0000,  0.5000,  3.0000])
    """

    threshold: float
    value: float
    inplace: bool = False


class Sigmoid(OfTensor, function=F.sigmoid):
    """1 / (1 + exp(-x))."""


class LogSigmoid(OfTensor, function=F.logsigmoid):
    """log(sigmoid(x))."""


class Tanh(OfTensor, function=F.tanh):
    """The hyperbolic tangent."""


class Softmax(OfTensor, function=F.softmax):
    """exp(x) over its sum along dim.

    >>> fb.nn.Softmax(dim=1)(fb.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """

    dim: int | None = None


class LogSoftmax(OfTensor, function=F.log_softmax):
    """log(softmax(x)) along dim.

    >>> fb.nn.LogSoftmax(dim=1)(fb.zeros(1, 2))
    tensor([[-0.6931, -0.6931]])
    """

    dim: int | None = None


class Softmin(OfTensor, function=F.softmin):
    """softmax of -x along dim.

    >>> fb.nn.Softmin(dim=1)(fb.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """

    dim: int | None = None


class GLU(OfTensor, function=F.glu):
    """The first half along dim times the sigmoid of the second."""

    dim: int = -1


class RReLU(OfFunction, function=F.rrelu):
    """LeakyReLU with a slope drawn between ``lower`` and ``upper`` for each element in training."""

    lower: float = 1 / 8
    upper: float = 1 / 3
    inplace: bool = False

    def forward(self, input: Tensor) -> Tensor:
        """The same shape."""
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)


class PReLU(Module):
    """LeakyReLU with a slope that is learnt: one, or one per channel (axis 1). He et al., arXiv:1502.01852.

    >>> fb.nn.PReLU()(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-0.5000,  0.5000,  3.0000], grad_fn=<LeakyReluBackward0>)
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: DeviceLike = None, dtype: DType | None = None
    ):
        super().__init__()
        self.num_parameters, self.init = num_parameters, float(init)
        self.weight = Parameter(full((num_parameters,), float(init), device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Every slope ``init`` again."""
        with no_grad():
            self.weight.fill_(self.init)

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
