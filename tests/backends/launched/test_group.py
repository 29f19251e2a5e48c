"""Groups of elementwise steps as one kernel against the kernels one by one, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau.backends.group import Group, Operand, Output, Step
from flambeau.core import dtype as dt
from flambeau.core import keys
from flambeau.core.dtype import DType
from flambeau.core.record import ELEMENTWISE, OPS
from tests.backends.launched.conftest import Bench
from tests.backends.launched.groups import Builder, check_any_group, same, values, views

pytestmark = pytest.mark.device("opencl")


@pytest.mark.parametrize("dtype", [dt.float32, dt.bool_], ids=str)
def test_layouts_and_broadcast_operands(bench: Bench, dtype: DType) -> None:
    name = "add" if dtype is not dt.bool_ else "bitwise_and"
    for x in views(bench, values((7, 5, 33), dtype, 1)):
        for shape in ((), (5, 1), (7, 1, 33)):
            builder = Builder(bench, x, bench.put(values(shape, dtype, 2)))
            first = builder.op(name, 0, 1)
            second = builder.op("bitwise_or" if dtype is dt.bool_ else "mul", first, 0)
            builder.check([first, builder.op("eq", second, 0), second])


@pytest.mark.parametrize("count", [3, 9001])
def test_results_go_into_the_memory_of_operands(bench: Bench, count: int) -> None:
    for x in views(bench, values((count,), dt.float32, 1))[::2]:
        for y in views(bench, values((count,), dt.float32, 2))[::2]:
            builder = Builder(bench, x, bench.backend.copied(y), y)
            product = builder.op("mul", 0, 1)
            total = builder.op("add", product, 0)
            gone = builder.op("sub", total, 1)
            builder.check([gone], {total: 0, product: 2})


def test_low_precision_is_rounded_between_steps(bench: Bench) -> None:
    for dtype in dt.LOW_PRECISION:
        builder = Builder(bench, bench.put(values((501,), dtype, 1)), bench.put(values((501,), dt.float64, 2)))
        third = builder.constant(1 / 3, dtype)
        low = builder.op("mul", 0, third)
        high = builder.op("add", builder.cast(low, dt.float64), 1)
        test = builder.op("lt", high, 1)
        half = builder.cast(high, dt.float16)
        builder.check([low, builder.op("where", test, half, builder.op("neg", half)), test])


@pytest.mark.parametrize("number", [0.1, -0.0, float("inf"), float("nan"), 1e-45])
def test_numbers_are_those_of_arrays(bench: Bench, number: float) -> None:
    for dtype in dt.FLOATS:
        builder = Builder(bench, bench.put(values((70,), dtype, 1)))
        last = builder.op("div", builder.op("mul", 0, builder.constant(number, dtype)), builder.constant(3.0, dtype))
        builder.check([last])
    builder = Builder(bench, bench.put(values((70,), dt.uint64, 1)))
    builder.check([builder.op("add", 0, builder.constant(2**63 + 5, dt.uint64))])


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (), (1,)])
def test_no_elements_and_one(bench: Bench, shape: tuple[int, ...]) -> None:
    builder = Builder(bench, bench.put(values(shape, dt.float32, 1)), bench.put(values(shape, dt.float32, 2)))
    product = builder.op("mul", 0, 1)
    builder.check([builder.op("add", product, 0)], {product: 1})


def test_new_arrays_have_the_strides_that_are_asked_for(bench: Bench) -> None:
    x = bench.put(values((4, 5, 6), dt.float32, 1))
    builder = Builder(bench, x)
    builder.op("neg", 0)
    for strides in ((30, 6, 1), (1, 4, 20), (5, 1, 20)):
        inputs = builder.group([1]).inputs
        run = bench.backend.compile(Group(x.shape, inputs, tuple(builder.steps), (Output(0, strides),)))
        assert run is not None
        (made,) = run(x)
        assert made.strides == strides
        same(bench.get(made), bench.get(builder.found[1]))


def test_one_function_serves_views_at_every_offset(bench: Bench) -> None:
    host = values((8, 100), dt.float32, 1)
    whole = bench.put(host)
    rows = [bench.op("basic_index", dt.float32)(whole, index=(i, slice(None))) for i in range(8)]
    builder = Builder(bench, rows[0])
    run = bench.backend.compile(builder.group([builder.op("neg", builder.op("mul", 0, 0))]))
    assert run is not None
    for i, row in enumerate(rows):
        with np.errstate(over="ignore"):
            same(bench.get(run(row)[0]), -(host[i] * host[i]))


def test_operands_of_other_shapes_are_refused_by_number(bench: Bench) -> None:
    builder = Builder(bench, *[bench.put(values((8,), dt.float32, i)) for i in range(2)])
    run = bench.backend.compile(builder.group([builder.op("add", 0, 1)]))
    assert run is not None
    with pytest.raises(ValueError, match=r"input 1 must be of shape \(8,\) and flambeau\.float32, got \(4,\) and"):
        run(builder.arrays[0], builder.arrays[1].viewed((4,), (1,), 0))


def test_what_needs_more_parameters_than_drivers_take_is_no_group(bench: Bench) -> None:
    builder = Builder(bench, bench.put(values((8,), dt.float32, 1)))
    last = 0
    for i in range(130):
        last = builder.op("add", last, builder.constant(float(i), dt.float32))
    assert bench.backend.compile(builder.group([last])) is None


def test_steps_with_kernels_of_their_own_are_not_taken(bench: Bench) -> None:
    step = Step("neg", keys.expression(OPS["neg"], dt.float32), (0,), dt.float32)
    operand = [Operand(dt.float32, (3,))]
    assert bench.backend.fuses(step, operand, (3,))
    assert not bench.backend.fuses(step._replace(name="sum"), operand, (3,))
    assert not bench.backend.fuses(step._replace(dtype=dt.complex64), [Operand(dt.complex64, (3,))], (3,))


@given(st.data())
@settings(max_examples=6, deadline=None, derandomize=True, database=None)
def test_random_groups(opencl: Any, data: st.DataObject) -> None:
    check_any_group(Bench(opencl), data)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=20, deadline=None, database=None)
def test_more_random_groups(opencl: Any, data: st.DataObject) -> None:
    check_any_group(Bench(opencl), data)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [dt.float32], ids=str)  # each step has a kernel to build
def test_every_step_has_the_bits_of_its_kernel(opencl: Any, dtype: DType) -> None:
    bench, taken = Bench(opencl), 0
    for op in OPS.values():
        if op.family is not ELEMENTWISE or op.expr is None or not op.accepts(dtype):
            continue
        kinds = [dt.bool_ if op.kind_of(a) == "bool" else dtype for a in op.schema.operands]
        step = Step(op.name, keys.expression(op, dtype), tuple(range(len(kinds))), op.dtype.out(0, dtype, {}))
        if not opencl.fuses(step, [Operand(d, (601,)) for d in kinds], (601,)):
            continue
        builder = Builder(bench, *[bench.put(values((601,), d, i)) for i, d in enumerate(kinds)])
        builder.check([builder.op(op.name, *range(len(kinds)))])
        taken += 1
    assert taken > 10


def test_compiled_functions_use_groups(opencl: Any) -> None:
    x, y = (fb.tensor(values((40, 30), dt.float32, i)).to("opencl:0") for i in (1, 2))

    def chain(x: Any, y: Any) -> Any:
        return ((x * y + 1.5).tanh() - x) * y, x + y

    compiled = fb.compile(chain)
    for _ in range(5):
        for found, expected in zip(compiled(x, y), chain(x, y), strict=True):
            same(found.cpu().numpy(), expected.cpu().numpy())
