"""Fused softmax and its gradient."""

from __future__ import annotations

from functools import partial

from flambeau.backends import layout as lay
from flambeau.backends.dialect import nn as texts
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt


def register(backend: Launcher) -> None:
    """Enter the fused kernels."""
    for name, logarithm in (("softmax", False), ("log_softmax", True)):
        backend.kernels.register(name, partial(softmax, backend, logarithm=logarithm), dt.FLOATS)
        backend.kernels.register(f"{name}_grad", partial(softmax_grad, backend, logarithm=logarithm), dt.FLOATS)


def _turned(backend: Launcher, x: StridedArray, axis: int) -> StridedArray:
    """Contiguous, with ``axis`` last; of at least one axis."""
    if not x.ndim:
        return x.viewed((1,), (1,), x.offset)
    return backend.dense(x.viewed(*lay.permute(*x.layout, _order(x.ndim, axis))))


def _order(ndim: int, axis: int) -> list[int]:
    place = axis % ndim
    return [*(a for a in range(ndim) if a != place), place]


def _back(backend: Launcher, out: StridedArray, ndim: int, axis: int) -> StridedArray:
    """``_turned`` undone."""
    if not ndim:
        return out.viewed((), (), out.offset)
    order = _order(ndim, axis)
    return backend.dense(out.viewed(*lay.permute(*out.layout, sorted(range(ndim), key=order.__getitem__))))


def softmax(backend: Launcher, x: StridedArray, *, axis: int, logarithm: bool) -> StridedArray:
    """Softmax, or its logarithm, along ``axis``: any other axis than the last is turned there and back."""
    if not x.size:
        return backend.empty(x.shape, x.dtype, x.index)
    rows, device = _turned(backend, x, axis), backend.device(x.index)
    out = backend.empty(rows.shape, x.dtype, x.index)
    n = rows.shape[-1]
    device.enqueue(texts.softmax(device, x.dtype, logarithm, rows.size // n, n, rows.offset), (rows,), (out,))
    return _back(backend, out, x.ndim, axis)


def softmax_grad(
    backend: Launcher, grad: StridedArray, result: StridedArray, *, axis: int, logarithm: bool
) -> StridedArray:
    """The gradient of either from its ``result``."""
    if not result.size:
        return backend.empty(result.shape, result.dtype, result.index)
    g, r, device = _turned(backend, grad, axis), _turned(backend, result, axis), backend.device(grad.index)
    out = backend.empty(r.shape, r.dtype, r.index)
    n, offsets = r.shape[-1], (g.offset, r.offset)
    device.enqueue(texts.softmax_grad(device, r.dtype, logarithm, r.size // n, n, offsets), (g, r), (out,))
    return _back(backend, out, result.ndim, axis)
