"""Compiling for a device by CuPy's NVRTC, to machine code, with no device: what is asked for, errors, the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flambeau.backends.cuda.build import Compiler
from flambeau.core import config
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


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where compiled code is kept."""
    with config.override(cache_dir=tmp_path):
        yield tmp_path


@pytest.mark.parametrize("capability", [75, 80, 90])
def test_machine_code_for_a_known_device(nvrtc: Any, capability: int) -> None:
    made = Compiler(nvrtc, capability).binary(TEXT)
    assert made.startswith(b"\x7fELF") and b"twice" in made


def test_a_device_that_is_newer_gets_ptx(nvrtc: Any) -> None:
    compiler = Compiler(nvrtc, 999)
    made = compiler.binary(TEXT)
    assert b".entry twice" in made and compiler.options[-1].startswith("-arch=compute_")


def test_subnormal_numbers_are_kept(nvrtc: Any) -> None:
    """CuPy's RawModule would compile to operations that flush them (``.ftz``)."""
    made = Compiler(nvrtc, 999).binary(TEXT)
    assert b"add.rn.f32" in made or b"mul.rn.f32" in made
    assert b".ftz" not in made


def test_products_and_sums_are_not_contracted(nvrtc: Any) -> None:
    text = 'extern "C" __global__ void f(float *x) { x[0] = x[0] * x[1] + x[2]; }'
    made = Compiler(nvrtc, 999).binary(text)
    assert b"mul" in made and b"fma" not in made


def test_an_error_has_the_log(nvrtc: Any, folder: Path) -> None:
    with pytest.raises(RuntimeError, match=r"NVRTC \d+\.\d+ does not compile .*\n.*nothing"):
        Compiler(nvrtc, 90).binary('extern "C" __global__ void f() { nothing(); }')
    assert not list(folder.iterdir())


def test_the_cache_serves_the_next_process(nvrtc: Any, folder: Path) -> None:
    first = Compiler(nvrtc, 90).binary(TEXT)
    again = Compiler(nvrtc, 90)
    again.compile = None  # type: ignore[method-assign, assignment]  # it would be an error to call it
    assert again.binary(TEXT) == first
    assert [f.suffix for f in (folder / "cuda").iterdir()] == [".cubin"]
    assert Compiler(nvrtc, 80).binary(TEXT) != first


def test_generated_kernels_fit_the_device(nvrtc: Any) -> None:
    """To machine code, so that registers and shared memory are assigned too."""
    for name in ("add", "lgamma", "where"):
        for text, kernel in texts_of(name, dt.float32):
            assert kernel.encode() in Compiler(nvrtc, 90).binary(text)
