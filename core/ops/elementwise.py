"""Elementwise ops: one record each, its scalar expression and its gradients side by side.

The first block are the minimum kernels; every other expression comes down to them. Gradients follow
PyTorch's convention for complex numbers: the conjugate of the derivative times the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau.backends import layout
from flambeau.core import dtype as dt
from flambeau.core.creation import full_like
from flambeau.core.declare import composite, op
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops import storage
from flambeau.core.record import (
    ELEMENTWISE,
    OPS,
    SPECIAL,
    comparison,
    floating,
    integral,
    numeric,
    ordered,
    ordering,
    real_floating,
)
from flambeau.core.tensor import Tensor


def broadcast(*shapes: Any, **params: Any) -> tuple[int, ...]:
    """The common shape of the operands; ShapeError names them."""
    present = [tuple(s) for s in shapes if s is not None]
    try:
        return tuple(layout.broadcast_shapes(*present))
    except ValueError:
        listing = " and ".join(str(s) for s in present)
        raise ShapeError(
            f"shapes {listing} do not broadcast: sizes must be equal or 1 along each dimension, counted from the last"
        ) from None


def _named(name: str) -> Callable[..., tuple[int, ...]]:
    def infer(*shapes: Any, **params: Any) -> tuple[int, ...]:
        try:
            return broadcast(*shapes)
        except ShapeError as error:
            raise ShapeError(f"{name}: {error}") from None

    return infer


def elementwise(schema: str, expr: str | None = None, **fields: Any) -> Any:
    """An elementwise record; its expression defaults to the one of its name in :mod:`flambeau.core.special`."""
    name = schema.partition("(")[0]
    return op(schema, ELEMENTWISE, expr=expr or f"{SPECIAL}{name}", infer=_named(name), **fields)


def unary(name: str, vjp: Any = None, expr: str | None = None, **fields: Any) -> Any:
    """A record of one operand; without a gradient rule its derivative is zero almost everywhere."""
    fields.setdefault("dtype", floating)
    return elementwise(f"{name}(x: Tensor) -> Tensor", expr, vjp=vjp and {"x": vjp}, **fields)


def binary(name: str, x: Any = None, y: Any = None, expr: str | None = None, **fields: Any) -> Any:
    """A record of two operands."""
    return elementwise(f"{name}(x: Tensor, y: Tensor) -> Tensor", expr, vjp=x and {"x": x, "y": y}, **fields)


def predicate(name: str, expr: str | None = None, **fields: Any) -> Any:
    """A record with a bool result."""
    fields.setdefault("dtype", comparison)
    return unary(name, None, expr, differentiable=False, inplace=False, **fields)


def cj(v: Any) -> Any:
    """The conjugate of a complex value, anything else as it is."""
    if isinstance(v, Tensor):
        return v.conj() if v._key.dtype.category == dt.COMPLEX else v
    return v.conjugate() if isinstance(v, complex) else v


def zero(g: Any) -> Any:
    return g * 0


def _scaled(operands: list[Any], alpha: Any) -> None:
    if isinstance(alpha, float) and all(_is_whole(v) for v in operands):
        raise DTypeError(f"alpha={alpha}: for integral tensors alpha must not be a floating-point number")
    operands[1] = operands[1] * alpha


def _is_whole(v: Any) -> bool:
    return v._key.dtype.category < dt.FLOATING if isinstance(v, Tensor) else isinstance(v, int)


def _renamed(operands: list[Any], value: Any) -> None:
    """A second operand that torch calls something else than ``other``."""
    operands[1] = value


# -- the minimum -------------------------------------------------------------------------------------
neg_p = unary("neg", lambda g: -g, "-x", dtype=numeric, linear=["x"], names=["negative"])
abs_p = unary("abs", lambda g, x: g * sgn_p(x), "abs(x)", dtype=numeric.but(result="real"), names=["absolute"])
exp_p = unary("exp", lambda g, out: g * cj(out), "exp(x)")
log_p = unary("log", lambda g, x: g / cj(x), "log(x)")
sqrt_p = unary("sqrt", lambda g, out: g / (2 * cj(out)), "sqrt(x)")
sin_p = unary("sin", lambda g, x: g * cj(cos_p(x)), "sin(x)")
cos_p = unary("cos", lambda g, x: -g * cj(sin_p(x)), "cos(x)")
floor_p = unary("floor", zero, "floor(x)", dtype=numeric.but(accepts=dt.REALS))

add_p = binary("add", lambda g: g, lambda g: g, "x + y", keywords={"alpha": _scaled}, linear=["x", "y"])
sub_p = binary(
    "sub",
    lambda g: g,
    lambda g: -g,
    "x - y",
    dtype=numeric,
    keywords={"alpha": _scaled},
    linear=["x", "y"],
    names=["subtract"],
)
mul_p = binary("mul", lambda g, y: g * cj(y), lambda g, x: g * cj(x), "x * y", names=["multiply"])
div_p = binary(
    "div", lambda g, y: g / cj(y), lambda g, y, out: -g * cj(out / y), "x / y", dtype=floating, method=False
)
idiv_p = binary("idiv", lambda g: zero(g), lambda g: zero(g), "x // y", dtype=numeric.but(accepts=dt.REALS), method=False)
fmod_p = binary("fmod", lambda g: g, lambda g, x, y: -g * trunc_p(x / y), "fmod(x, y)", dtype=numeric.but(accepts=dt.REALS))


def _pow_x(g: Any, x: Any, y: Any) -> Any:
    if not isinstance(y, Tensor):
        return g * 0 if y == 0 else g * cj(y * x ** (y - 1))
    return where(y == 0, 0.0, g * cj(y * x ** where(y == 0, 1.0, y - 1)))


def _pow_y(g: Any, x: Any, y: Any, out: Any) -> Any:
    if not isinstance(x, Tensor):
        return g * cj(
            out * (math.log(x) if not isinstance(x, complex) and x > 0 else 0.0 if x == 0 else log_p(_like(x, out)))
        )
    safe = where(x == 0, 1.0, x)
    return g * cj(where(x == 0, 0.0, out * log_p(safe)))


def _like(x: Any, t: Any) -> Any:
    return full_like(t, x)


pow_p = binary("pow", _pow_x, _pow_y, "pow(x, y)", dtype=numeric, keywords={"exponent": _renamed})
maximum_p = binary(
    "maximum",
    lambda g, x, y: _tied(g, x > y, x == y),
    lambda g, x, y: _tied(g, y > x, x == y),
    "maximum(x, y)",
    dtype=ordered,
)


def _tied(g: Any, more: Any, equal: Any) -> Any:
    """The gradient goes to the larger; where they are equal, each takes half, as in torch."""
    return where(more, g, where(equal, g / 2, 0.0))


lt_p = binary("lt", expr="x < y", dtype=ordering, differentiable=False, names=["less"])
eq_p = binary("eq", expr="x == y", dtype=comparison, differentiable=False)
bitwise_and_p = binary("bitwise_and", expr="x & y", dtype=integral, differentiable=False)
bitwise_or_p = binary("bitwise_or", expr="x | y", dtype=integral, differentiable=False)
bitwise_xor_p = binary("bitwise_xor", expr="x ^ y", dtype=integral, differentiable=False)
shl_p = binary(
    "shl",
    expr="x << y",
    dtype=integral.but(accepts=dt.INTS),
    differentiable=False,
    method=False,
    names=["bitwise_left_shift"],
)
shr_p = binary(
    "shr",
    expr="x >> y",
    dtype=integral.but(accepts=dt.INTS),
    differentiable=False,
    method=False,
    names=["bitwise_right_shift"],
)
where_p = elementwise(
    "where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor", "where(condition, x, y)",
    kinds={"condition": "bool"}, method=False,
    inplace=False, linear=["x", "y"],
    vjp=dict(x=lambda g, condition: where(condition, g, 0.0), y=lambda g, condition: where(condition, 0.0, g)),
)  # fmt: skip


def where(condition: Any, input: Any = None, other: Any = None, **kw: Any) -> Any:
    """``input`` where ``condition`` holds, ``other`` elsewhere; with the condition alone, its indices.

    >>> fb.where(fb.tensor([True, False]), 1.0, fb.tensor([5.0, 6.0]))
    tensor([1., 6.])
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    return where_p(condition, input, other, **kw)


