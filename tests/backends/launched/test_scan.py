"""Scans against the CPU backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.core import dtype as dt

pytestmark = pytest.mark.device("opencl")

CLOSE = {dt.float16: 5e-3, dt.bfloat16: 3e-2, dt.float32: 3e-5, dt.float64: 1e-11}
SHAPES = [((1,), 0), ((5000,), 0), ((3, 70), 1), ((130, 3), 0), ((4, 257, 5), 1), ((300, 40), 0), ((0, 3), 1),
          ((3, 0), 1), ((), 0)]  # fmt: skip
_ORDERED = (dt.bool_, dt.int8, dt.uint64, dt.float16, dt.bfloat16, dt.float64)
ONE = ("cumsum", "cumprod", "logcumsumexp")


def _close(got: Any, expected: Any, dtype: dt.DType) -> None:
    assert got.shape == expected.shape and got.dtype == dtype.numpy
    scale = float(np.abs(expected).max(initial=1))
    np.testing.assert_allclose(got.astype(np.float64), expected, rtol=CLOSE[dtype], atol=CLOSE[dtype] * scale)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("name", ONE)
def test_running_sums(bench: Any, rng: Any, name: str, shape: Any, axis: int) -> None:
    for dtype in dt.FLOATS if shape == (3, 70) else (dt.float32,):
        x = np.asarray(1 + rng.normal(size=shape) * (0.02 if name == "cumprod" else 1)).astype(dtype.numpy)
        expected = bench.cpu(name, dt.float64, x.astype(np.float64), axis=axis)
        _close(bench.get(bench.op(name, dtype)(bench.put(x), axis=axis)), expected, dtype)


@pytest.mark.parametrize("dtype", [dt.uint8, dt.int16, dt.int64], ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_integers_wrap_around(bench: Any, rng: Any, name: str, dtype: dt.DType) -> None:
    x = rng.integers(1, 7, (4, 90)).astype(dtype.numpy)
    expected = (np.add if name == "cumsum" else np.multiply).accumulate(x, axis=1, dtype=dtype.numpy)
    np.testing.assert_array_equal(bench.get(bench.op(name, dtype)(bench.put(x), axis=1)), expected)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_running_extremes(bench: Any, rng: Any, name: str, shape: Any, axis: int) -> None:
    for dtype in _ORDERED if shape == (3, 70) else (dt.float32,):
        x = np.asarray(rng.integers(0, 2 if dtype is dt.bool_ else 100, shape)).astype(dtype.numpy)
        values, places = (bench.get(v) for v in bench.op(name, dtype)(bench.put(x), axis=axis))
        expected = bench.cpu(name, dtype, x, axis=axis)
        np.testing.assert_array_equal(values, expected[0])
        np.testing.assert_array_equal(places, expected[1])


def test_nan_stays_and_moves_its_place(bench: Any) -> None:
    x = bench.put(np.array([1, np.nan, 5, np.nan, 2], np.float32))
    values, places = (bench.get(v) for v in bench.op("cummax", dt.float32)(x, axis=0))
    assert np.isnan(values[1:]).all() and places.tolist() == [0, 1, 1, 3, 3]


def test_infinite_logarithms(bench: Any) -> None:
    x = bench.put(np.array([-np.inf, -np.inf, 0, 0, np.inf, np.inf, 1], np.float32))
    got = bench.get(bench.op("logcumsumexp", dt.float32)(x, axis=0))
    np.testing.assert_allclose(got, [-np.inf, -np.inf, 0, np.log(2), np.inf, np.inf, np.inf], rtol=1e-6)


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_recurrence(bench: Any, rng: Any, shape: Any, axis: int) -> None:
    a = np.asarray(rng.uniform(-1, 1, shape)).astype(np.float32)
    b = np.asarray(rng.normal(size=shape)).astype(np.float32)
    expected = bench.cpu("affine_scan", dt.float64, a.astype(np.float64), b.astype(np.float64), axis=axis)
    _close(bench.get(bench.op("affine_scan", dt.float32)(bench.put(a), bench.put(b), axis=axis)), expected, dt.float32)


def test_operands_of_any_strides(bench: Any, rng: Any) -> None:
    x = rng.normal(size=(30, 40)).astype(np.float32)
    put = bench.put(x)
    turned = put.viewed((20, 30), (2, 40), 1)
    got = bench.get(bench.op("cumsum", dt.float32)(turned, axis=0))
    _close(got, np.add.accumulate(x.T[1::2].astype(np.float64), axis=0), dt.float32)
