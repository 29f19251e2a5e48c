"""Built-ins of generated code: what they serve, what they leave to their fallback, and that nothing leaks."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import inspect
import os
import pickle
import subprocess
import sys
import sysconfig
import threading
import tracemalloc
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from flambeau.backends.llvm import calls, cpython
from flambeau.backends.llvm.calls import BuiltinFunction, builtins, elementwise_builtin
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, level, runnable
from flambeau.backends.llvm.types import F64, I64
from flambeau.core import config
from flambeau.core import dtype as dt
from tests.backends.llvm.builtin_kernels import (
    Kernel,
    NotServed,
    kernels,
    made,
    numbers,
    refuse,
    refusing,
    same,
    written,
)

pytestmark = pytest.mark.skipif(cpython.unsuited() is not None, reason=str(cpython.unsuited()))

every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
SIZES = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 100, 257]


class Sub(np.ndarray[Any, Any]):
    pass


def operands(kernel: Kernel, count: int) -> list[Any]:
    return [numbers(dtype, count, i) for i, dtype in enumerate(kernel.inputs)]


# -- what is served ----------------------------------------------------------------------------------
@every_width
def test_dense_arrays_of_every_size(target: Target) -> None:
    for kernel in kernels(target):
        f = refusing(target)[kernel.name]
        for count in SIZES:
            args = operands(kernel, count)
            with np.errstate(all="ignore"):
                wanted = kernel.fallback(*args)
            found = f(*args)
            assert type(found) is np.ndarray and found.dtype is kernel.out.numpy and found.flags.owndata
            assert same(found, wanted), f"{kernel.name} {count}"


@every_width
@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 6, 1), (3, 1, 2, 1), (0,), (2, 0, 3), (1,), (1, 1)])
def test_the_result_has_the_shape_of_the_operands(target: Target, shape: tuple[int, ...]) -> None:
    x, y = (numbers(dt.float32, int(np.prod(shape)), i).reshape(shape) for i in range(2))
    for found in (refusing(target)["add"](x, y), refusing(target)["add"](x, y, np.empty_like(x))):
        np.testing.assert_array_equal(found, x + y, strict=True)


@every_width
@pytest.mark.parametrize("one", [(), (1,), (1, 1)])
@pytest.mark.parametrize("shape", [(1, 0), (1, 1), (5, 8), (1, 300)])
def test_one_element_is_used_for_all(target: Target, one: tuple[int, ...], shape: tuple[int, ...]) -> None:
    with np.errstate(all="ignore"):
        for kernel in kernels(target):
            for position in range(len(kernel.inputs)) if len(kernel.inputs) > 1 else ():
                args = [a.reshape(shape) for a in operands(kernel, shape[0] * shape[1])]
                args[position] = numbers(kernel.inputs[position], 1, 7).reshape(one)
                wanted = kernel.fallback(*args)
                assert same(refusing(target)[kernel.name](*args), wanted), f"{kernel.name} {position}"


@every_width
def test_out_is_written_and_returned(target: Target) -> None:
    with np.errstate(all="ignore"):
        for kernel in kernels(target):
            args = operands(kernel, 101)
            out = np.zeros(103, kernel.out.numpy)
            window = out[1:-1]
            assert refusing(target)[kernel.name](*args, window) is window
            assert same(window, kernel.fallback(*args)), kernel.name
            assert not out[0] and not out[-1]


@every_width
def test_out_may_be_an_operand(target: Target) -> None:
    with np.errstate(all="ignore"):
        for kernel in kernels(target):
            for position, dtype in enumerate(kernel.inputs):
                args = operands(kernel, 77)
                if dtype is not kernel.out:
                    continue
                wanted = kernel.fallback(*args)
                assert refusing(target)[kernel.name](*args, args[position]) is args[position]
                assert same(args[position], wanted), f"{kernel.name} {position}"


def test_out_of_another_size_may_not_start_where_an_operand_does() -> None:
    x = numbers(dt.float64, 40)
    truth = x.view(bool)[:40]
    with pytest.raises(NotServed):
        refusing(host())["lt"](x, x, truth)
    wide = np.empty(40)
    n = wide.view("i4")[:40]
    with pytest.raises(NotServed):
        refusing(host())["mixed"](n, F[:1], wide)


@every_width
def test_one_element_may_be_part_of_out(target: Target) -> None:
    x = numbers(dt.float32, 50)
    wanted = x + x[3]
    np.testing.assert_array_equal(refusing(target)["add"](x, x[3:4], x), wanted)


@every_width
def test_bits_that_are_no_truth_value_are_true(target: Target) -> None:
    odd = np.array([0, 1, 2, 128, 255] * 9, "u1").view(bool)
    np.testing.assert_array_equal(refusing(target)["both"](odd, np.ones(45, bool)).view("u1"), odd.view("u1") != 0)


@every_width
def test_integers_are_divided_by_nothing_but_operands(target: Target) -> None:
    """Lanes behind the last element hold no 0, by which a division would kill the process."""
    kernel = Kernel("quotient", (dt.int32, dt.int32), dt.int32, lambda f, x, y: x.sdiv(y), refuse)
    (f,) = builtins({written(Module(target), kernel): refuse})
    for count in SIZES:
        x, y = np.arange(count, dtype="i4") * 7, np.arange(count, dtype="i4") % 5 + 1
        np.testing.assert_array_equal(f(x, y), x // y)
        np.testing.assert_array_equal(f(x[:1], y), x[0] // y)


def test_numbers_for_operands_without_dimensions_or_arrays_if_wanted() -> None:
    x = np.array(2.0, "f4")
    (keeping,) = builtins({written(Module(host()), next(iter(kernels(host()))), zero_dims=True): refuse})
    found = keeping(x, x)
    assert type(found) is np.ndarray and found.shape == () and found == 4
    assert type(made(host())["add"](x, x)) is np.float32
    out = np.empty((), "f4")
    assert refusing(host())["add"](x, x, out) is out and out == 4


def twice(module: Module) -> BuiltinFunction:
    """Twice a matrix, however it lies in memory."""
    f = BuiltinFunction(module, "twice")
    f.require(f.count.eq(1))
    x = f.array(0, dt.float64, dense=False)
    f.require(x.ndim.eq(2))
    found = f.empty(dt.float64, x)
    data, columns = f.data(found), x.extent(1)
    for i in f.range(0, x.extent(0)):
        for j in f.range(0, columns):
            value = f.load(F64, x.data + (i * x.stride(0) + j * x.stride(1)))
            f.store(value * 2.0, data, i * columns + j)
    f.ret(found)
    return f


@every_width
def test_a_kernel_of_ones_own_reads_by_strides(target: Target) -> None:
    (f,) = builtins({twice(Module(target)): refuse})
    base = numbers(dt.float64, 60).reshape(6, 10)
    for view in (base, base.T, base[::-2, ::3], base[:, :0], np.broadcast_to(base[0], (4, 10))):
        np.testing.assert_array_equal(f(view), view * 2, strict=True)
    for wrong in (base[0], base.astype("f4"), base.view(Sub)):
        with pytest.raises(NotServed):
            f(wrong)


# -- what is not -------------------------------------------------------------------------------------
F = numbers(dt.float32, 12)
BROADCAST = np.broadcast_to(np.float32(1), (1 << 16, 1 << 16))  # 2^32 elements in four bytes
WARNS = np.broadcast_arrays(F, np.zeros((1, 1)))[0]  # it may be written, with a warning
LOCKED = F.copy()
LOCKED.flags.writeable = False


@pytest.mark.parametrize(
    "args",
    [
        (), (F,), (F, F, F.copy(), F), (None, F), (F, None), (F, 1.0), (F, np.float32(1)), ([1.0], F), ("a", F),
        (F, F[:11]), (F, F.reshape(3, 4)), (F.reshape(3, 4), F[:4]), (F.reshape(12, 1), F), (F, F.reshape(1, 12)),
        (F[:1].reshape(1, 1), F), (F, F[:1].reshape(1, 1)), (F[::2], F[:6]), (F[::-1], F),
        (F.reshape(3, 4).T, F.reshape(4, 3)),
        (F.astype("f8"), F), (F, F.astype(">f4")), (F, F.view("i4")), (F, pickle.loads(pickle.dumps(F))),
        (F.view(Sub), F), (F, F.view(np.matrix)), (F, np.ma.masked_array(F)), (BROADCAST, BROADCAST),
        (BROADCAST[0], BROADCAST[0]), (F, F, None), (F, F, LOCKED), (F, F, [0.0] * 12), (F, F, F[::-1]),
        (F, F, np.empty(12)), (F, F, np.empty(13, "f4")), (F, F, np.empty((3, 4), "f4")), (F[:1], F[:1], F),
        (F.reshape(1, 12), F.reshape(1, 12), WARNS), (F[1:], F[1:], F[:-1]), (F[:-1], F[:-1], F[1:]),
        (F[1:], F[:-1].copy(), F[:-1]), (F[:-1].copy(), F[1:], F[:-1]), (F[0], F[0]), (F[0].copy(), np.array(F[0])),
        (np.frombuffer(b"x" * 49, "f4", 12, 1), F), (F, F, np.frombuffer(bytearray(49), "f4", 12, 1)),
        (np.array([1, 2], object), F), (np.zeros(12, [("a", "f4")]), F), (int, F), (np.ndarray, np.ndarray),
    ],
)  # fmt: skip
def test_the_fallback_gets_what_is_not_served(args: tuple[Any, ...]) -> None:
    seen: list[Any] = []

    def fallback(*given: Any, **named: Any) -> Any:
        seen.append((given, named))
        return given

    (f,) = builtins({written(Module(host()), kernels(host())[0]): fallback})
    for keywords in ({}, {"out": F}):
        found = f(*args, **keywords)
        ((given, named),) = seen
        assert found is given and all(a is b for a, b in zip(given, args, strict=True)) and named == keywords
        seen.clear()


def test_out_may_be_named() -> None:
    f, out = refusing(host())["add"], np.empty(12, "f4")
    assert f(F, F, out=out) is out
    np.testing.assert_array_equal(out, F + F)
    made_name = "".join(("o", "ut"))  # another object than the name in programs
    assert made(host())["add"](F, F, **{made_name: out}) is out


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ((F, F), {"where": True}), ((F, F), {"dtype": np.dtype("f4")}), ((F, F), {"out": None}),
        ((F,), {"out": np.empty(12, "f4")}), ((F, F, F.copy()), {"out": F.copy()}), ((), {"out": F.copy()}),
        ((F, F), {"out": np.empty(12, "f4"), "where": True}), ((F, F), {"x2": F}), ((F,), {"x2": F}),
    ],
)  # fmt: skip
def test_other_keywords_are_the_fallbacks(args: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(NotServed):
        refusing(host())["add"](*args, **named)
    (own,) = builtins({twice(Module(host())): refuse})
    with pytest.raises(NotServed):
        own(np.eye(2), **named)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), RecursionError("deep")])
def test_errors_of_the_fallback_arrive(error: BaseException) -> None:
    def fallback(*args: Any) -> Any:
        raise error

    (f,) = builtins({written(Module(host()), kernels(host())[0]): fallback})
    with pytest.raises(type(error)) as caught:
        f(1)
    assert caught.value is error


# -- the built-in itself -----------------------------------------------------------------------------
def test_it_looks_like_what_it_stands_in_for() -> None:
    f: Any = made(host())["add"]
    assert isinstance(f, types.BuiltinFunctionType) and f.__self__ is np.add
    assert f.__name__ == "add" and "Add arguments element-wise" in f.__doc__
    assert str(inspect.signature(f)) == "(x1, x2, /, out=None)" and len(inspect.signature(f).parameters) == 3


def test_the_text_has_no_address() -> None:
    module = Module(host())
    written(module, kernels(host())[0])
    calls.write_elementwise(module)
    text = module.text()
    assert "@numpy_ndarray" in text and "@add_plan" in text
    for address in module.externals.values():
        assert hex(address)[2:] not in text and str(address) not in text


def test_it_outlives_what_it_was_made_from() -> None:
    (f,) = builtins({written(Module(host()), kernels(host())[0]): refuse})
    gc.collect()
    np.testing.assert_array_equal(f(F, F), F + F)
    del f
    gc.collect()


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_it_compiles_elsewhere(target: Target) -> None:
    module = Module(target)
    for kernel in kernels(target):
        written(module, kernel)
    calls.write_elementwise(module)
    assert b"choice" in Compiler(target).compile(module.text())


def test_dtypes_without_vectors_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"no vectors of flambeau\.complex64"):
        elementwise_builtin(Module(host()), "f", lambda f, x: x, (dt.complex64,), dt.complex64)
    sse = level("sse", host().triple)
    with pytest.raises(ValueError, match="sse has no instruction that converts float16"):
        elementwise_builtin(Module(sse), "f", lambda f, x: x, (dt.float16,), dt.float16)
    with pytest.raises(ValueError, match="f has 9 inputs; there can be 1 to 8"):
        elementwise_builtin(Module(host()), "f", lambda f, *xs: xs[0], [dt.float32] * 9, dt.float32)
    with pytest.raises(TypeError, match="f_chunk: expected"):
        elementwise_builtin(Module(host()), "f", lambda f, x: x, (dt.float32,), dt.bool_)


@pytest.fixture
def unknown_numpy(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A numpy whose functions are not known by their numbers."""
    monkeypatch.setattr(cpython, "new_array", lambda: None)
    calls._elementwise.cache_clear()
    yield monkeypatch
    calls._elementwise.cache_clear()


