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
neg = unary("neg", lambda g: -g, "-x", dtype=numeric, linear=["x"], names=["negative"])
abs = unary("abs", lambda g, x: g * sgn(x), "abs(x)", dtype=numeric.but(result="real"), names=["absolute"])
exp = unary("exp", lambda g, out: g * cj(out), "exp(x)")
log = unary("log", lambda g, x: g / cj(x), "log(x)")
sqrt = unary("sqrt", lambda g, out: g / (2 * cj(out)), "sqrt(x)")
sin = unary("sin", lambda g, x: g * cj(cos(x)), "sin(x)")
cos = unary("cos", lambda g, x: -g * cj(sin(x)), "cos(x)")
floor = unary("floor", zero, "floor(x)", dtype=numeric.but(accepts=dt.REALS))

add = binary("add", lambda g: g, lambda g: g, "x + y", keywords={"alpha": _scaled}, linear=["x", "y"])
sub = binary(
    "sub",
    lambda g: g,
    lambda g: -g,
    "x - y",
    dtype=numeric,
    keywords={"alpha": _scaled},
    linear=["x", "y"],
    names=["subtract"],
)
mul = binary("mul", lambda g, y: g * cj(y), lambda g, x: g * cj(x), "x * y", names=["multiply"])
true_div = binary(
    "div", lambda g, y: g / cj(y), lambda g, y, out: -g * cj(out / y), "x / y", dtype=floating, method=False
)
idiv = binary("idiv", lambda g: zero(g), lambda g: zero(g), "x // y", dtype=numeric.but(accepts=dt.REALS), method=False)
fmod = binary("fmod", lambda g: g, lambda g, x, y: -g * trunc(x / y), "fmod(x, y)", dtype=numeric.but(accepts=dt.REALS))


def _pow_x(g: Any, x: Any, y: Any) -> Any:
    if not isinstance(y, Tensor):
        return g * 0 if y == 0 else g * cj(y * x ** (y - 1))
    return where(y == 0, 0.0, g * cj(y * x ** where(y == 0, 1.0, y - 1)))


def _pow_y(g: Any, x: Any, y: Any, out: Any) -> Any:
    if not isinstance(x, Tensor):
        return g * cj(
            out * (math.log(x) if not isinstance(x, complex) and x > 0 else 0.0 if x == 0 else log(_like(x, out)))
        )
    safe = where(x == 0, 1.0, x)
    return g * cj(where(x == 0, 0.0, out * log(safe)))


def _like(x: Any, t: Any) -> Any:
    return full_like(t, x)


pow = binary("pow", _pow_x, _pow_y, "pow(x, y)", dtype=numeric, keywords={"exponent": _renamed})
maximum = binary(
    "maximum",
    lambda g, x, y: _tied(g, x > y, x == y),
    lambda g, x, y: _tied(g, y > x, x == y),
    "maximum(x, y)",
    dtype=ordered,
)


def _tied(g: Any, more: Any, equal: Any) -> Any:
    """The gradient goes to the larger; where they are equal, each takes half, as in torch."""
    return where(more, g, where(equal, g / 2, 0.0))


