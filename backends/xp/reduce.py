"""Reductions, scans and sorting. ``axis`` is None or a tuple for reductions, an int for the others."""

from __future__ import annotations

from typing import Any, Final

from flambeau.backends.base import KernelTable
from flambeau.backends.xp import Array, Bodies
from flambeau.core import dtype as dt

bodies = Bodies()
Axes = tuple[int, ...] | None

_ORDERED: Final = dt.BOOLS + dt.REALS


def bind(table: KernelTable, xp: Any) -> None:
    bodies.bind(table, xp)


def wide(xp: Any, x: Array) -> Array:
    """Low precision as float32, anything else as it is."""
    return x.astype("f4") if x.itemsize == 2 and x.dtype.kind in "fV" else x


def is_low(x: Array) -> bool:
    """Whether ``x`` is float16 or bfloat16 (which numpy files under 'V')."""
    return x.itemsize == 2 and x.dtype.kind in "fV"


# -- reductions ------------------------------------------------------------------------------------
@bodies.kernel("any")
def any(xp: Any, x: Array, *, axis: Axes, keepdims: bool) -> Array:
    return xp.logical_or.reduce(x, axis, xp.bool_, None, keepdims)


@bodies.kernel("all")
def all(xp: Any, x: Array, *, axis: Axes, keepdims: bool) -> Array:
    return xp.logical_and.reduce(x, axis, xp.bool_, None, keepdims)


@bodies.kernel("argmax", _ORDERED)
def argmax(xp: Any, x: Array, *, axis: int, keepdims: bool) -> Array:
    return _first(xp, xp.argmax, x, axis, keepdims)


@bodies.kernel("argmin", _ORDERED)
def argmin(xp: Any, x: Array, *, axis: int, keepdims: bool) -> Array:
    return _first(xp, xp.argmin, x, axis, keepdims)


def _first(xp: Any, find: Any, x: Array, axis: int, keepdims: bool) -> Array:
    if x.ndim == 0:
        return xp.zeros((), "i8")
    out = find(wide(xp, x), axis=axis)
    return xp.expand_dims(out, axis) if keepdims else out


# -- sorting ---------------------------------------------------------------------------------------
@bodies.kernel("argsort", _ORDERED)
def argsort(xp: Any, x: Array, *, axis: int, descending: bool) -> Array:
    """Stable both ways: a descending order is the ascending one of the reversed array, read backwards."""
    if x.ndim == 0:
        return xp.zeros((), "i8")
    x = wide(xp, x)
    if not descending:
        return xp.argsort(x, axis=axis, kind="stable")
    found = xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis)
    return x.shape[axis] - 1 - found
