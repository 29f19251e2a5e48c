"""Convolutions against the definition, their gradients as its adjoints, in one, two and three dimensions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from flambeau.backends.cpu import conv as module
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import close, kernel, layouts, same, tolerance, values, wide

#: stride, padding, dilation, groups
OPTIONS = [(1, 0, 1, 1), (2, 1, 1, 1), (1, 2, 2, 2), (3, 0, 2, 4), (1, 3, 1, 1), (2, 2, 1, 4), (2, 0, 1, 2)]


def options(ndim: Any, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    return dict(stride=(stride,) * ndim, padding=(padding,) * ndim, dilation=(dilation,) * ndim, groups=groups)


def correlated(x: Any, weight: Any, bias: Any, *, stride: Any, padding: Any, dilation: Any, groups: Any) -> Any:
    """The definition: for each place in the kernel, the input there times the weight there."""
    frame = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    sizes = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(frame.shape[2:], weight.shape[2:], stride, dilation, strict=True)
    ]
    grouped = frame.reshape(x.shape[0], groups, x.shape[1] // groups, *frame.shape[2:])
    filters = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    total = 0
    for place in np.ndindex(weight.shape[2:]):
        there = [
            slice(p * d, p * d + (n - 1) * s + 1, s) for p, d, n, s in zip(place, dilation, sizes, stride, strict=True)
        ]
        total = total + np.einsum("ngc...,goc->ngo...", grouped[(..., *there)], filters[(..., *place)])
    total = total.reshape(x.shape[0], weight.shape[0], *sizes)
    return total if bias is None else total + bias.reshape(-1, *[1] * len(sizes))


def inner(a: Any, b: Any) -> Any:
    return np.sum(np.asarray(a, np.complex128) * b)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("images", [0, 1, 5])
@pytest.mark.parametrize("cache", [1 << 22, 700], ids=["whole", "tiles"])
def test_conv_and_its_gradients(
    monkeypatch: pytest.MonkeyPatch, ndim: int, option: Any, images: int, cache: int
) -> None:
    monkeypatch.setattr(module, "_BYTES", cache)
    params = options(ndim, *option)
    x = values((images, 4, *(9, 8, 7)[:ndim]), dt.float64, 1)
    weight = values((8, 4 // params["groups"], *(3, 2, 3)[:ndim]), dt.float64, 2)
    bias = values((8,), dt.float64, 3)
    expected = correlated(x, weight, bias, **params)
    for view, w in zip(layouts(x), itertools.cycle(layouts(weight)), strict=False):
        close(kernel("conv")(view, w, bias, **params), expected, 1e-10)
    close(kernel("conv")(x, weight, None, **params), correlated(x, weight, None, **params), 1e-10)

    for grad in layouts(values(expected.shape, dt.float64, 4)):
        to_x = kernel("conv_grad_input")(grad, weight, shape=x.shape, **params)
        to_weight = kernel("conv_grad_weight")(grad, x, shape=weight.shape, **params)
        assert to_x.shape == x.shape and to_weight.shape == weight.shape
        product = inner(correlated(x, weight, None, **params), grad)
        close(inner(x, to_x), product, 1e-9, 1e-9)
        close(inner(weight, to_weight), product, 1e-9, 1e-9)
        other = values(x.shape, dt.float64, 5)
        close(inner(other, to_x), inner(correlated(other, weight, None, **params), grad), 1e-9, 1e-9)


@pytest.mark.parametrize("dtype", [*dt.FLOATS, *dt.COMPLEXES], ids=lambda d: d.name)
def test_dtypes(dtype: DType) -> None:
    params = options(2, 1, 1, 1, 1)
    x, weight, bias = values((3, 4, 6, 6), dtype, 1), values((5, 4, 3, 3), dtype, 2), values((5,), dtype, 3)
    rtol = 50 * tolerance(dtype)
    found = kernel("conv", dtype)(x, weight, bias, **params)
    assert found.dtype == dtype.numpy
    expected = correlated(wide(x), wide(weight), wide(bias), **params)
    close(found, expected, rtol, rtol)
    for name, operands, shape in (
        ("conv_grad_input", (found, weight), x.shape), ("conv_grad_weight", (found, x), weight.shape),
    ):  # fmt: skip
        assert kernel(name, dtype)(*operands, shape=shape, **params).dtype == dtype.numpy


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_large_batch_over_threads(count: int) -> None:
    params = options(2, 1, 1, 1, 1)
    x, weight = values((12, 32, 24, 24), dt.float32, 1), values((32, 32, 3, 3), dt.float32, 2)
    grad = values((12, 32, 24, 24), dt.float32, 3)
    assert module.geometry(x.shape, weight.shape, *list(params.values())).is_large
    with config.override(num_threads=count):
        found = kernel("conv", dt.float32)(x, weight, None, **params)
        to_weight = kernel("conv_grad_weight", dt.float32)(grad, x, shape=weight.shape, **params)
        to_x = kernel("conv_grad_input", dt.float32)(grad, weight, shape=x.shape, **params)
    close(found, correlated(x.astype(float), weight.astype(float), None, **params), 1e-4, 1e-3)
    product = inner(found, grad)
    close(inner(weight, to_weight).real, product.real, 1e-4)
    close(inner(x, to_x).real, product.real, 1e-4)


def test_a_gradient_that_is_expanded() -> None:
    params = options(2, 1, 0, 1, 1)
    x, weight = values((2, 3, 5, 5), dt.float64), values((4, 3, 2, 2), dt.float64)
    grad = np.broadcast_to(np.array(2.0), (2, 4, 4, 4))
    for name, other, shape in (("conv_grad_input", weight, x.shape), ("conv_grad_weight", x, weight.shape)):
        same(kernel(name)(grad, other, shape=shape, **params), kernel(name)(grad.copy(), other, shape=shape, **params))


def test_products_of_single_places_and_of_single_channels() -> None:
    x = values((3, 6, 5, 5), dt.float64)
    for weight, groups in ((values((4, 6, 1, 1), dt.float64), 1), (values((12, 1, 3, 3), dt.float64), 6)):
        params = options(2, 1, 0, 1, groups)
        close(kernel("conv")(x, weight, None, **params), correlated(x, weight, None, **params), 1e-10)
