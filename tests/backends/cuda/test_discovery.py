"""Why CUDA cannot be used, in words that help: no CuPy, no driver, one too old, no device, partly there."""

from __future__ import annotations

import builtins
import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import flambeau as fb
from flambeau.backends.cuda import discovery
from flambeau.backends.cuda.backend import CudaBackend


class Failure(RuntimeError):
    """A runtime's error."""


def cupy_with(count: Any) -> Any:
    """A CuPy whose runtime counts devices so."""
    runtime = SimpleNamespace(
        CUDARuntimeError=Failure, getDeviceCount=count, driverGetVersion=lambda: 11040, runtimeGetVersion=lambda: 12080
    )
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))


def failing(text: str) -> Any:
    def count() -> int:
        raise Failure(text)

    return count


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "driver_missing", lambda: None)


def test_without_a_gpu_the_reason_is_told() -> None:
    backend = CudaBackend()
    if backend.is_available():
        pytest.skip("this machine has a GPU")
    reason = backend.unavailable_reason()
    assert reason is not None and ("flambeau[cuda12]" in reason or "driver" in reason)
    assert backend.device_count() == 0 and backend.accelerators() == () and backend.notes() == []
    with pytest.raises(RuntimeError, match="cuda"):
        fb.zeros(2, device="cuda")


def test_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cupy, reason = discovery.load()
    assert cupy is None and reason is not None and 'pip install "flambeau[cuda12]"' in reason


def test_without_a_driver_cupy_is_not_even_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(discovery, "driver_missing", lambda: "libcuda.so.1: cannot open shared object file")
    monkeypatch.setitem(sys.modules, "cupy", None)
    cupy, reason = discovery.load()
    assert cupy is None and reason is not None
    assert "no NVIDIA driver (libcuda.so.1: cannot open" in reason and "docker run --gpus all" in reason


def test_a_cupy_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, driver: None) -> None:
    real = builtins.__import__

    def importing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "cupy":
            raise ImportError("two packages of CuPy are installed")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(builtins, "__import__", importing)
    _, reason = discovery.load()
    assert reason is not None and "two packages of CuPy" in reason and "keep one" in reason


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (failing("cudaErrorInsufficientDriver: too old"), ("driver serves CUDA 11.4", "built for 12.8", "update")),
        (failing("cudaErrorNoDevice: none"), ("nvidia-smi", "CUDA_VISIBLE_DEVICES")),
        (failing("cudaErrorUnknown: ?"), ("does not start", "nvidia-smi")),
        (lambda: 0, ("no device", "CUDA_VISIBLE_DEVICES")),
    ],
)
def test_a_runtime_that_does_not_start(count: Any, words: tuple[str, ...]) -> None:
    reason = discovery.unusable(cupy_with(count))
    assert reason is not None
    assert all(w in reason for w in words), reason


def test_a_runtime_that_does() -> None:
    assert discovery.unusable(cupy_with(lambda: 1)) is None


def test_notes_name_old_devices_and_libraries_that_do_not_load(machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend = machine.backend.cupy
    monkeypatch.setattr(discovery, "_LIBRARIES", ("nothing_of_this_name",))
    facts = {"name": b"Old", "major": 5, "minor": 2, "multiProcessorCount": 1, "totalGlobalMem": 1}
    monkeypatch.setattr(pretend.cuda.runtime, "getDeviceProperties", lambda index: facts)
    notes = machine.backend.notes()
    assert "nothing_of_this_name does not load" in notes[0] and "[ctk]" in notes[0]
    assert "cuda:0 (Old) has compute capability 5.2" in notes[1]
    monkeypatch.undo()
    assert not [n for n in machine.backend.notes() if "capability" in n]
