"""Compiling for a device by CuPy's NVRTC, to machine code, with no device: what is asked for, errors, the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flambeau.backends.cuda.build import Compiler
from flambeau.core import dtype as dt
from tests.backends.cuda.test_compile import texts_of

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")

TEXT = 'extern "C" __global__ void twice(float *x) { x[threadIdx.x] *= 2; }'


@pytest.fixture
def nvrtc() -> Any:
    module = cupy.cuda.nvrtc
    try:
        module.getVersion()
    except Exception as error:
        pytest.skip(f"NVRTC does not load: {error}")
    return module


@pytest.mark.parametrize("capability", [75, 80, 90])
def test_machine_code_for_a_known_device(nvrtc: Any, tmp_path: Path, capability: int) -> None:
    made = Compiler(nvrtc, capability, tmp_path).binary(TEXT)
    assert made.startswith(b"\x7fELF") and b"twice" in made


def test_a_device_that_is_newer_gets_ptx(nvrtc: Any, tmp_path: Path) -> None:
    compiler = Compiler(nvrtc, 999, tmp_path)
    made = compiler.binary(TEXT)
    assert b".entry twice" in made and compiler.options[-1].startswith("-arch=compute_")


def test_subnormal_numbers_are_kept(nvrtc: Any, tmp_path: Path) -> None:
    """CuPy's RawModule would compile to operations that flush them (``.ftz``)."""
    made = Compiler(nvrtc, 999, tmp_path).binary(TEXT)
    assert b"add.rn.f32" in made or b"mul.rn.f32" in made
    assert b".ftz" not in made


def test_products_and_sums_are_not_contracted(nvrtc: Any, tmp_path: Path) -> None:
    text = 'extern "C" __global__ void f(float *x) { x[0] = x[0] * x[1] + x[2]; }'
    made = Compiler(nvrtc, 999, tmp_path).binary(text)
    assert b"mul" in made and b"fma" not in made


def test_an_error_has_the_log(nvrtc: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"NVRTC \d+\.\d+ does not compile .*\n.*nothing"):
        Compiler(nvrtc, 90, tmp_path).binary('extern "C" __global__ void f() { nothing(); }')
    assert not list(tmp_path.iterdir())


def test_the_cache_serves_the_next_process(nvrtc: Any, tmp_path: Path) -> None:
    first = Compiler(nvrtc, 90, tmp_path / "cuda").binary(TEXT)
    again = Compiler(nvrtc, 90, tmp_path / "cuda")
    again.compile = None  # type: ignore[method-assign, assignment]  # it would be an error to call it
    assert again.binary(TEXT) == first
    assert [f.suffix for f in (tmp_path / "cuda").iterdir()] == [".cubin"]
    assert Compiler(nvrtc, 80, tmp_path / "cuda").binary(TEXT) != first


def test_a_folder_that_cannot_be_written_does_no_harm(nvrtc: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert Compiler(nvrtc, 90, tmp_path / "file").binary(TEXT).startswith(b"\x7fELF")


def test_generated_kernels_fit_the_device(nvrtc: Any, tmp_path: Path) -> None:
    """To machine code, so that registers and shared memory are assigned too."""
    for name in ("add", "lgamma", "where"):
        for text, kernel in texts_of(name, dt.float32):
            assert kernel.encode() in Compiler(nvrtc, 90, tmp_path).binary(text)
