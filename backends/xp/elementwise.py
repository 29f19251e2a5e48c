"""Elementwise kernels: the namespace's own functions under the names of the contract, and short bodies."""

from __future__ import annotations

from typing import Any, Final

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.xp import Array, Bodies, Namespace, write
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
    ("floor", "floor", dt.REALS), ("ceil", "ceil", dt.REALS), ("trunc", "trunc", dt.REALS),
    ("round_half_even", "rint", dt.FLOATS),
    ("round_half_even", "positive", dt.INTS),
    ("reciprocal", "reciprocal", _INEXACT), ("sign", "sign", dt.INTS), ("sgn", "sign", dt.COMPLEXES),
    ("conj", "conjugate", dt.COMPLEXES),
    ("isnan", "isnan", _INEXACT), ("isinf", "isinf", _INEXACT), ("isfinite", "isfinite", _INEXACT),
    ("signbit", "signbit", _ORDERED),
    ("add", "add", dt.ALL), ("sub", "subtract", _NUMBERS), ("mul", "multiply", dt.ALL), ("div", "divide", _INEXACT),
    ("sub", "bitwise_xor", dt.BOOLS),
    ("idiv", "floor_divide", dt.REALS), ("floor_divide", "floor_divide", dt.REALS),
    ("fmod", "fmod", dt.REALS), ("remainder", "remainder", dt.REALS),
    ("lt", "less", _ORDERED), ("le", "less_equal", _ORDERED), ("gt", "greater", _ORDERED),
    ("ge", "greater_equal", _ORDERED),
    ("eq", "equal", dt.ALL), ("ne", "not_equal", dt.ALL),
    ("fmax", "fmax", _ORDERED), ("fmin", "fmin", _ORDERED),
    ("bitwise_and", "bitwise_and", _LOGICAL), ("bitwise_or", "bitwise_or", _LOGICAL),
    ("bitwise_xor", "bitwise_xor", _LOGICAL),
    ("bitwise_not", "invert", _LOGICAL), ("shl", "left_shift", dt.INTS), ("shr", "right_shift", dt.INTS),
    ("logical_not", "logical_not", dt.ALL), ("logical_and", "logical_and", dt.ALL),
    ("logical_or", "logical_or", dt.ALL), ("logical_xor", "logical_xor", dt.ALL),
    ("atan2", "arctan2", dt.FLOATS), ("hypot", "hypot", dt.FLOATS), ("copysign", "copysign", dt.FLOATS),
    ("nextafter", "nextafter", dt.FLOATS),
    ("logaddexp", "logaddexp", dt.FLOATS), ("logaddexp2", "logaddexp2", dt.FLOATS),
    ("gcd", "gcd", dt.INTS), ("lcm", "lcm", dt.INTS),
)  # fmt: skip


def names() -> set[str]:
    """The ops that have a kernel here."""
    return {name for name, _, _ in UFUNCS} | bodies.names()


def bind(table: KernelTable, xp: Namespace, dtypes: tuple[DType, ...] = dt.ALL) -> None:
    """Enter the namespace's functions, then the bodies below, which may replace some."""
    served = frozenset(dtypes)
    for name, native, wanted in UFUNCS:
        table.register(name, getattr(xp, native), served.intersection(wanted))
    bodies.bind(table, xp, dtypes)


# numpy deprecates a positional `out` of these two.
@bodies.maker("maximum", _ORDERED)
def maximum(xp: Namespace, dtype: DType) -> Kernel:
    native = xp.maximum
    return lambda x, y, out=None: native(x, y, out=out)


@bodies.maker("minimum", _ORDERED)
def minimum(xp: Namespace, dtype: DType) -> Kernel:
    native = xp.minimum
    return lambda x, y, out=None: native(x, y, out=out)


@bodies.kernel("where")
def where(xp: Namespace, condition: Array, x: Array, y: Array, out: Array | None = None) -> Array:
    return write(out, xp.where(condition, x, y))


