"""What can be computed before there are any elements: constants, limits of a type, small powers."""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable
from typing import Any, Final

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr.syntax import ExprError

Literal = bool | int | float

_MANTISSA: Final = {dt.float16: 10, dt.bfloat16: 7, dt.float32: 23, dt.float64: 52}
_BIAS: Final = {dt.float16: 15, dt.bfloat16: 127, dt.float32: 127, dt.float64: 1023}

_FOLDS: Final[dict[str, Callable[..., Any]]] = {
    "neg": operator.neg, "abs": abs, "exp": math.exp, "log": math.log, "sqrt": math.sqrt,
    "sin": math.sin, "cos": math.cos, "floor": lambda x: type(x)(math.floor(x)),
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "idiv": operator.floordiv, "remainder": operator.mod, "fmod": math.fmod, "pow": operator.pow,
    "maximum": max, "minimum": min, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "eq": operator.eq, "ne": operator.ne, "bitwise_and": operator.and_, "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor, "shl": operator.lshift, "shr": operator.rshift,
    "logical_and": lambda x, y: bool(x) and bool(y), "logical_or": lambda x, y: bool(x) or bool(y),
    "logical_xor": lambda x, y: bool(x) != bool(y), "logical_not": operator.not_, "to_int": int,
}  # fmt: skip


def fold(fn: str, args: tuple[Any, ...]) -> Literal | None:
    """The value of ``fn`` on literals, None when it is left to the target (a domain error, say)."""
    known = _FOLDS.get(fn)
    if known is None:
        return None
    try:
        value = known(*args)
    except (ArithmeticError, ValueError, TypeError):
        return None
    return value if isinstance(value, bool | int | float) else None


def limit(name: str, dtype: DType | None) -> Literal:
    """A constant of the compute type ``dtype``."""
    if dtype is None:
        raise ExprError(f"constant {name!r} belongs to a dtype: say which one the expression computes in")
    real = dtype.to_real()
    if real.is_floating_point:
        if name == "mantissa":
            return _MANTISSA[real]
        if name == "bias":
            return _BIAS[real]
        value: float = getattr(dt.finfo(real), name)
        return value
    if name == "max" and real is not dt.bool_:
        return dt.iinfo(real).max
    raise ExprError(f"constant {name!r} has no meaning for {dtype}")


def power_steps(exponent: Any) -> int | None:
    """The exponent when ``x ** exponent`` is best written as products: 2, 3 or 4."""
    return int(exponent) if type(exponent) in (int, float) and exponent in (2, 3, 4) else None


def bitcast(fn: str, value: Literal, dtype: DType | None) -> Literal:
    """``bitcast_int`` or ``bitcast_float`` of a literal of the compute type ``dtype``."""
    if dtype is None or dtype.to_real() not in (dt.float32, dt.float64):
        raise ExprError(f"{fn} of a literal needs a compute type of float32 or float64, got {dtype}")
    integer, real = ("<i", "<f") if dtype.to_real() is dt.float32 else ("<q", "<d")
    from_, to = (integer, real) if fn == "bitcast_float" else (real, integer)
    result: Literal = struct.unpack(to, struct.pack(from_, value))[0]
    return result
