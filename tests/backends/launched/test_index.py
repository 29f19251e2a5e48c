"""Gather, scatter and sorting against numpy, and what an index out of range does."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau.core import dtype as dt
from flambeau.core import random

pytestmark = pytest.mark.device("opencl")

CASES = [((50,), 0), ((7, 9), 0), ((7, 9), 1), ((3, 4, 5), 1), ((1000, 30), 0), ((5, 3000), 1), ((40_000,), 0)]
DTYPES = [dt.float32, dt.float64, dt.int64, dt.int32, dt.int8, dt.float16, dt.bfloat16, dt.bool_]


def sample(rng, shape, axis, dtype):
    """Values, indices that leave the other axes shorter, and values for the indices."""
    x = rng.integers(-3, 4, shape).astype(dtype.numpy)
    wanted = [max(1, n // 2) if a == axis else max(1, n - 1) for a, n in enumerate(shape)]
    return x, rng.integers(0, shape[axis], wanted), rng.integers(-2, 3, wanted).astype(dtype.numpy)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_gather(bench, rng, dtype):
    for shape, axis in CASES:
        x, index, _ = sample(rng, shape, axis, dtype)
        cut = x[tuple(slice(None) if a == axis else slice(0, n) for a, n in enumerate(index.shape))]
        got = bench.get(bench.op("gather", dtype)(bench.put(x), bench.put(index), axis=axis))
        np.testing.assert_array_equal(got, np.take_along_axis(cut, index, axis))


@pytest.mark.parametrize("reduce", ["set", "add", "amax", "amin"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_scatter(bench, rng, dtype, reduce):
    for shape, axis in CASES:
        x, index, source = sample(rng, shape, axis, dtype)
        if reduce == "set":  # no place twice: which of two wins is open
            index = np.argsort(rng.random(index.shape), axis=axis)
        places = list(np.indices(index.shape))
        places[axis] = index
        expected = x.astype(np.float64) if dtype.is_floating_point else x.copy()
        {"set": lambda a, i, b: a.__setitem__(i, b), "add": np.add.at, "amax": np.maximum.at, "amin": np.minimum.at}[
            reduce
        ](expected, tuple(places), source.astype(expected.dtype))
        d = bench.put(x)
        got = bench.op("scatter", dtype)(d, bench.put(index), bench.put(source), axis=axis, reduce=reduce)
        np.testing.assert_array_equal(bench.get(got), expected.astype(dtype.numpy))
        np.testing.assert_array_equal(bench.get(d), x)


def test_strided_operands(bench, rng):
    x = rng.normal(size=(6, 8)).astype(np.float32)
    index = rng.integers(0, 8, (6, 1))
    wide = bench.op("expand", dt.int64)(bench.put(index), shape=(6, 5))
    turned = bench.op("permute", dt.float32)(bench.put(np.ascontiguousarray(x.T)), axes=(1, 0))
    got = bench.get(bench.op("gather", dt.float32)(turned, wide, axis=1))
    np.testing.assert_array_equal(got, np.take_along_axis(x, np.repeat(index, 5, 1), 1))


def test_an_index_out_of_range_is_found_at_the_next_read(bench):
    x = bench.put(np.arange(6, dtype=np.float32))
    got = bench.op("gather", dt.float32)(x, bench.put(np.array([5, 600])), axis=0)
    with pytest.raises(IndexError, match="gather: index 600 is out of bounds for dimension 0 with size 6"):
        bench.get(got)
    assert bench.get(got).tolist() == [5, 0]  # raised once
    got = bench.op("scatter", dt.float32)(x, bench.put(np.array([-1])), bench.put(np.ones(1, np.float32)), axis=0)
    with pytest.raises(IndexError, match="scatter: index -1 is out of bounds"):
        bench.backend.check(0)
    assert bench.get(got).tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", [*DTYPES, dt.uint64], ids=lambda d: d.name)
def test_argsort_is_stable(bench, rng, dtype, descending):
    for shape, axis in CASES:
        x = rng.integers(0, 9, shape).astype(dtype.numpy)
        if dtype.is_floating_point:
            x.reshape(-1)[::7], x.reshape(-1)[1::11], x.reshape(-1)[::13] = np.nan, -0.0, -np.inf
        key = x.astype(np.float64)
        if descending:
            key = -np.where(np.isnan(key), np.inf, key)
        got = bench.get(bench.op("argsort", dtype)(bench.put(x), axis=axis, descending=descending))
        np.testing.assert_array_equal(got, np.argsort(key, axis=axis, kind="stable"))


@pytest.mark.parametrize("dtype", [dt.float32, dt.int64, dt.uint8], ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(2, 3001), (40, 300), (1, 129)])
def test_argsort_of_long_rows(bench, rng, shape, dtype):
    x = rng.integers(0, 200, shape).astype(dtype.numpy)
    if dtype is not dt.uint8:
        x -= 100
    for descending in (False, True):
        got = bench.get(bench.op("argsort", dtype)(bench.put(x), axis=1, descending=descending))
        key = -x.astype(np.int64) if descending else x
        np.testing.assert_array_equal(got, np.argsort(key, axis=1, kind="stable"))


def test_argsort_of_extremes(bench):
    x = np.array([0, -1, 2**63 - 1, -(2**63), 5], np.int64)
    assert bench.get(bench.op("argsort", dt.int64)(bench.put(x), axis=0, descending=False)).tolist() == [3, 1, 0, 4, 2]


@pytest.mark.parametrize("length", [0, 1, 7, 5003])
def test_random_bits_are_those_of_the_definition(bench, length):
    seed, offset = 2**63 + 12345, 2**33 - 3
    got = bench.get(bench.op("random_bits", dt.uint32)(seed, offset, length=length))
    assert got.tolist() == random.random_words(seed, offset, length)


@pytest.mark.parametrize("dtype", [dt.int8, dt.int64, dt.float16, dt.float32, dt.float64], ids=lambda d: d.name)
def test_arange(bench, dtype):
    got = bench.get(bench.op("arange", dtype)(3, -2, length=60, dtype=dtype))
    np.testing.assert_array_equal(got, (3 - 2 * np.arange(60)).astype(dtype.numpy))
