"""Joining arrays and putting space around them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from flambeau.backends import generic
from flambeau.backends import layout as lay
from flambeau.backends.dialect import parts as texts
from flambeau.backends.opencl import elementwise
from flambeau.backends.opencl.launch import enqueue
from flambeau.backends.strided import StridedArray

if TYPE_CHECKING:
    from flambeau.backends.opencl.backend import OpenCLBackend


def register(backend: OpenCLBackend) -> None:
    """Enter the copies."""
    backend.kernels.register("pad", partial(pad, backend))
    backend.kernels.register("cat", partial(cat, backend))


def pad(
    backend: OpenCLBackend, x: StridedArray, *, widths: Sequence[tuple[int, int]], value: complex = 0
) -> StridedArray:
    """``value`` put around ``x``: (before, after) for each axis, negative to cut off instead."""
    shape = tuple([n + before + after for n, (before, after) in zip(x.shape, widths, strict=True)])
    if any(n < 0 for n in shape):
        raise lay.LayoutError(f"pad: widths {tuple(widths)} would make a negative size of shape {x.shape}")
    axes = texts.padded(x.shape, x.strides, widths)
    if len(axes.inside) > texts.MAX_AXES:
        out: StridedArray = generic.pad(backend, x, widths=widths, value=value)
        return out
    out = backend.empty(shape, x.dtype, x.index)
    if out.size:
        device, raw = backend.device(x.index), generic.host_scalar(value, x.dtype).tobytes()
        enqueue(device, texts.pad(device, x.dtype.itemsize, axes, x.offset, raw), (x,), (out,))
    return out


def cat(backend: OpenCLBackend, *xs: StridedArray, axis: int = 0) -> StridedArray:
    """Arrays one after the other along ``axis``, each by one launch; as in torch, shape (0,) is left out."""
    kept = [x for x in xs if x.shape != (0,)] or list(xs[:1])
    first = kept[0].shape
    if any(x.shape[:axis] + x.shape[axis + 1 :] != first[:axis] + first[axis + 1 :] for x in kept):
        raise lay.LayoutError(f"cat: shapes {[x.shape for x in kept]} differ outside of axis {axis}")
    shape = (*first[:axis], sum(x.shape[axis] for x in kept), *first[axis + 1 :])
    out = backend.empty(shape, kept[0].dtype, kept[0].index)
    step, start = out.strides[axis], 0
    for x in kept:
        elementwise.copy(backend, out.viewed(x.shape, out.strides, start * step), x)
        start += x.shape[axis]
    return out
