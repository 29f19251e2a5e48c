"""Running sums and products."""

from __future__ import annotations

import struct
from functools import partial
from math import prod
from typing import TYPE_CHECKING

from flambeau.backends.dialect import scan
from flambeau.backends.opencl import elementwise
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt

if TYPE_CHECKING:
    from flambeau.backends.opencl.backend import OpenCLBackend


def register(backend: OpenCLBackend) -> None:
    """Enter the scans."""
    table = backend.kernels
    for op in ("cumsum", "cumprod"):
        table.register(op, partial(_scan, backend, op), dt.REALS)


def _scan(backend: OpenCLBackend, op: str, x: StridedArray, *, axis: int) -> StridedArray:
    out = backend.empty(x.shape, x.dtype, x.index)
    if not out.size:
        return out
    x = backend.dense(x)
    device = backend.device(x.index)
    place = axis % x.ndim if x.ndim else 0
    outer, n, inner = prod(x.shape[:place]), x.shape[place] if x.ndim else 1, prod(x.shape[place + 1 :])
    lanes = device.units * (2 if device.target.cpu else 256)
    chunk = max(-(-n * outer * inner // lanes), 64) if outer * inner < lanes else n
    chunks = -(-n // chunk)
    wide = dt.float32 if x.dtype in dt.LOW_PRECISION else x.dtype
    text = partial(scan.source, op, x.dtype, device.target)
    params = struct.pack("5q", outer, n, inner, chunk, x.offset)
    sums = backend.empty((outer * chunks * inner,), wide, x.index)
    tasks = outer * chunks * inner
    size, group = (min(tasks, 64 * device.units), 1) if device.target.cpu else elementwise.spread(device, tasks)[1:]
    if chunks > 1:
        kernel = device.kernel(("totals", op, x.dtype), "totals", text)
        device.launch(kernel, (x.buffer,), (sums.buffer,), params, size, group)
    kernel = device.kernel(("scan", op, x.dtype), "scan", text)
    device.launch(kernel, (x.buffer, sums.buffer), (out.buffer,), params, size, group)
    return out
