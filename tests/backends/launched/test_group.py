"""Groups of elementwise steps as one kernel against the kernels one by one, to the bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau.backends.group import Group, Input, Operand, Output, Step
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core import keys
from flambeau.core.dtype import DType
from flambeau.core.expr import parse
from flambeau.core.record import ELEMENTWISE, OPS
from tests.backends.launched.conftest import Bench

pytestmark = pytest.mark.device("opencl")

REAL = tuple(d for d in dt.ALL if not d.is_complex)


class Builder:
    """A group on some arrays of a bench, and beside it what the kernels give."""

    def __init__(self, bench: Bench, *arrays: StridedArray):
        self.bench, self.arrays, self.steps = bench, list(arrays), list[Step]()
        self.found = [bench.backend.copied(x) for x in arrays]
        self.shape = np.broadcast_shapes(*[x.shape for x in arrays])

    def op(self, name: str, *operands: int) -> int:
        dtypes = tuple([self.found[i].dtype for i in operands])
        dtype = next((d for d in dtypes if d is not dt.bool_), dt.bool_)
        op = OPS[name]
        expr, out = keys.expression(op, dtype), op.dtype.out(0, dtype, {})
        kernel = self.bench.backend.elementwise(name, expr, dtypes, out)
        assert kernel is not None
        return self._add(Step(name, expr, operands, out), kernel(*[self.found[i] for i in operands]))

    def cast(self, operand: int, dtype: DType) -> int:
        made = self.bench.op("cast", dtype)(self.found[operand], dtype=dtype)
        return self._add(Step("cast", parse("x", ("x",)), (operand,), dtype), made)

    def constant(self, number: float, dtype: DType) -> int:
        made = self.bench.backend.constant(number, dtype)
        return self._add(Step("constant", parse(repr(number), ()), (), dtype), made)

    def _add(self, step: Step, made: StridedArray) -> int:
        self.steps.append(step)
        self.found.append(made)
        return len(self.found) - 1

    def group(self, fresh: Sequence[int], into: dict[int, int] | None = None) -> Group:
        inputs = tuple([Input(x.dtype, x.shape, x.strides) for x in self.arrays])
        dense = tuple(np.empty(self.shape, np.int8).strides)
        outputs = [Output(i - len(inputs), dense) for i in fresh]
        outputs += [Output(i - len(inputs), None, k) for i, k in (into or {}).items()]
        return Group(self.shape, inputs, tuple(self.steps), tuple(outputs))

    def check(self, fresh: Sequence[int], into: dict[int, int] | None = None) -> None:
        """Run the group, and compare what it made and what it wrote to."""
        group = self.group(fresh, into)
        run = self.bench.backend.compile(group)
        assert run is not None, str(group)
        made = run(*self.arrays)
        assert len(made) == len(fresh)
        for x, number in zip(made, fresh, strict=True):
            assert x.dtype is self.found[number].dtype
            same(self.bench.get(x), self.bench.get(self.found[number]))
        for number, k in (into or {}).items():
            same(self.bench.get(self.arrays[k]), self.bench.get(self.found[number]))


def same(found: Any, expected: Any) -> None:
    """The same bits, but for those of nan."""
    expected = np.broadcast_to(expected, found.shape)
    bits = f"u{found.dtype.itemsize}"
    unequal = np.ascontiguousarray(found).view(bits) != np.ascontiguousarray(expected).view(bits)
    with np.errstate(invalid="ignore"):
        unequal &= ~((found != found) & (expected != expected))
    assert not unequal.any(), (found[unequal][:5], expected[unequal][:5])


def values(shape: tuple[int, ...], dtype: DType, seed: int) -> Any:
    """Values with infinities, nan, zeros of both signs, and the limits of the dtype among them."""
    x = np.random.default_rng([seed, *shape]).normal(scale=3, size=shape)
    if dtype is dt.bool_:
        return x > 0
    if dtype.category == dt.INTEGER:
        return (np.abs(x) if not dtype.is_signed else x).astype(dtype.numpy)
    edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 1e-45, 3e38, 2.5, -2.5])
    x.reshape(-1)[: min(x.size, len(edges))] = np.roll(edges, seed)[: x.size]
    with np.errstate(over="ignore"):
        return x.astype(dtype.numpy)


def views(bench: Bench, x: Any) -> list[StridedArray]:
    """An array in several layouts: in order, turned, backwards with gaps, and inside of a larger one."""
    put, dtype = bench.put, dt.from_numpy(x.dtype)
    axes = tuple(reversed(range(x.ndim)))
    turned = bench.op("permute", dtype)(put(np.ascontiguousarray(x.transpose(axes))), axes=axes)
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::-2] = x
    back = bench.op("basic_index", dtype)(put(wide), index=(*[slice(None)] * (x.ndim - 1), slice(None, None, -2)))
    inside = np.zeros((x.shape[0] + 2, *x.shape[1:]), x.dtype)
    inside[1:-1] = x
    return [
        put(x),
        turned,
        back,
        bench.op("basic_index", dtype)(put(inside), index=(slice(1, -1), *[slice(None)] * (x.ndim - 1))),
    ]


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


#: One name of each form, and of those whose kernels call functions.
NAMES = (
    "add", "sub", "mul", "div", "maximum", "neg", "sqrt", "exp", "tanh", "relu", "gelu",
    "floor", "where", "lt", "isnan",
)  # fmt: skip


@given(st.data())
@settings(max_examples=6, deadline=None, derandomize=True, database=None)
def test_random_groups(opencl: Any, data: st.DataObject) -> None:
    check_any_group(Bench(opencl), data)


@pytest.mark.slow
@given(st.data())
@settings(max_examples=60, deadline=None, database=None)
def test_more_random_groups(opencl: Any, data: st.DataObject) -> None:
    check_any_group(Bench(opencl), data)


def check_any_group(bench: Bench, data: st.DataObject) -> None:
    """A group of up to nine steps on arrays of any layout."""
    draw = data.draw
    dtype = draw(st.sampled_from([dt.float32, dt.float16, dt.bfloat16]))
    shape = draw(st.sampled_from([(37,), (3, 1), (5, 33), (2, 3, 17)]))
    shapes = [shape, *[tuple(1 if draw(st.booleans()) else n for n in shape) for _ in range(2)]]
    arrays = [
        draw(st.sampled_from(views(bench, values(s, dtype, i)))) for i, s in enumerate(shapes)
    ]  # fmt: skip
    builder = Builder(bench, *arrays)
    numbers, tests = [0, 1, 2], list[int]()
    for _ in range(draw(st.integers(2, 9))):
        name = draw(st.sampled_from([n for n in NAMES if n != "where" or tests]))
        count = len(OPS[name].schema.operands)
        operands = [draw(st.sampled_from(numbers)) for _ in range(count)]
        if name == "where":
            operands[0] = draw(st.sampled_from(tests))
        made = builder.op(name, *operands)
        (tests if builder.found[made].dtype is dt.bool_ else numbers).append(made)
    whole = list(range(3, len(builder.found)))
    fresh = draw(st.lists(st.sampled_from(whole), min_size=1, max_size=4, unique=True))
    written = [i for i in numbers[3:] if builder.found[i].shape == shape]
    into = {draw(st.sampled_from(written)): 0} if written and draw(st.booleans()) else {}
    builder.check(fresh, into)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", REAL, ids=str)
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
