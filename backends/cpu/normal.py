"""Normal numbers by Box and Muller as expressions whose steps numpy and machine code round alike.

They call no logarithm, sine or cosine, which every library rounds in its own way, but have polynomials, without a fused
multiply-add: small draws, which numpy makes, and large ones are the same numbers on every processor.

The angle is taken in turns, of which whole quarters are exact. Coefficients are those of
:mod:`flambeau.backends.llvm.maths.coefficients`, which this module, part of small work, does not import.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, parse

Array = Any

LOG_SINGLE: Final = (
    0.33333331180030046, -0.24999996957950882, 0.200007157488921, -0.16667802319501254, 0.1424905764569748,
    -0.12425687331451106, 0.1168541992348674, -0.11479733846637635, 0.06971611471451178,
)  # fmt: skip
LOG: Final = (
    0.6666666666666666, 0.4000000000000088, 0.28571428570803614, 0.22222222391713917, 0.181817956401329,
    0.15386239702814888, 0.13268773138651677, 0.13086626147887312,
)  # fmt: skip
SIN_SINGLE: Final = (-0.16666666663853044, 0.008333331873837089, -0.00019840086263755438, 2.7249864655139085e-06)
SIN: Final = (
    -0.16666666666666666, 0.008333333333333331, -0.0001984126984126506, 2.7557319219335453e-06,
    -2.5052106231157904e-08, 1.6058531414589008e-10, -7.586685070091169e-13,
)  # fmt: skip
COS_SINGLE: Final = (0.04166666666431933, -0.0013888887671288108, 2.4800599983531705e-05, -2.7300908167996124e-07)
COS: Final = (
    0.041666666666666664, -0.0013888888888888887, 2.4801587301584645e-05, -2.755731922140076e-07,
    2.0876755790363397e-09, -1.1470460773969324e-11, 4.745865203787401e-14,
)  # fmt: skip


class Steps(NamedTuple):
    """A normal pair from uniform numbers u and v in [0, 1): radius(u) times cosine(v) and times sine(v)."""

    radius: Expr
    cosine: Expr
    sine: Expr


def _polynomial(x: str, coefficients: Sequence[float]) -> str:
    """The constant comes first."""
    text = repr(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        text = f"({text} * {x} + {c!r})"
    return text


def _mantissa(one: int, root_half: int, digits: int) -> str:
    """x = 1 - u as 2**k (1 + m), between the roots of 1/2 and 2; it is 2**-digits at least, so never denormal."""
    return (
        f"let x = 1 - u; let b = bitcast_int(x) + {one - root_half}; let k = (b >> {digits}) - {one >> digits}; "
        f"let m = bitcast_float((b & {(1 << digits) - 1}) + {root_half}) - 1; "
    )


def _turned(quarters: int, top: int, sine: Sequence[float], cosine: Sequence[float]) -> str:
    """The sine of v turns and so many quarters; ``top`` is the place of the sign bit."""
    return (
        "let n = floor(v * 4 + 0.5); let r = (v * 4 - n) * 1.5707963267948966; let z = r * r; "
        f"let q = to_int(n) + {quarters}; let s = {_polynomial('z', sine)} * z * r + r; "
        f"let c = {_polynomial('z', cosine)} * z * z + (1 - 0.5 * z); "
        f"bitcast_float(bitcast_int(c if (q & 1) == 1 else s) ^ ((q & 2) << {top - 1}))"
    )


@cache
def steps(dtype: DType) -> Steps:
    """The expressions for float32 or float64."""
    if dtype is dt.float64:
        radius = (
            f"{_mantissa(0x3FF0000000000000, 0x3FE6A09E667F3BCD, 52)} let s = m / (m + 2); let z = s * s; "
            f"let h = 0.5 * m * m; let p = s * (h + z * {_polynomial('z', LOG)}); "
            "sqrt(-2 * (k * 0.6931471803691238 - ((h - (p + k * 1.9082149292705877e-10)) - m)))"
        )
        turned = [parse(_turned(quarters, 63, SIN, COS), ("v",)) for quarters in (1, 0)]
    else:
        radius = (
            f"{_mantissa(0x3F800000, 0x3F3504F3, 23)} let z = m * m; "
            f"let rest = {_polynomial('m', LOG_SINGLE)} * m * z + (z * -0.5 + (k * -2.1219444005469057e-4 + m)); "
            "sqrt(-2 * (k * 0.693359375 + rest))"
        )
        turned = [parse(_turned(quarters, 31, SIN_SINGLE, COS_SINGLE), ("v",)) for quarters in (1, 0)]
    return Steps(parse(radius, ("u",)), *turned)


@cache
def _functions(dtype: DType) -> tuple[Any, ...]:
    from flambeau.core.expr.arrays import to_numpy  # at the first normal numbers

    return tuple(to_numpy(e, "normal", (dtype,), dtype) for e in steps(dtype))


def pairs(u: Array, v: Array) -> tuple[Array, Array]:
    """The two normal numbers of each pair of uniform ones: float32 or float64 arrays of one shape."""
    radius, cosine, sine = _functions(dt.from_numpy(u.dtype))
    length = radius(u)
    return length * cosine(v), length * sine(v)
