"""What the functions are made of: formats, polynomials, sums and products with their rounding errors.

Everything is lane by lane and without the C library. Where the target has a fused multiply-add all registers give the
same bits; where it has none, errors of products come from halves (T. J. Dekker, "A floating-point technique for
extending the available precision", Numer. Math. 18, 1971).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Final, NamedTuple

from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.types import F32, F64, Type

#: A vector function: the function that is being written, then its operands, all of one type.
VectorFunction = Callable[..., Value]


class Format(NamedTuple):
    """A floating-point format. ``magic`` plus a small number is that number rounded, as the low bits."""

    single: bool
    mantissa: int
    bias: int
    magic: float
    magic_bits: int
    one_bits: int
    root_half_bits: int  # of the number next to sqrt(1/2)
    tiny: float  # the smallest normal number
    ln2: tuple[float, float]  # as a sum: multiples of the first by exponents are exact

    @property
    def ones(self) -> int:
        """The bits of the mantissa."""
        return (1 << self.mantissa) - 1


def _bits(code: str, whole: str, value: float) -> int:
    found: int = struct.unpack(whole, struct.pack(code, value))[0]
    return found


SINGLE: Final = Format(
    True, 23, 127, 1.5 * 2.0**23, _bits("<f", "<i", 1.5 * 2.0**23), 0x3F800000, 0x3F3504F3, 2.0**-126,
    (0.693359375, -2.12194440054690583e-4),
)  # fmt: skip
DOUBLE: Final = Format(
    False, 52, 1023, 1.5 * 2.0**52, _bits("<d", "<q", 1.5 * 2.0**52), 0x3FF0000000000000, 0x3FE6A09E667F3BCD,
    2.0**-1022, (6.93147180369123816490e-01, 1.90821492927058770002e-10),
)  # fmt: skip


def format_of(x: Value) -> Format:
    """The format of a value's lanes."""
    return {"float": SINGLE, "double": DOUBLE}[x.type.name]


def through_double(function: VectorFunction) -> VectorFunction:
    """The function on float32 too: computed in float64, so that the result is the nearest number nearly always."""

    @wraps(function)
    def either(f: Function, *operands: Value) -> Value:
        if operands[0].type.name == "double":
            return function(f, *operands)
        return function(f, *(x.convert("fpext", F64) for x in operands)).convert("fptrunc", F32)

    return either


def horner(f: Function, x: Value, coefficients: Sequence[float]) -> Value:
    """The polynomial of ``x``; the constant is the first coefficient."""
    total = f.constant(x.type, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = f.muladd(total, x, c)
    return total


def clamp(f: Function, x: Value, low: float, high: float) -> Value:
    """``x`` held between two numbers; nan stays nan."""
    above = f.maximum(f.constant(x.type, low), x)
    return f.minimum(f.constant(x.type, high), above)


def at_most(f: Function, x: Value, high: float) -> Value:
    """``x`` held below a number; nan stays nan."""
    return f.minimum(f.constant(x.type, high), x)


def absolute(f: Function, x: Value) -> Value:
    """Without its sign."""
    return f.apply("fabs", x)


def signed(f: Function, x: Value, sign: Value) -> Value:
    """The size of ``x`` with the sign of another."""
    return f.apply("copysign", x, sign)


def negative(x: Value) -> Value:
    """Whether the sign bit is set: of -0 too."""
    return x.bitcast(x.type.integer.scalar) < 0


def any_lane(f: Function, mask: Value) -> Value:
    """Whether a condition is true in some lane."""
    lanes = mask.type.lanes
    if lanes == 1:
        return mask
    together = Type(f"i{lanes}", "int", lanes)
    return f.emit(together, f"bitcast {mask.type} {mask.text} to {together}").ne(0)


def two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """a + b, and its rounding error."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def quick_two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """a + b, and its rounding error, where a is 0 or the larger one."""
    total = a + b
    return total, b - (total - a)


def _halves(x: Value) -> tuple[Value, Value]:
    """``x`` as a sum of two numbers of half the bits."""
    whole = x.type.integer.scalar
    cut = 12 if whole.bits == 32 else 27
    high = (x.bitcast(whole) + (1 << cut - 1) & -(1 << cut)).bitcast(x.type.scalar)
    return high, x - high


def two_product(f: Function, a: Value, b: Value) -> tuple[Value, Value]:
    """a * b, and its rounding error."""
    product = a * b
    if f.target.fma:
        return product, f.fma(a, b, -product)
    a1, a2 = _halves(a)
    b1, b2 = _halves(b)
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def less_product(f: Function, x: Value, a: Value, b: Value) -> Value:
    """x - a * b where that is a number of the format: exact."""
    if f.target.fma:
        return f.fma(-a, b, x)
    product, error = two_product(f, a, b)
    return (x - product) - error


def upper(x: Value, bits: int) -> Value:
    """``x`` with so many low bits cleared, so that products of it are exact."""
    whole = x.type.integer.scalar
    return (x.bitcast(whole) & -(1 << bits)).bitcast(x.type.scalar)


def power_of_two(x: Value, real: Type) -> Value:
    """2**x for an integer whose power is a normal number, or 0 for the integer below those."""
    form = SINGLE if real.bits == 32 else DOUBLE
    return ((x + form.bias) << form.mantissa).bitcast(real.scalar)


def pick(f: Function, value: Value, *cases: tuple[Value, Any]) -> Value:
    """``value``, but for (condition, other): the last condition that is true counts."""
    for condition, other in cases:
        value = f.select(condition, other, value)
    return value
