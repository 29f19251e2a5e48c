"""Remainders, floor division, rounding, roots."""

from __future__ import annotations

import math

from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.maths.arithmetic import absolute, any_lane, less_product, pick, signed, through_double


def floor(f: Function, x: Value) -> Value:
    """The next whole number below."""
    return f.apply("floor", x)


def ceil(f: Function, x: Value) -> Value:
    """The next whole number above."""
    return f.apply("ceil", x)


def trunc(f: Function, x: Value) -> Value:
    """The next whole number towards 0."""
    return f.apply("trunc", x)


def round_half_even(f: Function, x: Value) -> Value:
    """The next whole number, of two the even one."""
    return f.apply("roundeven", x)


def sqrt(f: Function, x: Value) -> Value:
    """The square root."""
    return f.apply("sqrt", x)


def rsqrt(f: Function, x: Value) -> Value:
    """1 / sqrt(x), by a division."""
    return 1.0 / f.apply("sqrt", x)


@through_double
def hypot(f: Function, x: Value, y: Value) -> Value:
    """sqrt(x**2 + y**2) without overflow on the way; with an infinity it is one, whatever the other is."""
    a, b = absolute(f, x), absolute(f, y)
    large = f.maximum(a, b)
    one = f.constant(x.type, 1.0)
    down, up = large > 2.0**500, large < 2.0**-400
    factor = pick(f, one, (down, 2.0**-600), (up, 2.0**600))
    back = pick(f, one, (down, 2.0**600), (up, 2.0**-600))
    p, q = a * factor, b * factor
    found = f.apply("sqrt", f.muladd(p, p, q * q)) * back
    return f.select(a.eq(math.inf) | b.eq(math.inf), math.inf, found)


def _less_multiple(f: Function, r: Value, q: Value, b: Value) -> Value:
    """r - q * b of a quotient below 2**700 and its divisor, exact."""
    if f.target.fma:
        return less_product(f, r, q, b)
    factor = f.select(r > 2.0**1000, f.constant(r.type, 2.0**-64), 1.0)  # or halves of the largest number are infinite
    return less_product(f, r * factor, q, b * factor) / factor


@through_double
def fmod(f: Function, x: Value, y: Value) -> Value:
    """What whole division towards 0 leaves, exact for all numbers, with the sign of x.

    Each turn takes a multiple of the divisor away that is the nearest number of the format to the quotient, so what is
    left is a number of the format too, and smaller by 2**52; a quotient that does not overflow is had from the divisor
    times a power of 2.
    """
    a, b = absolute(f, x), absolute(f, y)
    wrong = a.compare("not_lt", math.inf) | b.eq(0.0) | b.is_nan()
    divisor = f.select(wrong, 1.0, b)
    left = f.variable(x.type, f.select(wrong, 0.0, a))
    below = f.variable(x.type.mask, False)  # whether too much was taken away
    with f.loop() as leave:
        r = left.now
        leave(~any_lane(f, r >= divisor))
        d = divisor
        for _ in range(2):
            lifted = d * 2.0**700
            d = f.select(r > lifted, lifted, d)
        rest = f.select(r < d, r, _less_multiple(f, r, f.apply("trunc", r / d), d))
        below.set(below.now ^ (rest < 0.0))
        left.set(absolute(f, rest))
    r = left.now
    r = f.select(below.now & r.ne(0.0), divisor - r, r)
    return f.select(wrong, math.nan, signed(f, r, x))


def remainder(f: Function, x: Value, y: Value) -> Value:
    """What floor division leaves, with the sign of y."""
    r = fmod(f, x, y)
    return f.select(r.ne(0.0) & ((r < 0.0) ^ (y < 0.0)), r + y, r)


def idiv(f: Function, x: Value, y: Value) -> Value:
    """The next whole number below x / y as PyTorch finds it: from the exact remainder; by 0 it is the quotient."""
    r, quotient = fmod(f, x, y), x / y
    d = (x - r) / y
    d = f.select(r.ne(0.0) & ((r < 0.0) ^ (y < 0.0)), d - 1.0, d)
    down = f.apply("floor", d)
    whole = f.select(d - down > 0.5, down + 1.0, down)
    zero = signed(f, f.constant(x.type, 0.0), quotient)
    return pick(f, whole, (d.eq(0.0), zero), (y.eq(0.0), quotient))
