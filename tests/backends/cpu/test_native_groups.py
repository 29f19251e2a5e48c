"""Groups of elementwise kernels in machine code against the kernels one by one, to the bit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import Backend
from flambeau.backends.group import Group, Input, Output, Step
from flambeau.backends.llvm.target import runnable
from flambeau.core import config, keys
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import parse
from flambeau.core.record import ELEMENTWISE, OPS
from tests.backends.cpu.arrays import LARGE, layouts, same, values

DEVICE = fb.device("cpu")
REAL = tuple(d for d in dt.ALL if not d.is_complex)


@pytest.fixture(autouse=True)
def machine_code() -> Iterator[None]:
    with config.override(cpu_code="host"):
        yield


def test_programs_of_every_width_have_the_same_bits() -> None:
    for target in runnable():
        with config.override(cpu_code=target.name):
            for dtype in dt.FLOATS:
                builder = Builder(special(dtype, 3001, 1), special(dtype, 3001, 2))
                total = builder.op("add", builder.op("mul", 0, 1), 0)
                test = builder.op("lt", total, 1)
                builder.check([builder.op("div", builder.op("where", test, total, 1), 1), test])


def backend() -> Backend:
    return keys.key_for(DEVICE, dt.float32).backend


def key_of(array: Any) -> keys.Key:
    return keys.key_for(DEVICE, dt.from_numpy(array.dtype))


class Builder:
    """A group on some arrays, and beside it what the kernels give."""

    def __init__(self, *arrays: Any):
        self.arrays, self.steps = list(arrays), list[Step]()
        self.found: list[Any] = [x.copy() for x in arrays]
        self.shape = np.broadcast_shapes(*[x.shape for x in arrays])
        for x, copied in zip(arrays, self.found, strict=True):
            assert x.dtype == copied.dtype

    def dtype(self, number: int) -> DType:
        return dt.from_numpy(self.found[number].dtype)

    def op(self, name: str, *operands: int) -> int:
        op = OPS[name]
        key = keys.key_for(DEVICE, self.dtype(operands[-1]))
        result = op.dtype.out(0, key.dtype, {})
        self.steps.append(Step(name, keys.expression(op, key.dtype), operands, result))
        self.found.append(np.asarray(getattr(key, name)(*[self.found[i] for i in operands])))
        return len(self.found) - 1

    def cast(self, operand: int, dtype: DType) -> int:
        self.steps.append(Step("cast", parse("x", ("x",)), (operand,), dtype))
        self.found.append(keys.key_for(DEVICE, self.dtype(operand)).cast(self.found[operand], dtype=dtype))
        return len(self.found) - 1

    def constant(self, number: float, dtype: DType) -> int:
        self.steps.append(Step("constant", parse(repr(number), ()), (), dtype))
        self.found.append(np.array(number, dtype.numpy))
        return len(self.found) - 1

    def group(self, fresh: Sequence[int], into: dict[int, int] | None = None) -> Group:
        inputs = tuple(
            Input(dt.from_numpy(x.dtype), x.shape, tuple(s // x.itemsize for s in x.strides)) for x in self.arrays
        )
        count, dense = len(inputs), np.empty(self.shape, np.int8).strides
        outputs = [Output(i - count, dense) for i in fresh]
        outputs += [Output(i - count, None, k) for i, k in (into or {}).items()]
        return Group(self.shape, inputs, tuple(self.steps), tuple(outputs))

    def check(self, fresh: Sequence[int], into: dict[int, int] | None = None) -> None:
        """Run the group, and compare what it made and what it wrote to."""
        group = self.group(fresh, into)
        run = backend().compile(group)
        assert run is not None, str(group)
        made = run(*self.arrays)
        assert len(made) == len(fresh)
        for x, number in zip(made, fresh, strict=True):
            assert x.dtype == self.found[number].dtype
            same_bits(x, self.found[number])
        for number, k in (into or {}).items():
            same_bits(self.arrays[k], self.found[number])


def same_bits(found: Any, expected: Any) -> None:
    """Equal values, zeros of equal signs."""
    expected = np.broadcast_to(expected, found.shape)
    same(found, expected)
    if found.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(found) & (found == 0), np.signbit(expected) & (found == 0))


def special(dtype: DType, count: int, seed: int) -> Any:
    """Values with infinities, nan, zeros of both signs, and the limits of the dtype among them."""
    x = values((count,), dtype, seed, -9, 9)
    if dtype.is_floating_point:
        edges = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 1e-45, 3e38, 2.5, -2.5])
        x[: min(count, len(edges))] = np.roll(edges, seed)[:count].astype(dtype.numpy)
    elif dtype is not dt.bool_:
        x[:2] = np.iinfo(dtype.numpy).max, np.iinfo(dtype.numpy).min
    return x


_ALIKE = (dt.float16, dt.float64)  # which bfloat16 and float32 stand for where time counts


@pytest.mark.parametrize("dtype", [pytest.param(d, marks=[pytest.mark.slow] * (d in _ALIKE)) for d in REAL], ids=str)
def test_every_step_that_is_taken_has_the_bits_of_its_kernel(dtype: DType) -> None:
    taken, wrong = 0, []
    for count in (37, 3000, 70_001):
        for op in OPS.values():
            if op.family is not ELEMENTWISE or op.expr is None or not op.accepts(dtype):
                continue
            if "special:" in op.expr and count == 3000:
                continue
            kinds = [dt.bool_ if op.kind_of(a) == "bool" else dtype for a in op.schema.operands]
            arrays = [special(d, count, i) for i, d in enumerate(kinds)]
            result = op.dtype.out(0, dtype, {})
            step = Step(op.name, keys.expression(op, dtype), tuple(range(len(kinds))), result)
            inputs = tuple(Input(d, (count,), (1,)) for d in kinds)
            if not backend().fuses(step, [x.operand for x in inputs], (count,)):
                continue
            taken += 1
            run = backend().compile(Group((count,), inputs, (step,), (Output(0, (1,)),)))
            assert run is not None
            expected = getattr(keys.key_for(DEVICE, dtype), op.name)(*arrays)
            try:
                same_bits(run(*arrays)[0], np.asarray(expected))
            except AssertionError:
                wrong.append((op.name, count))
    assert taken > 20 and not wrong


@pytest.mark.parametrize("count", [37, 20_000])
def test_casts_have_the_bits_of_the_kernel(count: int) -> None:
    for source in REAL:
        for to in REAL:
            builder = Builder(values((count,), source, 1, -90, 90))
            last = builder.cast(0, to)
            if backend().fuses(builder.steps[0], builder.group([last]).operands(builder.steps[0]), builder.shape):
                builder.check([last])


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=str)
def test_chains_of_every_length(dtype: DType) -> None:
    names = ("mul", "add", "maximum", "sub", "div")
    for length in (1, 2, 5, 17, 40):
        builder = Builder(values((3001,), dtype, 1), values((3001,), dtype, 2, 0.5, 2.0))
        last = 0
        for i in range(length):
            last = builder.op(names[i % len(names)], last, 1)
        builder.check([last])


@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_layouts_and_broadcast_operands(dtype: DType) -> None:
    name = "add" if dtype is not dt.bool_ else "bitwise_and"
    for x in layouts(values((7, 5, 33), dtype, 1)):
        for shape in ((), (33,), (5, 1), (7, 1, 33), (1, 1, 1)):
            builder = Builder(x, values(shape, dtype, 2))
            first = builder.op(name, 0, 1)
            second = builder.op("mul", first, 0)
            builder.check([first, builder.op("eq", second, 0), second])


@pytest.mark.parametrize("count", [3, 1025, LARGE])
def test_results_go_into_the_memory_of_operands(count: int) -> None:
    for x in layouts(values((count,), dt.float32, 1)):
        for y in layouts(values((count,), dt.float32, 2)):
            builder = Builder(x, y.copy(), y)
            product = builder.op("mul", 0, 1)
            total = builder.op("add", product, 0)
            gone = builder.op("sub", total, 1)
            builder.check([gone], {total: 0, product: 2})


def test_large_groups_of_functions_are_those_of_the_kernels() -> None:
    for dtype in dt.FLOATS:
        builder = Builder(values((LARGE,), dtype, 1), values((LARGE,), dtype, 2))
        gate = builder.op("sigmoid", builder.op("mul", 0, 1))
        curve = builder.op("tanh", builder.op("exp", gate))
        builder.check([curve, builder.op("gelu", builder.op("mul", gate, curve))])


def test_small_operands_of_functions_that_numpy_computes_are_not_taken() -> None:
    builder = Builder(values((64,), dt.float32))
    last = builder.op("exp", 0)
    assert backend().compile(builder.group([last])) is None


def test_divisions_that_look_at_their_divisors_are_not_taken() -> None:
    builder = Builder(values((64,), dt.int32, 1, 1, 9), values((64,), dt.int32, 1, 1, 9))
    assert backend().compile(builder.group([builder.op("floor_divide", 0, 1)])) is None


def test_constants_and_numbers_of_every_dtype_between() -> None:
    builder = Builder(values((501,), dt.bfloat16, 1), values((501,), dt.float64, 2))
    third = builder.constant(1 / 3, dt.bfloat16)
    low = builder.op("mul", 0, third)
    high = builder.op("add", builder.cast(low, dt.float64), 1)
    test = builder.op("lt", high, 1)
    half = builder.cast(high, dt.float16)
    builder.check([low, builder.op("where", test, half, builder.op("neg", half)), test])


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (), (1,)])
def test_no_elements_and_one(shape: tuple[int, ...]) -> None:
    builder = Builder(values(shape, dt.float32, 1), values(shape, dt.float32, 2))
    product = builder.op("mul", 0, 1)
    builder.check([builder.op("add", product, 0)], {product: 1})


def test_new_arrays_have_the_strides_that_are_asked_for() -> None:
    x = values((4, 5, 6), dt.float32)
    group = Builder(x)
    group.op("neg", 0)
    for strides in ((30, 6, 1), (1, 4, 20), (5, 1, 20)):
        run = backend().compile(Group(x.shape, group.group([1]).inputs, tuple(group.steps), (Output(0, strides),)))
        assert run is not None
        (made,) = run(x)
        assert made.strides == tuple(4 * s for s in strides)
        same_bits(made, -x)


def test_operands_of_other_shapes_are_refused_by_number() -> None:
    builder = Builder(values((8,), dt.float32), values((8,), dt.float32))
    run = backend().compile(builder.group([builder.op("add", 0, 1)]))
    assert run is not None
    with pytest.raises(ValueError, match=r"input 1 must be of shape \(8,\), got \(4,\)"):
        run(builder.arrays[0], builder.arrays[1][:4])


def test_unaligned_memory_is_read_and_written() -> None:
    memory = np.zeros(4 * 100 + 1, np.uint8)
    x = memory[1:].view(np.float32)
    x[:] = values((100,), dt.float32)
    builder = Builder(x)
    double = builder.op("add", 0, 0)
    builder.check([builder.op("mul", double, 0)], {double: 0})


def test_without_machine_code_there_are_no_groups() -> None:
    builder = Builder(values((8,), dt.float32))
    builder.op("neg", 0)
    with config.override(cpu_code="none"):
        assert backend().compile(builder.group([1])) is None
