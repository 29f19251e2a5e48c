"""Scans along one axis: running sums, products, extremes and recurrences."""

from __future__ import annotations

from typing import Any, Final

from flambeau.backends.xp import Array, Bodies, Namespace
from flambeau.backends.xp.reduce import is_low, rounded, wide
from flambeau.core import dtype as dt

bodies = Bodies()

_NUMBERS: Final = dt.REALS + dt.COMPLEXES
#: Steps from which a short recurrence is better done by doubling than step by step.
_LONG: Final = 512


def _accumulate(ufunc: Any, x: Array, axis: int) -> Array:
    """Accumulated in float64, or complex128, and rounded once: each step would add an error of its own."""
    if x.ndim == 0:
        return x.copy()
    kind = "f8" if is_low(x) or x.dtype.kind == "f" else "c16" if x.dtype.kind == "c" else x.dtype
    return ufunc.accumulate(x, axis=axis, dtype=kind).astype(x.dtype, copy=False)


@bodies.kernel("cumsum", _NUMBERS)
def cumsum(xp: Namespace, x: Array, *, axis: int) -> Array:
    return _accumulate(xp.add, x, axis)


@bodies.kernel("cumprod", _NUMBERS)
def cumprod(xp: Namespace, x: Array, *, axis: int) -> Array:
    return _accumulate(xp.multiply, x, axis)


@bodies.kernel("logcumsumexp", dt.FLOATS)
def logcumsumexp(xp: Namespace, x: Array, *, axis: int) -> Array:
    return _accumulate(xp.logaddexp, x, axis)


@bodies.kernel("cummax", dt.BOOLS + dt.REALS)
def cummax(xp: Namespace, x: Array, *, axis: int) -> tuple[Array, Array]:
    return _running(xp, xp.maximum, x, axis)


@bodies.kernel("cummin", dt.BOOLS + dt.REALS)
def cummin(xp: Namespace, x: Array, *, axis: int) -> tuple[Array, Array]:
    return _running(xp, xp.minimum, x, axis)


def _running(xp: Namespace, ufunc: Any, x: Array, axis: int) -> tuple[Array, Array]:
    """The extreme so far and the last place where it, or a nan, stands."""
    if x.ndim == 0:
        return x.copy(), xp.zeros((), "i8")
    values = ufunc.accumulate(x, axis=axis)
    place = xp.arange(x.shape[axis]).reshape((-1,) + (1,) * (x.ndim - 1 - axis))
    holds = (x == values) | (x != x)
    where = xp.maximum.accumulate(xp.where(holds, place, 0), axis=axis)
    return xp.take_along_axis(x, where, axis), where  # 0.0 equals -0.0: the one that stands there


@bodies.kernel("affine_scan", _NUMBERS)
def affine_scan(xp: Namespace, a: Array, b: Array, *, axis: int) -> Array:
    """out[t] = a[t] * out[t - 1] + b[t] along an axis, from 0 before the first."""
    if b.ndim == 0:
        return b.copy()
    factor, total = (xp.moveaxis(wide(xp, v), axis, 0).copy("C") for v in (a, b))
    steps = len(total)
    if steps > _LONG and total.size < steps * steps:
        by = 1
        while by < steps:  # each element then holds the last 2 * by steps
            total[by:] += factor[by:] * total[:-by]
            factor[by:] = factor[by:] * factor[:-by]
            by *= 2
    else:
        for t in range(1, steps):
            total[t] += factor[t] * total[t - 1]
    return rounded(xp.moveaxis(total, 0, axis), b)
