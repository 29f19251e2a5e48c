"""Integer arithmetic that no operand can bring to fall: what the instructions leave undefined has a value here."""

from __future__ import annotations

from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.maths.arithmetic import any_lane
from flambeau.backends.llvm.types import F32, F64, I32


def quotient(a: Value, b: Value, signed: bool) -> Value:
    """Towards zero; 0 where ``b`` is 0, and the least number over -1 wraps.

    Up to 32 bits it is the division of floats of more than twice the digits, which has an instruction for vectors
    and is exact: a quotient that is not whole is further from the next whole number than it is rounded.
    """
    f, bits = a.function, a.type.bits
    zero = b.eq(0)
    safe = f.select(zero, 1, b)
    if signed:
        minus = b.eq(-1)
        safe = f.select(minus, 1, safe)
    if bits == 64:
        found = a.sdiv(safe) if signed else a // safe
    else:
        wide = F64 if bits == 32 else F32
        to, back = ("sitofp", "fptosi") if signed else ("uitofp", "fptoui")
        whole = (a.convert(to, wide) / safe.convert(to, wide)).convert(back, I32)
        found = whole.trunc(a.type.scalar)
    if signed:
        found = f.select(minus, -a, found)
    return f.select(zero, 0, found)


def remainder(a: Value, b: Value, signed: bool) -> Value:
    """What :func:`quotient` leaves, with the sign of ``a``; 0 where ``b`` is 0."""
    return a.function.select(b.eq(0), 0, a - quotient(a, b, signed) * b)


def floor_divide(a: Value, b: Value, signed: bool) -> Value:
    """The quotient rounded down; 0 where ``b`` is 0."""
    found = quotient(a, b, signed)
    if not signed:
        return found
    rest = a - found * b
    f = a.function
    lower = rest.ne(0) & ((rest ^ b) < 0) & b.ne(0)
    return f.select(lower, found - 1, found)


def modulo(a: Value, b: Value, signed: bool) -> Value:
    """What :func:`floor_divide` leaves, with the sign of ``b``; 0 where ``b`` is 0."""
    rest = remainder(a, b, signed)
    if not signed:
        return rest
    return a.function.select(rest.ne(0) & ((rest ^ b) < 0), rest + b, rest)


def shift_left(a: Value, count: Value) -> Value:
    """A negative count, or one of the width or more, shifts everything out."""
    inside = count.compare("ult", a.type.bits)
    return a.function.select(inside, a << (count & a.type.bits - 1), 0)


def shift_right(a: Value, count: Value, signed: bool) -> Value:
    """The same; of a signed number its sign is left."""
    f, bits = a.function, a.type.bits
    inside, by = count.compare("ult", bits), count & bits - 1
    if signed:
        return f.select(inside, a.ashr(by), a.ashr(bits - 1))
    return f.select(inside, a >> by, 0)


def power(a: Value, b: Value, signed: bool) -> Value:
    """Modulo 2**bits; to a negative power 1 stays 1, -1 keeps its sign by parity, and all else is 0."""
    f = a.function
    exponent = f.variable(b.type, f.select(b < 0, 0, b) if signed else b)
    base, found = f.variable(a.type, a), f.variable(a.type, 1)
    with f.loop() as leave:
        left = exponent.now
        leave(~any_lane(f, left.ne(0)))
        found.set(f.select((left & 1).ne(0), found.now * base, found.now))
        base.set(base.now * base.now)
        exponent.set(left >> 1)
    if not signed:
        return found.now
    unit = f.select(a.eq(-1), 1 - ((b & 1) << 1), f.select(a.eq(1), a, 0))
    return f.select(b < 0, unit, found.now)
