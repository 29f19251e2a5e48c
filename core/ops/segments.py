"""Reductions of neighbouring elements: segment_reduce."""

from __future__ import annotations

import math
from typing import Final

from flambeau.core import dtype as dt
from flambeau.core.creation import arange
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError
from flambeau.core.ops.elementwise import where
from flambeau.core.ops.joining import cat
from flambeau.core.ops.scatter import scatter_reduce
from flambeau.core.ops.search import searchsorted
from flambeau.core.ops.shape import axis_of
from flambeau.core.ops.views import narrow
from flambeau.core.public import public
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import bottom

#: What a reduction starts from, and the word that scatter_reduce has for it.
_KINDS: Final = {
    "sum": (0.0, "sum"), "mean": (0.0, "sum"), "prod": (1.0, "prod"), "max": (-math.inf, "amax"),
    "min": (math.inf, "amin"),
}  # fmt: skip


@public(method=False, out=True, aliases=("_segment_reduce",))
def segment_reduce(
    data: Tensor, reduce: str, *, lengths: Tensor | None = None, indices: Tensor | None = None,
    offsets: Tensor | None = None, axis: int = 0, unsafe: bool = False, initial: Number | None = None,
) -> Tensor:  # fmt: skip
    """The "sum", "mean", "max", "min" or "prod" of each segment along ``axis``, the last one that lengths have.

    Segments follow on each other, by their ``lengths`` or between neighbouring ``offsets``. ``initial`` takes part in
    each of them; without it a segment of nothing gives 0, nan, -inf, inf or 1. Unless ``unsafe``, lengths must add up.

    >>> fb.segment_reduce(fb.tensor([1.0, 2.0, 4.0]), "sum", lengths=fb.tensor([2, 1]))
    tensor([3., 4.])
    """
    if reduce not in _KINDS:
        raise ArgumentError(f"segment_reduce: reduce must be one of {', '.join(map(repr, _KINDS))}, got {reduce!r}")
    if indices is not None:
        raise NotImplementedError("segment_reduce: indices are not there; give lengths or offsets")
    if data.dtype.category != dt.FLOATING:
        raise DTypeError(f"segment_reduce: data must be floating, got {data.dtype.name}")
    axis = axis_of("segment_reduce", data, axis)
    bounds = _bounds(data, lengths, offsets, axis, unsafe)
    count = data.shape[axis]
    places = arange(count, dtype=bounds.dtype, device=data.device).expand(*bounds.shape[:-1], count).contiguous()
    owner = searchsorted(bounds, places, right=True)  # 0: before the first segment
    rest = data.ndim - owner.ndim
    index = owner.reshape(*owner.shape, *[1] * rest).expand(tuple(data.shape))
    neutral, word = _KINDS[reduce]
    shape = (*bounds.shape[:-1], bounds.shape[-1] + 1, *data.shape[axis + 1 :])
    start = data.new_full(shape, neutral if initial is None else initial)
    made = narrow(scatter_reduce(start, axis, index, data, word), axis, 1, bounds.shape[-1] - 1)
    if reduce != "mean":
        return made
    sizes = (narrow(bounds, -1, 1, bounds.shape[-1] - 1) - narrow(bounds, -1, 0, bounds.shape[-1] - 1)).to(data.dtype)
    sizes = sizes.reshape(*sizes.shape, *[1] * rest)
    return where(sizes == 0, math.nan if initial is None else initial, made / sizes.clamp(min=1))


def _bounds(data: Tensor, lengths: Tensor | None, offsets: Tensor | None, axis: int, unsafe: bool) -> Tensor:
    """Where each segment begins, and where the last one ends."""
    given = lengths if offsets is None else offsets
    if given is None or lengths is not None and offsets is not None:
        raise ArgumentError("segment_reduce: give lengths or offsets")
    if given.dtype not in (dt.int32, dt.int64):
        raise DTypeError(f"segment_reduce: lengths and offsets must be int64 or int32, got {given.dtype.name}")
    if given.ndim != axis + 1 or tuple(given.shape[:-1]) != tuple(data.shape[:axis]):
        raise ShapeError(
            f"segment_reduce: lengths or offsets of shape {tuple(given.shape)} must be {tuple(data.shape[:axis])} and "
            f"one more size, for axis={axis} of data of shape {tuple(data.shape)}"
        )
    if lengths is None:
        return given
    ends = given.cumsum(-1).to(given.dtype)
    if (
        not unsafe
        and given.numel()
        and (
            int(bottom(given).amin()) < 0
            or not bool((bottom(narrow(ends, -1, given.shape[-1] - 1, 1)) == data.shape[axis]).all())
        )
    ):
        raise ArgumentError(
            f"segment_reduce: lengths must not be negative, and add up to {data.shape[axis]} along axis={axis}"
        )
    return cat([narrow(given, -1, 0, 1) * 0, ends], -1) if given.shape[-1] else given.new_zeros((*given.shape[:-1], 1))
