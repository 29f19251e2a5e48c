"""The elementwise functions of the array API standard: flambeau's, with the standard's promotion."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.dtype import Number
from flambeau.core.ops import arithmetic, construct, special, standard, views
from flambeau.core.ops import elementwise as e
from flambeau.core.tensor import Tensor

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bitwise_and",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "ceil",
    "clip",
    "conj",
    "copysign",
    "cos",
    "cosh",
    "divide",
    "equal",
    "exp",
    "expm1",
    "floor",
    "floor_divide",
    "greater",
    "greater_equal",
    "hypot",
    "imag",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "nextafter",
    "not_equal",
    "positive",
    "pow",
    "real",
    "reciprocal",
    "remainder",
    "round",
    "sign",
    "signbit",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "trunc",
]  # fmt: skip

Operand = Tensor | Number

abs, acos, acosh, asin, asinh = e.abs_p, e.acos_p, e.acosh_p, e.asin_p, e.asinh_p
atan, atanh, ceil, conj, cos, cosh = e.atan_p, e.atanh_p, e.ceil_p, e.conj_p, e.cos_p, e.cosh_p
exp, floor, isnan, log, log1p, log2 = e.exp_p, e.floor_p, e.isnan_p, e.log_p, e.log1p_p, e.log2_p
log10, logical_not, negative, positive = e.log10_p, e.logical_not_p, e.neg_p, e.positive_p
reciprocal, signbit, sin, sinh, sqrt = e.reciprocal_p, e.signbit_p, e.sin_p, e.sinh_p, e.sqrt_p
square, tan, trunc, bitwise_invert = e.square_p, e.tan_p, e.trunc_p, e.bitwise_not_p
isfinite, isinf, real, imag = special.isfinite, special.isinf, views.real, views.imag


# -- one array ---------------------------------------------------------------------------------------
def clip(x: Tensor, /, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """``x`` held between ``min`` and ``max``, either of which may be left out; in the dtype of x.

    >>> fb.array_api.clip(fb.tensor([1, 5]), max=3)
    tensor([1, 3])
    """
    return x.clone() if min is None and max is None else arithmetic.clamp(x, min, max)


def round(x: Tensor, /) -> Tensor:
    """The nearest whole number, halves to the even one; of a complex number each part.

    >>> fb.array_api.round(fb.tensor([0.5, 1.5]))
    tensor([0., 2.])
    """
    if x.dtype.category < dt.COMPLEX:
        return arithmetic.rounded(x)
    return construct.from_parts(arithmetic.rounded(real(x)), arithmetic.rounded(imag(x)))


def sign(x: Tensor, /) -> Tensor:
    """-1, 0 or 1; of a complex number the number of size 1 in its direction; nan of nan.

    >>> fb.array_api.sign(fb.tensor([3 + 4j]))
    tensor([0.6000+0.8000j])
    """
    if x.dtype.category == dt.COMPLEX:
        return e.where(x == 0, creation.zeros_like(x), x / abs(x))
    return e.where(isnan(x), x, e.sign_p(x)) if x.dtype.category == dt.FLOATING else e.sign_p(x)


def tanh(x: Tensor, /) -> Tensor:
    """The hyperbolic tangent; of a complex number that is infinite to the right or left its limit, ``±1 ± 0j``.

    >>> fb.array_api.tanh(fb.tensor([0.0]))
    tensor([0.])
    """
    found = e.tanh_p(x)
    if x.dtype.category < dt.COMPLEX:
        return found
    across, up = real(x), imag(x)
    limit = e.copysign_p(creation.zeros_like(up), up)
    return construct.from_parts(real(found), e.where(isinf(across) & isfinite(up), limit, imag(found)))


def expm1(x: Tensor, /) -> Tensor:
    """``exp(x) - 1``, exact for small numbers too.

    >>> fb.array_api.expm1(fb.tensor(1e-10))
    tensor(1.0000e-10)
    """
    return _complex_expm1(x) if x.dtype.category == dt.COMPLEX else e.expm1_p(x)


def _complex_expm1(z: Tensor) -> Tensor:
    """By parts, since e^a cos b - 1 = (e^a - 1) cos b - 2 sin²(b/2); at infinities as the standard's table says."""
    a, b = real(z), imag(z)
    grown, half = e.expm1_p(a), sin(b / 2)
    across, up = grown * cos(b) - 2 * half * half, exp(a) * sin(b)
    flat, open_ = b == 0, isinf(b) | isnan(b)
    across, up = e.where(flat, grown + 0.0, across), e.where(flat, b, up)
    shrunk, great = a == -inf, (a == inf) & open_
    across = e.where(shrunk, creation.full_like(a, -1.0), e.where(great, a, across))
    return construct.from_parts(across, e.where(shrunk & open_, creation.zeros_like(b), up))


