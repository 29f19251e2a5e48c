"""Activations: one scalar expression each, so that every backend can generate a kernel for them.

Where the derivative is costly it is a record of its own (``gelu_grad``), one pass in the backward too;
its own derivative is written in ops. Numbers such as a slope are operands: they may be tensors (prelu).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau.core.ops.elementwise import abs, elementwise, exp, minimum, sigmoid, tanh, where
from flambeau.core.record import DTypeRule, floating, ordered, real_floating

_SQRT_HALF = math.sqrt(0.5)
_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)
_DENSITY_AT_0 = 1 / math.sqrt(2 * math.pi)  # of the standard normal distribution
_CUBIC = 0.044715


def activation(name: str, expr: str, slope: str, bend: Callable[[Any], Any], dtype: DTypeRule = real_floating) -> Any:
    """An activation, and the record ``<name>_grad`` of its derivative times the gradient.

    ``slope`` is the derivative as an expression and ``bend`` the second derivative in ops.
    """
    lets, semicolon, result = slope.rpartition(";")
    grad = elementwise(
        f"{name}_grad(g: Tensor, x: Tensor) -> Tensor",
        f"{lets}{semicolon} g * ({result.strip()})",
        dtype=dtype,
        method=False,
        inplace=False,
        vjp=dict(g=lambda g, x: grad(g, x), x=lambda _cotangent, g, x: _cotangent * g * bend(x)),
        doc=f"The gradient of {name} at ``x``, times ``g``.",
    )
    return elementwise(
        f"{name}(x: Tensor) -> Tensor", expr, dtype=dtype, method=False, inplace=False, vjp=dict(x=lambda g, x: grad(g, x))
    )
