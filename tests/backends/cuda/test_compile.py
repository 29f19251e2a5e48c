"""The texts of expressions compile with no GPU: by NVRTC, to PTX of two architectures.

The other families' are compiled where they run, in :mod:`test_ops`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import flambeau
from flambeau.backends.cuda.build import OPTIONS
from flambeau.backends.cuda.device import TARGET
from flambeau.backends.dialect import elementwise
from flambeau.backends.dialect.functions import program_for
from flambeau.core import dtype as dt
from flambeau.core.expr import ExprError, parse
from flambeau.core.keys import expression
from flambeau.core.record import ELEMENTWISE, OPS
from tests.backends.cuda import nvrtc

pytestmark = pytest.mark.skipif(nvrtc.library() is None, reason="the wheel nvidia-cuda-nvrtc-cu12 is not installed")
ARCHITECTURES = ("80", "90")
EXPRESSIONS = sorted(name for name, op in OPS.items() if op.family is ELEMENTWISE and op.expr is not None)
SAMPLE = ("add", "erf", "lgamma", "pow", "remainder", "where", "gelu", "shl", "isnan")


def signature(name: str, dtype: dt.DType) -> tuple[tuple[dt.DType, ...], dt.DType]:
    op = OPS[name]
    kinds = {"bool": dt.bool_, "index": dt.int64}
    return tuple(kinds.get(op.kind_of(a), dtype) for a in op.schema.operands), op.dtype.out(0, dtype, {})


def compiles(text: str, kernel: str) -> None:
    """One body stands in two kernels, each of which is compiled for another architecture: no text asks for it."""
    architecture = ARCHITECTURES[kernel == "rows"]
    assert f".visible .entry {kernel}" in nvrtc.compile_ptx(text, architecture, OPTIONS)


def test_no_text_asks_for_the_architecture() -> None:
    folder = Path(flambeau.__file__).parent / "backends"
    assert not [p for p in folder.rglob("*.py") if "__CUDA_ARCH__" in p.read_text()]


def texts_of(name: str, dtype: dt.DType) -> Iterator[tuple[str, str]]:
    """(text, kernel) of an op's expression; nothing where it has no meaning for the dtype."""
    op = OPS[name]
    dtypes, out = signature(name, dtype)
    try:
        program = program_for(expression(op, dtype), dtypes, out, TARGET)
        flat = elementwise.flat_source(program, TARGET, "v" * len(dtypes))
    except (ExprError, KeyError):
        return
    yield flat, "flat"
    yield elementwise.rows_source(program, TARGET, "n" * (len(dtypes) + 1)), "rows"


@pytest.mark.parametrize("name", [n for n in SAMPLE if n in OPS])
def test_a_sample_of_the_expressions(name: str) -> None:
    dtype = dt.float32 if OPS[name].accepts(dt.float32) else dt.int64
    found = list(texts_of(name, dtype))
    assert len(found) == 2
    for text, kernel in found:
        compiles(text, kernel)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_expression(name: str) -> None:
    """For each dtype that the op takes."""
    served = [d for d in dt.ALL if OPS[name].accepts(d)]
    found = [each for d in served for each in texts_of(name, d)]
    assert found, "no dtype has a kernel"
    for text, kernel in found:
        compiles(text, kernel)


@pytest.mark.slow
@pytest.mark.parametrize("source", dt.ALL, ids=str)
def test_every_copy(source: dt.DType) -> None:
    """From one dtype to each: casts, and whatever else changes strides."""
    for to in dt.ALL:
        program = program_for(parse("x", ("x",)), (source,), to, TARGET)
        compiles(elementwise.flat_source(program, TARGET, "v"), "flat")
        compiles(elementwise.rows_source(program, TARGET, "nn"), "rows")


def test_a_wrong_kernel_does_not_compile() -> None:
    with pytest.raises(RuntimeError, match="error"):
        nvrtc.compile_ptx('extern "C" __global__ void f() { nothing(); }', "90", ())
