"""Elementwise kernels: the namespace's own functions under the names of the contract, and short bodies."""

from __future__ import annotations

from typing import Any, Final

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.xp import Array, Bodies, write
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

bodies = Bodies()

_NUMBERS: Final = dt.REALS + dt.COMPLEXES
_INEXACT: Final = dt.FLOATS + dt.COMPLEXES
_LOGICAL: Final = dt.BOOLS + dt.INTS
_ORDERED: Final = dt.BOOLS + dt.REALS

#: Op name, the namespace's name, the dtypes for which its semantics are ours.
UFUNCS: Final = (
    ("neg", "negative", _NUMBERS), ("abs", "absolute", dt.ALL), ("positive", "positive", _NUMBERS),
    ("exp", "exp", _INEXACT), ("exp2", "exp2", _INEXACT), ("expm1", "expm1", _INEXACT),
    ("log", "log", _INEXACT), ("log2", "log2", _INEXACT), ("log10", "log10", _INEXACT), ("log1p", "log1p", _INEXACT),
    ("sqrt", "sqrt", _INEXACT), ("square", "square", _NUMBERS),
    ("sin", "sin", _INEXACT), ("cos", "cos", _INEXACT), ("tan", "tan", _INEXACT),
    ("asin", "arcsin", _INEXACT), ("acos", "arccos", _INEXACT), ("atan", "arctan", _INEXACT),
    ("sinh", "sinh", _INEXACT), ("cosh", "cosh", _INEXACT), ("tanh", "tanh", _INEXACT),
    ("asinh", "arcsinh", _INEXACT), ("acosh", "arccosh", _INEXACT), ("atanh", "arctanh", _INEXACT),
    ("floor", "floor", dt.REALS), ("ceil", "ceil", dt.REALS), ("trunc", "trunc", dt.REALS), ("round", "rint", dt.FLOATS),
    ("sign", "sign", dt.INTS), ("sgn", "sign", dt.INTS + dt.COMPLEXES), ("conj", "conjugate", _NUMBERS),
    ("isnan", "isnan", _INEXACT), ("isinf", "isinf", _INEXACT), ("isfinite", "isfinite", _INEXACT),
    ("signbit", "signbit", dt.FLOATS),
    ("add", "add", dt.ALL), ("sub", "subtract", _NUMBERS), ("mul", "multiply", dt.ALL), ("div", "divide", _INEXACT),
    ("sub", "bitwise_xor", dt.BOOLS),
    ("idiv", "floor_divide", dt.REALS), ("floor_divide", "floor_divide", dt.REALS),
    ("fmod", "fmod", dt.REALS), ("remainder", "remainder", dt.REALS),
    ("lt", "less", _ORDERED), ("le", "less_equal", _ORDERED), ("gt", "greater", _ORDERED), ("ge", "greater_equal", _ORDERED),
    ("eq", "equal", dt.ALL), ("ne", "not_equal", dt.ALL),
    ("fmax", "fmax", _ORDERED), ("fmin", "fmin", _ORDERED),
    ("bitwise_and", "bitwise_and", _LOGICAL), ("bitwise_or", "bitwise_or", _LOGICAL), ("bitwise_xor", "bitwise_xor", _LOGICAL),
    ("bitwise_not", "invert", _LOGICAL), ("shl", "left_shift", dt.INTS), ("shr", "right_shift", dt.INTS),
    ("logical_not", "logical_not", dt.ALL), ("logical_and", "logical_and", dt.ALL),
    ("logical_or", "logical_or", dt.ALL), ("logical_xor", "logical_xor", dt.ALL),
    ("atan2", "arctan2", dt.FLOATS), ("hypot", "hypot", dt.FLOATS), ("copysign", "copysign", dt.FLOATS),
    ("nextafter", "nextafter", dt.FLOATS), ("heaviside", "heaviside", dt.FLOATS),
    ("logaddexp", "logaddexp", dt.FLOATS), ("logaddexp2", "logaddexp2", dt.FLOATS),
    ("gcd", "gcd", dt.INTS), ("lcm", "lcm", dt.INTS),
)  # fmt: skip


def bind(table: KernelTable, xp: Any, dtypes: tuple[DType, ...] = dt.ALL) -> None:
    """Enter the namespace's functions, then the bodies below, which may replace some."""
    served = frozenset(dtypes)
    for name, native, wanted in UFUNCS:
        table.register(name, getattr(xp, native), served.intersection(wanted))
    bodies.bind(table, xp, dtypes)


# numpy deprecates a positional `out` of these two.
@bodies.maker("maximum", _ORDERED)
def maximum(xp: Any, dtype: DType) -> Kernel:
    native = xp.maximum
    return lambda x, y, out=None: native(x, y, out=out)


@bodies.maker("minimum", _ORDERED)
def minimum(xp: Any, dtype: DType) -> Kernel:
    native = xp.minimum
    return lambda x, y, out=None: native(x, y, out=out)


@bodies.kernel("where")
def where(xp: Any, condition: Array, x: Array, y: Array, out: Array | None = None) -> Array:
    return write(out, xp.where(condition, x, y))


@bodies.maker("pow", _INEXACT)
def pow(xp: Any, dtype: DType) -> Kernel:
    """Small whole exponents that are one number take products, which are faster and at least as exact."""
    power, square = xp.power, xp.square

    def kernel(x: Array, y: Array, out: Array | None = None) -> Array:
        if y.ndim == 0 and y == 2:
            r = square(x, out)
            return r
        return power(x, y, out)

    return kernel


@bodies.kernel("pow", _LOGICAL)
def integer_pow(xp: Any, x: Array, y: Array, out: Array | None = None) -> Array:
    """Modulo 2**bits; to a negative power, 1 stays 1, -1 keeps its sign by parity, and all else is 0."""
    if x.dtype.kind == "b":
        return write(out, xp.logical_or(x, xp.logical_not(y)))
    if y.dtype.kind == "u" or not (y < 0).any():
        return xp.power(x, y, out)
    odd = xp.power(x, xp.abs(y) & 1)
    result = xp.where(y < 0, xp.where(xp.abs(x) == 1, odd, xp.zeros_like(x)), xp.power(x, xp.maximum(y, 0)))
    return write(out, result)