lt = binary("lt", expr="x < y", dtype=ordering, differentiable=False, names=["less"])
eq = binary("eq", expr="x == y", dtype=comparison, differentiable=False)
bitwise_and = binary("bitwise_and", expr="x & y", dtype=integral, differentiable=False)
bitwise_or = binary("bitwise_or", expr="x | y", dtype=integral, differentiable=False)
bitwise_xor = binary("bitwise_xor", expr="x ^ y", dtype=integral, differentiable=False)
shl = binary(
    "shl",
    expr="x << y",
    dtype=integral.but(accepts=dt.INTS),
    differentiable=False,
    method=False,
    names=["bitwise_left_shift"],
)
shr = binary(
    "shr",
    expr="x >> y",
    dtype=integral.but(accepts=dt.INTS),
    differentiable=False,
    method=False,
    names=["bitwise_right_shift"],
)
select = elementwise(
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
    return select(condition, input, other, **kw)


def _bool_to_int(d: dt.DType) -> dt.DType:
    return dt.int64 if d is dt.bool_ else d


# -- arithmetic --------------------------------------------------------------------------------------
positive = unary("positive", lambda g: g, "x", dtype=numeric, linear=["x"])
sign = unary("sign", zero, "where(x > 0, 1, where(x < 0, -1, 0))", dtype=ordered)
reciprocal = unary("reciprocal", lambda g, out: -g * cj(out * out), "1 / x")
rsqrt = unary("rsqrt", lambda g, x, out: -0.5 * g * cj(out / x), "1 / sqrt(x)")
square = unary("square", lambda g, x: g * cj(2 * x), "x * x", dtype=numeric.but(compute=_bool_to_int))
remainder = binary(
    "remainder", lambda g: g, lambda g, x, y: -g * floor(x / y), "x - (x // y) * y", dtype=numeric.but(accepts=dt.REALS)
)
floor_divide = binary(
    "floor_divide", lambda g: zero(g), lambda g: zero(g), "x // y", dtype=numeric.but(accepts=dt.REALS)
)
minimum = binary("minimum", lambda g, x, y: _tied(g, x < y, x == y), lambda g, x, y: _tied(g, y < x, x == y),
                 "where(x != x, x, where(y != y, y, where(x < y, x, y)))", dtype=ordered)  # fmt: skip
fmax = binary(
    "fmax",
    lambda g, x, y: where((x >= y) | isnan(y), g, 0.0),
    lambda g, x, y: where((x >= y) | isnan(y), 0.0, g),
    "where(x != x, y, where(y != y, x, maximum(x, y)))",
    dtype=ordered,
)
fmin = binary(
    "fmin",
    lambda g, x, y: where((x <= y) | isnan(y), g, 0.0),
    lambda g, x, y: where((x <= y) | isnan(y), 0.0, g),
    "where(x != x, y, where(y != y, x, where(x < y, x, y)))",
    dtype=ordered,
)
hypot = binary("hypot", lambda g, x, out: g * x / out, lambda g, y, out: g * y / out, dtype=real_floating)
copysign = binary(
    "copysign",
    lambda g, x, y: where(x == 0, 0.0, g * sign(x) * copysign(_one(g), y)),
    lambda g: zero(g),
    dtype=real_floating,
)
lerp = elementwise(
    "lerp(x: Tensor, end: Tensor, weight: Tensor) -> Tensor",
    "where(abs(weight) < 0.5, x + weight * (end - x), end - (end - x) * (1 - weight))", dtype=floating,
    vjp=dict(x=lambda g, weight: g * cj(1 - weight), end=lambda g, weight: g * cj(weight),
             weight=lambda g, x, end: g * cj(end - x)),
)  # fmt: skip


def _one(g: Any) -> Any:
    return _like(1.0, g)


# -- exponentials, logarithms, trigonometry ----------------------------------------------------------
_LN2, _LN10 = math.log(2.0), math.log(10.0)
exp2 = unary("exp2", lambda g, out: g * cj(out) * _LN2)
expm1 = unary("expm1", lambda g, out: g * cj(out + 1))
log2 = unary("log2", lambda g, x: g / (cj(x) * _LN2))
log10 = unary("log10", lambda g, x: g / (cj(x) * _LN10))
log1p = unary("log1p", lambda g, x: g / cj(1 + x))
logaddexp = binary(
    "logaddexp", lambda g, x, out: g * exp(x - out), lambda g, y, out: g * exp(y - out), dtype=real_floating
)
logaddexp2 = binary(
    "logaddexp2", lambda g, x, out: g * exp2(x - out), lambda g, y, out: g * exp2(y - out), dtype=real_floating
)
tan = unary("tan", lambda g, out: g * cj(1 + out * out))
asin = unary("asin", lambda g, x: g * cj(rsqrt(1 - x * x)), names=["arcsin"])
acos = unary("acos", lambda g, x: -g * cj(rsqrt(1 - x * x)), names=["arccos"])
atan = unary("atan", lambda g, x: g / cj(1 + x * x), names=["arctan"])
atan2 = binary(
    "atan2",
    lambda g, x, y: g * y / (x * x + y * y),
    lambda g, x, y: -g * x / (x * x + y * y),
    dtype=real_floating,
    names=["arctan2"],
)
sinh = unary("sinh", lambda g, x: g * cj(cosh(x)))
cosh = unary("cosh", lambda g, x: g * cj(sinh(x)))
tanh = unary("tanh", lambda g, out: g * cj(1 - out * out))
asinh = unary("asinh", lambda g, x: g * cj(rsqrt(x * x + 1)), names=["arcsinh"])
acosh = unary("acosh", lambda g, x: g * cj(rsqrt(x - 1) * rsqrt(x + 1)), names=["arccosh"])
atanh = unary("atanh", lambda g, x: g / cj(1 - x * x), names=["arctanh"])
sinc = unary("sinc", lambda g, x: g * cj(_sinc_slope(x)), "where(x == 0, 1, sin(pi * x) / (pi * x))")


def _sinc_slope(x: Any) -> Any:
    safe = where(x == 0, 1.0, x)
    return where(x == 0, 0.0, (cos(math.pi * safe) - sinc(safe)) / safe)


# -- rounding ----------------------------------------------------------------------------------------
_REAL = numeric.but(accepts=dt.REALS)
ceil = unary("ceil", zero, dtype=_REAL)
round_half_even = unary("round_half_even", zero, f"{SPECIAL}round", dtype=_REAL, method=False, inplace=False)
trunc = unary("trunc", zero, dtype=_REAL, names=["fix"])
frac = unary("frac", lambda g: g, "x - trunc(x)", dtype=real_floating)

# -- special functions -------------------------------------------------------------------------------
_SQRT_PI = math.sqrt(math.pi)
erf = unary("erf", lambda g, x: g * exp(-x * x) * (2 / _SQRT_PI), dtype=real_floating)
erfc = unary("erfc", lambda g, x: g * exp(-x * x) * (-2 / _SQRT_PI), dtype=real_floating)
erfinv = unary("erfinv", lambda g, out: g * exp(out * out) * (_SQRT_PI / 2), dtype=real_floating)
digamma = unary("digamma", lambda g, x: g * trigamma(x), dtype=real_floating)
lgamma = unary("lgamma", lambda g, x: g * digamma(x), dtype=real_floating, names=["gammaln"])
trigamma = unary("trigamma", lambda g, x: g * _polygamma2(x), dtype=real_floating, method=False, inplace=False)


def _polygamma2(x: Any) -> Any:
    return OPS["polygamma"].function(x, n=2)


i0 = unary("i0", lambda g, x: g * i1(x), dtype=real_floating)
i1 = unary(
    "i1",
    lambda g, x, out: g * (i0(x) - where(x == 0, 0.5, out / where(x == 0, 1.0, x))),
    dtype=real_floating,
    method=False,
    inplace=False,
)
sigmoid = unary("sigmoid", lambda g, out: g * cj(out * (1 - out)), "1 / (1 + exp(-x))", names=["expit"])
logit_ = unary(
    "logit_of", lambda g, x: g / (x * (1 - x)), "log(x / (1 - x))", dtype=real_floating, method=False, inplace=False
)
xlogy = binary("xlogy", lambda g, x, y: where((x == 0) & (y <= 0), 0.0, g * log(y)), lambda g, x, y: g * x / y,
               "where(y != y, y, where(x == 0, 0, x * log(y)))", dtype=real_floating)  # fmt: skip
heaviside = binary(
    "heaviside",
    lambda g: zero(g),
    lambda g, x: where(x == 0, g, 0.0),
    "where(x == 0, y, where(x > 0, 1, 0))",
    dtype=ordered,
    keywords={"values": _renamed},
)
deg2rad = unary("deg2rad", lambda g: g * (math.pi / 180), "x * (pi / 180)", dtype=real_floating)
rad2deg = unary("rad2deg", lambda g: g * (180 / math.pi), "x * (180 / pi)", dtype=real_floating)

# -- comparison and logic ----------------------------------------------------------------------------
ne = binary("ne", expr="x != y", dtype=comparison, differentiable=False, names=["not_equal"])
le = binary("le", expr="x <= y", dtype=ordering, differentiable=False, names=["less_equal"])
gt = binary("gt", expr="x > y", dtype=ordering, differentiable=False, names=["greater"])
ge = binary("ge", expr="x >= y", dtype=ordering, differentiable=False, names=["greater_equal"])
isnan = predicate("isnan", "x != x")
isinf = predicate("isinf", "abs(x) == inf", dtype=comparison.but(accepts=dt.FLOATS))
isfinite = predicate("isfinite", "abs(x) < inf", dtype=comparison.but(accepts=dt.FLOATS))
signbit = predicate("signbit", dtype=ordering)
logical_not = predicate("logical_not", "x == 0")
logical_and = binary("logical_and", expr="(x != 0) & (y != 0)", dtype=comparison, differentiable=False)
logical_or = binary("logical_or", expr="(x != 0) | (y != 0)", dtype=comparison, differentiable=False)
logical_xor = binary("logical_xor", expr="(x != 0) ^ (y != 0)", dtype=comparison, differentiable=False)
bitwise_not = unary("bitwise_not", None, "~x", dtype=integral, differentiable=False)

# -- activations with a kernel of their own ----------------------------------------------------------
relu = unary("relu", lambda g, out: where(out > 0, g, 0.0), "where(x != x, x, maximum(x, 0))", dtype=_REAL)


# -- complex -----------------------------------------------------------------------------------------
@composite("conj(x: Tensor) -> Tensor", infer=_named("conj"), vjp=dict(x=lambda g: cj(g)))
def conj(x: Any) -> Any:
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
    return storage.cat([storage.basic_index(v, index) for v in (a, b)], -1)


@composite(
    "sgn(x: Tensor) -> Tensor", infer=_named("sgn"), vjp=dict(x=lambda g, x, out: _sgn_vjp(g, x, out)), inplace=True
)
def sgn(x: Any) -> Any:
    """The sign; of a complex number its direction x / abs(x), and 0 at 0.

    >>> fb.sgn(fb.tensor([3 + 4j]))
    tensor([0.6000+0.8000j])
    """
    if x._key.dtype.category != dt.COMPLEX:
        return sign(x)
    size = abs(x)
    return x / where(size == 0, 1.0, size)


def _sgn_vjp(g: Any, x: Any, out: Any) -> Any:
    if x._key.dtype.category != dt.COMPLEX:
        return zero(g)
    size = abs(x)
    along = (cj(g) * out).real
    return where(size == 0, 0.0, (g - out * along) / where(size == 0, 1.0, size))


def _where_method(self: Any, condition: Any, other: Any) -> Any:
    """``self`` where ``condition`` holds, ``other`` elsewhere."""
    return where(condition, self, other)


FUNCTIONS: dict[str, Callable[..., Any]] = {"where": where}
METHODS: dict[str, Callable[..., Any]] = {"where": _where_method}