def _bool_to_int(d: dt.DType) -> dt.DType:
    return dt.int64 if d is dt.bool_ else d


# -- arithmetic --------------------------------------------------------------------------------------
positive_p = unary("positive", lambda g: g, "x", dtype=numeric, linear=["x"])
sign_p = unary("sign", zero, "where(x > 0, 1, where(x < 0, -1, 0))", dtype=ordered)
reciprocal_p = unary("reciprocal", lambda g, out: -g * cj(out * out), "1 / x")
rsqrt_p = unary("rsqrt", lambda g, x, out: -0.5 * g * cj(out / x), "1 / sqrt(x)")
square_p = unary("square", lambda g, x: g * cj(2 * x), "x * x", dtype=numeric.but(compute=_bool_to_int))
remainder_p = binary(
    "remainder", lambda g: g, lambda g, x, y: -g * floor_p(x / y), "x - (x // y) * y", dtype=numeric.but(accepts=dt.REALS)
)
floor_divide_p = binary(
    "floor_divide", lambda g: zero(g), lambda g: zero(g), "x // y", dtype=numeric.but(accepts=dt.REALS)
)
minimum_p = binary("minimum", lambda g, x, y: _tied(g, x < y, x == y), lambda g, x, y: _tied(g, y < x, x == y),
                 "where(x != x, x, where(y != y, y, where(x < y, x, y)))", dtype=ordered)  # fmt: skip
