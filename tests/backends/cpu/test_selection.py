"""The median of all elements by selection, and the loss that reads by index, against what they stand for."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.xp import index as bodies
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import FULL, kernel, layouts, same, values

every_dtype = pytest.mark.parametrize("dtype", FULL, ids=lambda d: d.name)


# -- the median ------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [*FULL, dt.int64, dt.uint8], ids=lambda d: d.name)
@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_the_median_is_the_lower_of_the_two_in_the_middle(dtype: DType, count: int) -> None:
    x = values((count, 3), dtype, 1, -50, 50)
    expected = np.sort(x.reshape(-1))[(x.size - 1) // 2]
    for v in layouts(x):
        before = v.copy()
        for name in ("median", "nanmedian"):
            found = kernel(name, dtype)(v)
            assert found.shape == () and found.dtype == dtype.numpy and found == expected
        same(v, before)


@every_dtype
def test_nan_is_the_median_or_does_not_count(dtype: DType) -> None:
    x = np.array([3, np.nan, 1, np.inf, -np.inf, np.nan], dtype.numpy)
    assert np.isnan(kernel("median", dtype)(x))
    assert kernel("nanmedian", dtype)(x) == 1
    assert np.isnan(kernel("nanmedian", dtype)(x[[1, 5]]))
    empty = fb.tensor(x[:0])
    assert math.isnan(fb.median(empty).item()) and math.isnan(fb.nanmedian(empty).item())


# -- nll_loss --------------------------------------------------------------------------------------
@every_dtype
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("ignored", [-100, 3])
@pytest.mark.parametrize("count", [1, 9, 300])
def test_nll_loss_has_the_bits_of_its_body(dtype: DType, reduction: str, ignored: int, count: int) -> None:
    x, target = values((count, 7), dtype), np.random.default_rng(count).integers(0, 7, count)
    options: dict[str, Any] = dict(ignore_index=ignored, reduction=reduction)
    for v in layouts(x):
        expected = bodies.nll_loss(np, v, target, None, **options)
        for found, want in zip(kernel("nll_loss", dtype)(v, target, None, **options), expected, strict=True):
            assert found.dtype == want.dtype and found.shape == want.shape
            same(found, want)


@pytest.mark.parametrize("bad", [-1, 7, 2**62])
def test_a_class_out_of_range_is_told(bad: int) -> None:
    x, target = values((3, 7), dt.float32), np.array([0, bad, 1])
    with pytest.raises(IndexError):
        kernel("nll_loss", dt.float32)(x, target, None, ignore_index=-100, reduction="sum")
