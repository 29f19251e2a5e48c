"""Pooling and its gradients."""

from __future__ import annotations

from functools import partial
from math import prod

from flambeau.backends.dialect import pool as texts
from flambeau.backends.dialect.launch import computed
from flambeau.backends.dialect.windows import Ints, windows
from flambeau.backends.launched import elementwise
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt


def register(backend: Launcher) -> None:
    """Enter the pools."""
    backend.kernels.register("max_pool", partial(max_pool, backend), (dt.bool_, *dt.REALS))
    backend.kernels.register("max_pool_grad", partial(max_pool_grad, backend), dt.REALS)
    for fn in (avg_pool, avg_pool_grad):
        backend.kernels.register(fn.__name__, partial(fn, backend), dt.FLOATS)


def max_pool(
    backend: Launcher, x: StridedArray, *, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool
) -> tuple[StridedArray, StridedArray]:
    """The largest of each window, and its index in the flattened sizes."""
    w = windows(x.shape[2:], kernel, stride, padding, dilation, ceil)
    shape = (*x.shape[:2], *w.outside)
    out, places = (backend.empty(shape, d, x.index) for d in (x.dtype, dt.int64))
    if out.size:
        x, device = backend.dense(x), backend.device(x.index)
        device.enqueue(texts.max_pool(device, x.dtype, _planes(x.shape), w, x.offset), (x,), (out, places))
    return out, places


def _planes(shape: Ints) -> tuple[int, int]:
    return shape[0], shape[1]


def max_pool_grad(backend: Launcher, grad: StridedArray, indices: StridedArray, *, shape: Ints) -> StridedArray:
    """Zeros of ``shape`` (N, C, *S) with ``grad`` added where ``indices`` into the flattened sizes say."""
    out = backend.empty(tuple(shape), computed(grad.dtype), grad.index)
    if not grad.size:
        elementwise.fill(backend, out, 0)
    elif out.size:
        grad, indices, device = backend.dense(grad), backend.dense(indices), backend.device(grad.index)
        planes, inside = prod(shape[:2]), prod(shape[2:])
        offsets = (grad.offset, indices.offset)
        launch = texts.max_pool_grad(device, grad.dtype, planes, inside, grad.size // planes, offsets)
        device.enqueue(launch, (grad, indices), (out, device.flag()))
    if out.dtype is grad.dtype:
        return out
    rounded = backend.empty(out.shape, grad.dtype, out.index)
    backend.copy(rounded, out)
    return rounded


def avg_pool(
    backend: Launcher, x: StridedArray, *, kernel: Ints, stride: Ints, padding: Ints, ceil: bool,
    count_include_pad: bool, divisor: int | None,
) -> StridedArray:  # fmt: skip
    """The mean of each window."""
    w = windows(x.shape[2:], kernel, stride, padding, (1,) * len(kernel), ceil)
    out = backend.empty((*x.shape[:2], *w.outside), x.dtype, x.index)
    if out.size:
        x, device = backend.dense(x), backend.device(x.index)
        launch = texts.avg_pool(device, x.dtype, _planes(x.shape), w, x.offset, count_include_pad, divisor)
        device.enqueue(launch, (x,), (out,))
    return out


def avg_pool_grad(
    backend: Launcher, grad: StridedArray, *, shape: Ints, kernel: Ints, stride: Ints, padding: Ints, ceil: bool,
    count_include_pad: bool, divisor: int | None,
) -> StridedArray:  # fmt: skip
    """Each element of ``grad`` spread evenly over its window of ``shape`` (N, C, *S)."""
    w = windows(tuple(shape[2:]), kernel, stride, padding, (1,) * len(kernel), ceil)
    out = backend.empty(tuple(shape), grad.dtype, grad.index)
    if out.size:
        grad, device = backend.dense(grad), backend.device(grad.index)
        numbers = (grad.offset, count_include_pad, divisor)
        device.enqueue(texts.avg_pool_grad(device, grad.dtype, _planes(out.shape), w, *numbers), (grad,), (out,))
    return out