fmax_p = binary(
    "fmax",
    lambda g, x, y: where((x >= y) | isnan_p(y), g, 0.0),
    lambda g, x, y: where((x >= y) | isnan_p(y), 0.0, g),
    "where(x != x, y, where(y != y, x, maximum(x, y)))",
    dtype=ordered,
)
fmin_p = binary(
    "fmin",
    lambda g, x, y: where((x <= y) | isnan_p(y), g, 0.0),
    lambda g, x, y: where((x <= y) | isnan_p(y), 0.0, g),
    "where(x != x, y, where(y != y, x, where(x < y, x, y)))",
    dtype=ordered,
)
hypot_p = binary("hypot", lambda g, x, out: g * x / out, lambda g, y, out: g * y / out, dtype=real_floating)
copysign_p = binary(
    "copysign",
    lambda g, x, y: where(x == 0, 0.0, g * sign_p(x) * copysign_p(_one(g), y)),
    lambda g: zero(g),
    dtype=real_floating,
)
lerp_p = elementwise(
    "lerp(x: Tensor, end: Tensor, weight: Tensor) -> Tensor",
    "where(abs(weight) < 0.5, x + weight * (end - x), end - (end - x) * (1 - weight))", dtype=floating,
    vjp=dict(x=lambda g, weight: g * cj(1 - weight), end=lambda g, weight: g * cj(weight),
             weight=lambda g, x, end: g * cj(end - x)),
)  # fmt: skip


def _one(g: Any) -> Any:
    return _like(1.0, g)


