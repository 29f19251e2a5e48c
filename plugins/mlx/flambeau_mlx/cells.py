"""Memory made of immutable arrays: a cell holds an array, a write puts another one in.

The functions below are pure and know nothing of cells: they read a layout from a flat array, and make the flat array
that stands there after a write to a layout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import mlx.core as mx
import numpy as np

from flambeau.backends.base import HostArray, Layout
from flambeau.backends.layout import is_contiguous
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

LOW: Final = (mx.float16, mx.bfloat16)
#: MLX has no complex128, and what it calls float64 lives on processors alone and is computed to float32's accuracy.
FLOATS: Final = (*dt.LOW_PRECISION, dt.float32)
EVERY: Final = (*dt.BOOLS, *dt.INTS, *FLOATS)
MX: Final = {d: getattr(mx, "bool_" if d is dt.bool_ else d.name) for d in EVERY}
DTYPES: Final = {t: d for d, t in MX.items()}


class Cell:
    """Memory of ``nbytes``: ``value`` is an array of any shape and dtype whose bytes these are, maybe to be computed.

    None stands for values that nobody has set. The array may be a little longer than the memory. ``flat`` says that it
    has one axis and no gaps, which is what ``mx.as_strided`` reads. ``gone`` is told when nobody has the cell any more.
    """

    __slots__ = ("flat", "gone", "nbytes", "value")

    def __init__(self, nbytes: int, gone: Callable[[int, None], object]):
        self.nbytes, self.gone, self.flat = nbytes, gone, False
        self.value: mx.array | None = None

    def __del__(self) -> None:
        self.gone(id(self), None)


def written(flat: mx.array, value: mx.array, place: Layout) -> mx.array:
    """The flat array with the elements of a layout replaced; what others hold of it stays as it is."""
    shape, strides, offset = place
    if is_contiguous(shape, strides):
        return mx.slice_update(flat, value.reshape(-1), mx.array([offset]), [0])
    places = mx.full(shape, offset, mx.int64)
    for axis, stride in enumerate(strides):
        along = mx.arange(shape[axis], dtype=mx.int64) * stride
        places = places + along.reshape([-1] + [1] * (len(shape) - 1 - axis))
    return mx.put_along_axis(flat, places.reshape(-1), value.reshape(-1), axis=0)


# -- dtypes ----------------------------------------------------------------------------------------
def wide(x: mx.array) -> mx.array:
    """The value as what it is computed with."""
    return x.astype(mx.float32) if x.dtype in LOW else x


def convert(x: mx.array, to: mx.Dtype) -> mx.array:
    """A cast as C's: an integer keeps its low bits, a float loses its fraction."""
    if x.dtype == to:
        return x
    if to == mx.bool_:
        return x != mx.array(0, x.dtype)
    if mx.issubdtype(x.dtype, mx.floating) and mx.issubdtype(to, mx.integer):
        if to == mx.uint64:
            return mx.where(x < 0, x.astype(mx.int64).astype(to), x.astype(to))
        return x.astype(mx.int64).astype(to)
    return x.astype(to)


def recast(value: mx.array, to: mx.Dtype) -> mx.array:
    """The bytes of an array as a flat array of another dtype, with zeros behind them where they do not fill it."""
    flat = value.reshape(-1)
    if flat.dtype == to:
        return flat
    flat = flat.astype(mx.uint8) if flat.dtype == mx.bool_ else flat
    kind = mx.uint8 if to == mx.bool_ else to
    if flat.dtype.size != kind.size:
        flat = mx.contiguous(flat).view(mx.uint8)
        flat = mx.pad(flat, (0, -flat.size % kind.size))
    flat = flat if flat.dtype == kind else mx.contiguous(flat).view(kind)
    return flat != 0 if to == mx.bool_ else flat


def to_mlx(host: HostArray, dtype: DType) -> mx.array:
    """A copy of a host array."""
    if dtype is dt.bfloat16:
        return mx.array(np.ascontiguousarray(host).view(np.uint16)).view(mx.bfloat16).reshape(host.shape)
    return mx.array(host)


def to_numpy(value: mx.array) -> HostArray:
    """A computed array as the host's, over the same memory."""
    if value.dtype == mx.bfloat16:
        return np.asarray(value.view(mx.uint16)).view(dt.bfloat16.numpy)
    return np.asarray(value)
