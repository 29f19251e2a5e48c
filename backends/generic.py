"""The kernels that every backend has: views and copies made of its storage calls.

:func:`generic_table` is the parent table of each backend. Arrays are the backend's own, whatever their
class: their layout is asked of ``backend.layout``, and views are made by ``backend.as_strided``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

from flambeau.backends import layout as lay
from flambeau.backends.base import Array, Backend, Kernel, KernelTable, Shape
from flambeau.core.dtype import DType, host_scalar

#: A view op's name: the function that computes its layout from ``(shape, strides, offset, **params)``.
_VIEWS: dict[str, Callable[..., lay.Triple]] = {
    "basic_index": lambda shape, strides, offset, *, index: lay.basic_index(shape, strides, offset, index),
    "permute": lambda shape, strides, offset, *, axes: lay.permute(shape, strides, offset, axes),
    "view": lambda old, strides, offset, *, shape: lay.view(old, strides, offset, shape),
    "expand": lambda old, strides, offset, *, shape: lay.expand(old, strides, offset, shape),
    "unfold": lambda shape, strides, offset, *, axis, size, step: lay.unfold(shape, strides, offset, axis, size, step),
}


def generic_table(backend: Backend) -> KernelTable:
    """The parent table for ``backend``: every layout and movement op, for every dtype.

    Views: basic_index, permute, view, expand, as_strided, diagonal, unfold, view_dtype, view_as_real,
    view_as_complex. Copies: cast, clone, full, cat, pad, flip, and setitem, which writes in place.
    """
    table = KernelTable("generic")
    for name, place in _VIEWS.items():
        table.register(name, _view_kernel(backend, place))
    indexed = _view_kernel(backend, _VIEWS["basic_index"])
    table.register("slices", lambda x, index: indexed(x, index=index))  # an index of slices alone, the hot case
    for kernel in _KERNELS:
        table.register(kernel.__name__, partial(kernel, backend))
    return table


# -- views -------------------------------------------------------------------------------------------
def _view_kernel(backend: Backend, place: Callable[..., lay.Triple]) -> Kernel:
    layout, view = backend.layout, backend.as_strided

    def kernel(x: Array, **params: Any) -> Array:
        return view(x, *place(*layout(x), **params))

    return kernel


def as_strided(
    backend: Backend, x: Array, *, shape: Shape, strides: tuple[int, ...], offset: int | None = None
) -> Array:
    """Any strides over the storage of ``x``; LayoutError where they leave it. ``offset`` None keeps that of ``x``."""
    start = backend.layout(x).offset if offset is None else offset
    lay.check_bounds(shape, strides, start, backend.storage_nbytes(x) // backend.dtype_of(x).itemsize)
    return backend.as_strided(x, shape, strides, start)


def diagonal(backend: Backend, x: Array, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The ``offset``-th diagonal of two axes, as a new last axis."""
    return backend.as_strided(x, *lay.diagonal(*backend.layout(x), offset, axis1, axis2))


def view_dtype(backend: Backend, x: Array, *, dtype: DType) -> Array:
    """The same bytes as another dtype."""
    place = lay.view_dtype(*backend.layout(x), backend.dtype_of(x).itemsize, dtype.itemsize)
    return backend.as_strided(x, *place, dtype)


def view_as_real(backend: Backend, x: Array) -> Array:
    """Complex numbers as pairs of reals along a new last axis."""
    return backend.as_strided(x, *lay.view_as_real(*backend.layout(x)), backend.dtype_of(x).to_real())


def view_as_complex(backend: Backend, x: Array) -> Array:
    """Pairs of reals along the last axis as complex numbers."""
    return backend.as_strided(x, *lay.view_as_complex(*backend.layout(x)), backend.dtype_of(x).to_complex())


# -- copies ------------------------------------------------------------------------------------------
def _new_like(backend: Backend, x: Array, shape: Shape, dtype: DType | None = None) -> Array:
    return backend.empty(shape, dtype or backend.dtype_of(x), backend.index_of(x))


def cast(backend: Backend, x: Array, *, dtype: DType) -> Array:
    """A copy as ``dtype``, with the order of the axes in memory kept."""
    out = _dense_like(backend, x, dtype)
    backend.copy_into(out, x)
    return out


