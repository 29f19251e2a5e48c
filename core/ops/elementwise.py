"""Elementwise ops: one record each, its scalar expression and its gradients side by side.

The first block are the minimum kernels; every other expression comes down to them. Gradients follow
PyTorch's convention for complex numbers: the conjugate of the derivative times the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Unpack, overload

from flambeau.backends import layout
from flambeau.core import dtype as dt
from flambeau.core.creation import full_like, zeros_like
from flambeau.core.declare import OpFunction, composite, op
from flambeau.core.dispatch import compute_dtype
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, DivisionByZeroError, DTypeError, NumberError, ShapeError
from flambeau.core.ops import storage
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.record import (
    ELEMENTWISE,
    OPS,
    SPECIAL,
    DTypeRule,
    Facts,
    Infer,
    Vjp,
    alike,
    comparison,
    floating,
    integral,
    must_fit,
    numeric,
    ordered,
    ordering,
    real_floating,
    same,
)
from flambeau.core.tensor import Tensor

Shape = tuple[int, ...]


def broadcast(*shapes: Shape | None) -> Shape:
    """The common shape of the operands; ShapeError names them."""
    try:
        return layout.broadcast_shapes(*[tuple(s) for s in shapes if s is not None])
    except ValueError as error:
        raise ShapeError(str(error)) from None


def _named(name: str) -> Infer:
    def infer(*shapes: Shape | None) -> Shape:
        try:
            return broadcast(*shapes)
        except ShapeError as error:
            raise ShapeError(f"{name}: {error}") from None

    return infer


def elementwise(
    schema: str, expr: str | None = None, vjp: Mapping[str, Vjp | None] | None = None, **facts: Unpack[Facts]
) -> OpFunction[Tensor]:
    """An elementwise record; its expression defaults to the one of its name in :mod:`flambeau.core.special`."""
    name = schema.partition("(")[0]
    return op(schema, ELEMENTWISE, expr=expr or f"{SPECIAL}{name}", infer=_named(name), vjp=vjp, **facts)


def unary(name: str, vjp: Vjp | None = None, expr: str | None = None, **facts: Unpack[Facts]) -> OpFunction[Tensor]:
    """A record of one operand; without a gradient rule its derivative is zero almost everywhere."""
    given: Facts = {"dtype": floating, "inplace": "function", **facts}
    return elementwise(f"{name}(x: Tensor) -> Tensor", expr, vjp and {"x": vjp}, **given)


def binary(
    name: str, x: Vjp | None = None, y: Vjp | None = None, expr: str | None = None, **facts: Unpack[Facts]
) -> OpFunction[Tensor]:
    """A record of two operands."""
    vjp = {"x": x, "y": y} if x and y else None
    return elementwise(f"{name}(x: Tensor, y: Tensor) -> Tensor", expr, vjp, **facts)


def predicate(name: str, expr: str | None = None, **facts: Unpack[Facts]) -> OpFunction[Tensor]:
    """A record with a bool result."""
    given: Facts = {"dtype": comparison, "differentiable": False, "inplace": False, **facts}
    return unary(name, None, expr, **given)


@overload
def cj(v: Tensor) -> Tensor: ...
@overload
def cj(v: Number) -> Number: ...
def cj(v: Tensor | Number) -> Tensor | Number:
    """The conjugate of a complex value, anything else as it is."""
    if isinstance(v, Tensor):
        return v.conj() if v._key.dtype.category == dt.COMPLEX else v
    return v.conjugate() if isinstance(v, complex) else v


def zero(g: Tensor) -> Tensor:
    """Zeros that do not depend on ``g``, also where it is infinite."""
    return zeros_like(g)


FLOATS = DTypeRule("floats", accepts=dt.FLOATS)  # whole numbers alone do not become floats here


def _by_square(part: Tensor | Number, x: Tensor | Number, y: Tensor | Number) -> Tensor:
    """``part / (x² + y²)``, and 0 at the origin, where an angle has no derivative."""
    square = x * x + y * y
    assert isinstance(square, Tensor)
    return part / where(square == 0, 1.0, square)


def _scaled(operands: list[Tensor | Number], alpha: Number) -> None:
    """``alpha`` times the second operand, in the dtype of the result, in which it must fit."""
    other = operands[1]
    if alpha.__class__ is float and isinstance(other, Tensor) and isinstance(operands[0], Tensor):
        key = other._key
        if operands[0]._key is key and key.dtype.category == dt.FLOATING and dt.holds(key.dtype, alpha):
            operands[1] = other * alpha
            return
    target = compute_dtype(OPS["cat"], (operands,))
    check_alpha(alpha, target)
    if alpha == 1 and not isinstance(alpha, complex):
        return
    if target is dt.bool_:
        operands[1] = other & bool(alpha) if isinstance(other, Tensor) else bool(other and alpha)
    else:
        operands[1] = (storage.cast_p(other, target) if isinstance(other, Tensor) else other) * alpha


def check_alpha(alpha: Number, target: dt.DType) -> None:
    """Raise where ``alpha`` is of a higher category than the result, or does not fit in its dtype."""
    given = dt.scalar_dtype(alpha)
    if given is dt.bool_ and target is not dt.bool_:
        raise DTypeError(f"alpha={alpha}: a bool is for bool tensors, and the result is {target.name}")
    if given.category > max(target.category, dt.INTEGER):
        kind = "complex" if given.is_complex else "floating-point"
        of = "integral" if target.category < dt.FLOATING else "real"
        raise DTypeError(f"alpha={alpha}: for {of} tensors alpha must not be a {kind} number")
    if not dt.holds(target, alpha):
        raise NumberError(f"alpha={alpha} cannot be converted to {target.name} without overflow")


def _scaled_difference(operands: list[Tensor | Number], alpha: Number) -> None:
    _no_bools("sub", operands)
    _scaled(operands, alpha)


def _no_bools(name: str, operands: Sequence[Any]) -> None:
    if any(dt.bool_ is (v.dtype if isinstance(v, Tensor) else dt.scalar_dtype(v)) for v in operands):
        raise DTypeError(f"{name}: a bool has no difference; use ^ or logical_xor for two, ~ or logical_not for 1 - x")


def _check_divisor(name: str, operands: Sequence[Any]) -> None:
    """A whole number is not divided by the number 0, on any device."""
    x, y = operands
    if isinstance(y, int) and _is_whole(x):
        kind = x.dtype if isinstance(x, Tensor) else dt.scalar_dtype(x)
        if dt.host_scalar(y, kind).any():  # what wraps around to 0 counts too
            return
        raise DivisionByZeroError(f"{name}: ZeroDivisionError: integers of {kind.name} cannot be divided by 0")


def _is_whole(v: Tensor | Number) -> bool:
    return v._key.dtype.category < dt.FLOATING if isinstance(v, Tensor) else isinstance(v, int)


def _renamed(operands: list[Tensor | Number], value: Tensor | Number) -> None:
    """A second operand that torch calls something else than ``other``."""
    operands[1] = value


# Below a record is a row of a table: what it computes, then what it is called for.
# fmt: off

# -- the minimum -------------------------------------------------------------------------------------
_DIVIDED = numeric.but(accepts=dt.REALS, check=_check_divisor, exact=lambda name, dtype: False)
neg_p = unary("neg", lambda g: -g, "-x", dtype=numeric, linear=["x"], aliases=["negative"], operator="neg",
    doc="-input", example="fb.neg(fb.tensor([1.0, -2.0])) -> tensor([-1.,  2.])")
abs_p = unary("abs", lambda g, x: g * sgn_p(x), "abs(x)", dtype=numeric.but(result="real"), aliases=["absolute"],
    operator="abs",
    doc="the distance from zero; of complex numbers the modulus, a real number",
    example="fb.abs(fb.tensor([-1.5, 2.0])) -> tensor([1.5000, 2.0000])")
exp_p = unary("exp", lambda g, out: g * cj(out), "exp(x)",
    autocast="same|float32",
    doc="e to the power of input", example="fb.exp(fb.tensor([0.0, 1.0])) -> tensor([1.0000, 2.7183])")
log_p = unary("log", lambda g, x: g / cj(x), "log(x)",
    autocast="same|float32", doc="the natural logarithm; nan below zero, -inf at zero",
    example="fb.log(fb.tensor([1.0, 10.0])) -> tensor([0.0000, 2.3026])")
sqrt_p = unary("sqrt", lambda g, out: g / (2 * cj(out)), "sqrt(x)",
    doc="the square root; nan below zero", example="fb.sqrt(fb.tensor([4.0, 2.0])) -> tensor([2.0000, 1.4142])")
sin_p = unary("sin", lambda g, x: g * cj(cos_p(x)), "sin(x)",
    doc="the sine of an angle in radians", example="fb.sin(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 0.8415])")
cos_p: OpFunction[Tensor] = unary("cos", lambda g, x: -g * cj(sin_p(x)), "cos(x)",
    doc="the cosine of an angle in radians", example="fb.cos(fb.tensor([0.0, 1.0])) -> tensor([1.0000, 0.5403])")
floor_p = unary("floor", zero, "floor(x)", dtype=numeric.but(accepts=dt.REALS),
    doc="the next integer downwards", example="fb.floor(fb.tensor([1.5, -1.5])) -> tensor([ 1., -2.])")

add_p = binary("add", lambda g: g, lambda g: g, "x + y", keywords={"alpha": _scaled}, linear=["x", "y"], operator="add",
    numbers=True, doc="input + other; with ``alpha``, input + alpha * other",
    example="fb.add(fb.tensor([1.0, 2.0]), 10) -> tensor([11., 12.])")
sub_p = binary("sub", lambda g: g, lambda g: -g, "x - y", dtype=numeric.but(check=_no_bools),
    keywords={"alpha": _scaled_difference}, linear=["x", "y"], aliases=["subtract"], operator="sub",
    numbers=True, doc="input - other; with ``alpha``, input - alpha * other",
    example="fb.sub(fb.tensor([1.0, 2.0]), 10) -> tensor([-9., -8.])")
mul_p = binary("mul", lambda g, y: g * cj(y), lambda g, x: g * cj(x), "x * y", aliases=["multiply"], operator="mul",
    numbers=True, doc="input * other",
    example="fb.mul(fb.tensor([[1.0], [2.0]]), fb.tensor([3.0, 4.0])) -> tensor([[3., 4.],\n        [6., 8.]])")
div_p = binary("div", lambda g, y: g / cj(y), lambda g, x, y: -g * cj(x / y / y), "x / y", dtype=floating,
    public=["true_divide"], operator="truediv",
    numbers=True, doc="input / other, true division",
    example="fb.div(fb.tensor([1, 2]), 4) -> tensor([0.2500, 0.5000])")
idiv_p = binary("idiv", zero, zero, "x // y", dtype=_DIVIDED,
    public=False)
fmod_p = binary("fmod", lambda g: g, lambda g, x, y: -g * trunc_p(x / y), "fmod(x, y)",
    dtype=_DIVIDED,
    tensors=["x"], doc="what division leaves, with the sign of input, as fmod in C",
    example="fb.fmod(fb.tensor([7.0, -7.0]), 3) -> tensor([ 1., -1.])")


def _pow_x(g: Tensor, x: Tensor, y: Tensor | Number) -> Tensor:
    if not isinstance(y, Tensor):
        return zero(g) if y == 0 else g * cj(y * x ** (y - 1))
    return where(y == 0, 0.0, g * cj(y * x ** where(y == 0, 1.0, y - 1)))


def _pow_y(g: Tensor, x: Tensor | Number, y: Tensor, out: Tensor) -> Tensor:
    if not isinstance(x, Tensor):
        if x != 0:
            if not isinstance(x, complex) and x > 0:
                return g * cj(out * math.log(x))
            return g * cj(out * log_p(full_like(out, x)))
        x = full_like(out, x)
    flat = (x == 0) & ((y.real if y._key.dtype.category == dt.COMPLEX else y) >= 0)  # 0**y is 0 there, but for 0**0
    return g * cj(where(flat, 0.0, out * log_p(where(flat, 1.0, x))))


def _whole_power(operands: Sequence[Tensor | Number]) -> None:
    """A number says what is meant; tensors of negative exponents give 0 and 1, as in torch."""
    if _is_whole(operands[0]):
        raise ArgumentError(
            f"pow: integers to negative integer powers are not allowed, got the exponent {operands[1]}; use a float"
        )


_EXACT_POWER = numeric.but(
    exact=lambda name, dtype: name == "y" and (dtype.category == dt.INTEGER or dtype in dt.LOW_PRECISION))
pow_p = binary("pow", _pow_x, _pow_y, "pow(x, y)",
    autocast="same|float32",
    dtype=_EXACT_POWER, keywords={"exponent": _renamed}, operator="pow",
    negative=_whole_power,
    doc="input to the power of other", example="fb.pow(fb.tensor([1.0, 2.0, 3.0]), 2) -> tensor([1., 4., 9.])")
maximum_p = binary("maximum", lambda g, x, y: _tied(g, x < y, x == y), lambda g, x, y: _tied(g, y < x, x == y),
    "maximum(x, y)", dtype=ordered,
    doc="the larger of the two; nan if either is",
    example="fb.maximum(fb.tensor([1.0, 5.0]), fb.tensor([3.0, 2.0])) -> tensor([3., 5.])")


def _tied(g: Tensor, lost: Tensor, equal: Tensor) -> Tensor:
    """The gradient goes to the one taken; of equal ones each takes half, beside nan each takes all, as in torch."""
    return where(lost, 0.0, where(equal, g / 2, g))


lt_p = binary("lt", zero, zero, "x < y", dtype=ordering, differentiable=False, aliases=["less"], operator="lt",
    doc="whether input < other", example="fb.lt(fb.tensor([1, 2, 3]), 2) -> tensor([ True, False, False])")
eq_p = binary("eq", zero, zero, "x == y", dtype=comparison, differentiable=False, operator="eq",
    doc="whether the two are equal; nan equals nothing",
    example="fb.eq(fb.tensor([1, 2, 3]), 2) -> tensor([False,  True, False])")
bitwise_and_p = binary("bitwise_and", expr="x & y", dtype=integral, differentiable=False, operator="and",
    doc="the bits that both have; of bools, and", example="fb.bitwise_and(fb.tensor([12, 10]), 6) -> tensor([4, 2])")
bitwise_or_p = binary("bitwise_or", expr="x | y", dtype=integral, differentiable=False, operator="or",
    doc="the bits that either has; of bools, or", example="fb.bitwise_or(fb.tensor([12, 10]), 6) -> tensor([14, 14])")
bitwise_xor_p = binary("bitwise_xor", expr="x ^ y", dtype=integral, differentiable=False, operator="xor",
    doc="the bits that one of the two has; of bools, whether they differ",
    example="fb.bitwise_xor(fb.tensor([12, 10]), 6) -> tensor([10, 12])")
shl_p = binary("shl", expr="x << y", dtype=integral.but(accepts=dt.INTS), differentiable=False,
    public=["bitwise_left_shift"], title="bitwise_left_shift", operator="lshift",
    doc="the bits moved to the left; 0 for a shift by the width or more",
    example="fb.bitwise_left_shift(fb.tensor([1, 3]), 2) -> tensor([ 4, 12])")
shr_p = binary("shr", expr="x >> y", dtype=integral.but(accepts=dt.INTS), differentiable=False,
    public=["bitwise_right_shift"], title="bitwise_right_shift", operator="rshift",
    doc="the bits moved to the right; a negative number keeps its sign",
    example="fb.bitwise_right_shift(fb.tensor([8, -8]), 2) -> tensor([ 2, -2])")


def _check_condition(name: str, operands: Sequence[Any]) -> None:
    condition = operands[0]
    if isinstance(condition, Tensor) and condition.dtype not in (dt.bool_, dt.uint8):
        raise DTypeError(f"{name}: condition must be a bool tensor, got {condition.dtype}; compare, as in x != 0")


where_p: OpFunction[Tensor] = elementwise("where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor",
    "where(condition, x, y)", kinds={"condition": "bool"},
    dtype=same.but(check=_check_condition, exact=lambda name, dtype: dtype not in dt.LOW_PRECISION),
    public=False, inplace=False, linear=["x", "y"],
    vjp=dict(x=lambda g, condition: where_p(condition, g, 0.0), y=lambda g, condition: where_p(condition, 0.0, g)))


@overload
def where(condition: Tensor) -> tuple[Tensor, ...]: ...
@overload
def where(
    condition: Tensor, input: Tensor | Number, other: Tensor | Number, *, out: Tensor | None = None
) -> Tensor: ...
@public(method=False, guard=False)
def where(
    condition: Tensor, input: Tensor | Number | None = None, other: Tensor | Number | None = None, *,
    out: Tensor | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """``input`` where ``condition`` holds, ``other`` elsewhere; with the condition alone, its indices.

    The three broadcast; the result has the dtype that ``input`` and ``other`` promote to.

    >>> fb.where(fb.tensor([True, False]), 1.0, fb.tensor([5.0, 6.0]))
    tensor([1., 6.])
    """
    if input is None and other is None:
        return condition.nonzero(as_tuple=True)
    if out is None:
        return where_p(condition, input, other)
    found = where_p(condition, input, other)
    if isinstance(out, Tensor) and out.dtype is not found.dtype:
        raise DTypeError(f"where: out must be of the result's dtype, {found.dtype.name}, got {out.dtype.name}")
    return deliver("where", found, out)


def _bool_to_int(d: dt.DType) -> dt.DType:
    return dt.int64 if d is dt.bool_ else d


# -- arithmetic --------------------------------------------------------------------------------------
positive_p = unary("positive", lambda g: g, "x", dtype=numeric, linear=["x"], inplace=True, operator="pos",
    shortcut=(numeric.accepts, lambda x: x),
    doc="input itself", example="fb.positive(fb.tensor([1.0, -2.0])) -> tensor([ 1., -2.])")
sign_p = unary("sign", zero, "where(x > 0, 1, where(x < 0, -1, 0))", dtype=ordered, inplace=True,
    doc="-1, 0 or 1", example="fb.sign(fb.tensor([-3.0, 0.0, 2.0])) -> tensor([-1.,  0.,  1.])")
reciprocal_p = unary("reciprocal", lambda g, out: -g * cj(out * out), "1 / x",
    autocast="same|float32",
    doc="1 / input", example="fb.reciprocal(fb.tensor([2.0, 4.0])) -> tensor([0.5000, 0.2500])")
rsqrt_p = unary("rsqrt", lambda g, x, out: -0.5 * g * cj(out / x), "1 / sqrt(x)",
    autocast="same|float32",
    doc="1 / sqrt(input)", example="fb.rsqrt(fb.tensor([4.0, 16.0])) -> tensor([0.5000, 0.2500])")
square_p = unary("square", lambda g, x: g * cj(2 * x), "x * x",
    autocast="same|float32", dtype=numeric.but(compute=_bool_to_int),
    doc="input * input", example="fb.square(fb.tensor([3.0, -4.0])) -> tensor([ 9., 16.])")
remainder_p = binary("remainder", lambda g: g, lambda g, x, y: -g * idiv_p(x, y), "x - (x // y) * y",
    dtype=_DIVIDED, operator="mod",
    doc="what floor division leaves, with the sign of other, as % in Python",
    example="fb.remainder(fb.tensor([7.0, -7.0]), 3) -> tensor([1., 2.])")
floor_divide_p = binary("floor_divide", zero, zero, "x // y",
    dtype=_DIVIDED, operator="floordiv",
    numbers=True, doc="the next integer below input / other, as // in Python",
    example="fb.floor_divide(fb.tensor([7.0, -7.0]), 2) -> tensor([ 3., -4.])")
minimum_p = binary("minimum", lambda g, x, y: _tied(g, x > y, x == y), lambda g, x, y: _tied(g, y > x, x == y),
    "where(x != x, x, where(y != y, y, where(x < y, x, y)))", dtype=ordered,
    doc="the smaller of the two; nan if either is",
    example="fb.minimum(fb.tensor([1.0, 5.0]), fb.tensor([3.0, 2.0])) -> tensor([1., 2.])")
fmax_p = binary("fmax", lambda g, x, y: where((x >= y) | (y != y), g, 0.0),
    lambda g, x, y: where((x >= y) | (y != y), 0.0, g), "where(x != x, y, where(y != y, x, maximum(x, y)))",
    dtype=ordered,
    tensors=["x", "y"], doc="the larger of the two; a nan gives way to a number",
    example='fb.fmax(fb.tensor([1.0, float("nan")]), fb.tensor([3.0, 2.0])) -> tensor([3., 2.])')
fmin_p = binary("fmin", lambda g, x, y: where((x <= y) | (y != y), g, 0.0),
    lambda g, x, y: where((x <= y) | (y != y), 0.0, g), "where(x != x, y, where(y != y, x, where(x < y, x, y)))",
    dtype=ordered,
    tensors=["x", "y"], doc="the smaller of the two; a nan gives way to a number",
    example='fb.fmin(fb.tensor([1.0, float("nan")]), fb.tensor([3.0, 2.0])) -> tensor([1., 2.])')
hypot_p = binary("hypot", lambda g, x, out: g * x / out, lambda g, y, out: g * y / out, dtype=FLOATS,
    doc="sqrt(input² + other²) without overflow on the way",
    example="fb.hypot(fb.tensor([3.0]), fb.tensor([4.0])) -> tensor([5.])")
copysign_p: OpFunction[Tensor] = binary("copysign",
    lambda g, x, y: where(x == 0, 0.0, g * sign_p(x) * copysign_p(full_like(g, 1.0), y)), zero, dtype=real_floating,
    doc="the size of input with the sign of other",
    example="fb.copysign(fb.tensor([1.0, 2.0]), -1) -> tensor([-1., -2.])")


def _check_lerp(name: str, operands: Sequence[Any]) -> None:
    """All of one dtype, but a 0-d weight, which promotes with the others."""
    *ends, weight = operands
    if isinstance(weight, Tensor) and not weight._array.shape:
        operands = ends
    elif isinstance(weight, complex) and not any(isinstance(v, Tensor) and v.dtype.is_complex for v in ends):
        raise NumberError(f"{name}: weight={weight!r} cannot be converted to a real dtype without overflow")
    _same(name, operands)


_same = alike()
_ALIKE = DTypeRule("alike", accepts=dt.FLOATS + dt.COMPLEXES, check=_check_lerp, exact=must_fit)
lerp_p = elementwise("lerp(x: Tensor, end: Tensor, weight: Tensor) -> Tensor",
    "where(abs(weight) < 0.5, x + weight * (end - x), end - (end - x) * (1 - weight))", dtype=_ALIKE,
    vjp=dict(x=lambda g, weight: g * cj(1 - weight), end=lambda g, weight: g * cj(weight),
             weight=lambda g, x, end: g * cj(end - x)),
    tensors=["x", "end"], doc="input + weight * (end - input)",
    example="fb.lerp(fb.tensor([0.0, 10.0]), fb.tensor([10.0, 20.0]), 0.5) -> tensor([ 5., 15.])")


# -- exponentials, logarithms, trigonometry ----------------------------------------------------------
_LN2, _LN10 = math.log(2.0), math.log(10.0)
exp2_p = unary("exp2", lambda g, out: g * cj(out) * _LN2,
    doc="2 to the power of input", example="fb.exp2(fb.tensor([0.0, 3.0])) -> tensor([1., 8.])")
expm1_p = unary("expm1", lambda g, out: g * cj(out + 1),
    autocast="same|float32",
    doc="exp(input) - 1, accurate near 0", example="fb.expm1(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 1.7183])")
log2_p = unary("log2", lambda g, x: g / (cj(x) * _LN2),
    autocast="same|float32",
    doc="the logarithm to base 2", example="fb.log2(fb.tensor([1.0, 8.0])) -> tensor([0., 3.])")
log10_p = unary("log10", lambda g, x: g / (cj(x) * _LN10),
    autocast="same|float32",
    doc="the logarithm to base 10", example="fb.log10(fb.tensor([1.0, 2.0])) -> tensor([0.0000, 0.3010])")
log1p_p = unary("log1p", lambda g, x: g / cj(1 + x),
    autocast="same|float32",
    doc="log(1 + input), accurate near 0", example="fb.log1p(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 0.6931])")
logaddexp_p = binary("logaddexp", lambda g, x, y: g * sigmoid_p(x - y), lambda g, x, y: g * sigmoid_p(y - x),
    dtype=FLOATS,
    doc="log(exp(input) + exp(other)) without overflow on the way",
    example="fb.logaddexp(fb.tensor([1000.0]), fb.tensor([1000.0])) -> tensor([1000.6932])")
logaddexp2_p = binary("logaddexp2", lambda g, x, y: g * sigmoid_p((x - y) * _LN2),
    lambda g, x, y: g * sigmoid_p((y - x) * _LN2), dtype=FLOATS,
    tensors=["x", "y"], doc="log2(2**input + 2**other) without overflow on the way",
    example="fb.logaddexp2(fb.tensor([1000.0]), fb.tensor([1000.0])) -> tensor([1001.])")
tan_p = unary("tan", lambda g, out: g * cj(1 + out * out),
    autocast="same|float32",
    doc="the tangent of an angle in radians", example="fb.tan(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 1.5574])")
asin_p = unary("asin", lambda g, x: g * cj(rsqrt_p(1 - x * x)), autocast="same|float32", aliases=["arcsin"],
    doc="the angle in [-π/2, π/2] with this sine", example="fb.asin(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 1.5708])")
acos_p = unary("acos", lambda g, x: -g * cj(rsqrt_p(1 - x * x)), autocast="same|float32", aliases=["arccos"],
    doc="the angle in [0, π] with this cosine", example="fb.acos(fb.tensor([0.0, 1.0])) -> tensor([1.5708, 0.0000])")
atan_p = unary("atan", lambda g, x: g / cj(1 + x * x), aliases=["arctan"],
    doc="the angle in (-π/2, π/2) with this tangent",
    example="fb.atan(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 0.7854])")
atan2_p = binary("atan2", lambda g, x, y: g * _by_square(y, x, y), lambda g, x, y: -g * _by_square(x, x, y),
    autocast="same|widest", dtype=real_floating, aliases=["arctan2"],
    doc="the angle of the point (other, input), in [-π, π]",
    example="fb.atan2(fb.tensor([1.0, 1.0]), fb.tensor([1.0, -1.0])) -> tensor([0.7854, 2.3562])")
sinh_p = unary("sinh", lambda g, x: g * cj(cosh_p(x)),
    autocast="same|float32",
    doc="the hyperbolic sine", example="fb.sinh(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 1.1752])")
cosh_p: OpFunction[Tensor] = unary("cosh", lambda g, x: g * cj(sinh_p(x)),
    autocast="same|float32",
    doc="the hyperbolic cosine", example="fb.cosh(fb.tensor([0.0, 1.0])) -> tensor([1.0000, 1.5431])")
tanh_p = unary("tanh", lambda g, out: g * cj(1 - out * out),
    doc="the hyperbolic tangent", example="fb.tanh(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 0.7616])")
asinh_p = unary("asinh", lambda g, x: g * cj(rsqrt_p(x * x + 1)), aliases=["arcsinh"],
    doc="the inverse of sinh", example="fb.asinh(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 0.8814])")
acosh_p = unary("acosh", lambda g, x: g * cj(rsqrt_p(x - 1) * rsqrt_p(x + 1)), aliases=["arccosh"],
    doc="the inverse of cosh, at least 0", example="fb.acosh(fb.tensor([1.0, 2.0])) -> tensor([0.0000, 1.3170])")
atanh_p = unary("atanh", lambda g, x: g / cj(1 - x * x), aliases=["arctanh"],
    doc="the inverse of tanh", example="fb.atanh(fb.tensor([0.0, 0.5])) -> tensor([0.0000, 0.5493])")
sinc_p = unary("sinc", lambda g, x: g * cj(_sinc_slope(x)), "where(x == 0, 1, sin(pi * x) / (pi * x))",
    doc="sin(π input) / (π input), 1 at zero", example="fb.sinc(fb.tensor([0.0, 0.5])) -> tensor([1.0000, 0.6366])")


def _sinc_slope(x: Tensor) -> Tensor:
    safe = where(x == 0, 1.0, x)
    return where(x == 0, 0.0, (cos_p(math.pi * safe) - sinc_p(safe)) / safe)


# -- rounding ----------------------------------------------------------------------------------------
_REAL = numeric.but(accepts=dt.REALS)
ceil_p = unary("ceil", zero, dtype=_REAL,
    doc="the next integer upwards", example="fb.ceil(fb.tensor([1.5, -1.5])) -> tensor([ 2., -1.])")
round_half_even_p = unary("round_half_even", zero, f"{SPECIAL}round", dtype=_REAL, public=False, inplace=False)
trunc_p: OpFunction[Tensor] = unary("trunc", zero, dtype=_REAL, aliases=["fix"],
    doc="the integer part", example="fb.trunc(fb.tensor([1.5, -1.5])) -> tensor([ 1., -1.])")
frac_p = unary("frac", lambda g: g, "x - trunc(x)", dtype=FLOATS,
    doc="what trunc leaves: input - trunc(input)",
    example="fb.frac(fb.tensor([1.5, -1.25])) -> tensor([ 0.5000, -0.2500])")

# -- special functions -------------------------------------------------------------------------------
_SQRT_PI = math.sqrt(math.pi)
erf_p = unary("erf", lambda g, x: g * exp_p(-x * x) * (2 / _SQRT_PI), dtype=real_floating,
    doc="the error function", example="fb.erf(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 0.8427])")
erfc_p = unary("erfc", lambda g, x: g * exp_p(-x * x) * (-2 / _SQRT_PI), dtype=real_floating,
    doc="1 - erf(input), accurate where that is small",
    example="fb.erfc(fb.tensor([0.0, 1.0])) -> tensor([1.0000, 0.1573])")


def _erfinv_vjp(g: Tensor, x: Tensor) -> Tensor:
    """From the input, so that the result may be written over."""
    return g * exp_p(square_p(erfinv_p(x))) * (_SQRT_PI / 2)


erfinv_p = unary("erfinv", _erfinv_vjp,
    autocast="same|float32",
    dtype=real_floating, inplace=True, doc="the inverse of erf, on (-1, 1)",
    example="fb.erfinv(fb.tensor([0.0, 0.5])) -> tensor([0.0000, 0.4769])")
digamma_p = unary("digamma", lambda g, x: g * trigamma_p(x), dtype=real_floating, inplace=True,
    doc="the derivative of lgamma", example="fb.digamma(fb.tensor([1.0, 2.0])) -> tensor([-0.5772,  0.4228])")
lgamma_p = unary("lgamma", lambda g, x: g * digamma_p(x), dtype=real_floating, aliases=["gammaln"], inplace=True,
    doc="the logarithm of the absolute value of the gamma function",
    example="fb.lgamma(fb.tensor([1.0, 5.0])) -> tensor([0.0000, 3.1781])")
trigamma_p: OpFunction[Tensor] = unary("trigamma", lambda g, x: g * OPS["polygamma"].function(x, n=2),
    dtype=real_floating, public=False, inplace=False)


i0_p = unary("i0", lambda g, x: g * i1_p(x), dtype=real_floating,
    doc="the modified Bessel function of the first kind, of order 0",
    example="fb.i0(fb.tensor([0.0, 1.0])) -> tensor([1.0000, 1.2661])")
i1_p: OpFunction[Tensor] = unary("i1",
    lambda g, x, out: g * (i0_p(x) - where(x == 0, 0.5, out / where(x == 0, 1.0, x))),
    dtype=real_floating, public=False, inplace=False,
    doc="the modified Bessel function of the first kind, of order 1",
    example="fb.special.i1(fb.tensor([0.0, 1.0])) -> tensor([0.0000, 0.5652])")
sigmoid_p: OpFunction[Tensor] = unary("sigmoid", lambda g, out: g * cj(out * (1 - out)), "1 / (1 + exp(-x))",
    aliases=["expit"],
    doc="1 / (1 + exp(-input)), without overflow",
    example="fb.sigmoid(fb.tensor([0.0, 2.0])) -> tensor([0.5000, 0.8808])")
logit_p = unary("logit", lambda g, x: where((x < 0) | (x > 1), math.nan, g / (x * (1 - x))), "log(x / (1 - x))",
    dtype=real_floating, public=False, inplace=False)
xlogy_p: OpFunction[Tensor] = binary("xlogy", lambda g, x, y: where((x == 0) & (y <= 0), 0.0, xlogy_p(g, y)),
    lambda g, x, y: g * x / y,
    "where(y != y, y, where(x == 0, 0, x * log(y)))", dtype=real_floating, inplace="function",
    doc="input * log(other), 0 where input is 0",
    example="fb.xlogy(fb.tensor([0.0, 2.0]), fb.tensor([0.0, 2.0])) -> tensor([0.0000, 1.3863])")
heaviside_p = binary("heaviside", zero, lambda g, x: where(x == 0, g, 0.0),
    "where(x == 0, y, where(x > 0, 1, 0))", dtype=ordered.but(check=alike()),
    keywords={"values": _renamed}, tensors=["x", "y"], public=False, inplace=False)
deg2rad_p = unary("deg2rad", lambda g: g * (math.pi / 180), "x * (pi / 180)", dtype=real_floating,
    doc="degrees as radians", example="fb.deg2rad(fb.tensor([180.0, 90.0])) -> tensor([3.1416, 1.5708])")
rad2deg_p = unary("rad2deg", lambda g: g * (180 / math.pi), "x * (180 / pi)", dtype=real_floating,
    doc="radians as degrees", example="fb.rad2deg(fb.tensor([3.1416])) -> tensor([180.0004])")

# -- comparison and logic ----------------------------------------------------------------------------
ne_p = binary("ne", zero, zero, "x != y", dtype=comparison, differentiable=False, aliases=["not_equal"], operator="ne",
    doc="whether the two differ", example="fb.ne(fb.tensor([1, 2, 3]), 2) -> tensor([ True, False,  True])")
le_p = binary("le", zero, zero, "x <= y", dtype=ordering, differentiable=False, aliases=["less_equal"], operator="le",
    doc="whether input <= other", example="fb.le(fb.tensor([1, 2, 3]), 2) -> tensor([ True,  True, False])")
gt_p = binary("gt", zero, zero, "x > y", dtype=ordering, differentiable=False, aliases=["greater"], operator="gt",
    doc="whether input > other", example="fb.gt(fb.tensor([1, 2, 3]), 2) -> tensor([False, False,  True])")
ge_p = binary("ge", zero, zero, "x >= y", dtype=ordering, differentiable=False, operator="ge",
    aliases=["greater_equal"],
    doc="whether input >= other", example="fb.ge(fb.tensor([1, 2, 3]), 2) -> tensor([False,  True,  True])")
isnan_p: OpFunction[Tensor] = predicate("isnan", "x != x",
    doc="whether the value is nan", example='fb.isnan(fb.tensor([1.0, float("nan")])) -> tensor([False,  True])')
isinf_p = predicate("isinf", "abs(x) == inf", dtype=comparison.but(accepts=dt.FLOATS))
isfinite_p = predicate("isfinite", "abs(x) < inf", dtype=comparison.but(accepts=dt.FLOATS))
signbit_p = predicate("signbit", dtype=ordering,
    doc="whether the sign bit is set, that of -0.0 included",
    example="fb.signbit(fb.tensor([-0.0, 0.0])) -> tensor([ True, False])")
logical_not_p = predicate("logical_not", "x == 0", inplace=True,
    doc="whether the value is zero", example="fb.logical_not(fb.tensor([0.0, 2.0])) -> tensor([ True, False])")
logical_and_p = binary("logical_and", expr="(x != 0) & (y != 0)", dtype=comparison, differentiable=False,
    doc="whether both are nonzero",
    example="fb.logical_and(fb.tensor([0, 1, 2]), fb.tensor([1, 0, 3])) -> tensor([False, False,  True])")
logical_or_p = binary("logical_or", expr="(x != 0) | (y != 0)", dtype=comparison, differentiable=False,
    doc="whether one of the two is nonzero",
    example="fb.logical_or(fb.tensor([0, 1, 2]), fb.tensor([0, 0, 3])) -> tensor([False,  True,  True])")
logical_xor_p = binary("logical_xor", expr="(x != 0) ^ (y != 0)", dtype=comparison, differentiable=False,
    doc="whether exactly one of the two is nonzero",
    example="fb.logical_xor(fb.tensor([0, 1, 2]), fb.tensor([1, 0, 3])) -> tensor([ True,  True, False])")
bitwise_not_p = unary("bitwise_not", None, "~x", dtype=integral, differentiable=False, inplace=True, operator="invert",
    aliases=["bitwise_invert"],
    doc="every bit turned; of bools, not", example="fb.bitwise_not(fb.tensor([0, 5])) -> tensor([-1, -6])")

# -- activations with a kernel of their own ----------------------------------------------------------
relu_grad_p: OpFunction[Tensor] = elementwise("relu_grad(grad: Tensor, y: Tensor) -> Tensor", "where(y <= 0, 0, grad)",
    {"grad": lambda g, y: relu_grad_p(g, y), "y": zero}, dtype=real_floating, public=False, inplace=False,
    doc="the gradient where relu's result ``y`` is above zero or nan, else 0")
relu_p = unary("relu", lambda g, out: relu_grad_p(g, out), "where(x != x, x, maximum(x, 0))", dtype=_REAL,
    doc="input above zero, else 0; nan stays", example="fb.relu(fb.tensor([-1.0, 2.0])) -> tensor([0., 2.])")


# fmt: on
# -- complex -----------------------------------------------------------------------------------------
_REALS: Final = frozenset((*dt.BOOLS, *dt.REALS))


@composite("conj(x: Tensor) -> Tensor", infer=_named("conj"), vjp=dict(x=lambda g: cj(g)), aliases=["conj_physical"],
           shortcut=(_REALS, lambda x: x))  # fmt: skip
def conj_p(x: Tensor) -> Tensor:
    """The complex conjugate; a real tensor as it is.

    >>> fb.conj(fb.tensor([1 + 2j]))
    tensor([1.-2.j])
    """
    if x._key.dtype.category != dt.COMPLEX:
        return x
    parts = x.view_as_real()
    return stack_last(parts.select(-1, 0), -parts.select(-1, 1)).view_as_complex()


def stack_last(a: Tensor, b: Tensor) -> Tensor:
    index = (*(slice(0, n, 1) for n in a.shape), None)
    return storage.cat_p([storage.basic_index_p(v, index) for v in (a, b)], -1)


def _sgn(x: Tensor) -> Tensor:
    """The sign; of a complex number its direction x / abs(x), and 0 at 0.

    >>> fb.sgn(fb.tensor([3 + 4j]))
    tensor([0.6000+0.8000j])
    """
    if x._key.dtype.category != dt.COMPLEX:
        return sign_p(x)
    size = abs_p(x)
    return x / where(size == 0, 1.0, size)


def _sgn_vjp(g: Tensor, x: Tensor, out: Tensor) -> Tensor:
    if x._key.dtype.category != dt.COMPLEX:
        return zero(g)
    size = abs_p(x)
    along = (cj(g) * out).real
    return where(size == 0, 0.0, (g - out * along) / where(size == 0, 1.0, size))


sgn_p: OpFunction[Tensor] = composite("sgn(x: Tensor) -> Tensor", infer=_named("sgn"), vjp={"x": _sgn_vjp},
                                      inplace=True, shortcut=(_REALS, sign_p))(_sgn)  # fmt: skip


@public("where", function=False, guard=False)
def _where_method(self: Tensor, condition: Tensor, other: Tensor | Number) -> Tensor:
    """``self`` where ``condition`` holds, ``other`` elsewhere."""
    return where(condition, self, other)