# -- two arrays --------------------------------------------------------------------------------------
def _of_two(name: str, function: Callable[..., Tensor], does: str) -> Callable[[Operand, Operand], Tensor]:
    """A function of two arrays, or an array and a number, which promote as the standard says."""

    def run(x1: Operand, x2: Operand, /) -> Tensor:
        return function(*standard.promoted(x1, x2))

    run.__name__ = run.__qualname__ = name
    run.__doc__ = f"{does} Arrays promote to their common dtype, 0-d ones too; a number takes the array's."
    return run


add = _of_two("add", e.add_p, "``x1 + x2``.")
subtract = _of_two("subtract", e.sub_p, "``x1 - x2``.")
multiply = _of_two("multiply", e.mul_p, "``x1 * x2``.")
divide = _of_two("divide", arithmetic.div, "``x1 / x2``.")
pow = _of_two("pow", e.pow_p, "``x1 ** x2``.")
remainder = _of_two("remainder", e.remainder_p, "``x1 % x2``, with the sign of x2.")
floor_divide = _of_two("floor_divide", standard.floor_divide, "``x1 // x2``; an infinity where the quotient is one.")
atan2 = _of_two("atan2", e.atan2_p, "The angle of the point (x2, x1).")
copysign = _of_two("copysign", e.copysign_p, "``x1`` with the sign of ``x2``.")
hypot = _of_two("hypot", e.hypot_p, "√(x1² + x2²).")
logaddexp = _of_two("logaddexp", special.logaddexp, "log(exp(x1) + exp(x2)).")
maximum = _of_two("maximum", e.maximum_p, "The greater one.")
minimum = _of_two("minimum", e.minimum_p, "The lesser one.")
nextafter = _of_two("nextafter", arithmetic.nextafter_p, "The number next to ``x1`` on the way to ``x2``.")
bitwise_and = _of_two("bitwise_and", e.bitwise_and_p, "``x1 & x2``.")
bitwise_or = _of_two("bitwise_or", e.bitwise_or_p, "``x1 | x2``.")
bitwise_xor = _of_two("bitwise_xor", e.bitwise_xor_p, "``x1 ^ x2``.")
bitwise_left_shift = _of_two("bitwise_left_shift", e.shl_p, "``x1 << x2``.")
bitwise_right_shift = _of_two("bitwise_right_shift", e.shr_p, "``x1 >> x2``, with the sign kept.")
equal = _of_two("equal", e.eq_p, "``x1 == x2``.")
not_equal = _of_two("not_equal", e.ne_p, "``x1 != x2``.")
less = _of_two("less", e.lt_p, "``x1 < x2``.")
less_equal = _of_two("less_equal", e.le_p, "``x1 <= x2``.")
greater = _of_two("greater", e.gt_p, "``x1 > x2``.")
greater_equal = _of_two("greater_equal", e.ge_p, "``x1 >= x2``.")
logical_and = _of_two("logical_and", e.logical_and_p, "Whether both are true.")
logical_or = _of_two("logical_or", e.logical_or_p, "Whether one of them is true.")
logical_xor = _of_two("logical_xor", e.logical_xor_p, "Whether just one of them is true.")
