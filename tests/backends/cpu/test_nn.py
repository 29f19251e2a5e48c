"""Fused kernels of neural networks against their definitions in float64, small and in chunks over threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import close, kernel, layouts, same, tolerance, values, wide

NORMAL_SHAPES = [((5, 7), (7,)), ((4, 5, 7), (5, 7)), ((7,), (7,)), ((0, 7), (7,)), ((400, 500), (500,))]


def exact(x: Any) -> Any:
    return None if x is None else wide(x).astype(np.float64)


def softmax(x: Any, axis: Any) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def slope(fn: Any, x: Any, grad: Any, step: Any = 1e-6) -> Any:
    """The gradient of sum(fn(x) * grad) by central differences."""
    found = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[at] += step
        down[at] -= step
        found[at] = np.sum((fn(up) - fn(down)) * grad) / (2 * step)
    return found


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4), (600, 500)])
def test_softmax(dtype: DType, shape: tuple[int, ...]) -> None:
    x = values(shape, dtype, low=-30, high=30)
    rtol = 60 * tolerance(dtype)
    for axis in range(len(shape)):
        expected = softmax(exact(x), axis)
        for view in layouts(x):
            found = kernel("softmax", dtype)(view, axis=axis)
            assert found.dtype == dtype.numpy
            close(found, expected, rtol, rtol)
            close(kernel("log_softmax", dtype)(view, axis=axis), np.log(expected), rtol, rtol)
        same(x, values(shape, dtype, low=-30, high=30))


@pytest.mark.parametrize("axis", [0, 1])
def test_gradients_of_softmax(axis: int) -> None:
    x, grad = values((3, 4), dt.float64), values((3, 4), dt.float64, 1)
    for name, fn in (("softmax", softmax), ("log_softmax", lambda x, axis: np.log(softmax(x, axis)))):
        for view, g in zip(layouts(fn(x, axis)), layouts(grad), strict=True):
            expected = slope(lambda v, f=fn: f(v, axis), x, grad)
            close(kernel(f"{name}_grad")(g, view, axis=axis), expected, 1e-7, 1e-8)


def test_softmax_at_the_edges() -> None:
    inf = np.inf
    same(kernel("softmax")(np.array([-inf, 0.0, -inf]), axis=0), [0, 1, 0])
    same(kernel("softmax")(np.array([-inf, -inf]), axis=0), [np.nan, np.nan])
    same(kernel("softmax")(np.array(3.0), axis=0), 1.0)
    same(kernel("log_softmax")(np.array(3.0), axis=0), 0.0)
    for shape in ((0, 3), (3, 0)):
        for axis in (0, 1):
            assert kernel("softmax")(np.zeros(shape), axis=axis).shape == shape
            assert kernel("log_softmax_grad")(np.zeros(shape), np.zeros(shape), axis=axis).shape == shape


def layer_norm(x: Any, weight: Any, bias: Any, axes: Any, eps: Any) -> Any:
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    return y * (1 if weight is None else weight) + (0 if bias is None else bias)


def rms_norm(x: Any, weight: Any, axes: Any, eps: Any) -> Any:
    return x / np.sqrt((x * x).mean(axes, keepdims=True) + eps) * (1 if weight is None else weight)


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize(("shape", "normalized"), NORMAL_SHAPES)
@pytest.mark.parametrize("affine", [True, False])
def test_norms_of_the_last_axes(
    dtype: DType, shape: tuple[int, ...], normalized: tuple[int, ...], affine: bool
) -> None:
    x, rtol = values(shape, dtype), 60 * tolerance(dtype)
    weight, bias = (values(normalized, dtype, i) if affine else None for i in (1, 2))
    axes, params = tuple(range(-len(normalized), 0)), dict(normalized_shape=normalized, eps=1e-5)
    for view in layouts(x):
        found = kernel("layer_norm", dtype)(view, weight, bias, **params)
        assert found.dtype == dtype.numpy
        close(found, layer_norm(exact(x), exact(weight), exact(bias), axes, 1e-5), rtol, rtol)
        found = kernel("rms_norm", dtype)(view, weight, **params)
        close(found, rms_norm(exact(x), exact(weight), axes, 1e-5), rtol, rtol)


@pytest.mark.parametrize(("shape", "normalized"), [((3, 5), (5,)), ((2, 3, 4), (3, 4))])
@pytest.mark.parametrize("affine", [True, False])
def test_gradients_of_norms(shape: tuple[int, ...], normalized: tuple[int, ...], affine: bool) -> None:
    x, grad = values(shape, dt.float64), values(shape, dt.float64, 1)
    weight = values(normalized, dt.float64, 2) if affine else None
    ones = np.ones(normalized) if weight is None else weight
    axes, params = tuple(range(-len(normalized), 0)), dict(normalized_shape=normalized, eps=1e-3)
    for view, g in zip(layouts(x), layouts(grad), strict=True):
        found = kernel("layer_norm_grad")(g, view, weight, **params)
        close(found[0], slope(lambda v: layer_norm(v, ones, None, axes, 1e-3), x, grad), 1e-6, 1e-7)
        close(found[1], slope(lambda v: layer_norm(x, v, None, axes, 1e-3), ones.copy(), grad), 1e-6, 1e-7)
        close(found[2], grad.sum(tuple(range(len(shape) - len(normalized)))))
        found = kernel("rms_norm_grad")(g, view, weight, **params)
        close(found[0], slope(lambda v: rms_norm(v, ones, axes, 1e-3), x, grad), 1e-6, 1e-7)
        close(found[1], slope(lambda v: rms_norm(x, v, axes, 1e-3), ones.copy(), grad), 1e-6, 1e-7)


@pytest.mark.parametrize("name", ["layer_norm_grad", "rms_norm_grad"])
def test_large_gradients_of_norms_are_those_of_their_parts(name: str) -> None:
    x, grad, weight = values((300, 600), dt.float64), values((300, 600), dt.float64, 1), values((600,), dt.float64, 2)
    params = dict(normalized_shape=(600,), eps=1e-5)
    found = kernel(name)(grad, x, weight, **params)
    parts = [kernel(name)(g, v, weight, **params) for g, v in zip(grad[:, None], x[:, None], strict=True)]
    close(found[0], np.concatenate([p[0] for p in parts]), 1e-10)
    for i in range(1, len(found)):
        close(found[i], sum(p[i] for p in parts), 1e-10, 1e-10)


@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 8), (5, 9, 60, 70)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(dtype: DType, shape: tuple[int, ...], affine: bool) -> None:
    x, grad, rtol = values(shape, dtype), values(shape, dtype, 1), 200 * tolerance(dtype)
    weight, bias = (values(shape[1:2], dtype, i) if affine else None for i in (2, 3))
    axes, column = (0, *range(2, len(shape))), (-1, *[1] * (len(shape) - 2))
    mean, var = exact(x).mean(axes), exact(x).var(axes)
    expected = (exact(x) - mean.reshape(column)) / np.sqrt(var.reshape(column) + 1e-5)
    if affine:
        expected = expected * exact(weight).reshape(column) + exact(bias).reshape(column)
    for view, g in zip(layouts(x), layouts(grad), strict=True):
        found = kernel("batch_norm", dtype)(view, weight, bias, eps=1e-5)
        assert all(v.dtype == dtype.numpy for v in found)
        for v, e in zip(found, (expected, mean, var), strict=True):
            close(v, e, rtol, rtol)
        if dtype in (dt.float32, dt.float64):
            given = kernel("batch_norm_given", dtype)(view, *found[1:], weight, bias, eps=1e-5)
            close(given, expected, rtol, rtol)
        total, dot = kernel("batch_norm_sums", dtype)(g, view, found[1])
        size = np.abs(exact(grad)).sum(axes).max()
        close(total, exact(grad).sum(axes), rtol, rtol * size)
        centred = exact(x) - exact(found[1]).reshape(column)
        close(dot, (exact(grad) * centred).sum(axes), rtol, rtol * size)
