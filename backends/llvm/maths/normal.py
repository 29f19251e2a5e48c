"""The error function and the normal distribution's: tails are a gaussian times a polynomial of (a - k) / (a + k).

That variable is due to M. M. Shepherd and J. G. Laframboise, "Chebyshev approximation of (1 + 2x) exp(x²) erfc(x)",
Math. Comp. 36 (1981).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.backends.llvm.ir import Function, Operand, Value
from flambeau.backends.llvm.maths import coefficients as c
from flambeau.backends.llvm.maths.arithmetic import (
    absolute,
    at_most,
    format_of,
    horner,
    less_product,
    power_of_two,
    signed,
    two_product,
)  # fmt: skip
from flambeau.backends.llvm.maths.exponential import scale, split


def _gaussian(f: Function, a: Value, factor: float, weight: Value, rest: Operand = 0.0) -> Value:
    """(weight + rest) * exp(-factor * a**2), with the rounding error of the square: it counts in small results."""
    square, error = two_product(f, a, a)
    parts = split(f, square * -factor, error * -factor)
    return scale(f, weight + f.muladd(weight, parts.r, f.muladd(weight, parts.rest, rest)), parts.n, parts.i)


def _share(
    f: Function,
    top: Value,
    a: Value,
    centre: float,
    line: tuple[float, float],
    coefficients: Sequence[float],
    start: tuple[float, float],
) -> tuple[Value, Value]:
    """s * polynomial(line[0] + line[1] * s) with s = top / (a + centre), as a sum: errors of many steps meet here.

    ``start`` is the polynomial's constant as a sum.
    """
    first, first_low = start
    below = a + centre
    error = a - (below - centre)
    inverse = 1.0 / below
    share = top * inverse
    share_low = f.muladd(-share, error, less_product(f, top, share, below)) * inverse
    t = f.muladd(share, line[1], line[0])
    t_low = f.muladd(share_low, line[1], f.muladd(share, line[1], line[0] - t))
    incline = f.muladd(t, 2.0 * coefficients[2], coefficients[1])  # of the polynomial, roughly
    slope = horner(f, t, coefficients[1:])
    value = f.muladd(slope, t, first)
    value_low = f.muladd(incline, t_low, less_product(f, first - value, -slope, t) + first_low)
    product, product_low = two_product(f, share, value)
    return product, f.muladd(share, value_low, f.muladd(share_low, value, product_low))


def _erf_near(f: Function, x: Value) -> Value:
    return f.muladd(horner(f, x * x, c.ERF_SINGLE if format_of(x).single else c.ERF), x, x)


def _erfc_rough(f: Function, a: Value) -> Value:
    """erfc(a) in float64 for a not below 1, good enough to be taken from 1."""
    share = 1.0 / (a + c.ERFC_CENTRE)
    value = horner(f, f.muladd(share, -2.0 * c.ERFC_CENTRE, 1.0), c.ERFC)
    parts = split(f, -(a * a))
    return (share * value) * (parts.q + 1.0) * power_of_two(parts.i, a.type)


def _erf_single(f: Function, x: Value) -> Value:
    """In float32: a polynomial near 0, and 1 - exp(polynomial) of what is further away."""
    a = absolute(f, x)
    near = _erf_near(f, a)
    held = at_most(f, a, 4.0)
    parts = split(f, f.muladd(horner(f, held, c.ERF_FAR_SINGLE), held, -held))
    power = power_of_two(parts.i, x.type)
    far = (1.0 - power) - power * parts.q
    return signed(f, f.select(a < c.ERF_NEAR, near, far), x)


def erf(f: Function, x: Value) -> Value:
    """The error function."""
    if format_of(x).single:
        return _erf_single(f, x)
    a = absolute(f, x)
    held = at_most(f, a, 6.0)
    return signed(f, f.select(a < 1.0, _erf_near(f, a), 1.0 - _erfc_rough(f, held)), x)


def erfc(f: Function, x: Value) -> Value:
    """1 - erf(x), exact where it is small."""
    single = format_of(x).single
    a = absolute(f, x)
    held = at_most(f, a, 10.5 if single else 28.0)
    coefficients, start = (c.ERFC_SINGLE, c.ERFC_SINGLE_START) if single else (c.ERFC, c.ERFC_START)
    one, line = f.constant(x.type, 1.0), (1.0, -2.0 * c.ERFC_CENTRE)
    far = _gaussian(f, held, 1.0, *_share(f, one, held, c.ERFC_CENTRE, line, coefficients, start))
    return f.select(a < 0.5, 1.0 - _erf_near(f, x), f.select(x < 0.0, 2.0 - far, far))


def _normal_tail(f: Function, a: Value, top: Value, line: tuple[float, float]) -> Value:
    """top Φ(-a); ``line`` says what (a - k) / (a + k) is of top / (a + k)."""
    single = format_of(a).single
    coefficients, start = (c.GELU_SINGLE, c.GELU_SINGLE_START) if single else (c.GELU, c.GELU_START)
    return _gaussian(f, a, 0.5, *_share(f, top, a, c.GELU_CENTRE, line, coefficients, start))


def ndtr(f: Function, x: Value) -> Value:
    """The normal distribution function Φ(x), exact where it is small."""
    a = absolute(f, x)
    held = at_most(f, a, 15.0 if format_of(x).single else 40.0)
    tail = _normal_tail(f, held, f.constant(x.type, 1.0), (1.0, -2.0 * c.GELU_CENTRE))
    near = f.muladd(_erf_near(f, x * math.sqrt(0.5)), 0.5, 0.5)
    return f.select(a < 0.5, near, f.select(x < 0.0, tail, 1.0 - tail))


def gelu(f: Function, x: Value) -> Value:
    """x Φ(x) with the normal distribution function Φ, exact where that is small.

    With a = abs(x) it is max(x, 0) - a Φ(-a). D. Hendrycks and K. Gimpel, arXiv:1606.08415.
    """
    a = at_most(f, absolute(f, x), 15.0 if format_of(x).single else 40.0)
    tail = _normal_tail(f, a, a, (-1.0, 2.0))
    return signed(f, f.select(x > 0.0, x, 0.0) - tail, x)
