"""Compiling once, for all processes; what happens when it cannot be done."""

from __future__ import annotations

import ctypes
import io
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flambeau.backends.llvm import compiler as compilers
from flambeau.backends.llvm import target as targets
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.ir import Function
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64
from flambeau.core import config
from tests.backends.test_forks import in_child


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with config.override(cache_dir=tmp_path):
        yield tmp_path / "llvm"


def plus(number: int, target: Target | None = None) -> Module:
    module = Module(target or targets.host())
    f = Function(module, "plus", [I64], I64)
    f.ret(f.args[0] + number)
    return module


def called(compiler: Compiler, module: Module, value: int) -> int:
    address = compiler.load(module, ["plus"])["plus"]
    found: int = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(value)
    return found


def test_the_disk_serves_the_next_process(folder: Path) -> None:
    first, second = Compiler(targets.host()), Compiler(targets.host())
    assert called(first, plus(1), 41) == 42 and first.compiled == 1
    assert called(second, plus(1), 1) == 2 and second.compiled == 0
    assert len(list(folder.iterdir())) == 1


APART = """
import ctypes
import mmap
import numpy as np
from benchmarks.accuracy import compiled
from flambeau.backends.llvm.target import host

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
PAGE, NO_RESERVE = mmap.PAGESIZE, 0x4000

def taken(size):
    found = libc.mmap(None, size, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE, -1, 0)
    assert found not in (None, ctypes.c_void_p(-1).value)
    return found

x = np.linspace(-3, 3, 64, dtype=np.float32)
compiled(host(), ["exp"], "f4")["exp"](x)
far, high = taken(6 << 30), []
while not high or high[-1] > far:
    high.append(taken(PAGE))
for page in high[:60:2]:  # the only room above it
    libc.munmap(page, PAGE)
tanh = compiled(host(), ["tanh", "exp", "log", "sin", "erf", "tan"], "f4")["tanh"]
np.testing.assert_allclose(tanh(x), np.tanh(x), rtol=1e-6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="places memory as Linux does")
def test_code_and_constants_lie_together_in_an_address_space_of_holes(folder: Path) -> None:
    environment = dict(os.environ, FLAMBEAU_CACHE_DIR=str(folder), PYTHONPATH=os.getcwd())
    ended = subprocess.run([sys.executable, "-c", APART], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_threads_that_come_at_once_get_one_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of another, which nobody keeps, would go while it runs."""

    class Slow(Compiler):
        def __init__(self, target: Target):
            time.sleep(0.05)
            super().__init__(target)

    monkeypatch.setattr(compilers, "Compiler", Slow)
    monkeypatch.setattr(compilers, "_compilers", {})
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(compilers.compiler_for, [targets.host()] * 8))
    assert all(c is found[0] for c in found)


def test_every_target_has_files_of_its_own(folder: Path) -> None:
    for target in targets.runnable():
        assert called(Compiler(target), plus(2, target), 1) == 3
    assert len(list(folder.iterdir())) == len(targets.runnable())


def test_one_name_may_stand_in_many_modules() -> None:
    compiler = Compiler(targets.host())
    addresses = [compiler.load(plus(n), ["plus"])["plus"] for n in range(5)]
    call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    assert [call(a)(10) for a in addresses] == [10, 11, 12, 13, 14]


def test_stale_and_foreign_files_are_compiled_anew(folder: Path) -> None:
    """A file that is whole but no object code: an error, never a crash."""
    compiler = Compiler(targets.host())
    called(compiler, plus(3), 1)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    assert called(Compiler(targets.host()), plus(3), 1) == 4


def test_the_text_is_the_same_in_every_process() -> None:
    program = "from tests.backends.llvm.test_compiler import plus; print(plus(7).text(), end='')"
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    text = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert text.stdout == plus(7).text()


def test_names_outside_are_bound_when_the_code_is_loaded() -> None:
    cell = ctypes.c_int64(40)
    module = Module(targets.host())
    f = Function(module, "plus", [I64], I64)
    f.ret(f.load(I64, f.outside("cell", ctypes.addressof(cell))) + f.args[0])
    assert hex(ctypes.addressof(cell))[2:] not in module.text()
    assert called(Compiler(targets.host()), module, 2) == 42


def test_wrong_text_says_what_llvm_says() -> None:
    with pytest.raises(ValueError, match=r"the IR of a kernel is wrong: (?s:.)*expected"):
        Compiler(targets.host()).object_code("define nothing")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "said"), [(Terminal, True), (io.StringIO, False)])
def test_long_compiling_says_so_once_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, folder: Path, stream: Any, said: bool
) -> None:
    errors = stream()
    monkeypatch.setattr(sys, "stderr", errors)
    monkeypatch.setattr(compilers, "_NOTICE", 1e-9)
    compiler = Compiler(targets.host())
    called(compiler, plus(4), 1)
    called(compiler, plus(5), 1)
    wanted = f"flambeau: compiling kernels for this processor; kept in {folder}\n"
    assert errors.getvalue() == (wanted if said else "")


def test_without_llvmlite_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    targets.host.cache_clear()
    reason = compilers._unavailable.__wrapped__("host")
    targets.host.cache_clear()
    assert reason is not None and "pip install llvmlite" in reason


def test_a_broken_llvmlite_is_a_reason_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> Any:
        raise OSError("libLLVM is not there")

    monkeypatch.setattr(Compiler, "load", broken)
    assert compilers._unavailable.__wrapped__("host") == "OSError: libLLVM is not there"


def test_the_setting_chooses_the_processor() -> None:
    with config.override(cpu_code="none"):
        assert compilers.unavailable() == "the setting cpu_code is none" and targets.chosen() is None
    for target in targets.runnable():
        with config.override(cpu_code=target.name):
            assert compilers.unavailable() is None and targets.chosen() == target


def test_a_processor_that_this_is_not_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "runnable", lambda: [targets.host()])
    with pytest.raises(config.ConfigError, match="FLAMBEAU_CPU_CODE=avx512: this processor cannot run it"):
        targets.named.__wrapped__("avx512")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_compiles_though_another_thread_did() -> None:
    compiler, over = Compiler(targets.host()), threading.Event()
    numbers = itertools.count(1000)

    def work() -> None:
        while not over.is_set():
            called(compiler, plus(next(numbers)), 1)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in range(10):
            assert in_child(lambda number=number: called(compiler, plus(number), 1) == number + 1) == 0
    finally:
        over.set()
        thread.join()
