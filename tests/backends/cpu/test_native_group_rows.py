"""Groups with reductions of rows in machine code, against their steps in NumPy in float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau.backends.group import Group, Input, Output, Step
from flambeau.backends.llvm.target import runnable
from flambeau.core import config, keys
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import parse
from flambeau.core.record import OPS

DEVICE = fb.device("cpu")
X = parse("x", ("x",))
NUMPY: dict[str, Any] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "exp": np.exp, "sqrt": np.sqrt,
    "where": np.where, "maximum": np.maximum,
}  # fmt: skip
REDUCE: dict[str, Any] = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min}


@pytest.fixture(autouse=True)
def machine_code() -> Iterator[None]:
    with config.override(cpu_code="host"):
        yield


def numbers(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class Rows:
    """A group that is put together, and beside it each value in float64."""

    def __init__(self, axes: int, *arrays: Any, shape: tuple[int, ...] | None = None):
        self.axes, self.arrays, self.steps = axes, list(arrays), list[Step]()
        self.shape = shape or np.broadcast_shapes(*[x.shape for x in arrays])
        self.found: list[Any] = [x.copy() if x.dtype == bool else x.astype(np.float64) for x in arrays]
        self.dtypes: list[DType] = [dt.from_numpy(x.dtype) for x in arrays]

    def _add(self, step: Step, value: Any) -> int:
        self.steps.append(step)
        self.found.append(value)
        self.dtypes.append(step.dtype)
        return len(self.found) - 1

    def op(self, name: str, *operands: int) -> int:
        dtype = self.dtypes[operands[-1]]
        expr = keys.expression(OPS[name], dtype)
        return self._add(Step(name, expr, operands, dtype), NUMPY[name](*[self.found[i] for i in operands]))

    def fold(self, name: str, operand: int, dtype: DType = dt.float32) -> int:
        axes = tuple(range(-self.axes, 0))
        value = REDUCE[name](np.broadcast_to(self.found[operand], self.shape), axis=axes, keepdims=True)
        return self._add(Step(name, X, (operand,), dtype, self.axes), value)

    def cast(self, operand: int, dtype: DType) -> int:
        return self._add(Step("cast", X, (operand,), dtype), self.found[operand])

    def group(self, stored: Sequence[int], into: dict[int, int]) -> Group:
        inputs = [
            Input(dt.from_numpy(x.dtype), x.shape, tuple([
                0 if n == 1 else s // x.itemsize for n, s in zip(x.shape, x.strides, strict=True)
            ]))
            for x in self.arrays
        ]  # fmt: skip
        known = len(inputs)
        outputs = [Output(i - known, _strides(self.found[i].shape)) for i in stored]
        outputs += [Output(i - known, None, place) for i, place in into.items()]
        return Group(self.shape, tuple(inputs), tuple(self.steps), tuple(outputs))

    def check(self, stored: Sequence[int], into: dict[int, int] | None = None, tolerance: float = 1e-5) -> Group:
        """What the function gives is what there is in float64."""
        into = into or {}
        group = self.group(stored, into)
        made = keys.key_for(DEVICE, dt.float32).backend.compile(group)
        assert made is not None
        given = [x.copy() if i in into.values() else x for i, x in enumerate(self.arrays)]
        results = [*zip(made(*given), stored, strict=True), *[(given[place], i) for i, place in into.items()]]
        for found, number in results:
            expected = self.found[number]
            assert found.dtype == self.dtypes[number].numpy
            assert found.shape == expected.shape
            scale = np.max(np.abs(expected), where=np.isfinite(expected), initial=1e-30)
            np.testing.assert_allclose(found.astype(np.float64), expected, tolerance, tolerance * float(scale))
        return group


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([int(np.prod(shape[i + 1 :])) for i in range(len(shape))])


def softmax(rows: Rows, x: int) -> int:
    e = rows.op("exp", rows.op("sub", x, rows.fold("max", x)))
    return rows.op("div", e, rows.fold("sum", e))


def norm(rows: Rows, x: int) -> int:
    centred = rows.op("sub", x, rows.fold("mean", x))
    spread = rows.fold("mean", rows.op("mul", centred, centred), dt.float64)
    return rows.op("div", centred, rows.cast(rows.op("sqrt", spread), dt.float32))


@pytest.mark.parametrize("length", [7, 65, 1000])
def test_softmax_of_a_sum(length: int) -> None:
    rows = Rows(1, numbers(1, 600, length), numbers(2, 600, length))
    total = rows.op("add", 0, 1)
    rows.check([softmax(rows, total)])


def test_every_target_has_the_same_norm() -> None:
    for target in runnable():
        with config.override(cpu_code=target.name):
            rows = Rows(1, numbers(1, 100, 77), numbers(2, 100, 77), numbers(3, 77))
            total = rows.op("add", 0, 1)
            rows.check([total, rows.op("mul", norm(rows, total), 2)])


def test_the_bits_do_not_depend_on_the_threads() -> None:
    rows = Rows(1, numbers(1, 4096, 100))
    group = rows.check([softmax(rows, 0)])
    made = keys.key_for(DEVICE, dt.float32).backend.compile(group)
    assert made is not None
    found = []
    for count in (1, 2):
        with config.override(num_threads=count):
            found.append(made(*rows.arrays)[0].tobytes())
    assert found[0] == found[1]


def test_rows_of_two_axes_and_single_numbers_of_rows() -> None:
    rows = Rows(2, numbers(1, 40, 6, 25), numbers(2, 40, 1, 1), numbers(3, 6, 25))
    scaled = rows.op("mul", rows.op("mul", 0, 1), 2)
    total = rows.fold("sum", scaled)
    rows.check([total, rows.op("sub", scaled, rows.op("mul", total, 1))])


def test_inputs_that_are_broadcast_around_rows_or_lie_apart() -> None:
    base = numbers(1, 30, 4, 130)
    rows = Rows(1, base[::2, :, 3:67], numbers(2, 4, 64), numbers(3, 15, 1, 64)[:, :, :], np.float32(0.5).reshape(()))
    x = rows.op("add", rows.op("mul", 0, 3), rows.op("add", 1, 2))
    rows.check([softmax(rows, x)])


def test_columns_that_step_are_left_to_the_kernels() -> None:
    rows = Rows(1, numbers(1, 100, 64).T)
    group = rows.group([rows.fold("sum", 0)], {})
    assert keys.key_for(DEVICE, dt.float32).backend.compile(group) is None


def test_arrays_that_lie_in_another_way_than_the_group_says_are_copied() -> None:
    rows = Rows(1, numbers(1, 64, 80))
    made = keys.key_for(DEVICE, dt.float32).backend.compile(rows.group([rows.fold("sum", 0)], {}))
    assert made is not None
    turned = np.asfortranarray(rows.arrays[0])
    np.testing.assert_allclose(made(turned)[0], turned.sum(1, keepdims=True), 1e-5, 1e-5)
    with pytest.raises(ValueError, match="input must be of shape"):
        made(turned[:, :3])


def test_an_input_may_be_written_to() -> None:
    rows = Rows(1, numbers(1, 200, 40), numbers(2, 200, 40))
    x = softmax(rows, rows.op("add", 0, 1))
    rows.check([rows.fold("max", x)], {rows.op("sub", 0, x): 0})


def test_masks_and_rows_of_infinities() -> None:
    mask = np.random.default_rng(3).random((128, 64)) < 0.3
    mask[5] = True
    rows = Rows(1, numbers(1, 128, 64), mask, np.float32(-np.inf).reshape(()))
    with np.errstate(invalid="ignore"):
        masked = rows.op("where", 1, 2, 0)
        rows.check([softmax(rows, masked)])


@pytest.mark.parametrize("name", ["max", "min", "sum", "mean"])
def test_a_nan_of_a_row_reaches_its_reduction(name: str) -> None:
    x = numbers(1, 100, 75)
    x[3, 0] = x[50, 74] = x[99, 40] = np.nan
    rows = Rows(1, x)
    rows.check([rows.fold(name, 0)])


@pytest.mark.parametrize("dtype", [dt.float16, dt.bfloat16], ids=str)
def test_low_precision_is_read_and_rounded_once(dtype: DType) -> None:
    x = numbers(1, 100, 70).astype(dtype.numpy)
    rows = Rows(1, x)
    rows.check([rows.cast(norm(rows, rows.cast(0, dt.float32)), dtype)], tolerance=1e-2)


def test_float64() -> None:
    rows = Rows(1, numbers(1, 100, 70).astype(np.float64))
    total = rows.fold("sum", rows.op("mul", 0, 0), dt.float64)
    rows.check([rows.op("div", 0, rows.op("sqrt", total))], tolerance=1e-13)


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_any_steps(data: st.DataObject) -> None:
    length = data.draw(st.integers(2, 70))
    rows = Rows(1, numbers(1, 70, length), numbers(2, 70, 1), numbers(3, length), shape=(70, length))
    for _ in range(data.draw(st.integers(1, 8))):
        known = st.integers(0, len(rows.found) - 1)
        if data.draw(st.booleans()):
            rows.fold(data.draw(st.sampled_from(sorted(REDUCE))), data.draw(known))
        else:
            rows.op(data.draw(st.sampled_from(["add", "sub", "mul", "maximum"])), data.draw(known), data.draw(known))
    if not any(s.axes for s in rows.steps):
        rows.fold("sum", 0)
    served = [i for i in range(3, len(rows.found)) if rows.found[i].shape in ((70, length), (70, 1))]
    if served:
        rows.check(served, tolerance=2e-4)
