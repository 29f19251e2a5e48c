"""Calls with plans: the same bits as numpy's kernels give, before there are plans and after; what has none, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from flambeau.backends.base import OutOfRangeError
from flambeau.backends.cpu.backend import CpuBackend
from flambeau.backends.cpu.native import arrays
from flambeau.backends.llvm import planned
from flambeau.backends.llvm.compiler import compiler_for
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import ELSEWHERE, Target
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import BACKEND

SHAPES = ((7,), (3, 4), (2, 3, 5), (40,), (6, 50), (1,), (3, 1, 4), (33, 9))
DTYPES = [dt.float32, dt.float64, dt.int64, dt.uint8, dt.bool_, dt.bfloat16, dt.complex64]
#: The name of a kernel, its operands and its params.
Call = tuple[str, tuple[Any, ...], dict[str, Any]]

pytestmark = pytest.mark.skipif(planned.runner() is None, reason="no built-ins can be made here")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plans from the first call on, whatever the environment says of machine code."""
    monkeypatch.setattr(arrays, "CALLS", 0)
    with config.override(cpu_code="host"):
        yield


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call that asked for a plan got one."""
    found: list[bool] = []
    before = arrays._plan

    def counted(*args: Any) -> Any:
        run, plan = before(*args)
        found.append(bool(plan))
        return run, plan

    monkeypatch.setattr(arrays, "_plan", counted)
    return found


def kernel(name: str, dtype: DType) -> Any:
    """A kernel that has no plans yet."""
    return CpuBackend().kernels.own(name, dtype).fn  # type: ignore[union-attr]  # all dtypes have those below


def values(shape: tuple[int, ...], dtype: DType, seed: int = 0) -> Any:
    """Numbers with all that is special about them."""
    rng = np.random.default_rng([seed, *shape])
    if dtype.category < dt.FLOATING:
        return rng.integers(0, 2 if dtype is dt.bool_ else 9, shape).astype(dtype.numpy)
    special = [0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 0.3, 0.7, 1e30, -0.3, 2.5, 1e-30]
    return rng.choice(special, shape).astype(dtype.numpy)


def along(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    return (*shape[:axis], length, *shape[axis + 1 :])


def indexed(shape: tuple[int, ...], dtype: DType) -> Iterator[Call]:
    rng = np.random.default_rng(shape)
    x = values(shape, dtype)
    for axis, n in enumerate(shape):
        index, few = rng.integers(0, n, along(shape, axis, 3)), rng.integers(0, n, 5)
        back, slices = rng.integers(-n, n, 5), values(along(shape, axis, 5), dtype, 1)
        yield "gather", (x, index), {"axis": axis}
        for reduce in ("set", "add", "prod", "amax", "amin"):
            yield "scatter", (x, index, values(index.shape, dtype, 1)), {"axis": axis, "reduce": reduce}
        yield "index_select", (x, few), {"axis": axis}
        yield "index_get", (x, rng.integers(-n, n, (2, 3))), {"axis": axis}
        yield "index_add", (x, few, slices), {"axis": axis}
        yield "index_put", (x, slices, back), {"axis": axis, "accumulate": True}
        yield "index_put", (x, values((), dtype), back), {"axis": axis, "accumulate": False}
    yield "embedding", (x.reshape(shape[0], -1), rng.integers(0, shape[0], (2, 4))), {"padding_idx": -1}


def ordered(shape: tuple[int, ...], dtype: DType) -> Iterator[Call]:
    x = values(shape, dtype)
    for axis, n in enumerate(shape):
        for down in (False, True):
            yield "sort", (x,), {"axis": axis, "descending": down}
            yield "argsort", (x,), {"axis": axis, "descending": down}
            yield "topk", (x,), {"k": min(n, 2), "axis": axis, "largest": down}
        yield "cummax", (x,), {"axis": axis}
        yield "cummin", (x,), {"axis": axis}
    for right in (False, True):
        yield "searchsorted", (np.sort(x, axis=-1), values(along(shape, len(shape) - 1, 6), dtype, 1)), {"right": right}


def moved(shape: tuple[int, ...], dtype: DType) -> Iterator[Call]:
    x = values(shape, dtype)
    for axes in (*((i,) for i in range(len(shape))), tuple(range(len(shape))), (0, len(shape) - 1)):
        yield "flip", (x,), {"axes": axes}
    for axis in range(len(shape)):
        yield "cumsum", (x,), {"axis": axis}
        yield "cumprod", (x,), {"axis": axis}
    if len(shape) > 1:
        for diagonal in (-2, 0, 1, 3):
            yield "tril", (x,), {"diagonal": diagonal}
            yield "triu", (x,), {"diagonal": diagonal}


def layouts(operands: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The operands as they are, the first column-major, and the others with gaps."""
    yield operands
    first, *rest = operands
    yield np.array(first, order="F"), *rest
    yield first, *(np.repeat(v, 2, -1)[..., ::2] if v.ndim else v for v in rest)