def test_without_numpys_own_allocation(unknown_numpy: pytest.MonkeyPatch) -> None:
    (f,) = builtins({written(Module(host()), kernels(host())[0]): refuse})
    x = F.reshape(2, 6)
    found = f(x, x)
    assert found.flags.owndata
    np.testing.assert_array_equal(found, x + x, strict=True)
    (own,) = builtins({twice(Module(host())): refuse})
    np.testing.assert_array_equal(own(np.eye(3)[::-1]), 2 * np.eye(3)[::-1], strict=True)


def test_an_allocation_that_fails_raises(unknown_numpy: pytest.MonkeyPatch) -> None:
    def full(like: Any) -> Any:
        raise MemoryError("full")

    unknown_numpy.setattr(cpython, "empty", lambda dtype: id(full))
    (f,) = builtins({written(Module(host()), kernels(host())[0]): refuse})
    with pytest.raises(MemoryError, match="full"):
        f(F, F)


# -- memory ------------------------------------------------------------------------------------------
def test_nothing_leaks() -> None:
    x, y, out, one = F.copy(), F.copy(), np.empty(12, "f4"), np.array(1, "f4")

    def fallback(*args: Any) -> Any:
        return None if args else refuse()

    (f,) = builtins({written(Module(host()), kernels(host())[0]): fallback})
    watched = [x, y, out, one, np.ndarray, np.dtype("f4"), fallback, f, None]

    def work(times: int) -> None:
        for _ in range(times):
            f(x, y)
            f(x, y, out)
            f(one, y)
            f(x, None, y)
            f(y, one, y)
            with contextlib.suppress(NotServed):
                f()

    work(10)
    gc.collect()
    before = [sys.getrefcount(v) for v in watched]
    tracemalloc.start()
    try:
        work(100)
        used = tracemalloc.get_traced_memory()[0]
        work(100_000)
        grown = tracemalloc.get_traced_memory()[0] - used
    finally:
        tracemalloc.stop()
    gc.collect()
    changes = [sys.getrefcount(v) - b for v, b in zip(watched, before, strict=True)]
    assert grown < 20_000 and max(map(abs, changes)) < 50


