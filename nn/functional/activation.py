"""Activations, in torch's signatures. Every function takes a tensor of any shape and gives one of that shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core import fastpath
from flambeau.core.autograd.inplace import readable
from flambeau.core.creation import empty_like
from flambeau.core.dtype import DType
from flambeau.core.errors import DTypeError, ShapeError, warn_user
from flambeau.core.from_data import check_fits
from flambeau.core.ops import elementwise
from flambeau.core.ops.nn import activation as ops
from flambeau.core.ops.nn.activation import hardshrink, prelu
from flambeau.core.ops.nn.softmax import log_softmax as log_softmax_of
from flambeau.core.ops.nn.softmax import softmax as softmax_of
from flambeau.core.out import deliver
from flambeau.core.record import Op
from flambeau.core.tensor import Tensor
from flambeau.nn.functional.guard import quick

__all__ = [
    "celu", "elu", "gelu", "glu", "gumbel_softmax", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu",
    "log_softmax", "logsigmoid", "mish", "normalize", "prelu", "relu", "relu6", "relu_", "rrelu", "selu", "sigmoid",
    "silu", "softmax", "softmin", "softplus", "softshrink", "softsign", "tanh", "tanhshrink", "threshold",
]  # fmt: skip

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
_in_place: dict[Op, Any] = {}
_relu: Callable[[Tensor], Tensor] = elementwise.relu_p  # bound once: relu is called often


def _is_complex(input: Tensor) -> bool:
    return isinstance(input, Tensor) and input.dtype.category == dt.COMPLEX


def _in_dtype(name: str, input: Tensor, *numbers: float) -> tuple[float, ...]:
    """The limits of an activation as numbers of the input's dtype, which the result keeps."""
    if isinstance(input, Tensor) and input.dtype.category <= dt.INTEGER:
        if input.dtype is dt.bool_:
            raise DTypeError(f"{name}: not implemented for bool; it takes numbers")
        for v in numbers:
            check_fits(name, v, input.dtype)
        numbers = tuple(int(v) for v in numbers)
    return numbers


def _apply(function: Any, inplace: bool, *args: Any) -> Tensor:
    """An op, or its in-place form."""
    if inplace:
        function = _in_place.get(function.op) or _in_place.setdefault(
            function.op, fastpath.inplace_function(function.op)
        )
    result: Tensor = function(*args)
    return result


@quick
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0).

    >>> fb.nn.functional.relu(fb.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return input.relu_() if inplace else _relu(input)


def relu_(input: Tensor) -> Tensor:
    """:func:`relu` in place.

    >>> fb.nn.functional.relu_(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([0.0000, 0.5000, 3.0000])
    """
    return relu(input, True)


@quick
def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6).

    >>> fb.nn.functional.relu6(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([0.0000, 0.5000, 3.0000])
    """
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x cut to ``min_val`` ... ``max_val``.

    >>> fb.nn.functional.hardtanh(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-1.0000,  0.5000,  1.0000])
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} must not be greater than max_val {max_val}")
    low, high = _in_dtype("hardtanh", input, min_val, max_val)
    if low < 0 and not input.dtype.is_signed:
        raise RuntimeError(f"hardtanh: {input.dtype.name} takes no negative limit, got min_val={min_val}")
    return _apply(ops.hardtanh_p, inplace, input, low, high)


@quick
def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x above 0, x * negative_slope below.

    >>> fb.nn.functional.leaky_relu(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-0.0200,  0.5000,  3.0000])
    """
    return _apply(ops.leaky_relu_p, inplace, input, negative_slope)


def rrelu(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """leaky_relu with a slope drawn for each element in training, and the mean slope otherwise.

    >>> fb.nn.functional.rrelu(fb.tensor([-2.0, 0.5, 3.0])).shape
    flambeau.Size([3])
    """
    if lower > upper:
        raise RuntimeError(f"rrelu: lower bound {lower} must not be greater than upper bound {upper}")
    slope = empty_like(input).uniform_(lower, upper) if training else (lower + upper) / 2
    return _apply(ops.leaky_relu_p, inplace, input, slope)


@quick
def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, alpha * (exp(x) - 1) below.

    >>> fb.nn.functional.elu(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-0.8647,  0.5000,  3.0000])
    """
    return _apply(ops.elu_p, inplace, input, alpha, 1.0, 1.0)


@quick
def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """elu with the constants that keep mean and variance. Klambauer et al., arXiv:1706.02515.

    >>> fb.nn.functional.selu(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-1.5202,  0.5254,  3.1521])
    """
    return _apply(ops.elu_p, inplace, input, _SELU_ALPHA, _SELU_SCALE, 1.0)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above 0, alpha * (exp(x / alpha) - 1) below.

    >>> fb.nn.functional.celu(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-0.8647,  0.5000,  3.0000])
    """
    if alpha == 0:
        raise ZeroDivisionError("celu: alpha must not be 0")
    return _apply(ops.elu_p, inplace, input, alpha, 1.0, 1.0 / alpha)


@quick
def gelu(input: Tensor, approximate: str = "none", *, out: Tensor | None = None) -> Tensor:
    """x Φ(x) with the normal distribution's Φ, by erf or by its ``"tanh"`` approximation.

    >>> fb.nn.functional.gelu(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-0.0455,  0.3457,  2.9960])
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    found = ops.gelu_p(input) if approximate == "none" else ops.gelu_tanh_p(input)
    return found if out is None else deliver("gelu", found, out)


@quick
def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x sigmoid(x).

    >>> fb.nn.functional.silu(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-0.2384,  0.3112,  2.8577])
    """
    try:
        return _apply(ops.silu_p, inplace, input)
    except DTypeError:
        if not _is_complex(input):
            raise
        x = readable(input) if inplace else input
        out = x * elementwise.sigmoid_p(x)
        return input.copy_(out) if inplace else out


