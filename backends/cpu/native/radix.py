"""Sorting keys with their places in generated code: unsigned integers in the order that is asked for, digit by digit.

The radix sort from the least digit on keeps equal keys in their order (D. E. Knuth, "The Art of Computer Programming",
volume 3, section 5.2.5); a digit that all keys share is passed over.
"""

from __future__ import annotations

from flambeau.backends.llvm.casts import STORED
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.types import I32, I64, PTR, Type
from flambeau.core.dtype import DType

_DIGITS = 256
#: Bits of the exponent of a float by its dtype's name.
_EXPONENT = {"float16": 5, "bfloat16": 8, "float32": 8, "float64": 11}


def stored(dtype: DType) -> Type:
    """The integer type that a number's memory is read as, which is that of its key."""
    return STORED[dtype].integer


def key_of(f: Function, bits: Value, dtype: DType, descending: bool) -> Value:
    """The key of a number, or of a vector: 0.0 and -0.0 alike, every nan alike and behind all else."""
    width = bits.type.bits
    top = -(1 << width - 1)
    if dtype.is_floating_point:
        size = bits & ~top
        infinite = ((1 << _EXPONENT[dtype.name]) - 1) << (width - 1 - _EXPONENT[dtype.name])
        signed = f.select(size.eq(0), 0, bits)
        key = signed ^ (signed.ashr(width - 1) | top)
        key = f.select(size.compare("ugt", infinite), -1, key)
    else:
        key = bits ^ top if dtype.is_signed else bits
    return ~key if descending else key


def sorter(module: Module, key: Type) -> Function:
    """``radix(keys, places, other keys, other places, count)``: sorts pairs by their keys; 1 if they are in the others.

    Places have 32 bits.
    """
    f = Function(module, "radix", [PTR, PTR, PTR, PTR, I64], I64, internal=True)
    keys, places, keys2, places2, count = f.args
    digits = key.bytes
    table = f.buffer(digits * _DIGITS * I32.bytes)
    for i in f.range(0, digits * _DIGITS, 16):
        f.store(f.constant(I32.vector(16), 0), table, i)
    for j in f.range(0, count):
        k = f.load(key, keys, j)
        for d in range(digits):
            at = _digit(k, d) + d * _DIGITS
            f.store(f.load(I32, table, at) + 1, table, at)
    here, there = (f.variable(PTR, keys), f.variable(PTR, places)), (f.variable(PTR, keys2), f.variable(PTR, places2))
    swapped = f.variable(I64, 0)
    for d in range(digits):
        counts = table + d * _DIGITS * I32.bytes
        first = _digit(f.load(key, here[0].now), d)
        with f.unless(f.load(I32, counts, first).zext(I64).eq(count)):
            _pass(f, key, d, counts, count, (here[0].now, here[1].now, there[0].now, there[1].now))
            for a, b in zip(here, there, strict=True):
                before = a.now
                a.set(b.now)
                b.set(before)
            swapped.set(1 - swapped.now)
    f.ret(swapped.now)
    return f


def _digit(key: Value, number: int) -> Value:
    found = (key >> 8 * number) & 255 if key.type.bits > 8 else key
    return found.zext(I64) if key.type.bits < 64 else found


def _pass(
    f: Function, key: Type, d: int, counts: Value, count: Value, memory: tuple[Value, Value, Value, Value]
) -> None:
    """Move pairs to where their digit says, in order."""
    keys, places, keys2, places2 = memory
    total = f.variable(I32, 0)
    for i in f.range(0, _DIGITS):
        n = f.load(I32, counts, i)
        f.store(total.now, counts, i)
        total.set(total.now + n)
    for j in f.range(0, count):
        k = f.load(key, keys, j)
        at = _digit(k, d)
        to = f.load(I32, counts, at)
        f.store(to + 1, counts, at)
        f.store(k, keys2, to.zext(I64))
        f.store(f.load(I32, places, j), places2, to.zext(I64))