# -- threads -----------------------------------------------------------------------------------------
@every_width
def test_other_threads_run_while_large_arrays_are_computed(target: Target) -> None:
    """The body waits, for seconds at most, until another thread of Python has written a number."""
    cell = ctypes.c_int64(0)

    def body(f: Function, x: Value) -> Value:
        address, tries = f.outside("cell", ctypes.addressof(cell)), f.variable(I64, 0)
        with f.loop() as leave:
            f.fence()
            leave(f.load(I64, address).ne(0) | (tries.now > 100_000_000))
            tries.set(tries.now + 1)
        return x + f.load(I64, address)

    kernel = Kernel("wait", (dt.int64,), dt.int64, body, refuse, chunk=4)
    (f,) = builtins({written(Module(target), kernel): refuse})
    timer = threading.Timer(0.02, lambda: setattr(cell, "value", 7))
    timer.start()
    assert f(np.zeros(5, "i8")).tolist() == [7] * 5
    timer.join()


@every_width
def test_many_threads_call_at_once(target: Target) -> None:
    x, y = numbers(dt.float32, 1000), numbers(dt.float32, 1000, 1)
    with np.errstate(all="ignore"):
        wanted = np.multiply(x, y), np.multiply(x[::2], y[::2])
    wrong: list[Any] = []

    def work() -> None:
        f, out = made(target)["mul"], np.empty_like(x)
        with np.errstate(all="ignore"):
            for _ in range(100):
                found = f(x, y), f(x, y, out), f(x[::2], y[::2])
                for a, b in zip(found, (wanted[0], *wanted), strict=True):
                    if not np.array_equal(a, b, equal_nan=True):
                        wrong.append((a, b))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_the_process_may_end_while_threads_compute() -> None:
    program = """
import threading, time
from flambeau.backends.llvm.target import host
from tests.backends.llvm.builtin_kernels import made, numbers, dt
f, x = made(host())["mul"], numbers(dt.float32, 100_000)
def work():
    while True:
        f(x, x)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
print("end")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


# -- where there are none ----------------------------------------------------------------------------
def test_other_interpreters_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    look = cpython.unsuited.__wrapped__
    assert look() is None
    with monkeypatch.context() as patched:
        patched.setattr(sys, "implementation", types.SimpleNamespace(name="pypy"))
        assert look() == "the interpreter is pypy, not CPython"
    with monkeypatch.context() as patched:
        patched.setattr(sysconfig, "get_config_var", {"Py_GIL_DISABLED": 1}.get)
        assert look() == "the interpreter is a free-threaded one"
    with monkeypatch.context() as patched:
        patched.setattr(cpython, "_FUNCTIONS", ("Py_Nonsense",))
        assert look() == "the interpreter has no Py_Nonsense"
    with monkeypatch.context() as patched:
        patched.setattr(cpython, "NDIM", cpython.FLAGS)
        assert look() == f"numpy {np.__version__} has arrays of another layout"


def test_the_setting_and_the_interpreter_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    with config.override(cpu_code="host"):
        assert calls.unavailable() is None
    with config.override(cpu_code="none"):
        assert calls.unavailable() == "the setting cpu_code is none"
    monkeypatch.setattr(cpython, "unsuited", lambda: "another interpreter")
    assert calls.unavailable() == "another interpreter"


def test_another_abi_of_numpy_is_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpython.new_array.__wrapped__() is not None
    with monkeypatch.context() as patched:
        patched.setattr(cpython, "_ABI", 0x03000000)
        assert cpython.new_array.__wrapped__() is None
    monkeypatch.setitem(sys.modules, "numpy._core._multiarray_umath", types.ModuleType("other"))
    assert cpython.new_array.__wrapped__() is None
