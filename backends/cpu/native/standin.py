"""exp and log until the engine has its own."""

from __future__ import annotations

import math

from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.types import I32, I64

_EXP32 = [
    0.5,
    0.1666666716337204,
    0.04166652262210846,
    0.008333066478371620,
    0.0013930436689406633,
    0.00019927023095078766,
]
_EXP64 = [1 / math.factorial(i) for i in range(2, 14)]


def _horner(f: Function, x: Value, cs: list[float]) -> Value:
    acc = f.constant(x.type, cs[-1])
    for c in reversed(cs[:-1]):
        acc = f.muladd(acc, x, c)
    return acc


def exp_nonpositive(f: Function, x: Value) -> Value:
    wide = x.type.bits == 64
    low, magic = (-707.0, 1.5 * 2**52) if wide else (-87.0, 1.5 * 2**23)
    c = f.select(x < low, low, x)
    n = f.muladd(c, 1.4426950408889634, magic) - magic
    hi, lo = (0.6931471803691238, 1.9082149292705877e-10) if wide else (0.693359375, -2.12194440e-4)
    r = f.muladd(n, -hi, c)
    r = f.muladd(n, -lo, r)
    q = f.muladd(_horner(f, r, _EXP64 if wide else _EXP32) * r, r, r) + 1.0
    i = n.convert("fptosi", I64 if wide else I32)
    scale = ((i + (1023 if wide else 127)) << (52 if wide else 23)).bitcast(x.type.scalar)
    return f.select(x.is_nan(), x, f.select(x < low, 0.0, q * scale))


def log(f: Function, x: Value) -> Value:
    if x.type.bits < 64:
        from flambeau.backends.llvm.types import F64

        return log(f, x.convert("fpext", F64)).convert("fptrunc", x.type.scalar)
    i = x.bitcast(I64)
    e = (i - 0x3FE6A09E667F3BCD).ashr(52)
    m = (i - (e << 52)).bitcast(x.type.scalar)
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = _horner(f, z, [2 / (2 * k + 1) for k in range(12)]) * s
    y = f.muladd(e.convert("sitofp", x.type.scalar), 0.6931471805599453, p)
    y = f.select(x.eq(math.inf), x, f.select(x.eq(0.0), -math.inf, y))
    return f.select((x < 0.0), math.nan, f.select(x.is_nan(), x, y))
