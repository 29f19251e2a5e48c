"""Elementwise kernels against float64 (or exact) references, in every dtype and layout, small and over threads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from flambeau.backends.cpu import chunks
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import parse
from flambeau.core.keys import writing
from flambeau.core.record import ELEMENTWISE, OPS
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb.run import dtypes_of, expected, samples_of
from tests.backends.cpu.arrays import BACKEND, LARGE, close, kernel, layouts, same, tolerance, values, wide

#: The elementwise ops with a kernel of the CPU's own, in the dtypes that it has it for.
KERNELS = [
    (name, dtype)
    for name, op in opdb.load().items()
    for dtype in dtypes_of(op)
    if op.family is ELEMENTWISE and op.samples is not None and BACKEND.kernels.own(name, dtype) is not None
]


def exact(x: Any) -> Any:
    """The operand in the widest dtype of its kind."""
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def test_the_cpu_has_most_elementwise_kernels_itself() -> None:
    assert len(KERNELS) >= 700


@pytest.mark.parametrize(("name", "dtype"), KERNELS, ids=str)
def test_kernels(name: str, dtype: DType) -> None:
    """The samples in every layout of the operands, into new memory, and in place; operands stay as they were."""
    op, fn, near = OPS[name], kernel(name, dtype), tolerance(dtype)
    for sample in samples_of(op, dtype):
        if dtype is dt.bool_ and not all(isinstance(a, np.ndarray) for a in sample.args):
            continue  # with a number it would compute in int64
        (wanted,) = expected(op, sample)
        every = [list(layouts(np.asarray(a, dtype.numpy) if isinstance(a, int) else a)) for a in sample.args]
        for i in range(max(map(len, every))):
            arranged = [several[i % len(several)] for several in every]
            before = [x.copy() for x in arranged]
            found = fn(*arranged)
            close(found, wanted, near, near)
            assert np.asarray(found).dtype == op.dtype.out(0, dtype, {}).numpy
            for x, old in zip(arranged, before, strict=True):
                same(x, old)
            if (np.asarray(found).dtype, wanted.shape) == (arranged[0].dtype, arranged[0].shape):
                target = arranged[0].copy("K")
                assert fn(target, *arranged[1:], out=target) is target
                close(target, wanted, near, near)
                out = np.empty(wanted.shape, arranged[0].dtype)
                writing(fn)(*arranged, out)  # as the in-place methods call it
                close(out, wanted, near, near)


@pytest.mark.parametrize("dtype", dt.INTS, ids=lambda d: d.name)
def test_integers_divide_as_python_does_and_not_by_zero(dtype: DType) -> None:
    x, y = values((40,), dtype, 1, -9, 9), values((40,), dtype, 2, -4, 4)
    y[y == 0] = 3
    same(kernel("idiv", dtype)(x, y), [int(a) // int(b) for a, b in zip(x, y, strict=True)])
    same(kernel("remainder", dtype)(x, y), [int(a) % int(b) for a, b in zip(x, y, strict=True)])
    same(kernel("fmod", dtype)(x, y), [math.fmod(int(a), int(b)) for a, b in zip(x, y, strict=True)])
    for name in ("idiv", "fmod", "remainder"):
        with pytest.raises(ZeroDivisionError, match=dtype.name):
            kernel(name, dtype)(x, np.zeros_like(x))


@pytest.mark.parametrize("dtype", dt.INTS, ids=lambda d: d.name)
def test_shifts_by_the_width_and_more(dtype: DType) -> None:
    x = values((6,), dtype, low=-100, high=100)
    by = np.full(6, dtype.bits, dtype.numpy)
    same(kernel("shl", dtype)(x, by), np.zeros_like(x))
    same(kernel("shr", dtype)(x, by), np.where(x < 0, -1, 0).astype(dtype.numpy))


@pytest.mark.parametrize("dtype", [dt.int8, dt.int32, dt.int64], ids=lambda d: d.name)
def test_integer_powers(dtype: DType) -> None:
    x = np.array([-2, -1, 0, 1, 2, 3], dtype.numpy)
    same(kernel("pow", dtype)(x, np.full(6, 3, dtype.numpy)), x**3)
    same(kernel("pow", dtype)(x, np.full(6, -3, dtype.numpy)), [0, -1, 0, 1, 0, 0])
    same(kernel("pow", dtype)(x, np.array([0, -1, 2, -2, 3, -3], dtype.numpy)), [1, -1, 0, 1, 8, 0])


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, -1, -3, 0.5, 2.5, math.inf, math.nan])
def test_powers_by_one_number(dtype: DType, exponent: float) -> None:
    x = np.array([-2, -1.5, -0.0, 0.0, 0.5, 2, math.nan, math.inf], dtype.numpy)
    y = np.array(exponent, dtype.numpy)
    with np.errstate(all="ignore"):
        expected = np.sqrt(exact(x)) if exponent == 0.5 else np.power(exact(x), exponent)
    found = kernel("pow", dtype)(x, y)
    close(found, expected, tolerance(dtype), 0)
    sign = np.signbit(wide(found))
    same(sign[~np.isnan(expected)], np.signbit(expected)[~np.isnan(expected)])


def test_bools_add_as_or_and_multiply_as_and() -> None:
    x, y = np.array([False, False, True, True]), np.array([False, True, False, True])
    same(kernel("add", dt.bool_)(x, y), x | y)
    same(kernel("mul", dt.bool_)(x, y), x & y)
    same(kernel("sub", dt.bool_)(x, y), x ^ y)
    same(kernel("bitwise_xor", dt.bool_)(x, y), x ^ y)
    same(kernel("bitwise_not", dt.bool_)(x), ~x)
    same(kernel("lt", dt.bool_)(x, y), x < y)
    same(kernel("maximum", dt.bool_)(x, y), x | y)
    same(kernel("pow", dt.bool_)(x, y), [True, False, True, True])


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
def test_nan_in_extremes(dtype: DType) -> None:
    x, y = np.array([np.nan, 1, np.nan], dtype.numpy), np.array([1, np.nan, np.nan], dtype.numpy)
    same(kernel("maximum", dtype)(x, y), [np.nan] * 3)
    same(kernel("minimum", dtype)(x, y), [np.nan] * 3)
    same(kernel("fmax", dtype)(x, y), [1, 1, np.nan])
    same(kernel("relu", dtype)(x), [np.nan, 1, np.nan])
    for name in ("lt", "le", "eq"):
        assert not kernel(name, dtype)(x, y).any()


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
def test_kinds_of_numbers(dtype: DType) -> None:
    x = np.array([0.0, -0.0, 1, -math.inf, math.inf, math.nan], dtype.numpy)
    same(kernel("isnan", dtype)(x), [0, 0, 0, 0, 0, 1])
    same(kernel("isinf", dtype)(x), [0, 0, 0, 1, 1, 0])
    same(kernel("isfinite", dtype)(x), [1, 1, 1, 0, 0, 0])
    same(kernel("signbit", dtype)(x[:5]), [0, 1, 0, 1, 0])
    same(kernel("logical_not", dtype)(x), [1, 1, 0, 0, 0, 0])
    up = wide(kernel("nextafter", dtype)(x[2:3], x[4:5]))
    assert up.item() == 1 + dt.finfo(dtype).eps


def test_floor_division_of_floats_at_the_edges() -> None:
    inf, nan = math.inf, math.nan
    x, y = np.array([5.0, -5, 0, 5, -5]), np.array([0.0, 0, 0, inf, inf])
    same(kernel("idiv")(x, y), [inf, -inf, nan, 0, -1])


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("count", [5, 20_000], ids=["small", "by bits"])
def test_where(dtype: DType, count: int) -> None:
    x, y = values((count,), dtype, 1), values((count,), dtype, 2)
    condition = values((count,), dt.bool_, 3)
    if dtype.is_floating_point:
        x[:3], y[:3] = np.nan, -0.0
    where, expected = kernel("where", dtype), np.where(condition, x, y)
    same(where(condition, x, y), expected)
    same(where(condition, x, y[1, ...]), np.where(condition, x, y[1]))
    zero = np.zeros((), dtype.numpy)
    same(where(condition, x, zero), np.where(condition, x, zero))
    same(where(condition, zero, y), np.where(condition, zero, y))
    for target in (x.copy(), y.copy()):
        ins = (target, y) if np.array_equal(target, x, equal_nan=dtype.category >= 2) else (x, target)
        same(where(condition, *ins, out=target), expected)


def test_where_broadcasts_large_operands() -> None:
    condition, x, y = values((300, 1), dt.bool_), values((1, 500), dt.float32), values((300, 500), dt.float32, 1)
    same(kernel("where", dt.float32)(condition, x, y), np.where(condition, x, y))
    same(kernel("where", dt.float32)(y > 0, y, x), np.where(y > 0, y, x))


# -- over the threads ------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [dt.float32, dt.float16, dt.bfloat16, dt.complex64], ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["exp", "tanh", "sigmoid", "sqrt"])
def test_large_operands_give_what_small_ones_do(name: str, dtype: DType) -> None:
    """Near it: machine code and numpy round functions differently. In any order, the bits are the same."""
    fn, x = kernel(name, dtype), values((LARGE,), dtype, low=0.1)
    expected = fn(x)
    small = np.concatenate([fn(part) for part in np.array_split(x, LARGE // 1000)])
    close(expected, small, tolerance(dtype), 0)
    same(fn(x[::-1]), expected[::-1])
    table = x[: 512 * 512].reshape(512, 512)
    for view in (table, table.T, table[::2, ::-3]):
        close(fn(view), fn(np.ascontiguousarray(view)), tolerance(dtype), 0)
    target = x.copy()
    assert fn(target, target) is target
    same(target, expected)


@pytest.mark.parametrize("name", ["pow", "fmod", "atan2"])
def test_large_binary(name: str) -> None:
    fn, x, y = kernel(name), values((600, 500), dt.float64, low=0.5), values((500,), dt.float64, 1, low=0.5)
    expected = np.stack([fn(row, y) for row in x])
    close(fn(x, y), expected)
    close(fn(x.T, y[:, None]), expected.T)
    target = x.copy()
    assert fn(target, y, out=target) is target
    close(target, expected)


def test_a_large_result_that_partly_overlaps_an_operand() -> None:
    x = values((LARGE + 1,), dt.float32)
    expected = np.exp(x[:-1])
    kernel("exp", dt.float32)(x[:-1], out=x[1:])
    same(x[1:], expected)


def test_spread_cuts_the_longest_memory_order_first() -> None:
    seen = []

    def note(x: Any, out: Any) -> Any:
        seen.append(x.shape)
        np.negative(x, out)

    x = np.zeros((1, 3, 400, 500), np.float32)[..., ::2]
    out = chunks.spread(note, (x,), None, x.dtype, 1 << 14)
    assert out.shape == x.shape and max(math.prod(s) for s in seen) <= 400 * 250


# -- generated from expressions --------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.bfloat16], ids=lambda d: d.name)
def test_a_kernel_from_an_expression(dtype: DType) -> None:
    fn = BACKEND.elementwise("demo", parse("let t = tanh(x); 0.5 * y * (1 + t)", ("x", "y")), (dtype, dtype), dtype)
    for shape in ((), (5,), (700, 600)):
        x, y = values(shape, dtype, 1), values(shape, dtype, 2)
        expected = 0.5 * exact(y) * (1 + np.tanh(exact(x)))
        close(fn(x, y), expected, tolerance(dtype), tolerance(dtype))
        close(fn(x.T, y.T), expected.T, tolerance(dtype), tolerance(dtype))
        target = x.copy()
        assert fn(target, y, out=target) is target
        close(target, expected, tolerance(dtype), tolerance(dtype))
