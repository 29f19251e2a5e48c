"""The bits of floating numbers, by arithmetic: ONNX reads them as such from opset 26 on only."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.core import dtype as dt
from flambeau.onnx.errors import Unmapped
from flambeau.onnx.table import maps
from flambeau.onnx.writer import Call

_LEAST, _BIAS, _MANTISSA = -126, 127, 23


def _one(call: Call, number: float | int, kind: Any) -> str:
    return call.constant(np.array(number, kind))


def negative(call: Call, x: str) -> str:
    """Whether the sign is minus, also that of zero."""
    zero = call.writer.number(0.0, call.value(0).dtype)
    below = call.emit("Less", call.emit("Reciprocal", x), zero)
    return str(call.emit("Or", call.emit("Less", x, zero), call.emit("And", call.emit("Equal", x, zero), below)))


@maps("view_dtype")
def view_dtype(call: Call, x: str) -> str:
    """float32 as the int32 of its bits, and back."""
    pair = call.value(0).dtype, call.dtype
    if pair == (dt.float32, dt.int32):
        return _to_bits(call, x)
    if pair == (dt.int32, dt.float32):
        return _from_bits(call, x)
    raise Unmapped(f"{pair[0].name} as {pair[1].name}")


def _to_bits(call: Call, x: str) -> str:
    """Exponent and mantissa in float64, in which both are exact."""
    emit, minus = call.emit, negative(call, x)
    wide = emit("Abs", call.cast(x, dt.float64))
    two, one, zero = (_one(call, n, np.float64) for n in (2.0, 1.0, 0.0))
    least = _one(call, 2.0**_LEAST, np.float64)
    finite = emit("Not", emit("Or", emit("IsNaN", x), emit("IsInf", x)))
    normal = emit("And", emit("GreaterOrEqual", wide, least), finite)
    safe = emit("Where", normal, wide, one)
    guess = emit("Floor", emit("Div", emit("Log", safe), _one(call, np.log(2.0), np.float64)))
    part = emit("Div", safe, emit("Pow", two, guess))
    high, low = emit("GreaterOrEqual", part, two), emit("Less", part, one)
    exponent = emit("Sub", emit("Add", guess, call.cast(high, dt.float64)), call.cast(low, dt.float64))
    part = emit("Sub", emit("Div", safe, emit("Pow", two, exponent)), one)
    unit = _one(call, 2.0**_MANTISSA, np.float64)
    bits = emit("Mul", emit("Add", emit("Add", exponent, _one(call, float(_BIAS), np.float64)), part), unit)
    small = emit("Mul", wide, _one(call, 2.0 ** (_MANTISSA - _LEAST), np.float64))
    small = emit("Where", finite, small, zero)
    odd = emit("Where", emit("IsNaN", x), _one(call, 0x7FC00000, np.int64), _one(call, 0x7F800000, np.int64))
    whole = emit("Where", finite, call.cast(emit("Where", normal, bits, small), dt.int64), odd)
    signed = emit("Sub", whole, emit("Mul", call.cast(minus, dt.int64), _one(call, 2**31, np.int64)))
    return call.cast(signed, dt.int32)


def _from_bits(call: Call, x: str) -> str:
    """The number that an exponent and a mantissa are."""
    emit, wide = call.emit, call.cast(x, dt.int64)
    zero, top, unit = (_one(call, n, np.int64) for n in (0, 2**31, 2**_MANTISSA))
    minus = emit("Less", wide, zero)
    bits = emit("Where", minus, emit("Add", wide, top), wide)
    rest = emit("Mod", bits, unit)
    exponent = emit("Div", emit("Sub", bits, rest), unit)
    part = emit("Div", call.cast(rest, dt.float64), _one(call, 2.0**_MANTISSA, np.float64))
    normal, odd = emit("Greater", exponent, zero), emit("Equal", exponent, _one(call, 255, np.int64))
    part = emit("Add", part, call.cast(normal, dt.float64))
    power = emit("Max", emit("Sub", exponent, _one(call, _BIAS, np.int64)), _one(call, _LEAST, np.int64))
    value = emit("Mul", part, emit("Pow", _one(call, 2.0, np.float64), call.cast(power, dt.float64)))
    none = emit("Greater", rest, zero)
    inf = emit("Where", none, _one(call, np.nan, np.float64), _one(call, np.inf, np.float64))
    value = emit("Where", odd, inf, value)
    signed = emit("Where", minus, emit("Neg", value), value)
    return call.cast(signed, dt.float32)


@maps("signbit")
def signbit(call: Call, x: str) -> str:
    """Whether the sign is minus."""
    if not call.value(0).dtype.is_floating_point:
        raise Unmapped("whole numbers")
    return negative(call, x)
