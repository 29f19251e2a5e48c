"""Normalisations and the gradients of softmax against the CPU backend in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.core import dtype as dt

pytestmark = pytest.mark.device("opencl")

CLOSE = {dt.float16: 4e-3, dt.bfloat16: 3e-2, dt.float32: 2e-5, dt.float64: 1e-12}
#: input, normalised shape
SHAPES = [((5, 7), (7,)), ((3, 4, 33), (33,)), ((2, 3, 4, 5), (4, 5)), ((70, 129), (129,)), ((1, 3000), (3000,)),
          ((6, 1), (1,)), ((0, 4), (4,)), ((9,), (9,))]  # fmt: skip
FEW = SHAPES[1:2]


def _check(bench: Any, name: str, dtype: dt.DType, *hosts: Any, **params: Any) -> None:
    """One kernel against the CPU's in float64: one result, or several."""
    wide = [None if h is None else h.astype(np.float64) for h in hosts]
    expected = bench.cpu(name, dt.float64, *wide, **params)
    got = bench.op(name, dtype)(*[None if h is None else bench.put(h) for h in hosts], **params)
    several = isinstance(expected, tuple)
    for a, b in zip(got if several else (got,), expected if several else (expected,), strict=True):
        a = bench.get(a)
        assert a.dtype == dtype.numpy and a.shape == b.shape
        scale = max(1.0, float(np.abs(b).max(initial=0)))
        np.testing.assert_allclose(a.astype(np.float64), b, rtol=CLOSE[dtype], atol=CLOSE[dtype] * scale)


def _data(rng: Any, dtype: dt.DType, *shapes: Any) -> list[Any]:
    return [(rng.normal(size=s) + 0.5).astype(dtype.numpy) for s in shapes]


def _affine(dtype: dt.DType, weight: Any, bias: Any) -> list[Any]:
    """Each of weight and bias there or not; for other dtypes than the first both, since each is another program."""
    return [(weight, bias), (None, bias), (weight, None), (None, None)][: 4 if dtype is dt.float32 else 1]


@pytest.mark.parametrize(("shape", "last"), SHAPES)
def test_over_the_last_axes(bench: Any, rng: Any, shape: Any, last: Any) -> None:
    for dtype in dt.FLOATS if (shape, last) in FEW else (dt.float32,):
        x, grad, weight, bias = _data(rng, dtype, shape, shape, last, last)
        params: dict[str, Any] = dict(normalized_shape=last, eps=1e-5)
        for w, b in _affine(dtype, weight, bias):
            _check(bench, "layer_norm", dtype, x, w, b, **params)
        for w in (weight, None) if dtype is dt.float32 else (weight,):
            _check(bench, "rms_norm", dtype, x, w, **params)
            _check(bench, "layer_norm_grad", dtype, grad, x, w, **params)
            _check(bench, "rms_norm_grad", dtype, grad, x, w, **params)


@pytest.mark.parametrize("shape", [(4, 3), (5, 2, 7), (2, 5, 4, 9), (3, 1, 17, 16), (64, 40)])
def test_batch_norm(bench: Any, rng: Any, shape: Any) -> None:
    for dtype in dt.FLOATS if len(shape) == 4 else (dt.float32,):
        x, grad, weight, bias = _data(rng, dtype, shape, shape, shape[1:2], shape[1:2])
        for w, b in _affine(dtype, weight, bias):
            _check(bench, "batch_norm", dtype, x, w, b, eps=1e-5)
        _check(bench, "batch_norm_sums", dtype, grad, x, weight)


def test_batch_norm_of_nothing(bench: Any) -> None:
    empty = bench.put(np.zeros((0, 3, 2), np.float32))
    out, mean, var = (bench.get(v) for v in bench.op("batch_norm", dt.float32)(empty, None, None, eps=1e-5))
    assert out.shape == (0, 3, 2) and np.isnan(mean).all() and np.isnan(var).all()
    sums = bench.op("batch_norm_sums", dt.float32)(empty, empty, bench.put(np.zeros(3, np.float32)))
    assert [bench.get(v).tolist() for v in sums] == [[0, 0, 0]] * 2


def test_a_large_mean_does_not_cost_the_variance(bench: Any, rng: Any) -> None:
    x = (rng.normal(size=(4, 300)) + 1000).astype(np.float32)
    params: dict[str, Any] = dict(normalized_shape=(300,), eps=0.0)
    _check(bench, "layer_norm", dt.float64, x.astype(np.float64), None, None, **params)
    got = bench.get(bench.op("layer_norm", dt.float32)(bench.put(x), None, None, **params))
    np.testing.assert_allclose(got.std(axis=1), 1, rtol=1e-4)


def test_operands_of_any_strides(bench: Any, rng: Any) -> None:
    x, weight = _data(rng, dt.float32, (6, 40), (12,))
    put, w = bench.put(x), bench.put(weight)
    turned, every = put.viewed((40, 6), (1, 40), 0), w.viewed((6,), (2,), 1)
    got = bench.op("layer_norm", dt.float32)(turned, every, every, normalized_shape=(6,), eps=1e-5)
    wide = weight[1::2].astype(float)
    expected = bench.cpu(
        "layer_norm", dt.float64, np.ascontiguousarray(x.T).astype(float), wide, wide, normalized_shape=(6,), eps=1e-5
    )
    np.testing.assert_allclose(bench.get(got), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["softmax_grad", "log_softmax_grad"])
def test_gradients_of_softmax(bench: Any, rng: Any, name: str, dtype: dt.DType) -> None:
    for shape, axis in (((), 0), ((7,), 0), ((40, 33), 1), ((40, 33), 0), ((3, 50, 4), 1), ((2, 3000), 1), ((0, 3), 1)):
        grad = np.asarray(rng.normal(size=shape)).astype(dtype.numpy)
        result = np.asarray(rng.uniform(size=shape) - (name != "softmax_grad")).astype(dtype.numpy)
        _check(bench, name, dtype, grad, result, axis=axis)
