"""Groups of elementwise steps on CUDA: their texts by NVRTC, and on the pretend machine the bits of the kernels."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.backends.cuda.build import OPTIONS
from flambeau.backends.cuda.device import TARGET
from flambeau.backends.dialect import group as texts
from flambeau.backends.dialect.functions import program_for
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import parse
from tests.backends.cuda import nvrtc
from tests.backends.launched.conftest import Bench
from tests.backends.launched.groups import Builder, check_any_group, values, views


def body(dtype: DType) -> texts.Body:
    """``y += tanh(x * number)``, and the products too, of x and y of a dtype."""
    product = texts.Stage(program_for(parse("x * y", ("x", "y")), (dtype, dtype), dtype, TARGET), (0, 3), dtype)
    curve = texts.Stage(program_for(parse("tanh(x)", ("x",)), (dtype,), dtype, TARGET), (4,), dtype)
    total = texts.Stage(program_for(parse("x + y", ("x", "y")), (dtype, dtype), dtype, TARGET), (1, 5), dtype)
    stages = (texts.Stage(None, (), dtype), product, curve, total)
    return texts.Body((dtype, dtype, dtype), (0, 1), stages, ((1, 6), (2, 4)))


@pytest.mark.skipif(nvrtc.library() is None, reason="the wheel nvidia-cuda-nvrtc-cu12 is not installed")
@pytest.mark.parametrize("dtype", dt.FLOATS, ids=str)
def test_texts_compile(dtype: DType) -> None:
    for text, name in (
        (texts.flat_source(body(dtype), TARGET, "svv"), "flat"),
        (texts.rows_source(body(dtype), TARGET, "n11", 2), "rows"),
    ):
        assert f".visible .entry {name}" in nvrtc.compile_ptx(text, "90", OPTIONS)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=4, deadline=None, derandomize=True, database=None)
def test_random_groups_have_the_bits_of_kernels(shared: Any, data: st.DataObject) -> None:
    check_any_group(Bench(shared.backend), data)


def test_results_go_into_the_memory_of_operands(shared: Any) -> None:
    bench = Bench(shared.backend)
    for x in views(bench, values((70,), dt.bfloat16, 1)):
        builder = Builder(bench, x, bench.put(values((70,), dt.bfloat16, 2)))
        product = builder.op("mul", 0, builder.constant(0.1, dt.bfloat16))
        builder.check([builder.op("sub", product, 1)], {product: 0})
