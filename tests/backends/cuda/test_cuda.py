"""CUDA without a GPU: the generated kernels compile for two architectures, and the host logic is right."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import pytest

import flambeau as fb
from flambeau.backends.cuda import elementwise
from flambeau.backends.cuda.backend import CudaBackend
from flambeau.backends.cuda.elementwise import OPTIONS, plan, source
from flambeau.backends.dialect.functions import program_for
from flambeau.core import dtype as dt
from flambeau.core.dispatch import expression
from flambeau.core.record import ELEMENTWISE, OPS

_spec = importlib.util.spec_from_file_location("nvrtc", Path(__file__).with_name("nvrtc.py"))
assert _spec is not None and _spec.loader is not None
nvrtc = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(nvrtc)

needs_nvrtc = pytest.mark.skipif(nvrtc.library() is None, reason="the wheel nvidia-cuda-nvrtc-cu12 is not installed")
ARCHITECTURES = ("80", "90")
EXPRESSIONS = [name for name, op in OPS.items() if op.family is ELEMENTWISE and op.expr is not None]
SAMPLE = ("add", "exp", "erf", "lgamma", "pow", "remainder", "where", "gelu", "atan2", "shl", "isnan")


def _signature(name: str, dtype: dt.DType) -> tuple[tuple[dt.DType, ...], dt.DType]:
    op = OPS[name]
    kinds = {"bool": dt.bool_, "index": dt.int64}
    return tuple(kinds.get(op.kind_of(a), dtype) for a in op.schema.operands), op.dtype.out(0, dtype, {})


def _compile(name: str, dtype: dt.DType, kind: str, pattern: str, architecture: str) -> str:
    dtypes, out = _signature(name, dtype)
    return nvrtc.compile_ptx(source(kind, expression(OPS[name]), dtypes, out, pattern), architecture, OPTIONS)


@needs_nvrtc
@pytest.mark.parametrize("name", [n for n in SAMPLE if n in OPS])
def test_kernels_compile(name: str) -> None:
    op = OPS[name]
    dtype = dt.float32 if op.accepts(dt.float32) else dt.int64
    count = len(op.schema.operands)
    assert ".visible .entry flat" in _compile(name, dtype, "flat", "v" * count, "90")
    assert ".visible .entry rows" in _compile(name, dtype, "rows", "n" * (count + 1), "80")


@needs_nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_kernel_compiles(name: str) -> None:
    """For each dtype that the op takes, and both architectures for the widest use."""
    op = OPS[name]
    count = len(op.schema.operands)
    for dtype in dt.ALL:
        if not op.accepts(dtype):
            continue
        dtypes, out = _signature(name, dtype)
        try:
            program_for(expression(op), dtypes, out, elementwise.TARGET)
        except Exception:
            continue  # the expression has no meaning for this dtype: the op's body serves it
        try:
            source("flat", expression(op), dtypes, out, "v" * count)
        except KeyError:
            continue
        for architecture in ARCHITECTURES if dtype in (dt.float32, dt.int64) else ARCHITECTURES[1:]:
            assert "entry flat" in _compile(name, dtype, "flat", "v" * count, architecture)


@needs_nvrtc
def test_a_wrong_kernel_does_not_compile() -> None:
    with pytest.raises(RuntimeError, match="error"):
        nvrtc.compile_ptx('extern "C" __global__ void f() { nothing(); }', "90", ())


def test_contiguous_operands_and_single_elements_take_the_flat_kernel() -> None:
    kind, pattern, packed, n = plan((4, 6), ((6, 1), (0, 0), (6, 1)))
    assert (kind, pattern, n) == ("flat", "vs", 24)
    assert struct.unpack("5q", packed) == (24, 1, 0, 0, 0)


def test_other_strides_take_the_rows_kernel() -> None:
    kind, pattern, packed, n = plan((4, 6), ((1, 4), (6, 1)))
    assert (kind, n) == ("rows", 24)
    rows, height, columns, width = struct.unpack_from("4q", packed)
    assert (rows * columns, height, width) == (24, 1, columns)
    assert len(pattern) == 2


def test_without_a_gpu_the_reason_is_told() -> None:
    backend = CudaBackend()
    if backend.is_available():
        pytest.skip("this machine has a GPU")
    reason = backend.unavailable_reason()
    assert reason is not None and ("flambeau[cuda12]" in reason or "nvidia-smi" in reason)
    assert backend.device_count() == 0
    with pytest.raises(RuntimeError, match="cuda"):
        fb.zeros(2, device="cuda")
