"""Reductions on numpy: ``ufunc.reduce`` without numpy's Python layer, float16 and bfloat16 in float32."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.xp import reduce as xp_reduce
from flambeau.core import dtype as dt

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...] | None

_WIDE: Final = (dt.int64, dt.uint64, dt.float32, dt.float64, dt.complex64, dt.complex128)
_NARROW: Final = (dt.uint8, dt.int8, dt.uint16, dt.int16, dt.uint32, dt.int32)


def bind(table: KernelTable) -> None:
    xp_reduce.bind(table, np)
    for name, ufunc in (("sum", np.add), ("prod", np.multiply)):
        table.register(name, _plain(ufunc), _WIDE)
        table.register(name, _typed(ufunc), (dt.bool_, *_NARROW))
        table.register(name, _through_float32(ufunc), dt.LOW_PRECISION)
    for name, ufunc in (("max", np.maximum), ("min", np.minimum)):
        table.register(name, _plain(ufunc), dt.BOOLS + dt.REALS)
    for name, ufunc in (("any", np.logical_or), ("all", np.logical_and)):
        table.register(name, _plain(ufunc), dt.BOOLS + dt.REALS + dt.COMPLEXES)


def _plain(ufunc: np.ufunc) -> Kernel:
    """The bare reduction; ``out=...`` makes 0-d results arrays at no cost."""
    native = ufunc.reduce

    def kernel(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
        return native(x, axis=axis, keepdims=keepdims, out=...)

    return kernel


def _typed(ufunc: np.ufunc) -> Kernel:
    """In the operand's own dtype, where numpy would take a wider one."""
    native = ufunc.reduce

    def kernel(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
        return native(x, axis=axis, dtype=x.dtype, keepdims=keepdims, out=...)

    return kernel


def _through_float32(ufunc: np.ufunc) -> Kernel:
    """Accumulated in float32 and rounded once."""
    native = ufunc.reduce

    def kernel(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
        return native(x, axis=axis, dtype=np.float32, keepdims=keepdims, out=...).astype(x.dtype)

    return kernel
