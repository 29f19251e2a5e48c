"""Numbers as they are stored and as they are computed with, and the casts between them.

A bool is a byte of 0 or 1 in memory and a bit in registers; float16 and bfloat16 are float32 in registers, the way
back rounds to nearest even. No cast is undefined: what an integer cannot hold becomes some integer, the one that
NumPy gives on x86.
"""

from __future__ import annotations

from typing import Final

from flambeau.backends.llvm.ir import Function, Operand, Value
from flambeau.backends.llvm.types import F16, F32, F64, I1, I8, I16, I32, I64, Type
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: The type of a register lane that holds a number of a dtype,
REGISTER: Final[dict[DType, Type]] = {
    dt.bool_: I1, dt.uint8: I8, dt.int8: I8, dt.uint16: I16, dt.int16: I16, dt.uint32: I32, dt.int32: I32,
    dt.uint64: I64, dt.int64: I64, dt.float16: F32, dt.bfloat16: F32, dt.float32: F32, dt.float64: F64,
}  # fmt: skip
#: and the type of its memory.
STORED: Final[dict[DType, Type]] = REGISTER | {dt.bool_: I8, dt.float16: I16, dt.bfloat16: I16}


def load(f: Function, dtype: DType, lanes: int, pointer: Value, index: Operand = 0) -> Value:
    """``lanes`` numbers from memory, in registers."""
    return widen(f.load(STORED[dtype].vector(lanes), pointer, index), dtype)


def store(x: Value, dtype: DType, pointer: Value, index: Operand = 0, align: int = 0, streaming: bool = False) -> None:
    """Registers to memory; the index counts numbers."""
    x.function.store(narrow(x, dtype), pointer, index, align, streaming)


def widen(x: Value, dtype: DType) -> Value:
    """What was loaded, in the form to compute with."""
    if dtype is dt.bool_:
        return x.ne(0)
    if dtype is dt.bfloat16:
        return (x.zext(I32) << 16).bitcast(F32)
    if dtype is dt.float16:
        return x.bitcast(F16).convert("fpext", F32) if x.function.target.half else _from_half(x)
    return x


def narrow(x: Value, dtype: DType) -> Value:
    """The form in which it is stored; a float64 goes to float16 in one rounding."""
    if dtype is dt.bool_:
        return x.zext(I8)
    if dtype is dt.float16:
        if x.type.scalar == F64:
            x = _to_odd(x)
        return x.convert("fptrunc", F16).bitcast(I16) if x.function.target.half else _to_half(x)
    if dtype is dt.bfloat16:
        return _to_bfloat(x.convert("fptrunc", F32) if x.type.scalar == F64 else x)
    return x


def cast(x: Value, source: DType, to: DType) -> Value:
    """A register of ``source`` as one of ``to``: to bool compares with 0, a float to an integer truncates."""
    t = REGISTER[to]
    if x.type.scalar == t:
        return x
    if to is dt.bool_:
        return x.ne(0)
    if x.type.kind == "float":
        if t.kind == "float":
            return x.convert("fpext" if t.bits > x.type.bits else "fptrunc", t)
        return _to_int(x, to)
    if t.kind == "float":
        return x.convert("sitofp" if source.is_signed else "uitofp", t)
    if t.bits < x.type.bits:
        return x.trunc(t)
    return x.sext(t) if source.is_signed else x.zext(t)


def truncated(x: Value, to: Type) -> Value:
    """Towards zero as a signed integer; of nan and of what is too large some integer, not LLVM's poison."""
    found = x.convert("fptosi", to)
    return x.function.emit(found.type, f"freeze {found.type} {found.text}")


def _to_int(x: Value, to: DType) -> Value:
    t = REGISTER[to]
    if t.bits < 32:  # what is too large wraps
        return truncated(x, I32).trunc(t)
    if to.is_signed:
        return truncated(x, t)
    half = float(1 << t.bits - 1)
    f = x.function
    large = x >= half
    low = truncated(f.select(large, x - half, x), t)
    return f.select(large, low ^ -(1 << t.bits - 1), low)


def _to_bfloat(x: Value) -> Value:
    bits = x.bitcast(I32)
    upper = bits >> 16
    rounded = (bits + ((upper & 1) + 0x7FFF)) >> 16
    return x.function.select(x.is_nan(), upper | 0x40, rounded).trunc(I16)


def _to_odd(x: Value) -> Value:
    """A float64 as float32 towards zero, its last bit set where that was not exact: rounding it again is right."""
    f = x.function
    y = x.convert("fptrunc", F32)
    back = y.convert("fpext", F64)
    bits = y.bitcast(I32)
    bits = f.select(f.apply("fabs", back) > f.apply("fabs", x), bits - 1, bits)
    odd = f.select(back < x, bits | 1, f.select(back > x, bits | 1, bits))
    return odd.bitcast(F32)


def _from_half(x: Value) -> Value:
    """A float16's bits as float32 by integers: the exponent is moved, a denormal renormalised by a subtraction.

    The way of Fabian Giesen's ``half_to_float_fast5``.
    """
    f = x.function
    wide = x.zext(I32)
    bits = (wide & 0x7FFF) << 13
    exponent = bits & (0x7C00 << 13)
    bits = bits + (112 << 23)
    bits = f.select(exponent.eq(0x7C00 << 13), bits + (112 << 23), bits)
    least = f.constant(F32.like(x.type), 2.0**-14)
    small = ((bits + (1 << 23)).bitcast(F32) - least).bitcast(I32)
    bits = f.select(exponent.eq(0), small, bits)
    return (bits | ((wide & 0x8000) << 16)).bitcast(F32)


def _to_half(x: Value) -> Value:
    """A float32 as float16's bits by integers, to nearest even: ``float_to_half_fast3_rtne`` of Fabian Giesen."""
    f = x.function
    raw = x.bitcast(I32)
    bits = raw & 0x7FFFFFFF
    size = bits.bitcast(F32)
    small = (size + 0.5).bitcast(I32) - f.constant(I32.like(x.type), 0x3F000000)  # the sum rounds to a float16's step
    normal = (bits - (112 << 23) + ((bits >> 13) & 1) + 0xFFF) >> 13
    found = f.select(size < 2.0**-14, small, normal)
    found = f.select(size >= 65536.0, 0x7C00, found)
    found = f.select(x.is_nan(), 0x7E00, found)
    return (found | ((raw >> 16) & 0x8000)).trunc(I16)
