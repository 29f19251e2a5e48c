"""Reductions, scans and sorting against numpy and scipy, over axes, dtypes and layouts, small and over threads."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import FULL, close, kernel, layouts, same, tolerance, values, wide

INEXACT = dt.FLOATS + dt.COMPLEXES
ORDERED = dt.BOOLS + dt.REALS


def exact(x: Any) -> Any:
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def axes_of(ndim: Any) -> Any:
    """None, each axis, and pairs."""
    return [None, *itertools.combinations(range(ndim), 1), *itertools.combinations(range(ndim), 2)] if ndim else [None]


REFERENCES = {
    "sum": lambda x, **kw: x.sum(**kw),
    "prod": lambda x, **kw: x.prod(**kw),
    "mean": lambda x, **kw: x.mean(**kw),
    "logsumexp": lambda x, **kw: np.log(np.exp(x).sum(**kw)),
}


@pytest.mark.parametrize("dtype", INEXACT, ids=lambda d: d.name)
@pytest.mark.parametrize("name", REFERENCES)
def test_reductions(name: str, dtype: DType) -> None:
    if name == "logsumexp" and dtype.is_complex:
        return
    fn, rtol = kernel(name, dtype), 4 * tolerance(dtype)
    for shape in ((), (7,), (3, 4), (2, 3, 4)):
        x = values(shape, dtype)
        for axis, keepdims in itertools.product(axes_of(len(shape)), (False, True)):
            expected = np.asarray(REFERENCES[name](exact(x), axis=axis, keepdims=keepdims))
            for view in layouts(x):
                found = fn(view, axis=axis, keepdims=keepdims)
                assert found.dtype == dtype.numpy
                close(found, expected, rtol, rtol)


@pytest.mark.parametrize("dtype", INEXACT, ids=lambda d: d.name)
@pytest.mark.parametrize("correction", [0, 1, 0.5])
def test_moments(dtype: DType, correction: float) -> None:
    rtol = 20 * tolerance(dtype)
    x = values((3, 4, 5), dtype)
    for axis, keepdims in itertools.product(axes_of(3), (False, True)):
        count = x.size / np.asarray(x.sum(axis)).size
        expected = exact(x).var(axis, keepdims=keepdims) * count / (count - correction)
        for view in layouts(x):
            found = kernel("var", dtype)(view, axis=axis, correction=correction, keepdims=keepdims)
            assert found.dtype == dtype.to_real().numpy
            close(found, expected, rtol, rtol)
            close(kernel("std", dtype)(view, axis=axis, correction=correction, keepdims=keepdims), expected**0.5, rtol)


@pytest.mark.parametrize("dtype", INEXACT, ids=lambda d: d.name)
@pytest.mark.parametrize("ord", [0, 1, 2, 3, 0.5, math.inf, -math.inf])
def test_vector_norm(dtype: DType, ord: float) -> None:
    x = values((3, 4, 5), dtype)
    x[1, 2] = 0
    size = np.abs(exact(x))
    for axis, keepdims in itertools.product(axes_of(3), (False, True)):
        kw = dict(axis=axis, keepdims=keepdims)
        if ord == 0:
            expected = (size != 0).sum(**kw)
        elif math.isinf(ord):
            expected = size.max(**kw) if ord > 0 else size.min(**kw)
        else:
            expected = (size**ord).sum(**kw) ** (1 / ord)
        close(kernel("vector_norm", dtype)(x, ord=ord, **kw), expected.astype(float), 20 * tolerance(dtype))


def test_of_no_elements() -> None:
    x = np.zeros((0, 3))
    same(kernel("sum")(x, axis=(0,), keepdims=False), np.zeros(3))
    same(kernel("prod")(x, axis=None, keepdims=False), 1.0)
    same(kernel("mean")(x, axis=(0,), keepdims=False), [np.nan] * 3)
    same(kernel("var")(x, axis=(0,), correction=0, keepdims=True), [[np.nan] * 3])
    same(kernel("logsumexp")(x, axis=(0,), keepdims=False), [-np.inf] * 3)
    same(kernel("vector_norm")(x, ord=math.inf, axis=(0,), keepdims=False), np.zeros(3))
    same(kernel("any")(x, axis=None, keepdims=False), False)
    same(kernel("all")(x, axis=(1,), keepdims=False), np.zeros(0, bool))
    with pytest.raises(ValueError, match="zero-size"):
        kernel("max")(x, axis=(0,), keepdims=False)


def test_one_element_less_than_the_correction() -> None:
    same(kernel("var")(np.array([1.0]), axis=None, correction=1, keepdims=False), np.nan)
    same(kernel("var")(np.array([1.0, 2.0]), axis=None, correction=2, keepdims=False), np.inf)


@pytest.mark.parametrize("dtype", dt.INTS, ids=lambda d: d.name)
def test_integers_stay_in_their_dtype(dtype: DType) -> None:
    x = values((5, 6), dtype, low=-9, high=9)
    for name in ("sum", "prod"):
        found = kernel(name, dtype)(x, axis=(0,), keepdims=False)
        assert found.dtype == dtype.numpy
        same(found, getattr(x, name)(0).astype(dtype.numpy))


@pytest.mark.parametrize("dtype", dt.LOW_PRECISION, ids=lambda d: d.name)
def test_low_precision_adds_up_in_float32(dtype: DType) -> None:
    x = np.full((2, 100_000), 0.1, dtype.numpy)
    one = float(x[0, 0])
    for axis in (None, (1,), (0,)):
        count = 100_000 * (2 if axis is None else 1) if axis != (0,) else 2
        expected = np.array(one * count).astype(dtype.numpy)
        close(np.ravel(kernel("sum", dtype)(x, axis=axis, keepdims=False))[0], wide(expected), 1e-2)


@pytest.mark.parametrize("dtype", ORDERED, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes(name: str, dtype: DType) -> None:
    x = values((3, 4, 5), dtype)
    for axis, keepdims in itertools.product(axes_of(3), (False, True)):
        for view in layouts(x):
            found = kernel(name, dtype)(view, axis=axis, keepdims=keepdims)
            assert found.dtype == dtype.numpy
            same(found, getattr(x, name)(axis, keepdims=keepdims))


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
def test_nan_wins(dtype: DType) -> None:
    x = np.array([[1, np.nan, 3], [1, 2, 3]], dtype.numpy)
    for name in ("max", "min"):
        assert list(np.isnan(wide(kernel(name, dtype)(x, axis=(1,), keepdims=False)))) == [True, False]
    for name in ("argmax", "argmin"):
        assert kernel(name, dtype)(x, axis=1, keepdims=False)[0] == 1


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_any_and_all(dtype: DType) -> None:
    x = values((3, 4), dtype, low=-1, high=1)
    x[0], x[1] = 0, 1
    for axis, keepdims in itertools.product(axes_of(2), (False, True)):
        same(kernel("any", dtype)(x, axis=axis, keepdims=keepdims), (x != 0).any(axis, keepdims=keepdims))
        same(kernel("all", dtype)(x, axis=axis, keepdims=keepdims), (x != 0).all(axis, keepdims=keepdims))


@pytest.mark.parametrize("dtype", ORDERED, ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_places_of_extremes(name: str, dtype: DType) -> None:
    x = values((4, 5, 6), dtype)
    for axis, keepdims in itertools.product(range(3), (False, True)):
        for view in layouts(x):
            found = kernel(name, dtype)(view, axis=axis, keepdims=keepdims)
            assert found.dtype == np.int64
            same(found, getattr(np, name)(wide(x), axis, keepdims=keepdims))
    assert kernel(name, dtype)(x[0, 0, 0, ...], axis=0, keepdims=False) == 0


@pytest.mark.parametrize("shape", [(1 << 21,), (2000, 1100), (3, 900, 900)])
@pytest.mark.parametrize("name", ["sum", "max"])
def test_large_operands_give_the_same_bits_for_any_number_of_threads(name: str, shape: tuple[int, ...]) -> None:
    x = values(shape, dt.float32)
    for axis, keepdims in itertools.product(axes_of(len(shape)), (False, True)):
        for view in (x, x.T, x[::-1]):
            axes = axis if axis is None or view is not x.T else tuple(len(shape) - 1 - a for a in axis)
            found = []
            for count in (1, 2, 3):
                with config.override(num_threads=count):
                    found.append(kernel(name, dt.float32)(view, axis=axes, keepdims=keepdims))
            same(found[0], found[1])
            same(found[0], found[2])
            reference = getattr(np, name)(view.astype(np.float64), axes, keepdims=keepdims)
            close(found[0], reference, 1e-4, 1e-2)


# -- scans -----------------------------------------------------------------------------------------
def running(x: Any, axis: Any, combine: Any) -> Any:
    """A scan one element after the other."""
    out = np.moveaxis(np.array(x), axis, 0)
    for i in range(1, len(out)):
        out[i] = combine(out[i - 1], out[i])
    return np.moveaxis(out, 0, axis)


@pytest.mark.parametrize("dtype", [*dt.FLOATS, dt.complex64, dt.int64, dt.int16], ids=lambda d: d.name)
def test_running_sums_and_products(dtype: DType) -> None:
    x = values((3, 4, 5), dtype, low=-2, high=2)
    for axis in range(3):
        for view in layouts(x):
            for name, combine in (("cumsum", np.add), ("cumprod", np.multiply)):
                found = kernel(name, dtype)(view, axis=axis)
                assert found.dtype == dtype.numpy
                expected = running(exact(x) if dtype.category >= dt.FLOATING else x, axis, combine)
                close(found, expected, 9 * tolerance(dtype), 9 * tolerance(dtype))


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
def test_logcumsumexp(dtype: DType) -> None:
    x = values((3, 40), dtype)
    x[0, :3] = -np.inf, 1, np.inf
    found = kernel("logcumsumexp", dtype)(x, axis=1)
    close(found, running(exact(x), 1, np.logaddexp), 9 * tolerance(dtype), 9 * tolerance(dtype))


def extremes_so_far(x: Any, sign: Any) -> Any:
    """Values and last places by the definition, in a loop."""
    best, place, found = None, 0, []
    for i, v in enumerate(x):
        if best is None or v != v or (best == best and sign * v >= sign * best):
            best, place = v, i
        found.append((best, place))
    return [f[0] for f in found], [f[1] for f in found]


@pytest.mark.parametrize("dtype", ORDERED, ids=lambda d: d.name)
@pytest.mark.parametrize(("name", "sign"), [("cummax", 1), ("cummin", -1)])
def test_extremes_so_far(name: str, sign: int, dtype: DType) -> None:
    x = values((30,), dtype)
    if dtype.is_floating_point:
        x[20:23] = np.nan, 1, np.nan
    expected = extremes_so_far(wide(x).astype(float), sign)
    found = kernel(name, dtype)(x, axis=0)
    same(wide(found[0]).astype(float), expected[0])
    same(found[1], expected[1])
    rows = np.stack([x, x[::-1]]).T
    same(kernel(name, dtype)(rows, axis=0)[1][:, 0], expected[1])
    same(kernel(name, dtype)(x[5, ...], axis=0)[1], 0)


@pytest.mark.parametrize("shape", [(6, 3), (2000, 2), (600, 700), (1, 4), (0, 2)])
def test_affine_scan(shape: tuple[int, ...]) -> None:
    a, b = values(shape, dt.float64, 1, -1, 1), values(shape, dt.float64, 2)
    out = b.copy()
    for t in range(1, shape[0]):
        out[t] += a[t] * out[t - 1]
    close(kernel("affine_scan")(a, b, axis=0), out, 1e-9, 1e-9)
    close(kernel("affine_scan")(a.T, b.T, axis=1), out.T, 1e-9, 1e-9)


def test_scans_over_threads() -> None:
    x = values((700, 600), dt.float64)
    for axis in (0, 1):
        close(kernel("cumsum")(x, axis=axis), x.cumsum(axis), 1e-9, 1e-9)
        found = kernel("cummax")(x, axis=axis)
        same(found[0], np.maximum.accumulate(x, axis))
        same(np.take_along_axis(x, found[1], axis), found[0])


# -- sorting ---------------------------------------------------------------------------------------
def stable_order(x: Any, descending: Any) -> Any:
    """The stable order of a vector in Python's own sort; nan is the largest."""
    key = [(v != v, 0.0 if v != v else float(v)) for v in wide(x).astype(float)]
    sign = -1 if descending else 1
    return sorted(range(len(key)), key=lambda i: (sign * key[i][0], sign * key[i][1]))


