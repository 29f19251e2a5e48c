"""Joining arrays and putting space around them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from flambeau.backends import layout as lay
from flambeau.backends.base import Kernel
from flambeau.backends.dialect import parts as texts
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.dtype import host_scalar


def register(backend: Launcher) -> None:
    """Enter the copies."""
    behind = backend.kernels.find("pad", dt.float32)
    assert behind is not None  # of the generic table, for every dtype
    backend.kernels.register("pad", partial(pad, backend, behind))
    backend.kernels.register("cat", partial(cat, backend))


def pad(
    backend: Launcher, behind: Kernel, x: StridedArray, *, widths: Sequence[tuple[int, int]], value: complex = 0
) -> StridedArray:
    """``value`` put around ``x``: (before, after) for each axis, negative to cut off instead.

    ``behind`` is the kernel for more axes than this one walks.
    """
    shape = tuple([n + before + after for n, (before, after) in zip(x.shape, widths, strict=True)])
    if any(n < 0 for n in shape):
        raise lay.LayoutError(f"pad: widths {tuple(widths)} would make a negative size of shape {x.shape}")
    axes = texts.padded(x.shape, x.strides, widths)
    if len(axes.inside) > texts.MAX_AXES:
        out: StridedArray = behind(x, widths=widths, value=value)
        return out
    out = backend.empty(shape, x.dtype, x.index)
    if out.size:
        device, raw = backend.device(x.index), host_scalar(value, x.dtype).tobytes()
        device.enqueue(texts.pad(device, x.dtype.itemsize, axes, x.offset, raw), (x,), (out,))
    return out


def cat(backend: Launcher, *xs: StridedArray, axis: int = 0) -> StridedArray:
    """Arrays one after the other along ``axis``, each by one launch; as in torch, shape (0,) is left out."""
    kept = [x for x in xs if x.shape != (0,)] or list(xs[:1])
    first = kept[0].shape
    if any(x.shape[:axis] + x.shape[axis + 1 :] != first[:axis] + first[axis + 1 :] for x in kept):
        raise lay.LayoutError(f"cat: shapes {[x.shape for x in kept]} differ outside of axis {axis}")
    shape = (*first[:axis], sum(x.shape[axis] for x in kept), *first[axis + 1 :])
    out = backend.empty(shape, kept[0].dtype, kept[0].index)
    step, start = out.strides[axis], 0
    for x in kept:
        backend.copy(out.viewed(x.shape, out.strides, start * step), x)
        start += x.shape[axis]
    return out
