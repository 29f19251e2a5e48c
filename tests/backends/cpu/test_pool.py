"""Pooling against loops over the windows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import close, kernel, layouts, same, tolerance, values, wide

#: kernel, stride, padding, dilation, ceil
MAX_OPTIONS = [
    (2, 2, 0, 1, False), (3, 2, 1, 1, False), (3, 2, 1, 1, True), (2, 3, 1, 2, True), (3, 1, 1, 2, False),
    (1, 1, 0, 1, False),
]  # fmt: skip


def count(n: Any, kernel_: Any, stride: Any, padding: Any, dilation: Any, ceil: Any) -> Any:
    """How many windows start inside, counted one by one."""
    reach = dilation * (kernel_ - 1)

    def there(start: int) -> bool:
        sticks_out = ceil and start < n and start - stride + reach < n + padding - 1  # the one before left some over
        return start + reach < n + padding or sticks_out

    return len(list(itertools.takewhile(there, itertools.count(-padding, stride))))


def windows(shape: Any, kernel_: Any, stride: Any, padding: Any, dilation: Any, ceil: Any) -> Any:
    """(The index of the result, the places inside, how many places would be counted with padding)."""
    sizes = [count(n, kernel_, stride, padding, dilation, ceil) for n in shape]
    for at in np.ndindex(*sizes):
        axes, padded = [], 1
        for i, n in zip(at, shape, strict=True):
            places = [i * stride - padding + k * dilation for k in range(kernel_)]
            axes.append([p for p in places if 0 <= p < n])
            padded *= sum(p < n + padding for p in places)
        yield at, list(itertools.product(*axes)), padded
    yield sizes


def pooled(x: Any, option: Any, choose: Any) -> Any:
    *each, sizes = windows(x.shape[2:], *option)
    out = np.zeros((*x.shape[:2], *sizes))
    for image in np.ndindex(*x.shape[:2]):
        for at, inside, padded in each:
            out[(*image, *at)] = choose(x[image], inside, padded)
    return out


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("option", MAX_OPTIONS)
def test_max_pool(ndim: int, option: Any) -> None:
    x = np.round(values((2, 3, *(7, 6, 8)[:ndim]), dt.float64), 1)
    x.reshape(-1)[4] = np.nan
    x[1] = -np.inf  # as small as what stands around, which must not be chosen
    keys = ("kernel", "stride", "padding", "dilation")
    params = {k: (v,) * ndim for k, v in zip(keys, option[:4], strict=True)} | {"ceil": option[4]}

    def first_largest(image: Any, inside: Any, _: Any) -> Any:
        rank = {p: (np.isnan(image[p]), np.nan_to_num(image[p])) for p in inside}
        return np.ravel_multi_index(max(inside, key=rank.get), image.shape)  # max takes the first of equal ones

    where = pooled(x, option, first_largest)
    expected = np.take_along_axis(x.reshape(2, 3, -1), where.reshape(2, 3, -1).astype(int), -1).reshape(where.shape)
    for view in layouts(x):
        found, indices = kernel("max_pool")(view, **params)
        same(found, expected)
        same(indices, where)
    grad = values(where.shape, dt.float64, 1)
    slope = np.zeros((6, x[0, 0].size))
    for row in range(6):
        np.add.at(slope[row], where.reshape(6, -1)[row].astype(int), grad.reshape(6, -1)[row])
    for view in layouts(grad):
        close(kernel("max_pool_grad")(view, indices, shape=x.shape), slope.reshape(x.shape))


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("option", [o for o in MAX_OPTIONS if o[3] == 1])
@pytest.mark.parametrize(("include", "divisor"), [(True, None), (False, None), (True, 3)])
def test_avg_pool(ndim: int, option: Any, include: bool, divisor: Any) -> None:
    x = values((2, 3, *(7, 6)[:ndim]), dt.float64)
    params = {k: (v,) * ndim for k, v in zip(("kernel", "stride", "padding"), option[:3], strict=True)}
    params |= dict(ceil=option[4], count_include_pad=include, divisor=divisor)

    def mean(image: Any, inside: Any, padded: Any) -> Any:
        return sum(image[p] for p in inside) / (divisor or (padded if include else len(inside)))

    expected = pooled(x, option, mean)
    for view in layouts(x):
        close(kernel("avg_pool")(view, **params), expected)
    grad, other = values(expected.shape, dt.float64, 1), values(x.shape, dt.float64, 2)
    for view in layouts(grad):
        found = kernel("avg_pool_grad")(view, shape=x.shape, **params)
        close(np.sum(found * other), np.sum(grad * pooled(other, option, mean)), 1e-10)
        close(np.sum(found * x), np.sum(grad * expected), 1e-10)


@pytest.mark.parametrize("dtype", dt.BOOLS + dt.REALS, ids=lambda d: d.name)
def test_dtypes(dtype: DType) -> None:
    x = values((2, 2, 6, 6), dtype)
    params = dict(kernel=(2, 2), stride=(2, 2), padding=(1, 1), dilation=(1, 1), ceil=False)
    found, indices = kernel("max_pool", dtype)(x, **params)
    assert found.dtype == dtype.numpy and indices.dtype == np.int64
    same(found, np.take_along_axis(x.reshape(2, 2, -1), indices.reshape(2, 2, -1), -1).reshape(found.shape))
    if dtype.is_floating_point:
        del params["dilation"]
        params |= dict(count_include_pad=True, divisor=None)
        exact = kernel("avg_pool")(wide(x).astype(float), **params)
        close(kernel("avg_pool", dtype)(x, **params), exact, tolerance(dtype), tolerance(dtype))
        assert kernel("avg_pool_grad", dtype)(found, shape=x.shape, **params).dtype == dtype.numpy


def test_large_images_go_by_chunks() -> None:
    x = values((40, 8, 40, 41), dt.float32)
    params = dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0), ceil=False)
    blocks = x[..., :40].reshape(40, 8, 20, 2, 20, 2)
    same(kernel("max_pool", dt.float32)(x, dilation=(1, 1), **params)[0], blocks.max((3, 5)))
    found = kernel("avg_pool", dt.float32)(x, count_include_pad=True, divisor=None, **params)
    close(found, blocks.mean((3, 5)), 1e-5, 1e-6)


def test_an_index_outside() -> None:
    with pytest.raises(IndexError, match=r"index 9 is out of bounds for sizes \(3, 3\)"):
        kernel("max_pool_grad")(np.ones((1, 1, 1, 1)), np.full((1, 1, 1, 1), 9), shape=(1, 1, 3, 3))
