"""Exponentials: exp(x) = 2**n (1 + q) with the whole number n next to x / log(2) and q = exp(r) - 1 by a polynomial.

The method is that of W. J. Cody and W. Waite, "Software Manual for the Elementary Functions" (1980), chapter 6.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.maths import coefficients as c
from flambeau.backends.llvm.maths.arithmetic import (
    absolute,
    at_most,
    clamp,
    format_of,
    horner,
    power_of_two,
    signed,
    through_double,
)  # fmt: skip
from flambeau.backends.llvm.types import I8, I16, I32

_LOG2_E = 1.4426950408889634


class Split(NamedTuple):
    """An exponential 2**n (1 + r + rest); ``i`` is n as an integer."""

    n: Value
    i: Value
    r: Value
    rest: Value

    @property
    def q(self) -> Value:
        """r + rest, rounded."""
        return self.r + self.rest


def split(f: Function, x: Value, rest: Value | None = None) -> Split:
    """exp(x) in parts, for an x whose n the format has.

    ``rest`` is added to x, tiny beside it; with it r is exact but for its last step, which costs three instructions
    and saves a third of a unit in the last place.
    """
    form = format_of(x)
    shifted = f.muladd(x, _LOG2_E, form.magic)
    n = shifted - form.magic
    high, low = form.ln2
    first = f.muladd(n, -high, x)
    r = f.muladd(n, -low, first)
    return _split(f, shifted, n, r, None if rest is None else f.muladd(n, -low, first - r) + rest)


def _split(f: Function, shifted: Value, n: Value, r: Value, rest: Value | None = None) -> Split:
    """The parts for what is left of the exponent, r + rest."""
    form = format_of(r)
    i = shifted.bitcast(n.type.integer.scalar) - form.magic_bits
    square = horner(f, r, c.EXP_SINGLE if form.single else c.EXP) * r * r
    return Split(n, i, r, square if rest is None else f.muladd(rest, r + square, rest) + square)


def scale(f: Function, y: Value, n: Value, i: Value) -> Value:
    """y * 2**n, rounded once where it is denormal; ``i`` is n as an integer, within twice the exponents."""
    t = y.type
    if f.target.register == 64 and f.target.arch == "x86_64" and t.bytes == 64:
        name, mask = ("ps", I16) if t.bits == 32 else ("pd", I8)
        all_lanes, rounding = f.constant(mask, -1), f.constant(I32, 4)
        zero = f.constant(t, 0.0)
        return f.intrinsic(f"llvm.x86.avx512.mask.scalef.{name}.512", t, y, n, zero, all_lanes, rounding)
    half = (i + 4096 >> 1) - 2048  # towards -inf; no shift that keeps the sign, which AVX2 lacks for 64 bits
    return y * power_of_two(half, t) * power_of_two(i - half, t)


def exp(f: Function, x: Value) -> Value:
    """e**x."""
    low, high = (-104.0, 89.0) if format_of(x).single else (-746.0, 710.0)
    parts = split(f, clamp(f, x, low, high))
    return scale(f, parts.q + 1.0, parts.n, parts.i)


def exp_nonpositive(f: Function, x: Value) -> Value:
    """e**x for x <= 0, as softmax has it: a result that were denormal is 0."""
    low = -87.33654 if format_of(x).single else -708.3964185322641
    parts = split(f, f.maximum(f.constant(x.type, low), x))
    return f.select(x < low, 0.0, (parts.q + 1.0) * power_of_two(parts.i, x.type))


def exp2(f: Function, x: Value) -> Value:
    """2**x."""
    form = format_of(x)
    held = clamp(f, x, -151.0, 129.0) if form.single else clamp(f, x, -1076.0, 1025.0)
    shifted = held + form.magic
    n = shifted - form.magic
    parts = _split(f, shifted, n, (held - n) * math.log(2))
    return scale(f, parts.q + 1.0, parts.n, parts.i)


@through_double
def expm1(f: Function, x: Value) -> Value:
    """e**x - 1, exact near 0."""
    parts = split(f, clamp(f, x, -50.0, 710.0))
    half = power_of_two(parts.i - 1, x.type)
    far = f.muladd(parts.q, half, half - 0.5) * 2.0
    return signed(f, f.select(parts.i.eq(0), parts.q, far), x)


def sigmoid(f: Function, x: Value) -> Value:
    """1 / (1 + e**-x).

    With e**-x as 2**n (1 + q) it is 2**-n / (2**-n + 1 + q), which does not overflow. Where 2**-n is 1 or more its sum
    with 1 is exact, else the sum with q is small: one sum and one quotient of the size of the result are rounded.
    """
    single = format_of(x).single
    parts = split(f, -clamp(f, x, -104.0 if single else -746.0, 80.0))
    down = power_of_two(-f.select(parts.i > 100, 100, parts.i), x.type)
    low, q = down < 1.0, parts.q
    whole, rest = f.select(low, f.constant(x.type, 1.0), down + 1.0), f.select(low, down + q, q)
    return scale(f, 1.0 / (whole + rest), -parts.n, -parts.i)


def tanh(f: Function, x: Value) -> Value:
    """The hyperbolic tangent: a polynomial to 0.625, then 1 - 2 / (e**2x + 1)."""
    single = format_of(x).single
    a, z = absolute(f, x), x * x
    near = f.muladd(horner(f, z, c.TANH_SINGLE if single else c.TANH) * z, a, a)
    held = at_most(f, a, 10.0 if single else 20.0)
    parts = split(f, held + held)
    power = power_of_two(parts.i, x.type)
    far = 1.0 - 2.0 / (f.muladd(parts.q, power, power) + 1.0)
    return signed(f, f.select(a < 0.625, near, far), x)


def _half_exp(f: Function, a: Value) -> Value:
    """e**a / 2, which is finite somewhat longer than e**a."""
    parts = split(f, at_most(f, a, 711.0))
    return scale(f, parts.q + 1.0, parts.n - 1.0, parts.i - 1)


@through_double
def sinh(f: Function, x: Value) -> Value:
    """The hyperbolic sine: a polynomial to 1, then by e**x."""
    a, z = absolute(f, x), x * x
    near = f.muladd(horner(f, z, c.SINH) * z, a, a)
    half = _half_exp(f, a)
    return signed(f, f.select(a < 1.0, near, half - 0.25 / half), x)


@through_double
def cosh(f: Function, x: Value) -> Value:
    """The hyperbolic cosine."""
    half = _half_exp(f, absolute(f, x))
    return half + 0.25 / half