# -- exponentials, logarithms, trigonometry ----------------------------------------------------------
_LN2, _LN10 = math.log(2.0), math.log(10.0)
exp2_p = unary("exp2", lambda g, out: g * cj(out) * _LN2)
expm1_p = unary("expm1", lambda g, out: g * cj(out + 1))
log2_p = unary("log2", lambda g, x: g / (cj(x) * _LN2))
log10_p = unary("log10", lambda g, x: g / (cj(x) * _LN10))
log1p_p = unary("log1p", lambda g, x: g / cj(1 + x))
logaddexp_p = binary(
    "logaddexp", lambda g, x, out: g * exp_p(x - out), lambda g, y, out: g * exp_p(y - out), dtype=real_floating
)
logaddexp2_p = binary(
    "logaddexp2", lambda g, x, out: g * exp2_p(x - out), lambda g, y, out: g * exp2_p(y - out), dtype=real_floating
)
tan_p = unary("tan", lambda g, out: g * cj(1 + out * out))
asin_p = unary("asin", lambda g, x: g * cj(rsqrt_p(1 - x * x)), names=["arcsin"])
acos_p = unary("acos", lambda g, x: -g * cj(rsqrt_p(1 - x * x)), names=["arccos"])
atan_p = unary("atan", lambda g, x: g / cj(1 + x * x), names=["arctan"])
atan2_p = binary(
    "atan2",
    lambda g, x, y: g * y / (x * x + y * y),
    lambda g, x, y: -g * x / (x * x + y * y),
    dtype=real_floating,
    names=["arctan2"],
)
sinh_p = unary("sinh", lambda g, x: g * cj(cosh_p(x)))
cosh_p = unary("cosh", lambda g, x: g * cj(sinh_p(x)))
tanh_p = unary("tanh", lambda g, out: g * cj(1 - out * out))
asinh_p = unary("asinh", lambda g, x: g * cj(rsqrt_p(x * x + 1)), names=["arcsinh"])
acosh_p = unary("acosh", lambda g, x: g * cj(rsqrt_p(x - 1) * rsqrt_p(x + 1)), names=["arccosh"])
atanh_p = unary("atanh", lambda g, x: g / cj(1 - x * x), names=["arctanh"])
sinc_p = unary("sinc", lambda g, x: g * cj(_sinc_slope(x)), "where(x == 0, 1, sin(pi * x) / (pi * x))")


def _sinc_slope(x: Any) -> Any:
    safe = where(x == 0, 1.0, x)
    return where(x == 0, 0.0, (cos_p(math.pi * safe) - sinc_p(safe)) / safe)


# -- rounding ----------------------------------------------------------------------------------------
_REAL = numeric.but(accepts=dt.REALS)
ceil_p = unary("ceil", zero, dtype=_REAL)
round_half_even_p = unary("round_half_even", zero, f"{SPECIAL}round", dtype=_REAL, method=False, inplace=False)
trunc_p = unary("trunc", zero, dtype=_REAL, names=["fix"])
frac_p = unary("frac", lambda g: g, "x - trunc(x)", dtype=real_floating)

# -- special functions -------------------------------------------------------------------------------
_SQRT_PI = math.sqrt(math.pi)
erf_p = unary("erf", lambda g, x: g * exp_p(-x * x) * (2 / _SQRT_PI), dtype=real_floating)
erfc_p = unary("erfc", lambda g, x: g * exp_p(-x * x) * (-2 / _SQRT_PI), dtype=real_floating)
erfinv_p = unary("erfinv", lambda g, out: g * exp_p(out * out) * (_SQRT_PI / 2), dtype=real_floating)
digamma_p = unary("digamma", lambda g, x: g * trigamma_p(x), dtype=real_floating)
lgamma_p = unary("lgamma", lambda g, x: g * digamma_p(x), dtype=real_floating, names=["gammaln"])
trigamma_p = unary("trigamma", lambda g, x: g * _polygamma2(x), dtype=real_floating, method=False, inplace=False)


def _polygamma2(x: Any) -> Any:
    return OPS["polygamma"].function(x, n=2)


i0_p = unary("i0", lambda g, x: g * i1_p(x), dtype=real_floating)
i1_p = unary(
    "i1",
    lambda g, x, out: g * (i0_p(x) - where(x == 0, 0.5, out / where(x == 0, 1.0, x))),
    dtype=real_floating,
    method=False,
    inplace=False,
)
sigmoid_p = unary("sigmoid", lambda g, out: g * cj(out * (1 - out)), "1 / (1 + exp(-x))", names=["expit"])
logit_of_p = unary(
    "logit_of", lambda g, x: g / (x * (1 - x)), "log(x / (1 - x))", dtype=real_floating, method=False, inplace=False
)
xlogy_p = binary("xlogy", lambda g, x, y: where((x == 0) & (y <= 0), 0.0, g * log_p(y)), lambda g, x, y: g * x / y,
               "where(y != y, y, where(x == 0, 0, x * log(y)))", dtype=real_floating)  # fmt: skip
