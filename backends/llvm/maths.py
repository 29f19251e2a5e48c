"""A stand-in until the real one is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.types import F32, I32
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

_EXP = (0.5, 0.1666666716337204, 0.04166652262210846, 0.008333066478371620, 0.0013930436689406633,
        0.00019927023095078766)  # fmt: skip
_LOG = (0.3333331043117123, -0.24999986766477952, 0.20002227164525585, -0.16669242089900935, 0.14218641453236117,
        -0.12384489354249896, 0.11873230600708343, -0.11789083200658809, 0.06913948327898867)  # fmt: skip
_ERF_SMALL = (0.12837916677734182, -0.376126350510323, 0.1128371546125936, -0.026860500946359247,
              0.0052037719862629015, -0.0008173942701083069, 8.503146557344557e-05)  # fmt: skip
_ERF_BIG = (-1.128450048783626, -0.6361754566610915, -0.1039867849282261, 0.021018742051288886, -0.001616858973568042,
            -0.0006024104051088125, 0.00024329460249605908, -3.840815716338045e-05,
            2.421071889606182e-06)  # fmt: skip


def _horner(f: Function, x: Value, cs: Sequence[float]) -> Value:
    acc = f.constant(x.type, cs[-1])
    for c in reversed(cs[:-1]):
        acc = f.muladd(acc, x, c)
    return acc


def _pow2(n: Value) -> Value:
    return ((n + 127) << 23).bitcast(F32)


def _reduce(f: Function, x: Value) -> tuple[Value, Value]:
    n = f.muladd(x, 1.4426950408889634, 12582912.0) - 12582912.0
    r = f.muladd(n, -2.12194440e-4 * -1, f.muladd(n, -0.693359375, x))
    return n, f.muladd(_horner(f, r, _EXP) * r, r, r)


def exp(f: Function, x: Value) -> Value:
    c = f.minimum(f.maximum(x, -104.0), 89.0)
    n, q = _reduce(f, c)
    i = n.convert("fptosi", I32)
    h = i.ashr(1)
    y = (q + 1.0) * _pow2(h) * _pow2(i - h)
    return f.select(x.is_nan(), x, y)


def sigmoid(f: Function, x: Value) -> Value:
    return f.constant(x.type, 1.0) / (exp(f, -x) + 1.0)


def tanh(f: Function, x: Value) -> Value:
    a = f.apply("fabs", x)
    n, q = _reduce(f, f.minimum(a + a, 20.0))
    s = _pow2(n.convert("fptosi", I32))
    e = f.muladd(q, s, s - 1.0)
    y = f.apply("copysign", e / (e + 2.0), x)
    return f.select(x.is_nan(), x, y)


def erf(f: Function, x: Value) -> Value:
    a = f.apply("fabs", x)
    small = f.muladd(_horner(f, x * x, _ERF_SMALL), x, x)
    c = f.minimum(a, 4.0)
    n, q = _reduce(f, _horner(f, c, _ERF_BIG) * c)
    p = _pow2(n.convert("fptosi", I32))
    big = f.apply("copysign", f.constant(x.type, 1.0) - f.muladd(q, p, p), x)
    return f.select(a < 0.9, small, f.select(x.is_nan(), x, big))


def log(f: Function, x: Value) -> Value:
    tiny = x < 1.17549435e-38
    i = f.select(tiny, x * 8388608.0, x).bitcast(I32)
    e = (i - 0x3F3504F3).ashr(23)
    m = (i - (e << 23)).bitcast(F32) - 1.0
    n = e.convert("sitofp", F32)
    n = f.select(tiny, n - 23.0, n)
    low = f.muladd(m * m, -0.5, f.muladd(n, -2.12194440e-4, m))
    r = f.muladd(_horner(f, m, _LOG) * m, m * m, low)
    r = f.muladd(n, 0.693359375, r)
    r = f.select(x.eq(float("inf")), x, r)
    r = f.select(x.eq(0.0), float("-inf"), r)
    return f.select((x < 0.0) | x.is_nan(), float("nan"), r)


FUNCTIONS: Final[dict[str, Callable[..., Value]]] = {
    "exp": exp, "log": log, "tanh": tanh, "erf": erf, "sigmoid": sigmoid,
}  # fmt: skip


def native(name: str, dtype: DType) -> bool:
    return dtype is dt.float32 and name in FUNCTIONS
