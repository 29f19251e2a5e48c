"""The builder: what its operators, masks, loops and branches compute, at every width that this machine runs."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flambeau.backends.llvm.compiler import Compiler, load
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from flambeau.backends.llvm.types import BF16, F16, F32, F64, I1, I8, I32, I64, PTR, Type, literal

NUMPY = {"float": "f4", "double": "f8", "i32": "i4", "i64": "i8", "i8": "i1"}
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)


def run(target: Target, body: Callable[..., Value], *arrays: Any, out: Type) -> Any:
    """``body(f, *vectors)`` on whole vectors of the arrays, the rest by masks."""
    types = [{v: k for k, v in NUMPY.items()}[a.dtype.str[1:]] for a in arrays]
    scalars = {"float": F32, "double": F64, "i32": I32, "i64": I64, "i8": I8}
    lanes = target.lanes(F64)
    module = Module(target)
    f = Function(module, "kernel", [PTR] * (len(arrays) + 1) + [I64])
    *ins, result, count = f.args
    main = count - count % lanes
    for i in f.range(0, main, lanes):
        f.store(body(f, *(f.load(scalars[t].vector(lanes), p, i) for t, p in zip(types, ins, strict=True))), result, i)
    mask = f.below(count - main, lanes)
    rest = (f.load_masked(scalars[t].vector(lanes), p, main, mask, 1) for t, p in zip(types, ins, strict=True))
    f.store_masked(body(f, *rest), result, main, mask)
    f.ret()
    address = load(module, ["kernel"])["kernel"]
    found = np.zeros(arrays[0].shape, NUMPY[out.name])
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (len(arrays) + 1), ctypes.c_int64)(address)
    call(*(a.ctypes.data for a in (*arrays, found)), found.size)
    return found


X = np.array([0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan, 3e38, 1e-42, 7.0, -7.0], "f4")
Y = np.array([1.0, 2.0, np.nan, -0.5, 3.0, 4.0, 5.0, 10.0, 1.0, 7.0, 2.0], "f4")
N = np.array([5, -7, 0, 2**31 - 1, -(2**31), 13, -1, 64, 3, -12, 1], "i4")
K = np.array([3, 2, 9, 1, 4, -5, 7, 8, 31, 5, -3], "i4")


@every_width
@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (lambda f, x, y: x + y, lambda x, y: x + y),
        (lambda f, x, y: 1.0 - x * y, lambda x, y: 1 - x * y),
        (lambda f, x, y: 2.0 / x - y / 3.0, lambda x, y: np.float32(2) / x - y / np.float32(3)),
        (lambda f, x, y: -x, lambda x, y: -x),
        (lambda f, x, y: f.apply("sqrt", f.apply("fabs", x)), lambda x, y: np.sqrt(np.abs(x))),
        (lambda f, x, y: f.apply("copysign", x, y), np.copysign),
        (lambda f, x, y: f.select(x < y, x, 5.0), lambda x, y: np.where(x < y, x, np.float32(5))),
        (lambda f, x, y: f.select(x.is_nan(), 0.0, x), lambda x, y: np.where(np.isnan(x), np.float32(0), x)),
        (lambda f, x, y: f.minimum(x, y), lambda x, y: np.where(x < y, x, y)),
        (lambda f, x, y: f.maximum(x, 1.0), lambda x, y: np.where(x > 1, x, np.float32(1))),
        (lambda f, x, y: f.select(x.compare("not_lt", y), x, 0.0), lambda x, y: np.where(x < y, np.float32(0), x)),
    ],
)  # fmt: skip
def test_floats(target: Target, body: Any, wanted: Any) -> None:
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run(target, body, X, Y, out=F32), wanted(X, Y).astype("f4"))


@every_width
@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (lambda f, x, y: x * y - 3, lambda x, y: x * y - np.int32(3)),
        (lambda f, x, y: x.sdiv(y), lambda x, y: np.trunc(x.astype("f8") / y)),
        (lambda f, x, y: x.srem(y), np.fmod),
        (lambda f, x, y: x // 7 + x % 7, lambda x, y: x.view("u4") // 7 + x.view("u4") % 7),
        (lambda f, x, y: x << (y & 31), lambda x, y: x << (y & 31)),
        (lambda f, x, y: x >> (y & 31), lambda x, y: x.view("u4") >> (y & 31).view("u4")),
        (lambda f, x, y: x.ashr(y & 31), lambda x, y: x >> (y & 31)),
        (lambda f, x, y: ~x ^ y | 1, lambda x, y: ~x ^ y | 1),
        (lambda f, x, y: -x, lambda x, y: -x),
        (lambda f, x, y: x.compare("ult", y).zext(I32), lambda x, y: x.view("u4") < y.view("u4")),
        (lambda f, x, y: (x > y).sext(I32) + x.eq(13).zext(I32), lambda x, y: (x == 13) - (x > y).astype("i4")),
        (lambda f, x, y: (~(x > y)).zext(I32), lambda x, y: ~(x > y)),
        (lambda f, x, y: x.sext(I64).trunc(I32), lambda x, y: x),
        (lambda f, x, y: x.bitcast(F32).bitcast(I32), lambda x, y: x),
    ],
)  # fmt: skip
def test_integers(target: Target, body: Any, wanted: Any) -> None:
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run(target, body, N, K, out=I32), wanted(N, K).astype("i8").astype("i4"))


@every_width
def test_conversions(target: Target) -> None:
    x = np.array([1.9, -1.9, 3.0, 100.25, -0.0, 7, 8, 9, 1e9], "f4")
    got = run(target, lambda f, x: x.convert("fptosi", I64).convert("sitofp", F64), x, out=F64)
    np.testing.assert_array_equal(got, np.trunc(x).astype("f8"))
    with np.errstate(all="ignore"):
        if not target.half:
            return
        half = run(target, lambda f, x: x.convert("fptrunc", F16).convert("fpext", F32), x, out=F32)
        np.testing.assert_array_equal(half, x.astype("f2").astype("f4"))


@every_width
def test_a_sum_over_lanes_is_in_one_order(target: Target) -> None:
    x = np.linspace(0, 1, 16, dtype="f4") ** 3
    module = Module(target)
    f = Function(module, "total", [PTR], F32)
    f.ret(f.reduce(f.load(F32.vector(16), f.args[0]), lambda a, b: a + b))
    address = load(module, ["total"])["total"]
    wanted = x
    while wanted.size > 1:
        wanted = wanted[: wanted.size // 2] + wanted[wanted.size // 2 :]
    assert ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_void_p)(address)(x.ctypes.data) == wanted[0]


def collatz(module: Module) -> None:
    f = Function(module, "collatz", [I64], I64)
    n, steps = f.variable(I64, f.args[0]), f.variable(I64, 0)
    with f.loop() as leave:
        leave(n.now.eq(1))
        even = (n.now % 2).eq(0)
        with f.when(even, likely=True):
            n.set(n.now // 2)
        with f.unless(even):
            n.set(n.now * 3 + 1)
        steps.set(steps.now + 1)
    f.ret(steps)


def squares(module: Module) -> None:
    """A function that calls another and reads a table."""
    g = Function(module, "square", [I64], I64, internal=True)
    with g.when(g.args[0] < 0):
        g.ret(-1)
    g.ret(g.args[0] * g.args[0])
    f = Function(module, "squares", [I64], I64)
    table = f.table(I64, [10, 20, -1])
    total = f.variable(I64, 0)
    for i in f.range(0, f.args[0]):
        total.set(total.now + f.call(g, f.load(I64, table, i)))
    f.ret(total)


@every_width
def test_loops_branches_and_calls(target: Target) -> None:
    module = Module(target)
    collatz(module)
    squares(module)
    found = load(module, ["collatz", "squares"])
    number = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    assert [number(found["collatz"])(n) for n in (1, 6, 27)] == [0, 8, 111]
    assert [number(found["squares"])(n) for n in (0, 2, 3)] == [0, 500, 499]


@every_width
def test_masked_lanes_touch_no_memory(target: Target) -> None:
    """The last vector ends where a page does that may not be read."""
    page = mmap.PAGESIZE
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    start = libc.mmap(None, ctypes.c_size_t(2 * page), 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, ctypes.c_long(0))
    assert libc.mprotect(ctypes.c_void_p(start + page), page, 0) == 0
    lanes = target.lanes(F32)
    module = Module(target)
    f = Function(module, "double", [PTR, I64])
    mask = f.below(f.args[1], lanes)
    f.store_masked(f.load_masked(F32.vector(lanes), f.args[0], 0, mask) * 2.0, f.args[0], 0, mask)
    f.ret()
    address = load(module, ["double"])["double"]
    for count in range(lanes):
        at = start + page - 4 * count
        values = (ctypes.c_float * count).from_address(at)
        values[:] = [float(i) for i in range(count)]
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(address)(at, count)
        assert list(values) == [2 * i for i in range(count)]
    libc.munmap(ctypes.c_void_p(start), 2 * page)


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_the_same_text_compiles_elsewhere(target: Target) -> None:
    module = Module(target)
    collatz(module)
    squares(module)
    f = Function(module, "triple", [PTR])
    x = f.load(F32.vector(target.lanes(F32)), f.args[0])
    f.store(f.fma(x, 3.0, 0.0), f.args[0])
    f.ret()
    code = Compiler(target).compile(module.text())
    magic = {"apple": b"\xcf\xfa\xed\xfe", "windows": b"\x64\x86"}.get(target.name, b"\x7fELF")
    assert code.startswith(magic) and b"squares" in code


@pytest.mark.parametrize(
    ("type", "value", "text"),
    [
        (F32, 0.1, "0x3FB99999A0000000"), (F32, 1e40, "0x7FF0000000000000"), (F64, 0.1, "0x3FB999999999999A"),
        (F16, 65504.0, "0xH7BFF"), (F16, -1e6, "0xHFC00"), (BF16, 1.00390625, "0xR3F80"),
        (BF16, float("nan"), "0xR7FC0"),
        (I1, True, "true"), (I8, -128, "-128"), (I64.vector(4), 3.0, "splat (i64 3)"), (PTR, 0, "null"),
    ],
)  # fmt: skip
def test_literals(type: Type, value: Any, text: str) -> None:
    assert literal(type, value) == text


def test_wrong_uses_say_what_is_wrong() -> None:
    module = Module(host())
    f, g = Function(module, "f", [F32, I64]), Function(module, "g", [F32])
    x, n = f.args
    with pytest.raises(TypeError, match="f: expected float, got i64"):
        _ = x + n
    with pytest.raises(ValueError, match="a value of g was used in f"):
        _ = x + g.args[0]
    with pytest.raises(ValueError, match=r"0\.5 is no constant of i64"):
        _ = n + 0.5
    with pytest.raises(ValueError, match="300 is out of range for i8"):
        literal(I8, 300)
    with pytest.raises(ValueError, match=r"another one in each process; use Module\.external"):
        literal(PTR, 0x7F00)
    with pytest.raises(ValueError, match="there is a f already"):
        Function(module, "f", [])
    with pytest.raises(TypeError, match="a number has no type"):
        f.call(f.outside("somewhere", 1), 3)
    with pytest.raises(ValueError, match="somewhere stands for something else"):
        f.outside("somewhere", 2)
