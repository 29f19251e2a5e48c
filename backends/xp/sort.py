"""Sorting, stable in both directions, nan as the largest.

The elements become integers in the same order (:func:`ordered`), complemented for a descending order, so that
one ascending stable sort serves every dtype and direction. Where a key has 32 bits, the place is packed below
it: such keys are all different, and any sort of them, stable or not, is a stable argsort.
"""

from __future__ import annotations

from typing import Final

from flambeau.backends.xp import Array, Bodies, Namespace
from flambeau.core import dtype as dt

bodies = Bodies()

_ORDERED: Final = dt.BOOLS + dt.REALS
#: Elements along the axis from which packing pays.
_PACKED: Final = 256


def ordered(xp: Namespace, x: Array, descending: bool) -> Array:
    """Integers of the same width in the order that is asked for; every nan alike and behind (or before) all else."""
    width = 8 * x.itemsize
    if x.dtype.kind in "fV":
        bits = (x + x.dtype.type(0)).view(f"i{x.itemsize}")  # -0.0 becomes 0.0
        key = bits ^ ((bits >> (width - 1)) & ((1 << (width - 1)) - 1))
        key = xp.where(x != x, key.dtype.type((1 << (width - 1)) - 1), key)
    else:
        key = x.view("u1") if x.dtype.kind == "b" else x
    return ~key if descending else key


def _packed(xp: Namespace, key: Array) -> Array:
    """Keys of at most 32 bits along the last axis, each above its place."""
    packed = key.astype("u8" if key.dtype.kind == "u" else "i8")
    packed <<= 32
    packed |= xp.arange(key.shape[-1], dtype=packed.dtype)
    return packed


def _places(packed: Array) -> Array:
    packed = packed.view("i8")
    packed &= 0xFFFFFFFF
    return packed


def _order(xp: Namespace, x: Array, descending: bool) -> Array:
    """The stable order along the last axis."""
    key = ordered(xp, x, descending)
    if key.itemsize == 4 and _PACKED <= key.shape[-1] < 1 << 32:
        packed = _packed(xp, key)
        packed.sort(axis=-1)
        return _places(packed)
    return xp.argsort(key, axis=-1, kind="stable")


@bodies.kernel("argsort", _ORDERED)
def argsort(xp: Namespace, x: Array, *, axis: int, descending: bool) -> Array:
    if x.ndim == 0:
        return xp.zeros((), "i8")
    return xp.swapaxes(_order(xp, xp.swapaxes(x, axis, -1), descending), axis, -1)


@bodies.kernel("sort", _ORDERED)
def sort(xp: Namespace, x: Array, *, axis: int, descending: bool) -> tuple[Array, Array]:
    """The elements in order, and where they stood."""
    if x.ndim == 0:
        return x.copy(), xp.zeros((), "i8")
    indices = argsort(xp, x, axis=axis, descending=descending)
    return xp.take_along_axis(x, indices, axis), indices


@bodies.kernel("topk", _ORDERED)
def topk(xp: Namespace, x: Array, *, k: int, axis: int, largest: bool) -> tuple[Array, Array]:
    """The first ``k`` in descending (or ascending) order, the earlier of equal ones first, and where they stood."""
    if x.ndim == 0:
        return x.copy(), xp.zeros((), "i8")
    rows = xp.swapaxes(x, axis, -1)
    key = ordered(xp, rows, largest)
    if key.itemsize <= 4 and _PACKED <= key.shape[-1] < 1 << 32 and 0 < k <= key.shape[-1] // 8:
        packed = xp.partition(_packed(xp, key), k - 1, axis=-1)[..., :k].copy()
        packed.sort(axis=-1)
        indices = _places(packed)
    else:
        indices = xp.argsort(key, axis=-1, kind="stable")[..., :k].copy()
    indices = xp.swapaxes(indices, axis, -1)
    return xp.take_along_axis(x, indices, axis), indices


def searchsorted(xp: Namespace, x: Array, values: Array, *, right: bool) -> Array:
    """Where each value would be inserted into ``x``, sorted along its last axis; nan comes last, as a value."""
    n = x.shape[-1]
    low = xp.zeros(values.shape, "i8")
    high = low + n
    for _ in range(n.bit_length()):
        open_, middle = low < high, (low + high) >> 1
        place = xp.minimum(middle, n - 1)
        at = xp.take(x, place) if x.ndim == 1 else xp.take_along_axis(x, place, -1)
        before = ~(at > values if right else at >= values)
        low, high = xp.where(open_ & before, middle + 1, low), xp.where(open_ & ~before, middle, high)
    return low