def bits(result: Any) -> Any:
    """What makes a result what it is; every nan alike."""
    if isinstance(result, tuple):
        return [bits(v) for v in result]
    dense = np.ascontiguousarray(result)
    numbers = dense.view(dense.real.dtype) if dense.dtype.kind == "c" and dense.ndim else dense
    nan = numbers != numbers
    raw = numbers.view(np.uint8).reshape(*numbers.shape, -1) if numbers.ndim else numbers
    return (
        result.shape,
        result.dtype,
        nan.tobytes(),
        np.where(nan[..., None] if numbers.ndim else nan, 0, raw).tobytes(),
    )


@pytest.mark.parametrize("calls", [indexed, ordered, moved])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_calls_with_plans_have_the_bits_of_numpy(calls: Any, dtype: DType, made: list[bool]) -> None:
    mine, numpys = CpuBackend().kernels, BACKEND.kernels
    for shape in SHAPES:
        for name, operands, params in calls(shape, dtype):
            entry = mine.own(name, dtype)
            if entry is None or dtype.is_complex and params.get("reduce", "set") != "set":
                continue
            for given in layouts(operands):
                with config.override(cpu_code="none"):
                    expected = bits(numpys.own(name, dtype).fn(*given, **params))
                first, second = entry.fn(*given, **params), entry.fn(*given, **params)
                assert bits(first) == expected, (name, shape, params)
                assert bits(second) == expected, (name, shape, params)
    assert sum(made) > 10 or dtype.is_complex and calls is ordered  # which complex numbers are not


def test_a_plan_is_made_once_and_found_by_shapes_strides_and_params(made: list[bool]) -> None:
    fn, x, index = kernel("index_select", dt.float32), values((3, 4), dt.float32), np.array([0, 2])
    for _ in range(3):
        fn(x, index, axis=0)
    assert made == [True]
    fn(x, index, axis=1)
    fn(np.array(x, order="F"), index, axis=1)
    fn(x, np.array([0, 1, 2]), axis=1)
    assert made == [True] * 4


def test_an_index_outside_raises_what_numpy_raises_whether_there_is_a_plan_or_not(made: list[bool]) -> None:
    fn, x, inside, outside = kernel("gather", dt.float32), np.ones((3, 4), np.float32), np.zeros((1, 4), int), 3
    for bad in (outside, -1):
        index = np.full((1, 4), bad)
        for _ in range(2):
            with pytest.raises(
                OutOfRangeError, match=f"gather: index {bad} is out of bounds for dimension 0 with size 3"
            ):
                fn(x, index, axis=0)
        assert (fn(x, inside, axis=0) == 1).all()
    assert made == [True]


def test_nothing_is_written_to_operands(made: list[bool]) -> None:
    fn, x, index = kernel("index_put", dt.float32), np.ones((3, 4), np.float32), np.array([1])
    x.flags.writeable = False
    for _ in range(2):
        found = fn(x, np.zeros(4, np.float32), index, axis=0, accumulate=False)
        assert found[1].sum() == 0
        assert x.all()
    assert made == [True]


def test_what_has_no_plan_is_asked_about_once(made: list[bool]) -> None:
    fn, x = kernel("sort", dt.float32), values((4, 3), dt.float32)
    for _ in range(3):
        fn(x, axis=0, descending=False)
    assert made == [False]


def test_a_misaligned_operand_of_known_strides_goes_another_way(made: list[bool]) -> None:
    fn, x = kernel("flip", dt.float32), values((3, 4), dt.float32)
    fn(x, axes=(0,))
    shifted = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(3, 4)
    assert not shifted.flags.aligned
    np.testing.assert_array_equal(fn(shifted, axes=(0,)), x[::-1])
    assert made == [True]


def test_few_calls_make_no_plans(made: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "CALLS", 1 << 60)
    kernel("flip", dt.float32)(values((3, 4), dt.float32), axes=(0,))
    with config.override(cpu_code="none"):
        monkeypatch.setattr(arrays, "CALLS", 0)
        kernel("flip", dt.float32)(values((3, 4), dt.float32), axes=(0,))
    assert made == []


def test_a_plan_with_other_arrays_than_it_is_for_is_refused() -> None:
    plans = []
    fn, x = kernel("flip", dt.float32), values((3, 4), dt.float32)
    with pytest.MonkeyPatch.context() as patch:
        before = arrays._plan
        patch.setattr(arrays, "_plan", lambda *args: plans.append(before(*args)) or plans[-1])
        fn(x, axes=(0,))
    ((run, plan),) = plans
    assert bits(run(plan, x)) == bits(np.ascontiguousarray(x[::-1]))
    for wrong in ((), (x, x), (x.astype(np.float64),), (x.tolist(),), (None,)):
        assert run(plan, *wrong) is None
    assert run(None, x) is None


def test_no_plan_where_it_has_no_room() -> None:
    big = values((1,) * 9, dt.float32)
    assert (kernel("flip", dt.float32)(big, axes=(0,)) == big).all()


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_the_built_in_compiles_for_other_systems(target: Target) -> None:
    module = Module(target)
    planned.write_run(module)
    assert compiler_for(target).compile(module.text())
