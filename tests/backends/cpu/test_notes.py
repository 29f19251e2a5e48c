"""What the CPU backend tells doctor of its machine code."""

from __future__ import annotations

import pytest

from flambeau.backends.cpu.backend import CpuBackend
from flambeau.backends.llvm import compiler, cpython, target
from flambeau.core import config


@pytest.mark.skipif(compiler.unavailable() is not None, reason="no machine code here")
def test_the_processor_and_the_folder_are_named() -> None:
    for found in target.runnable():
        with config.override(cpu_code=found.name):
            (note,) = CpuBackend().notes()
            assert note == (
                f"machine code for {found.cpu}, {8 * found.register}-bit registers, in {compiler.store.folder}"
            )


def test_numpy_alone_is_told_with_its_reason() -> None:
    with config.override(cpu_code="none"):
        assert CpuBackend().notes() == ["no machine code, numpy computes everything: the setting cpu_code is none"]


def test_a_broken_compiler_and_a_wrong_processor_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "unavailable", lambda: "OSError: libLLVM is not there")
    assert CpuBackend().notes() == ["no machine code, numpy computes everything: OSError: libLLVM is not there"]

    def wrong() -> str | None:
        raise config.ConfigError("FLAMBEAU_CPU_CODE=avx512: this processor cannot run it")

    monkeypatch.setattr(compiler, "unavailable", wrong)
    (note,) = CpuBackend().notes()
    assert "FLAMBEAU_CPU_CODE=avx512: this processor cannot run it" in note


def test_an_interpreter_without_built_ins_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "unavailable", lambda: None)
    monkeypatch.setattr(cpython, "unsuited", lambda: "the interpreter is a free-threaded one")
    with config.override(cpu_code="host"):
        assert CpuBackend().notes()[1:] == [
            "calls of machine code go through ctypes: the interpreter is a free-threaded one"
        ]
