"""Fused softmax and its gradient."""

from __future__ import annotations

from functools import partial

from flambeau.backends.dialect import nn as texts
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt


def register(backend: Launcher) -> None:
    """Enter the fused kernels."""
    for name, logarithm in (("softmax", False), ("log_softmax", True)):
        backend.kernels.register(name, partial(softmax, backend, logarithm=logarithm), dt.FLOATS)
        backend.kernels.register(f"{name}_grad", partial(softmax_grad, backend, logarithm=logarithm), dt.FLOATS)


def softmax(backend: Launcher, x: StridedArray, *, axis: int, logarithm: bool) -> StridedArray:
    """Softmax, or its logarithm, along ``axis``: any other axis than the last is turned there and back."""
    if not x.size:
        return backend.empty(x.shape, x.dtype, x.index)
    rows, device = backend.dense(x.turned((axis % max(x.ndim, 1),))), backend.device(x.index)
    out = backend.empty(rows.shape, x.dtype, x.index)
    n = rows.shape[-1]
    device.enqueue(texts.softmax(device, x.dtype, logarithm, rows.size // n, n, rows.offset), (rows,), (out,))
    return backend.dense(out.turned_back(axis, x.ndim))


def softmax_grad(
    backend: Launcher, grad: StridedArray, result: StridedArray, *, axis: int, logarithm: bool
) -> StridedArray:
    """The gradient of either from its ``result``."""
    if not result.size:
        return backend.empty(result.shape, result.dtype, result.index)
    place, device = axis % max(grad.ndim, 1), backend.device(grad.index)
    g, r = (backend.dense(x.turned((place,))) for x in (grad, result))
    out = backend.empty(r.shape, r.dtype, r.index)
    n, offsets = r.shape[-1], (g.offset, r.offset)
    device.enqueue(texts.softmax_grad(device, r.dtype, logarithm, r.size // n, n, offsets), (g, r), (out,))
    return backend.dense(out.turned_back(axis, result.ndim))
