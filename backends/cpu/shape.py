"""Views that numpy would make read-only, slowly, or not at all."""

from __future__ import annotations

from typing import Final

import numpy as np

from flambeau.backends import layout as lay
from flambeau.backends.base import KernelTable
from flambeau.backends.cpu import storage
from flambeau.backends.cpu.native import deferred
from flambeau.backends.cpu.native.arrays import over
from flambeau.backends.xp import Array
from flambeau.backends.xp import shape as xp_shape
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

#: What machine code moves, and from how many elements on.
_MOVED: Final = {"flip": 1 << 16, "tril": 1 << 11, "triu": 1 << 11}


def bind(table: KernelTable) -> None:
    xp_shape.bind(table, np)
    for fn in (view, expand, as_strided, diagonal, unfold, cast):
        table.register(fn.__name__, fn)
    for name, least in _MOVED.items():
        over(table, name, dt.ALL, "moves", least, planned=1)
    table.register("reshape", np.ndarray.reshape)  # may copy: core looks at the base


def view(x: Array, *, shape: tuple[int, ...]) -> Array:
    """The same elements in another shape; ValueError when that would need a copy."""
    out = x.reshape(shape)
    base = out.base
    if base is x or base is x.base:  # half the price of asking for the flags or for copy=False
        return out
    raise ValueError(
        f"view: shape {x.shape} with strides {x.strides} (bytes) cannot be viewed as {shape} without a copy"
    )


def expand(x: Array, *, shape: tuple[int, ...]) -> Array:
    return storage.expand(x, shape)


def as_strided(x: Array, *, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> Array:
    return storage.as_strided(x, shape, strides, offset, x.dtype)


def diagonal(x: Array, *, offset: int, axis1: int, axis2: int) -> Array:
    out = x.diagonal(offset, axis1, axis2)
    if x.flags.writeable:
        out.flags.writeable = True
    return out


def unfold(x: Array, *, axis: int, size: int, step: int) -> Array:
    """Windows of ``size`` every ``step`` elements along ``axis``; each window becomes a last axis."""
    return storage.strided(x, *lay.unfold(x.shape, x.strides, 0, axis, size, step))


def cast(x: Array, *, dtype: DType) -> Array:
    if x.size >= deferred.CAST and x.dtype is not dtype.numpy and dtype not in dt.HELD:
        out = np.empty_like(x, dtype.numpy, subok=False)
        if deferred.copy(out, x):
            return out
    return xp_shape.cast(x, dtype=dtype)