@quick
def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x tanh(softplus(x)).

    >>> fb.nn.functional.mish(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-0.2525,  0.3752,  2.9865])
    """
    return _apply(ops.mish_p, inplace, input)


@quick
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0, *, out: Tensor | None = None) -> Tensor:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above ``threshold``.

    >>> fb.nn.functional.softplus(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([0.1269, 0.9741, 3.0486])
    """
    found = ops.softplus_p(input, beta, threshold)
    return found if out is None else deliver("softplus", found, out)


@quick
def softsign(input: Tensor) -> Tensor:
    """x / (1 + abs(x)).

    >>> fb.nn.functional.softsign(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-0.6667,  0.3333,  0.7500])
    """
    try:
        return ops.softsign_p(input)
    except DTypeError:
        if not _is_complex(input):
            raise
        return input / (1 + input.abs())


@quick
def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x).

    >>> fb.nn.functional.tanhshrink(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-1.0360,  0.0379,  2.0049])
    """
    try:
        return ops.tanhshrink_p(input)
    except DTypeError:
        if not _is_complex(input):
            raise
        return input - input.tanh()


def softshrink(input: Tensor, lambd: float = 0.5, *, out: Tensor | None = None) -> Tensor:
    """x moved towards 0 by ``lambd``; 0 where it is nearer than that.

    >>> fb.nn.functional.softshrink(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-1.5000,  0.0000,  2.5000])
    """
    if lambd < 0:
        raise RuntimeError(f"softshrink: lambd must not be negative, got {lambd}")
    return deliver("softshrink", ops.softshrink_p(input, lambd), out)


@quick
def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where it is above ``threshold``, ``value`` elsewhere.

    >>> fb.nn.functional.threshold(fb.tensor([-2.0, 0.5, 3.0]), 0.1, 20.0)
    tensor([20.0000,  0.5000,  3.0000])
    """
    edge, other = _in_dtype("threshold", input, threshold, value)
    return _apply(ops.threshold_p, inplace, input, edge, other)


@quick
def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """x / 6 + 1/2 cut to 0 ... 1.

    >>> fb.nn.functional.hardsigmoid(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([0.1667, 0.5833, 1.0000])
    """
    return _apply(ops.hardsigmoid_p, inplace, input)


@quick
def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x hardsigmoid(x).

    >>> fb.nn.functional.hardswish(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-0.3333,  0.2917,  3.0000])
    """
    return _apply(ops.hardswish_p, inplace, input)


@quick
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)).

    >>> fb.nn.functional.sigmoid(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([0.1192, 0.6225, 0.9526])
    """
    return elementwise.sigmoid_p(input)


@quick
def logsigmoid(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """log(sigmoid(x)).

    >>> fb.nn.functional.logsigmoid(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-2.1269, -0.4741, -0.0486])
    """
    found = ops.logsigmoid_p(input)
    return found if out is None else deliver("logsigmoid", found, out)


@quick
def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent.

    >>> fb.nn.functional.tanh(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-0.9640,  0.4621,  0.9951])
    """
    return elementwise.tanh_p(input)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along ``dim`` times the sigmoid of the second.

    >>> fb.nn.functional.glu(fb.ones(2, 4)).shape
    flambeau.Size([2, 2])
    """
    if not input.ndim or input.size(dim) % 2:
        raise ShapeError(f"glu: the size along dim {dim} must be even, got input of shape {tuple(input.shape)}")
    a, b = input.chunk(2, dim)
    return a * elementwise.sigmoid_p(b)


# -- along an axis -----------------------------------------------------------------------------------
def _softmax_dim(name: str, input: Tensor, dim: int | None) -> int:
    """``dim``, or with a warning that of old."""
    if dim is not None:
        return dim
    warn_user(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument."
    )
    return 0 if input.ndim in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """exp(x) over its sum along ``dim``.

    >>> fb.nn.functional.softmax(fb.zeros(1, 2), dim=1)
    tensor([[0.5000, 0.5000]])
    """
    return softmax_of(input, _softmax_dim("softmax", input, dim), dtype)


def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """softmax of -x.

    >>> fb.nn.functional.softmin(fb.zeros(1, 2), dim=1)
    tensor([[0.5000, 0.5000]])
    """
    return softmax_of(-input, _softmax_dim("softmin", input, dim), dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: DType | None = None) -> Tensor:
    """log(softmax(x)) along ``dim``, without overflow.

    >>> fb.nn.functional.log_softmax(fb.zeros(1, 2), dim=1)
    tensor([[-0.6931, -0.6931]])
    """
    return log_softmax_of(input, _softmax_dim("log_softmax", input, dim), dtype)


def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample of the Gumbel-softmax distribution; ``hard``: one-hot, with the gradient of the soft one.

    Source: Jang, Gu and Poole, arXiv:1611.01144.

    >>> fb.nn.functional.gumbel_softmax(fb.zeros(1, 2), hard=True).sum()
    tensor(1.)
    """
    noise = -(empty_like(logits).exponential_().log())
    soft: Tensor = softmax_of((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.argmax(dim, keepdim=True)
    one_hot = soft.detach().new_zeros(tuple(soft.shape)).scatter(dim, index, 1.0)
    return one_hot - soft.detach() + soft


def normalize(
    input: Tensor, p: float = 2.0, dim: int | tuple[int, ...] = 1, eps: float = 1e-12, out: Tensor | None = None
) -> Tensor:
    """x over its p-norm along ``dim``, which counts as at least ``eps``.

    >>> fb.nn.functional.normalize(fb.tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    size = input.norm(p, dim, keepdim=True)
    return deliver("normalize", input / size.clamp(min=eps), out)