def clone(backend: Backend, x: Array, *, order: str = "K") -> Array:
    """A copy: ``order`` 'K' keeps the order of the axes in memory, 'C' makes it row-major."""
    out = _dense_like(backend, x) if order == "K" else _new_like(backend, x, backend.layout(x).shape)
    backend.copy_into(out, x)
    return out


def _dense_like(backend: Backend, x: Array, dtype: DType | None = None) -> Array:
    shape, strides, _ = backend.layout(x)
    out = _new_like(backend, x, shape, dtype)
    place = backend.layout(out)
    dense = lay.dense_strides(shape, strides)
    return out if dense == place.strides else backend.as_strided(out, shape, dense, place.offset)


def full(backend: Backend, *, shape: Shape, value: complex, dtype: DType, index: int = 0) -> Array:
    """A new array with every element ``value``."""
    out = backend.empty(shape, dtype, index)
    if prod(shape):
        backend.copy_into(out, backend.from_host(host_scalar(value, dtype), dtype, index))
    return out


def cat(backend: Backend, *xs: Array, axis: int) -> Array:
    """Arrays one after the other along ``axis``; all other sizes are equal. As in torch, shape (0,) is left out."""
    arrays = list(xs[0]) if len(xs) == 1 and isinstance(xs[0], (list, tuple)) else list(xs)
    shapes = [backend.layout(x).shape for x in arrays]
    kept = [(x, s) for x, s in zip(arrays, shapes, strict=True) if s != (0,)] or [(arrays[0], shapes[0])]
    first, shape = kept[0]
    total = sum(s[axis] for _, s in kept)
    for _, s in kept:
        if s[:axis] + s[axis + 1 :] != shape[:axis] + shape[axis + 1 :]:
            raise lay.LayoutError(f"cat: shapes {shape} and {s} differ outside of axis {axis}")
    out = _new_like(backend, first, (*shape[:axis], total, *shape[axis + 1 :]))
    start = 0
    for x, s in kept:
        backend.copy_into(_along(backend, out, axis, start, start + s[axis]), x)
        start += s[axis]
    return out


def _along(backend: Backend, x: Array, axis: int, start: int, stop: int) -> Array:
    """``x`` from ``start`` to ``stop`` along one axis."""
    index: list[slice] = [slice(None)] * len(backend.layout(x).shape)
    index[axis] = slice(start, stop)
    return backend.as_strided(x, *lay.basic_index(*backend.layout(x), index))


def pad(backend: Backend, x: Array, *, widths: Sequence[tuple[int, int]], value: complex) -> Array:
    """``value`` put around ``x``: (before, after) for each axis, negative to cut off instead."""
    shape = backend.layout(x).shape
    wanted = tuple(n + before + after for n, (before, after) in zip(shape, widths, strict=True))
    if any(n < 0 for n in wanted):
        raise lay.LayoutError(f"pad: widths {tuple(widths)} would make a negative size of shape {shape}")
    out = full(backend, shape=wanted, value=value, dtype=backend.dtype_of(x), index=backend.index_of(x))
    inside, kept = [], []
    for n, total, (before, after) in zip(shape, wanted, widths, strict=True):
        kept.append(slice(max(-before, 0), max(n - max(-after, 0), 0)))
        inside.append(slice(max(before, 0), max(total - max(after, 0), 0)))
    source = backend.as_strided(x, *lay.basic_index(*backend.layout(x), kept))
    backend.copy_into(backend.as_strided(out, *lay.basic_index(*backend.layout(out), inside)), source)
    return out


def flip(backend: Backend, x: Array, *, axes: Sequence[int]) -> Array:
    """A copy with ``axes`` backwards."""
    return clone(backend, backend.as_strided(x, *lay.flip(*backend.layout(x), axes)), order="K")


def setitem(backend: Backend, dst: Array, src: Array, *, index: Sequence[int | slice | None]) -> Array:
    """Write ``src``, broadcast and cast, to ``dst[index]`` in place, and return ``dst``."""
    backend.copy_into(backend.as_strided(dst, *lay.basic_index(*backend.layout(dst), index)), src)
    return dst


_KERNELS: tuple[Callable[..., Any], ...] = (
    as_strided, diagonal, view_dtype, view_as_real, view_as_complex,
    cast, clone, full, cat, pad, flip, setitem,
)  # fmt: skip