heaviside_p = binary(
    "heaviside",
    lambda g: zero(g),
    lambda g, x: where(x == 0, g, 0.0),
    "where(x == 0, y, where(x > 0, 1, 0))",
    dtype=ordered,
    keywords={"values": _renamed},
)
deg2rad_p = unary("deg2rad", lambda g: g * (math.pi / 180), "x * (pi / 180)", dtype=real_floating)
rad2deg_p = unary("rad2deg", lambda g: g * (180 / math.pi), "x * (180 / pi)", dtype=real_floating)

# -- comparison and logic ----------------------------------------------------------------------------
ne_p = binary("ne", expr="x != y", dtype=comparison, differentiable=False, names=["not_equal"])
le_p = binary("le", expr="x <= y", dtype=ordering, differentiable=False, names=["less_equal"])
gt_p = binary("gt", expr="x > y", dtype=ordering, differentiable=False, names=["greater"])
ge_p = binary("ge", expr="x >= y", dtype=ordering, differentiable=False, names=["greater_equal"])
isnan_p = predicate("isnan", "x != x")
isinf_p = predicate("isinf", "abs(x) == inf", dtype=comparison.but(accepts=dt.FLOATS))
isfinite_p = predicate("isfinite", "abs(x) < inf", dtype=comparison.but(accepts=dt.FLOATS))
signbit_p = predicate("signbit", dtype=ordering)
logical_not_p = predicate("logical_not", "x == 0")
logical_and_p = binary("logical_and", expr="(x != 0) & (y != 0)", dtype=comparison, differentiable=False)
logical_or_p = binary("logical_or", expr="(x != 0) | (y != 0)", dtype=comparison, differentiable=False)
logical_xor_p = binary("logical_xor", expr="(x != 0) ^ (y != 0)", dtype=comparison, differentiable=False)
bitwise_not_p = unary("bitwise_not", None, "~x", dtype=integral, differentiable=False)

# -- activations with a kernel of their own ----------------------------------------------------------
relu_p = unary("relu", lambda g, out: where(out > 0, g, 0.0), "where(x != x, x, maximum(x, 0))", dtype=_REAL)


# -- complex -----------------------------------------------------------------------------------------
@composite("conj(x: Tensor) -> Tensor", infer=_named("conj"), vjp=dict(x=lambda g: cj(g)))
def conj_p(x: Any) -> Any:
    """The complex conjugate; a real tensor as it is.

    >>> fb.conj(fb.tensor([1 + 2j]))
    tensor([1.-2.j])
    """
    if x._key.dtype.category != dt.COMPLEX:
        return x
    parts = x.view_as_real()
    return stack_last(parts.select(-1, 0), -parts.select(-1, 1)).view_as_complex()


def stack_last(a: Any, b: Any) -> Any:
    index = (*(slice(0, n, 1) for n in a.shape), None)
    return storage.cat_p([storage.basic_index_p(v, index) for v in (a, b)], -1)


@composite(
    "sgn(x: Tensor) -> Tensor", infer=_named("sgn"), vjp=dict(x=lambda g, x, out: _sgn_vjp(g, x, out)), inplace=True
)
def sgn_p(x: Any) -> Any:
    """The sign; of a complex number its direction x / abs(x), and 0 at 0.

    >>> fb.sgn(fb.tensor([3 + 4j]))
    tensor([0.6000+0.8000j])
    """
    if x._key.dtype.category != dt.COMPLEX:
        return sign_p(x)
    size = abs_p(x)
    return x / where(size == 0, 1.0, size)


def _sgn_vjp(g: Any, x: Any, out: Any) -> Any:
    if x._key.dtype.category != dt.COMPLEX:
        return zero(g)
    size = abs_p(x)
    along = (cj(g) * out).real
    return where(size == 0, 0.0, (g - out * along) / where(size == 0, 1.0, size))


def _where_method(self: Any, condition: Any, other: Any) -> Any:
    """``self`` where ``condition`` holds, ``other`` elsewhere."""
    return where(condition, self, other)


FUNCTIONS: dict[str, Callable[..., Any]] = {"where": where}
METHODS: dict[str, Callable[..., Any]] = {"where": _where_method}
