"""Fused kernels against their formulas in float64."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau.core import dtype as dt

pytestmark = pytest.mark.device("opencl")


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(bench, rng, name, dtype):
    for shape, axis in (((), 0), ((1,), 0), ((7,), 0), ((40, 33), 1), ((40, 33), 0), ((3, 50, 4), 1), ((2, 5000), 1)):
        x = np.asarray(rng.normal(scale=30, size=shape)).astype(dtype.numpy)
        wide = np.atleast_1d(x.astype(np.float64))
        shifted = wide - wide.max(axis=axis, keepdims=True)
        expected = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
        expected = (expected if name == "log_softmax" else np.exp(expected)).reshape(shape)
        got = bench.get(bench.op(name, dtype)(bench.put(x), axis=axis))
        assert got.dtype == dtype.numpy
        close = {dt.float16: 2e-3, dt.bfloat16: 1e-2, dt.float32: 1e-5, dt.float64: 1e-13}[dtype]
        np.testing.assert_allclose(got.astype(float), expected, rtol=close, atol=close)


def test_softmax_of_special_values(bench):
    x = bench.put(np.array([[1, np.nan, 2], [-np.inf, 0, 0], [1000, 0, -1000]], np.float32))
    got = bench.get(bench.op("softmax", dt.float32)(x, axis=1))
    assert np.isnan(got[0]).all()
    assert got[1:].tolist() == [[0, 0.5, 0.5], [1, 0, 0]]
