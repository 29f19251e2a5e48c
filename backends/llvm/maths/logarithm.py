"""Logarithms: x = 2**k m with m next to 1, and log(m) by a polynomial of m - 1 or of s = (m - 1) / (m + 1).

The sums in float64 are ordered as in FreeBSD's msun (K. C. Ng): what is small is added first. The power function has
its logarithm in two parts with an error below 2**-65 (after P.-T. P. Tang's accurate tables papers, without tables).
"""

from __future__ import annotations

import math

from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.maths import coefficients as c
from flambeau.backends.llvm.maths.arithmetic import (
    absolute,
    clamp,
    format_of,
    horner,
    negative,
    pick,
    quick_two_sum,
    signed,
    through_double,
    two_product,
    two_sum,
    upper,
)  # fmt: skip
from flambeau.backends.llvm.maths.exponential import exp, scale, split

_INF, _NAN = math.inf, math.nan
_LARGE = 2.0**60  # beyond, sqrt(x * x + 1) is x


def _mantissa(f: Function, x: Value) -> tuple[Value, Value]:
    """(k as a float, m) of a positive normal number, m between the roots of 1/2 and 2."""
    form = format_of(x)
    whole = x.type.integer.scalar
    bits = x.bitcast(whole) + (form.one_bits - form.root_half_bits)
    biased = bits >> form.mantissa
    k = (biased + (form.magic_bits - form.bias)).bitcast(x.type.scalar) - form.magic
    return k, ((bits & form.ones) + form.root_half_bits).bitcast(x.type.scalar)


def _parts(f: Function, x: Value) -> tuple[Value, Value]:
    """(k, m - 1) of a positive number, denormal ones too."""
    form = format_of(x)
    lift = form.mantissa + 1
    small = x < form.tiny
    k, m = _mantissa(f, f.select(small, x * 2.0**lift, x))
    return f.select(small, k - float(lift), k), m - 1.0


def _specials(f: Function, x: Value, found: Value) -> Value:
    """A logarithm of what is no positive finite number: of 0 it is -inf, below nan, of inf and nan those."""
    return pick(f, found, (x.compare("not_lt", _INF), x), (x.eq(0.0), -_INF), (x < 0.0, _NAN))


def log(f: Function, x: Value) -> Value:
    """The natural logarithm."""
    k, m = _parts(f, x)
    return _specials(f, x, _log_single(f, k, m) if format_of(x).single else _log_double(f, k, m))


def _log_single(f: Function, k: Value, m: Value) -> Value:
    high, low = format_of(m).ln2
    z = m * m
    rest = f.muladd(horner(f, m, c.LOG_SINGLE) * m, z, f.muladd(z, -0.5, f.muladd(k, low, m)))
    return f.muladd(k, high, rest)


def _series(f: Function, m: Value) -> tuple[Value, Value]:
    """(h, r): log(1 + m) is m - (h - r), with h = m**2 / 2."""
    s = m / (m + 2.0)
    z = s * s
    h = m * m * 0.5
    return h, s * f.muladd(horner(f, z, c.LOG), z, h)


def _log_double(f: Function, k: Value, m: Value, correction: Value | None = None) -> Value:
    """k log(2) + log(1 + m) + correction."""
    high, low = format_of(m).ln2
    h, r = _series(f, m)
    small = k * low if correction is None else f.muladd(k, low, correction)
    return k * high - ((h - (r + small)) - m)


def log1p(f: Function, x: Value) -> Value:
    """log(1 + x), exact near 0."""
    found = signed(f, _log1p_single(f, x) if format_of(x).single else _log1p_double(f, x), x)
    return pick(f, found, (x.compare("not_lt", _INF), x), (x.eq(-1.0), -_INF), (x < -1.0, _NAN))


def _log1p_single(f: Function, x: Value) -> Value:
    """1 + x is 2**k (1 + m); m is taken from x, not from the rounded sum: a multiple of 2**-k less an exact rest."""
    form, large = format_of(x), x > _LARGE
    x = f.select(large, x * 2.0**-32, x)  # so that 2**-k is a normal number
    bits = (x + 1.0).bitcast(x.type.integer.scalar) + (form.one_bits - form.root_half_bits)
    biased = bits >> form.mantissa
    k = (biased + (form.magic_bits - form.bias)).bitcast(x.type.scalar) - form.magic
    down = ((2 * form.bias - biased) << form.mantissa).bitcast(x.type.scalar)  # 2**-k
    return _log_single(f, f.select(large, k + 32.0, k), f.muladd(x, down, down - 1.0))


def _log1p_double(f: Function, x: Value) -> Value:
    """The rounding of 1 + x is put right."""
    u, error = two_sum(f.constant(x.type, 1.0), x)
    k, m = _mantissa(f, u)
    near = k.eq(0.0)
    m, correction = f.select(near, x, m - 1.0), f.select(near, 0.0, error / u)
    return _log_double(f, k, m, correction)


