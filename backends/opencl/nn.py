"""Fused softmax."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING

from flambeau.backends import layout as lay
from flambeau.backends.dialect import nn as texts
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt

if TYPE_CHECKING:
    from flambeau.backends.opencl.backend import OpenCLBackend


def register(backend: OpenCLBackend) -> None:
    """Enter the fused kernels."""
    backend.kernels.register("softmax", partial(softmax, backend, logarithm=False), dt.FLOATS)
    backend.kernels.register("log_softmax", partial(softmax, backend, logarithm=True), dt.FLOATS)


def softmax(backend: OpenCLBackend, x: StridedArray, *, axis: int, logarithm: bool) -> StridedArray:
    """Softmax, or its logarithm, along ``axis``: any other axis than the last is turned there and back."""
    if not x.size:
        return backend.empty(x.shape, x.dtype, x.index)
    place = axis % x.ndim if x.ndim else 0
    order = [*(a for a in range(x.ndim) if a != place), *([place] if x.ndim else [])]
    rows = backend.dense(x.viewed(*lay.permute(*x.layout, order)))
    out = backend.empty(rows.shape, x.dtype, x.index)
    n = rows.shape[-1] if rows.shape else 1
    device = backend.device(x.index)
    text = partial(texts.softmax_source, x.dtype, logarithm, device.target)
    kernel = device.kernel(("softmax", x.dtype, logarithm), "softmax", text)
    count = rows.size // n
    if device.target.cpu:
        size, group = max(1, min(count, max(device.units, rows.size // 8192))), 1
    else:
        size, group = min(count, device.units * 32) * device.group, device.group
    device.launch(kernel, (rows.buffer,), (out.buffer,), struct.pack("3q", count, n, rows.offset), size, group)
    back = sorted(range(x.ndim), key=order.__getitem__)
    return backend.dense(out.viewed(*lay.permute(*out.layout, back)))
