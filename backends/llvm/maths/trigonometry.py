"""Sine, cosine, tangent, and their inverses.

Arguments are reduced by multiples of pi/2 whose product is exact (W. J. Cody and W. Waite), and beyond 2**20 with the
binary digits of 2/pi (M. H. Payne and R. N. Hanek, "Radian reduction for trigonometric functions", SIGNUM Newsletter
18, 1983), one lane after the other. float32 is computed in float64.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.maths import coefficients as c
from flambeau.backends.llvm.maths.arithmetic import (
    absolute,
    any_lane,
    format_of,
    horner,
    negative,
    pick,
    quick_two_sum,
    signed,
    through_double,
    two_product,
    two_sum,
)  # fmt: skip
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.types import F32, F64, I64, PTR, Type

_LIMIT = 2.0**20
_I128 = Type("i128", "int", 128)
#: pi and pi/2 in two parts
_PI = (math.pi, 1.2246467991473532e-16)
_HALF_PI = (math.pi / 2, 6.123233995736766e-17)


class Reduced(NamedTuple):
    """An angle: ``quarter`` times pi/2 plus r plus, where it counts, ``low``."""

    quarter: Value
    r: Value
    low: Value | None


def _reduced(f: Function, x: Value, short: bool) -> Reduced:
    """An angle of float64; ``short`` where it was a float32, which needs no second part."""
    form = format_of(x)
    shifted = f.muladd(x, 2 / math.pi, form.magic)
    n = shifted - form.magic
    a, b, d, e = c.HALF_PI
    first = x - n * a
    if short:
        r, low = first - n * (b + d), f.constant(x.type, 0.0)
    else:
        r, low = two_sum(first, n * -b)
        r, more = two_sum(r, n * -d)
        r, low = quick_two_sum(r, (low + more) - n * e)
    results = [f.variable(x.type, r), f.variable(x.type, low)]
    quarter = f.variable(x.type.integer, shifted.bitcast(I64) - form.magic_bits)
    size = absolute(f, x)
    large = (size >= _LIMIT) & (size < math.inf)
    with f.when(any_lane(f, large), likely=False):
        memory = [f.buffer(x.type.bytes) for _ in range(4)]
        for value, where in zip((x, r, low, quarter.now), memory, strict=True):
            f.store(value, where)
        f.call(_reduce_lanes(f.module), *memory, x.type.lanes)
        for variable, where in zip((*results, quarter), memory[1:], strict=True):
            variable.set(f.load(variable.type, where))
    return Reduced(quarter.now, results[0].now, None if short else results[1].now)


def _reduce_lanes(module: Module) -> Function:
    """The function of a module that reduces the large ones of some angles: (x, r, low, quarter, count)."""
    name = "reduce_angles"
    known = module.functions.get(name)
    if isinstance(known, Function):
        return known
    g = Function(module, name, [PTR, PTR, PTR, PTR, I64], internal=True)
    x, r, low, quarter, count = g.args
    for i in g.range(0, count):
        size = absolute(g, g.load(F64, x, i))
        with g.when((size >= _LIMIT) & (size < math.inf)):
            turned, first, second = _by_digits(g, size)
            minus = g.load(F64, x, i) < 0.0
            g.store(g.select(minus, -turned, turned), quarter, i)
            g.store(g.select(minus, -first, first), r, i)
            g.store(g.select(minus, -second, second), low, i)
    g.ret()
    return g


def _by_digits(g: Function, x: Value) -> tuple[Value, Value, Value]:
    """(quarter, r, low) of a number from 2**20 on: its mantissa times those digits of 2/pi that are no whole turns."""
    bits = x.bitcast(I64)
    exponent = (bits >> 52) - 1075
    mantissa = (bits & (1 << 52) - 1) | 1 << 52
    start = exponent + 62  # the first digit that counts is worth 2 quarters; a word of zeros comes first
    word, shift = start >> 6, start & 63
    table = g.table(I64, c.TWO_OVER_PI)
    digits = [g.load(I64, table, word + i) for i in range(4)]
    wide = [(d.zext(_I128) << 64) | e.zext(_I128) for d, e in pairwise(digits)]
    high, middle, last = ((w << shift.zext(_I128)) >> 64 for w in wide)  # 192 digits, 64 in each
    m = mantissa.zext(_I128)
    sums = [m * last]
    sums.append(m * middle + (sums[0] >> 64))
    sums.append(m * high + (sums[1] >> 64))
    top, second, third = (s.trunc(I64) for s in reversed(sums))
    fraction = (top << 2) | (second >> 62)
    quarter = (top >> 62) + (fraction >> 63)  # to the nearest
    rest = (second << 2) | (third >> 62)
    half = 0xFFFFFFFF
    pieces = [fraction.ashr(32), fraction & half, rest >> 32, rest & half]
    parts = [p.convert("sitofp", F64) * 2.0 ** (-32 * (i + 1)) for i, p in enumerate(pieces)]
    turn, error = two_sum(parts[0], parts[1])
    turn, error = two_sum(turn, error + (parts[2] + parts[3]))
    product, product_error = two_product(g, turn, g.constant(F64, _HALF_PI[0]))
    product_error = product_error + (turn * _HALF_PI[1] + error * _HALF_PI[0])
    first, low = quick_two_sum(product, product_error)
    return quarter, first, low


def _sine(f: Function, r: Value, low: Value | None) -> Value:
    z = r * r
    if low is None:
        return f.muladd(horner(f, z, c.SIN_SINGLE) * z, r, r)
    return f.muladd(r * z, horner(f, z, c.SIN), f.muladd(low, f.muladd(z, -0.5, 1.0), 0.0)) + r


def _cosine(f: Function, r: Value, low: Value | None) -> Value:
    z = r * r
    if low is None:
        return f.muladd(z * z, horner(f, z, c.COS_SINGLE), f.muladd(z, -0.5, 1.0))
    half = z * 0.5
    first = 1.0 - half
    return first + (((1.0 - first) - half) + (horner(f, z, c.COS) * z * z - r * low))


def _turned(f: Function, x: Value, quarters: int) -> Value:
    """The sine of x plus quarters of a turn."""
    short = format_of(x).single
    angle = _reduced(f, x.convert("fpext", F64) if short else x, short)
    quarter = angle.quarter + quarters
    sine, cosine = _sine(f, angle.r, angle.low), _cosine(f, angle.r, angle.low)
    found = f.select((quarter & 1).eq(0), sine, cosine)
    found = ((quarter & 2) << 62 ^ found.bitcast(I64)).bitcast(F64)
    return found.convert("fptrunc", F32) if short else found


def sin(f: Function, x: Value) -> Value:
    """The sine of an angle in radians, of any size."""
    return f.select(x.eq(0.0), x, _turned(f, x, 0))


def cos(f: Function, x: Value) -> Value:
    """The cosine."""
    return _turned(f, x, 1)


def tan(f: Function, x: Value) -> Value:
    """The tangent."""
    short = format_of(x).single
    angle = _reduced(f, x.convert("fpext", F64) if short else x, short)
    sine, cosine = _sine(f, angle.r, angle.low), _cosine(f, angle.r, angle.low)
    even = (angle.quarter & 1).eq(0)
    found = f.select(even, sine, -cosine) / f.select(even, cosine, sine)
    return f.select(x.eq(0.0), x, found.convert("fptrunc", F32) if short else found)


def _angle(f: Function, a: Value, b: Value) -> Value:
    """The arc tangent of a / b, neither negative: of their ratio below 1, or of that turned by pi/4."""
    steep = a > b
    large, small = f.select(steep, a, b), f.select(steep, b, a)
    factor = f.select(large > 2.0**1000, f.constant(a.type, 2.0**-100), 1.0)
    large, small = large * factor, small * factor
    turned = small > large * math.tan(math.pi / 8)
    below = f.select(turned, small + large, large)
    t = f.select(turned, small - large, small) / f.select(below.eq(0.0), 1.0, below)
    z = t * t
    found = f.muladd(t * z, horner(f, z, c.ATAN), t)
    found = f.select(turned, (found + _HALF_PI[1] / 2) + _HALF_PI[0] / 2, found)
    return f.select(steep, _HALF_PI[0] - (found - _HALF_PI[1]), found)


@through_double
def atan(f: Function, x: Value) -> Value:
    """The angle between -pi/2 and pi/2 with this tangent."""
    a = absolute(f, x)
    infinite = a.eq(math.inf)
    found = _angle(f, f.select(infinite, 1.0, a), f.select(infinite, f.constant(x.type, 0.0), 1.0))
    return signed(f, found, x)


@through_double
def atan2(f: Function, y: Value, x: Value) -> Value:
    """The angle of the point (x, y), between -pi and pi."""
    a, b = absolute(f, y), absolute(f, x)
    far = a.eq(math.inf) | b.eq(math.inf)
    a, b = (f.select(far, f.select(v.eq(math.inf), f.constant(y.type, 1.0), 0.0), v) for v in (a, b))
    found = _angle(f, a, b)
    found = f.select(negative(x), _PI[0] - (found - _PI[1]), found)
    return pick(f, signed(f, found, y), (x.compare("unordered", y), x + y))


def _arc(f: Function, x: Value) -> tuple[Value, Value]:
    """(whether abs(x) is below 0.5, the arc sine of it or else of sqrt((1 - abs(x)) / 2))."""
    a = absolute(f, x)
    near = a < 0.5
    z = f.select(near, a * a, (1.0 - a) * 0.5)
    s = f.select(near, a, f.apply("sqrt", z))
    return near, f.muladd(s * z, horner(f, z, c.ASIN), s)


@through_double
def asin(f: Function, x: Value) -> Value:
    """The angle between -pi/2 and pi/2 with this sine."""
    near, s = _arc(f, x)
    return signed(f, f.select(near, s, _HALF_PI[0] - (s + s - _HALF_PI[1])), x)


@through_double
def acos(f: Function, x: Value) -> Value:
    """The angle between 0 and pi with this cosine."""
    near, s = _arc(f, x)
    twice = s + s
    far = f.select(x < 0.0, _PI[0] - (twice - _PI[1]), twice)
    return f.select(near, _HALF_PI[0] - (signed(f, s, x) - _HALF_PI[1]), far)