def _to_base(f: Function, x: Value, of_e: tuple[float, float], of_two: tuple[float, float]) -> Value:
    """A logarithm to another base; products of the upper parts are exact."""
    k, m = _parts(f, x)
    h, r = _series(f, m)
    high = upper(m - h, 32)
    low = ((m - high) - h) + r
    whole, error = two_sum(k * of_two[0], high * of_e[0])
    rest = (low + high) * of_e[1] + low * of_e[0] + k * of_two[1]
    return _specials(f, x, whole + (error + rest))


@through_double
def log2(f: Function, x: Value) -> Value:
    """The logarithm to base 2; of powers of 2 it is exact."""
    return _to_base(f, x, c.LOG2_E, (1.0, 0.0))


@through_double
def log10(f: Function, x: Value) -> Value:
    """The logarithm to base 10."""
    return _to_base(f, x, c.LOG10_E, c.LOG10_2)


def _doubled(f: Function, x: Value, argument: Value) -> Value:
    """log(1 + argument), but for a large x log(2x)."""
    large = x > _LARGE
    return log1p(f, f.select(large, x, argument)) + f.select(large, f.constant(x.type, math.log(2)), 0.0)


@through_double
def asinh(f: Function, x: Value) -> Value:
    """The inverse of sinh."""
    a, z = absolute(f, x), x * x
    return signed(f, _doubled(f, a, a + z / (f.apply("sqrt", z + 1.0) + 1.0)), x)


@through_double
def acosh(f: Function, x: Value) -> Value:
    """The inverse of cosh; below 1 nan."""
    t = x - 1.0
    return f.select(x < 1.0, _NAN, _doubled(f, x, t + f.apply("sqrt", f.muladd(t, t, t + t))))


@through_double
def atanh(f: Function, x: Value) -> Value:
    """The inverse of tanh."""
    a = absolute(f, x)
    return signed(f, log1p(f, (a + a) / (1.0 - a)) * 0.5, x)


def _log_two_parts(f: Function, x: Value) -> tuple[Value, Value]:
    """The natural logarithm of a positive finite number as a sum, with an error below 2**-65 of it."""
    k, m = _parts(f, x)
    below, below_low = two_sum(m, f.constant(m.type, 2.0))
    s = m / below
    product, error = two_product(f, s, below)
    s_low = (((m - product) - error) - s * below_low) / below
    z, z_low = two_product(f, s, s)
    z_low = f.muladd(s + s, s_low, z_low)
    third, third_low = quick_two_sum(f.constant(m.type, 1 / 3), horner(f, z, c.LOG_REST) * z)
    third_low = third_low + 1.850371707708594e-17
    g, g_low = two_product(f, z, third)
    g_low = g_low + (z * third_low + z_low * third)
    h, h_low = two_product(f, s, g)
    h_low = h_low + (s * g_low + s_low * g)
    a, a_low = quick_two_sum(s, h)
    a_low = a_low + (h_low + s_low)
    high, low = format_of(x).ln2
    total, rest = two_sum(k * high, a + a)
    return quick_two_sum(total, rest + (a_low + a_low + k * low))


@through_double
def _power(f: Function, a: Value, y: Value) -> Value:
    """a**y of a positive finite number."""
    high, low = _log_two_parts(f, a)
    product, error = two_product(f, y, high)
    held = clamp(f, product, -746.0, 710.0)
    rest = f.select(held.eq(product), f.muladd(y, low, error), 0.0)
    parts = split(f, held, rest)
    return scale(f, parts.q + 1.0, parts.n, parts.i)


@through_double
def _power_single(f: Function, a: Value, y: Value) -> Value:
    """a**y of float32 numbers: a logarithm in float64 is exact enough."""
    return exp(f, log(f, a) * y)


def pow(f: Function, x: Value, y: Value) -> Value:
    """x**y, with the cases of ISO C's annex F."""
    a = absolute(f, x)
    zero, infinite = a.eq(0.0), a.eq(_INF)
    held = clamp(f, y, -(2.0**70), 2.0**70)
    base = f.select(zero | infinite, 1.0, a)
    found = _power_single(f, base, held) if format_of(x).single else _power(f, base, held)
    whole = f.apply("trunc", y).eq(y)
    half = y * 0.5
    odd = whole & f.apply("trunc", half).ne(half)
    down = y < 0.0
    found = pick(
        f, found, (zero, f.select(down, f.constant(x.type, _INF), 0.0)),
        (infinite, f.select(down, f.constant(x.type, 0.0), _INF)), ((x < 0.0) & ~whole & x.ne(-_INF), _NAN),
    )  # fmt: skip
    found = f.select(negative(x) & odd, -found, found)
    return pick(f, found, (x.compare("unordered", y), _NAN), (y.eq(0.0) | x.eq(1.0), 1.0))
