"""Vector mathematics: functions that write code for values of float32 and float64, in any number of lanes.

``FUNCTIONS`` has them by the names of the expression language, ``BOUNDS`` says how far their results may be from the
exact ones, in units in the last place (of the exact result in that format; denormal ones have the spacing of their
kind). nan, infinities, signed zeros and denormal numbers are as in ISO C. No function calls the C library.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from flambeau.backends.llvm.maths.arithmetic import VectorFunction, signed
from flambeau.backends.llvm.maths.division import (
    ceil,
    floor,
    fmod,
    hypot,
    idiv,
    remainder,
    round_half_even,
    rsqrt,
    sqrt,
    trunc,
)  # fmt: skip
from flambeau.backends.llvm.maths.exponential import (
    cosh,
    exp,
    exp2,
    exp_nonpositive,
    expm1,
    sigmoid,
    sinh,
    tanh,
)  # fmt: skip
from flambeau.backends.llvm.maths.logarithm import acosh, asinh, atanh, log, log1p, log2, log10, pow
from flambeau.backends.llvm.maths.normal import erf, erfc, gelu, ndtr
from flambeau.backends.llvm.maths.trigonometry import acos, asin, atan, atan2, cos, sin, tan
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

__all__ = [
    "BOUNDS", "FUNCTIONS", "Bound", "VectorFunction", "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh",
    "ceil", "cos", "cosh", "erf", "erfc", "exp", "exp2", "exp_nonpositive", "expm1", "floor", "fmod", "gelu", "hypot",
    "idiv", "log", "log1p", "log2", "log10", "native", "ndtr", "pow", "remainder", "round_half_even", "rsqrt",
    "sigmoid", "sin", "sinh", "sqrt", "tan", "tanh", "trunc",
]  # fmt: skip


class Bound(NamedTuple):
    """The largest error of a function in units in the last place; 0 where it is exact, 0.5 where it is the nearest."""

    single: float
    double: float


#: (function, its largest error in float32 and in float64)
_TABLE: Final[dict[str, tuple[VectorFunction, float, float]]] = {
    "exp": (exp, 2, 2), "exp2": (exp2, 2, 4), "expm1": (expm1, 1, 4), "log": (log, 2, 2), "log2": (log2, 1, 4),
    "log10": (log10, 1, 4), "log1p": (log1p, 2, 4), "pow": (pow, 1, 2),
    "sin": (sin, 1, 2), "cos": (cos, 1, 2), "tan": (tan, 1, 4), "asin": (asin, 1, 4), "acos": (acos, 1, 4),
    "atan": (atan, 1, 4), "atan2": (atan2, 1, 4),
    "sinh": (sinh, 1, 4), "cosh": (cosh, 1, 4), "tanh": (tanh, 2, 2), "asinh": (asinh, 1, 4), "acosh": (acosh, 1, 4),
    "atanh": (atanh, 1, 4),
    "erf": (erf, 2, 2), "erfc": (erfc, 4, 4), "sigmoid": (sigmoid, 2, 4), "gelu": (gelu, 2.5, 4), "ndtr": (ndtr, 4, 4),
    "sqrt": (sqrt, 0.5, 0.5), "rsqrt": (rsqrt, 2, 2), "hypot": (hypot, 1, 2),
    "floor": (floor, 0, 0), "ceil": (ceil, 0, 0), "trunc": (trunc, 0, 0), "round": (round_half_even, 0, 0),
    "round_half_even": (round_half_even, 0, 0), "copysign": (signed, 0, 0),
    "fmod": (fmod, 0, 0), "remainder": (remainder, 0.5, 0.5), "idiv": (idiv, 0, 0),
}  # fmt: skip

FUNCTIONS: Final[dict[str, VectorFunction]] = {name: row[0] for name, row in _TABLE.items()}
BOUNDS: Final[dict[str, Bound]] = {name: Bound(*row[1:]) for name, row in _TABLE.items()}


def native(name: str, dtype: DType) -> bool:
    """Whether the functions here have ``name`` for a dtype: what ``lower`` asks."""
    return name in FUNCTIONS and dtype in (dt.float32, dt.float64)
