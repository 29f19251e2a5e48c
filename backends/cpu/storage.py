"""Where a numpy array's elements stand: its owner, its layout there, and views of the same storage."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.backends.base import Layout
from flambeau.backends.cpu.helpers import address as address  # of the storage calls, too

Array = np.ndarray[Any, Any]


def owner(x: Array) -> Array:
    """The array at the end of the chain of bases: the one whose memory ``x`` is a view of."""
    base = x.base
    while isinstance(base, np.ndarray):
        x, base = base, base.base
    return x


def _lowest(root: Array) -> int:
    """The address of the first byte of an owner's memory; negative strides start behind it."""
    low = address(root)
    if root.size and not root.flags.c_contiguous:
        low += sum((n - 1) * s for n, s in zip(root.shape, root.strides, strict=True) if s < 0)
    return low


def layout(x: Array) -> Layout:
    """Shape, strides and offset in elements."""
    itemsize = x.itemsize
    strides = tuple([s // itemsize for s in x.strides])
    base = x.base
    if base is None and x.flags.forc:
        return Layout(x.shape, strides, 0)
    return Layout(x.shape, strides, (address(x) - _lowest(owner(x))) // itemsize)


def _flat(root: Array) -> Array | None:
    """``root``'s memory as a C-contiguous array, or None when it has holes or overlaps."""
    if root.flags.c_contiguous:
        return root
    order = sorted(range(root.ndim), key=lambda i: -root.strides[i])
    turned = root.transpose(order)
    return turned if turned.flags.c_contiguous else None


class _Window:
    """Foreign memory seen with other strides, for the rare owner that is not one dense block."""

    def __init__(self, root: Array, start: int, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int):
        self._root = root  # keeps the memory alive
        self.__array_interface__ = {
            "version": 3, "data": (start, not root.flags.writeable), "shape": shape, "strides": strides,
            "typestr": f"|V{itemsize}",
        }  # fmt: skip


def as_strided(x: Array, shape: tuple[int, ...], strides: tuple[int, ...], offset: int, dtype: np.dtype[Any]) -> Array:
    """A view of ``x``'s storage; strides and offset in elements of ``dtype``. ValueError beyond the storage."""
    itemsize = dtype.itemsize
    root = owner(x)
    flat = _flat(root)
    steps = tuple([s * itemsize for s in strides])
    if flat is not None:
        return np.ndarray(shape, dtype, flat, offset * itemsize, steps)
    reach = _lowest(root) + offset * itemsize, steps
    return _window(root, reach[0], shape, reach[1], dtype)


def _window(root: Array, start: int, shape: tuple[int, ...], steps: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    low = _lowest(root)
    high = low + root.itemsize + sum((n - 1) * abs(s) for n, s in zip(root.shape, root.strides, strict=True))
    spans = [(n - 1) * s for n, s in zip(shape, steps, strict=True)]
    if 0 not in shape and (
        start + sum(s for s in spans if s < 0) < low or start + sum(s for s in spans if s > 0) + dtype.itemsize > high
    ):
        raise ValueError(
            f"as_strided: shape {shape} with strides {steps} (bytes) leaves the storage of {high - low} bytes"
        )
    return np.asarray(_Window(root, start, shape, steps, dtype.itemsize)).view(dtype)


def broadcast_strides(x: Array, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The byte strides that show ``x`` as ``shape``; ValueError when it does not broadcast to it."""
    extra = len(shape) - x.ndim
    if extra < 0:
        raise ValueError(f"expand: shape {x.shape} has more dimensions than {shape}")
    strides = [0] * extra
    for have, want, stride in zip(x.shape, shape[extra:], x.strides, strict=True):
        if have == want:
            strides.append(stride)
        elif have == 1:
            strides.append(0)
        else:
            raise ValueError(f"expand: shape {x.shape} does not broadcast to {shape}")
    return tuple(strides)


def expand(x: Array, shape: tuple[int, ...]) -> Array:
    """A writable view of ``x`` repeated to ``shape`` with strides 0 (``np.broadcast_to`` is read-only and slow)."""
    if x.ndim == 0:  # the gradient of a sum of all
        return np.ndarray(shape, x.dtype, x, 0, (0,) * len(shape))
    return strided(x, shape, broadcast_strides(x, shape))


def strided(x: Array, shape: tuple[int, ...], steps: tuple[int, ...], start: int = 0) -> Array:
    """A writable view of the storage of ``x`` by strides in bytes, from ``start`` bytes behind its first element."""
    if x.flags.c_contiguous:
        return np.ndarray(shape, x.dtype, x, start, steps)
    root = owner(x)
    flat = _flat(root)
    if flat is None:
        return _window(root, address(x) + start, shape, steps, x.dtype)
    return np.ndarray(shape, x.dtype, flat, address(x) - address(flat) + start, steps)
