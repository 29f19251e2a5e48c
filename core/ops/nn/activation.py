"""Activations: one scalar expression each, so that every backend can generate a kernel for them.

Where the derivative is costly it is a record of its own (``gelu_grad``), one pass in the backward too;
its own derivative is written in ops. Numbers such as a slope are operands: they may be tensors (prelu).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from flambeau.core.autocast import autocasting
from flambeau.core.declare import OpFunction
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.elementwise import abs_p, elementwise, exp_p, minimum_p, sigmoid_p, tanh_p, where
from flambeau.core.ops.nn.rules import floats, reals
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.record import DTypeRule, Vjp, real_floating
from flambeau.core.tensor import Tensor

_DENSITY_AT_0 = 1 / math.sqrt(2 * math.pi)  # of the standard normal distribution
_TANH_SCALE, _TANH_CUBIC = math.sqrt(2 / math.pi), 0.044715


def _record(
    schema: str, expr: str, vjp: Mapping[str, Vjp | None], dtype: DTypeRule = floats, autocast: str = "same"
) -> OpFunction[Tensor]:
    return elementwise(schema, expr, vjp, dtype=dtype, public=False, inplace=False, autocast=autocast)


def activation(name: str, expr: str, slope: str, bend: Callable[[Tensor], Tensor]) -> OpFunction[Tensor]:
    """An activation, and the record ``<name>_grad``: its derivative times the gradient.

    ``slope`` is the derivative as an expression, ``bend`` the second derivative in ops.
    """
    lets, semicolon, result = slope.rpartition(";")
    gradient: OpFunction[Tensor] = _record(
        f"{name}_grad(grad: Tensor, x: Tensor) -> Tensor",
        f"{lets}{semicolon} grad * ({result.strip()})",
        dict(grad=lambda g, x: gradient(g, x), x=lambda g, grad, x: g * grad * bend(x)),
    )
    return _record(f"{name}(x: Tensor) -> Tensor", expr, dict(x=lambda g, x: gradient(g, x)))


# -- smooth ------------------------------------------------------------------------------------------
def _gelu_bend(x: Tensor) -> Tensor:
    return exp_p(-0.5 * x * x) * (2 - x * x) * _DENSITY_AT_0


def _gelu_tanh_bend(x: Tensor) -> Tensor:
    t = tanh_p(_TANH_SCALE * (x + _TANH_CUBIC * x * x * x))
    inner = _TANH_SCALE * (1 + 3 * _TANH_CUBIC * x * x)
    return (1 - t * t) * (inner + 0.5 * x * (6 * _TANH_SCALE * _TANH_CUBIC * x - 2 * t * inner * inner))


def _silu_bend(x: Tensor) -> Tensor:
    s = sigmoid_p(x)
    return s * (1 - s) * (2 + x * (1 - 2 * s))


def _mish_bend(x: Tensor) -> Tensor:
    t, s = tanh_p(softplus_p(x, 1.0, 20.0)), sigmoid_p(x)
    rise = s * (1 - t * t)
    return 2 * rise + x * rise * (1 - s - 2 * t * s)


#: x Φ(x) with the normal distribution function Φ. Hendrycks and Gimpel, arXiv:1606.08415.
gelu_p = activation(
    "gelu",
    "0.5 * x * (1 + erf(x * 0.7071067811865476))",
    "0.5 * (1 + erf(x * 0.7071067811865476)) + x * exp(-0.5 * x * x) * 0.3989422804014327",
    _gelu_bend,
)
gelu_tanh_p = activation(
    "gelu_tanh",
    "0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))",
    "let t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x));"
    "0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 0.134145 * x * x)",
    _gelu_tanh_bend,
)
silu_p = activation("silu", "x / (1 + exp(-x))", "let s = 1 / (1 + exp(-x)); s * (1 + x * (1 - s))", _silu_bend)
#: tanh(log(1 + e**x)) is n / d by e**-abs(x) alone, d - n twice a square or 2.
_MISH = "let w = exp(-abs(x)); let n = where(x > 0, 1 + 2 * w, w * (w + 2)); let r = where(x > 0, 2 * w * w, 2);"
mish_p = activation(
    "mish",
    f"{_MISH} x * (n / (n + r))",
    f"{_MISH} let d = n + r; let s = where(x > 0, 1, w);(n * d * (1 + w) + x * s * r * (d + n)) / (d * d * (1 + w))",
    _mish_bend,
)
softplus_p = _record(
    "softplus(x: Tensor, beta: Tensor, threshold: Tensor) -> Tensor",
    "where(x * beta > threshold, x, log1p(exp(x * beta)) / beta)",
    dict(
        x=lambda g, x, beta, threshold: where(x * beta > threshold, g, g * sigmoid_p(x * beta)),
        beta=None,
        threshold=None,
    ),
    autocast="same|float32",
)
logsigmoid_p = _record(
    "logsigmoid(x: Tensor) -> Tensor",
    "minimum(x, 0) - log1p(exp(-abs(x)))",
    dict(x=lambda g, x: g * sigmoid_p(-x)),
)
softsign_p = _record(
    "softsign(x: Tensor) -> Tensor",
    "x / (1 + abs(x))",
    dict(x=lambda g, x: g / (1 + abs_p(x)).square()),
    dtype=real_floating,
)
tanhshrink_p = _record(
    "tanhshrink(x: Tensor) -> Tensor",
    "x - tanh(x)",
    dict(x=lambda g, x: g * tanh_p(x).square()),
    dtype=real_floating,
)

# -- with a corner -----------------------------------------------------------------------------------
leaky_relu_p = _record(
    "leaky_relu(x: Tensor, slope: Tensor) -> Tensor",
    "where(x > 0, x, x * slope)",
    dict(x=lambda g, x, slope: where(x > 0, g, g * slope), slope=lambda g, x: where(x > 0, 0.0, g * x)),
)
#: scale * x above 0, scale * alpha * (exp(rate * x) - 1) below: ELU, SELU and CELU by their constants.
elu_p = _record(
    "elu(x: Tensor, alpha: Tensor, scale: Tensor, rate: Tensor) -> Tensor",
    "where(x > 0, scale * x, scale * alpha * expm1(minimum(x, 0) * rate))",
    dict(
        x=lambda g, x, alpha, scale, rate: where(
            x > 0, g * scale, g * (alpha * scale * rate) * exp_p(minimum_p(x, 0.0) * rate)
        ),
        alpha=None,
        scale=None,
        rate=None,
    ),
)
hardtanh_p = _record(
    "hardtanh(x: Tensor, low: Tensor, high: Tensor) -> Tensor",
    "where(x < low, low, where(x > high, high, x))",
    dict(x=lambda g, x, low, high: where((x > low) & (x < high), g, 0.0), low=None, high=None),
    dtype=reals,
)
hardsigmoid_p = _record(
    "hardsigmoid(x: Tensor) -> Tensor",
    "where(x < -3, 0, where(x > 3, 1, x / 6 + 0.5))",
    dict(x=lambda g, x: where(abs_p(x) < 3, g / 6, 0.0)),
)
hardswish_p = _record(
    "hardswish(x: Tensor) -> Tensor",
    "x * where(x < -3, 0, where(x > 3, 6, x + 3)) / 6",
    dict(x=lambda g, x: where(x >= 3, g, where(x <= -3, 0.0, g * (x / 3 + 0.5)))),
)
softshrink_p = _record(
    "softshrink(x: Tensor, edge: Tensor) -> Tensor",
    "where(x > edge, x - edge, where(x < -edge, x + edge, x * 0))",
    dict(x=lambda g, x, edge: where(abs_p(x) > edge, g, 0.0), edge=None),
)
hardshrink_p = _record(
    "hardshrink(x: Tensor, edge: Tensor) -> Tensor",
    "where(abs(x) <= edge, 0, x)",
    dict(x=lambda g, x, edge: where(abs_p(x) > edge, g, 0.0), edge=None),
)
threshold_p = _record(
    "threshold(x: Tensor, edge: Tensor, value: Tensor) -> Tensor",
    "where(x <= edge, value, x)",
    dict(x=lambda g, x, edge: where(x <= edge, 0.0, g), edge=None, value=None),
    dtype=reals,
)


@public()
@autocasting("low")
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """leaky_relu with a slope that is learnt: one, or one per channel (axis 1).

    >>> fb.prelu(fb.tensor([-2.0, 0.5, 3.0]), fb.tensor([0.25]))
    tensor([-0.5000,  0.5000,  3.0000])
    """
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ShapeError(
            f"prelu: weight of shape {tuple(weight.shape)} must have 1 element or one per channel, "
            f"{channels} for input of shape {tuple(input.shape)}"
        )
    if weight.dtype is not input.dtype:
        raise DTypeError(f"prelu: weight of dtype {weight.dtype.name} must have the input's, {input.dtype.name}")
    if input.ndim != 2:
        weight = weight.reshape(()) if input.ndim < 2 else weight.reshape(-1, *[1] * (input.ndim - 2))
    return leaky_relu_p(input, weight)


@public()
def hardshrink(input: Tensor, lambd: float = 0.5, *, out: Tensor | None = None) -> Tensor:
    """0 where abs(x) <= lambd, x elsewhere.

    >>> fb.hardshrink(fb.tensor([-2.0, 0.5, 3.0]))
    tensor([-2.,  0.,  3.])
    """
    return deliver("hardshrink", hardshrink_p(input, lambd), out)
