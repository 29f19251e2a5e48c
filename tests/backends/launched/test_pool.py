"""Pooling against the CPU backend in float64."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from flambeau.backends.dialect.windows import windows
from flambeau.core import dtype as dt

pytestmark = pytest.mark.device("opencl")

CLOSE = {dt.float16: 2e-3, dt.bfloat16: 1e-2, dt.float32: 1e-6, dt.float64: 1e-13}
#: input, kernel, stride, padding, dilation, ceil
CASES = {
    "1d": ((2, 3, 17), (3,), (2,), (1,), (2,), False),
    "2d": ((2, 3, 8, 10), (2, 2), (2, 2), (0, 0), (1, 1), False),
    "2d overlapping": ((1, 2, 7, 150), (3, 3), (2, 1), (1, 1), (1, 1), False),
    "2d ceil": ((2, 2, 7, 8), (3, 2), (2, 3), (1, 1), (1, 1), True),
    "2d dilated": ((2, 2, 9, 9), (2, 3), (1, 2), (1, 1), (3, 2), False),
    "whole": ((3, 4, 5, 5), (5, 5), (5, 5), (0, 0), (1, 1), False),
    "3d": ((1, 2, 5, 6, 7), (2, 3, 2), (2, 1, 2), (1, 0, 1), (1, 1, 1), True),
    "empty batch": ((0, 2, 4, 4), (2, 2), (2, 2), (0, 0), (1, 1), False),
}  # fmt: skip
FEW = ("2d", "2d overlapping")


def _close(got: Any, expected: Any, dtype: dt.DType) -> None:
    assert got.shape == expected.shape and got.dtype == dtype.numpy
    np.testing.assert_allclose(got.astype(np.float64), expected, rtol=CLOSE[dtype], atol=CLOSE[dtype])


def _max(bench: Any, x: Any, case: Any, dtype: dt.DType) -> tuple[Any, Any]:
    options = dict(zip(("kernel", "stride", "padding", "dilation", "ceil"), case[1:], strict=True))
    wide = x.astype(np.float64) if dtype.is_floating_point else x
    expected = bench.cpu("max_pool", dt.from_numpy(wide.dtype), wide, **options)
    got = [bench.get(v) for v in bench.op("max_pool", dtype)(bench.put(x), **options)]
    np.testing.assert_array_equal(got[0].astype(wide.dtype), expected[0])
    np.testing.assert_array_equal(got[1], expected[1])
    assert got[0].dtype == dtype.numpy
    return got[0], got[1]


@pytest.mark.parametrize("name", CASES)
def test_max_pool_and_gradient(bench: Any, rng: Any, name: str) -> None:
    case = CASES[name]
    x = rng.integers(-5, 5, case[0]).astype(np.float32)  # with equal elements
    _, places = _max(bench, x, case, dt.float32)
    grad = rng.normal(size=places.shape).astype(np.float32)
    got = bench.op("max_pool_grad", dt.float32)(bench.put(grad), bench.put(places), shape=case[0])
    _close(
        bench.get(got), bench.cpu("max_pool_grad", dt.float64, grad.astype(float), places, shape=case[0]), dt.float32
    )


@pytest.mark.parametrize(("name", "dtype"), list(product(FEW, (*dt.FLOATS, dt.int8, dt.uint16, dt.int64, dt.bool_))))
def test_max_pool_of_dtypes(bench: Any, rng: Any, name: str, dtype: dt.DType) -> None:
    x = rng.integers(0, 2 if dtype is dt.bool_ else 90, CASES[name][0]).astype(dtype.numpy)
    _, places = _max(bench, x, CASES[name], dtype)
    if dtype.is_floating_point:
        grad = rng.integers(0, 3, places.shape).astype(dtype.numpy)
        got = bench.op("max_pool_grad", dtype)(bench.put(grad), bench.put(places), shape=x.shape)
        _close(bench.get(got), bench.cpu("max_pool_grad", dt.float64, grad.astype(float), places, shape=x.shape), dtype)


@pytest.mark.parametrize("lowest", [-np.inf, np.finfo(np.float32).min])
def test_windows_of_lowest_values_never_choose_what_stands_around(bench: Any, lowest: float) -> None:
    x = np.full((1, 1, 5, 4), lowest, np.float32)
    out, places = _max(bench, x, (x.shape, (3, 3), (2, 2), (1, 1), (1, 1), False), dt.float32)
    assert (out == lowest).all() and places.min() == 0 and places.max() < 20


def test_nan_is_the_largest(bench: Any) -> None:
    x = np.array([[[1, np.nan, 3, np.nan, 5, np.inf]]], np.float32)
    out, places = _max(bench, x, (x.shape, (4,), (2,), (0,), (1,), False), dt.float32)
    assert np.isnan(out).all() and places.tolist() == [[[1, 3]]]


def test_a_place_out_of_range_is_an_error(bench: Any) -> None:
    grad, places = bench.put(np.ones((1, 1, 2), np.float32)), bench.put(np.array([[[0, 7]]]))
    got = bench.op("max_pool_grad", dt.float32)(grad, places, shape=(1, 1, 4))
    with pytest.raises(IndexError, match="index 7 is out of bounds"):
        bench.get(got)


@pytest.mark.parametrize(("include", "divisor"), [(True, None), (False, None), (True, 3)])
@pytest.mark.parametrize("name", CASES)
def test_avg_pool_and_gradient(bench: Any, rng: Any, name: str, include: bool, divisor: int | None) -> None:
    shape, kernel, stride, padding, _, ceil = CASES[name]
    options: dict[str, Any] = dict(kernel=kernel, stride=stride, padding=padding, ceil=ceil,
                                   count_include_pad=include, divisor=divisor)  # fmt: skip
    for dtype in dt.FLOATS if name in FEW else (dt.float32,):
        x = rng.normal(size=shape).astype(dtype.numpy)
        expected = bench.cpu("avg_pool", dt.float64, x.astype(float), **options)
        _close(bench.get(bench.op("avg_pool", dtype)(bench.put(x), **options)), expected, dtype)
        grad = rng.normal(size=expected.shape).astype(dtype.numpy)
        expected = bench.cpu("avg_pool_grad", dt.float64, grad.astype(float), shape=shape, **options)
        _close(bench.get(bench.op("avg_pool_grad", dtype)(bench.put(grad), shape=shape, **options)), expected, dtype)


def test_operands_of_any_strides(bench: Any, rng: Any) -> None:
    x = rng.normal(size=(2, 6, 8, 3)).astype(np.float32)
    put = bench.put(x)
    turned = put.viewed((2, 3, 6, 8), (put.strides[0], 1, *put.strides[1:3]), 0)
    options: dict[str, Any] = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0), ceil=False)
    expected = bench.cpu("avg_pool", dt.float64, np.ascontiguousarray(np.moveaxis(x, 3, 1)).astype(float),
                    count_include_pad=True, divisor=None, **options)  # fmt: skip
    got = bench.op("avg_pool", dt.float32)(turned, count_include_pad=True, divisor=None, **options)
    _close(bench.get(got), expected, dt.float32)
    got = bench.op("max_pool", dt.float32)(turned, dilation=(1, 1), **options)
    expected = bench.cpu("max_pool", dt.float32, np.ascontiguousarray(np.moveaxis(x, 3, 1)), dilation=(1, 1), **options)
    np.testing.assert_array_equal(bench.get(got[0]), expected[0])
    np.testing.assert_array_equal(bench.get(got[1]), expected[1])


def test_how_many_windows() -> None:
    assert windows((7,), (3,), (2,), (1,), (1,)).outside == (4,)
    assert windows((6,), (2,), (3,), (1,), (1,), ceil=True).outside == (3,)
    assert windows((5,), (2,), (3,), (1,), (1,), ceil=True).outside == (2,)  # a third would start in the padding