@bodies.maker("relu", _ORDERED)
def relu(xp: Namespace, dtype: DType) -> Kernel:
    native, zero = xp.maximum, scalar(xp, 0, dtype)
    return lambda x, out=None: native(x, zero, out=out)


@bodies.maker("sigmoid", _INEXACT)
def sigmoid(xp: Namespace, dtype: DType) -> Kernel:
    negative, exp, add, reciprocal, one = xp.negative, xp.exp, xp.add, xp.reciprocal, scalar(xp, 1, dtype)
    fresh = array_result(xp)

    def kernel(x: Array, out: Array | None = None) -> Array:
        r = negative(x, out=fresh if out is None else out)
        exp(r, r)
        add(r, one, r)
        return reciprocal(r, r)

    return in_float32(xp, kernel, dtype) if dtype in dt.LOW_PRECISION else kernel


@bodies.maker("rsqrt", _INEXACT)
def rsqrt(xp: Namespace, dtype: DType) -> Kernel:
    sqrt, reciprocal, fresh = xp.sqrt, xp.reciprocal, array_result(xp)

    def kernel(x: Array, out: Array | None = None) -> Array:
        r = sqrt(x, out=fresh if out is None else out)
        return reciprocal(r, r)

    return in_float32(xp, kernel, dtype) if dtype in dt.LOW_PRECISION else kernel


def scalar(xp: Namespace, value: int, dtype: DType) -> Any:
    """A constant operand: an array where that costs less per call, else a host scalar, which needs no device."""
    return xp.full((), value, dtype.numpy) if xp.__name__ == "numpy" else dtype.numpy.type(value)


def array_result(xp: Namespace) -> Any:
    """The ``out`` that makes a 0-d result an array: numpy gives scalars otherwise, cupy never does."""
    return ... if xp.__name__ == "numpy" else None


def in_float32(xp: Namespace, kernel: Kernel, dtype: DType, arity: int = 1) -> Kernel:
    """``kernel`` of ``arity`` operands on these widened to float32, its result rounded once."""
    low = dtype.numpy

    def rounded(*ins: Array, out: Array | None = None) -> Array:
        if len(ins) > arity:
            *ins, out = ins  # type: ignore[assignment]
        result = kernel(*[x.astype("f4") for x in ins])
        return write(out, result.astype(low) if result.dtype == "f4" else result)

    return rounded


@bodies.maker("pow", _INEXACT)
def pow(xp: Namespace, dtype: DType) -> Kernel:
    """An exponent that is one number and small or whole takes a faster way, as PyTorch's does."""
    power, square, sqrt, reciprocal = xp.power, xp.square, xp.sqrt, xp.reciprocal
    complex_ = dtype.is_complex

    def kernel(x: Array, y: Array, out: Array | None = None) -> Array:
        if y.ndim:
            return power(x, y, out)
        exponent = y.item()
        if exponent == 2:
            return square(x, out)
        if exponent == 0.5:
            return sqrt(x, out)
        if exponent == -1:
            return reciprocal(x, out)
        if complex_ or exponent != exponent or exponent % 1:
            return power(x, y, out)
        size = power(xp.absolute(x), y)  # of a negative base numpy's power is 50 times slower
        return write(out, size) if exponent % 2 == 0 else xp.copysign(size, x, out)

    return kernel


@bodies.kernel("pow", _LOGICAL)
def integer_pow(xp: Namespace, x: Array, y: Array, out: Array | None = None) -> Array:
    """Modulo 2**bits; to a negative power 1 stays 1, -1 keeps its sign by parity, and all else is 0."""
    if x.dtype.kind == "b":
        return xp.logical_or(x, xp.logical_not(y), out)
    if y.dtype.kind == "u" or not (y < 0).any():
        return xp.power(x, y, out)
    unit = xp.where(xp.absolute(x) == 1, xp.power(x, y & 1), xp.zeros_like(x))
    return write(out, xp.where(y < 0, unit, xp.power(x, xp.maximum(y, 0))).astype(x.dtype, copy=False))
