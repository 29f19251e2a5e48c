"""Reductions against numpy: every axis, transposed too, long and short."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau.core import dtype as dt

pytestmark = pytest.mark.device("opencl")

SHAPES = [(), (1,), (5,), (3, 4, 5), (1000, 7), (7, 1000), (2, 70_000), (70_000, 2), (513, 600)]
DTYPES = [dt.float32, dt.int64, dt.bfloat16, dt.bool_]


def axes_of(shape):
    single = [(i,) for i in range(len(shape))]
    return [None, *single, *([(0, 1), (0, 2), (1, 2)] if len(shape) == 3 else [])]


def both_orders(bench, x):
    dtype = dt.from_numpy(x.dtype)
    d = bench.put(x)
    yield x, d
    if x.ndim > 1:
        yield x.T, bench.op("permute", dtype)(d, axes=tuple(reversed(range(x.ndim))))


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean"])
def test_reductions(bench, rng, name, dtype):
    kernel = bench.op(name, dtype)
    if kernel is None:
        assert dtype is dt.bool_ or (name == "mean" and dtype.category == dt.INTEGER)
        return
    for shape in SHAPES:
        x = np.asarray(rng.normal(scale=2, size=shape)).astype(dtype.numpy)
        if name == "prod" and dtype.is_floating_point:
            x = np.asarray(np.where(x < 0, -1, 1)).astype(dtype.numpy)
        for host, array in both_orders(bench, x):
            for axis in axes_of(shape):
                got = bench.get(kernel(array, axis=axis))
                wide = host.astype(np.float64) if dtype.is_floating_point else host
                expected = np.asarray(getattr(np, name)(wide, axis=axis))
                if dtype.is_floating_point:
                    close = 0.1 if dtype.itemsize == 2 else 1e-3
                    np.testing.assert_allclose(got.astype(float), expected, rtol=close / 10, atol=close)
                else:
                    np.testing.assert_array_equal(got, expected.astype(dtype.numpy))
                kept = kernel(array, axis=axis, keepdims=True)
                assert kept.shape == getattr(np, name)(wide, axis=axis, keepdims=True).shape


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_places(bench, rng, name, dtype):
    for shape in SHAPES[1:]:
        x = rng.integers(0, 4, shape).astype(dtype.numpy)  # many equal ones: the first counts
        for host, array in both_orders(bench, x):
            for axis in range(len(shape)):
                got = bench.get(bench.op(name, dtype)(array, axis=axis))
                np.testing.assert_array_equal(got, getattr(np, name)(host, axis=axis))


def test_nan_wins(bench):
    x = np.array([[1, np.nan, 3, np.inf], [np.nan, -np.inf, 2, np.nan]], np.float32)
    d = bench.put(x)
    for name in ("max", "min"):
        assert np.isnan(bench.get(bench.op(name, dt.float32)(d, axis=(1,)))).all()
        assert bench.get(bench.op(f"arg{name}", dt.float32)(d, axis=1)).tolist() == [1, 0]


def test_empty_axes(bench):
    d = bench.put(np.zeros((3, 0), np.float32))
    assert bench.get(bench.op("sum", dt.float32)(d, axis=(1,))).tolist() == [0, 0, 0]
    assert bench.get(bench.op("prod", dt.float32)(d, axis=(1,))).tolist() == [1, 1, 1]
    assert bench.get(bench.op("sum", dt.float32)(d, axis=(0,))).shape == (0,)
    for name in ("max", "argmax"):
        with pytest.raises(ValueError, match=f"{name}: no elements"):
            bench.op(name, dt.float32)(d, axis=(1,) if name == "max" else 1)


def test_sums_of_complex_numbers(bench, rng):
    x = (rng.normal(size=(40, 50)) + 1j * rng.normal(size=(40, 50))).astype(np.complex64)
    for axis in (None, (0,), (1,), ()):
        got = bench.get(bench.op("sum", dt.complex64)(bench.put(x), axis=axis))
        np.testing.assert_allclose(got, x.sum(axis=axis), rtol=1e-4, atol=1e-4)


def test_long_sums_keep_their_digits(bench):
    x = np.full(5_000_001, 0.1, np.float32)
    assert abs(bench.get(bench.op("sum", dt.float32)(bench.put(x), axis=None)) / (0.1 * x.size) - 1) < 3e-6


@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64, dt.int32, dt.float16], ids=lambda d: d.name)
def test_scans(bench, rng, name, dtype):
    for shape, axis in (((1,), 0), ((9,), 0), ((5000,), 0), ((6, 7, 8), 1), ((300, 3), 0), ((3, 400), 1)):
        x = rng.choice([-1, 1], shape).astype(dtype.numpy)
        got = bench.get(bench.op(name, dtype)(bench.put(x), axis=axis))
        np.testing.assert_array_equal(got, getattr(np, name)(x.astype(float), axis=axis).astype(dtype.numpy))