@pytest.mark.parametrize("dtype", ORDERED, ids=lambda d: d.name)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("length", [1, 9, 300])
def test_sorting_is_stable(dtype: DType, descending: bool, length: int) -> None:
    x = values((length,), dtype)
    if dtype.is_floating_point and length > 8:
        x[::4] = np.round(wide(x[::4])).astype(dtype.numpy)
        x[[1, 3, 4, 5, 6, 7]] = np.array([np.nan, -0.0, 0.0, np.inf, -np.inf, -np.nan], dtype.numpy)
    expected = stable_order(x, descending)
    same(kernel("argsort", dtype)(x, axis=0, descending=descending), expected)
    ordered, indices = kernel("sort", dtype)(x, axis=0, descending=descending)
    same(indices, expected)
    same(ordered, x[expected])
    for k in {0, 1, length // 9, length}:
        top, indices = kernel("topk", dtype)(x, k=k, axis=0, largest=descending)
        same(indices, np.array(expected[:k], np.int64))
        same(top, x[expected[:k]])


@pytest.mark.parametrize("dtype", FULL, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(5, 6), (2, 300, 3), (600, 500)])
def test_sorting_along_axes(dtype: DType, shape: tuple[int, ...]) -> None:
    x = np.round(values(shape, dtype), 1)
    for axis in range(len(shape)):
        for view in layouts(x):
            expected = np.argsort(x, axis, kind="stable")
            same(kernel("argsort", dtype)(view, axis=axis, descending=False), expected)
            found, indices = kernel("topk", dtype)(view, k=2, axis=axis, largest=False)
            same(indices, np.take(expected, [0, 1], axis))
            same(found, np.take_along_axis(x, indices, axis))


def test_sorting_nothing_and_one_number() -> None:
    same(kernel("argsort")(np.zeros((0, 3)), axis=0, descending=True), np.zeros((0, 3)))
    assert kernel("argsort")(np.array(2.0), axis=0, descending=False).shape == ()
    same(kernel("topk")(np.zeros((2, 0)), k=0, axis=1, largest=True)[0], np.zeros((2, 0)))
    integers = np.array([3, 2**63, 2**64 - 1, 0], np.uint64)
    same(kernel("argsort", dt.uint64)(integers, axis=0, descending=True), [2, 1, 0, 3])
