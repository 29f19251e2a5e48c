"""Reductions. ``axis`` is None or a tuple of axes; float16 and bfloat16 are computed in float32 and rounded once."""

from __future__ import annotations

import math
from typing import Final

from flambeau.backends.xp import Array, Bodies, Namespace
from flambeau.backends.xp.sums import add_up
from flambeau.core import dtype as dt

bodies = Bodies()
Axes = tuple[int, ...] | None

_INEXACT: Final = dt.FLOATS + dt.COMPLEXES
_ORDERED: Final = dt.BOOLS + dt.REALS


def is_low(x: Array) -> bool:
    """Whether ``x`` is float16 or bfloat16 (which numpy files under 'V')."""
    return x.itemsize == 2 and x.dtype.kind in "fV"


def wide(xp: Namespace, x: Array) -> Array:
    """Low precision as float32, anything else as it is."""
    return x.astype("f4") if is_low(x) else x


def rounded(result: Array, like: Array) -> Array:
    """``result`` in the real dtype of ``like``'s kind: back from float32 for low precision."""
    return result.astype(like.dtype) if is_low(like) else result


def count(shape: tuple[int, ...], axis: Axes) -> int:
    """How many elements each result is made of."""
    return math.prod(shape if axis is None else [shape[a] for a in axis])


@bodies.kernel("mean", _INEXACT)
def mean(xp: Namespace, x: Array, *, axis: Axes, keepdims: bool) -> Array:
    total = add_up(xp, wide(xp, x), axis, keepdims)
    total /= count(x.shape, axis)
    return rounded(total, x)


@bodies.kernel("var", _INEXACT)
def var(xp: Namespace, x: Array, *, axis: Axes, correction: float, keepdims: bool) -> Array:
    """The mean squared distance from the mean, ``correction`` fewer elements counted; complex: of the distance."""
    values = wide(xp, x)
    size = count(x.shape, axis)
    centre = add_up(xp, values, axis, True)
    centre /= size
    centred = xp.asarray(xp.subtract(values, centre))  # without axes too, which numpy makes a number
    total = add_up(xp, _squared(xp, centred), axis, keepdims)
    total /= max(size - correction, 0)
    return rounded(total, x)


def _squared(xp: Namespace, x: Array) -> Array:
    """The squares of the sizes, in the memory of ``x`` where they are real."""
    return xp.asarray(x.real**2 + x.imag**2) if x.dtype.kind == "c" else xp.multiply(x, x, x)


@bodies.kernel("std", _INEXACT)
def std(xp: Namespace, x: Array, *, axis: Axes, correction: float, keepdims: bool) -> Array:
    return rounded(xp.sqrt(var(xp, wide(xp, x), axis=axis, correction=correction, keepdims=keepdims)), x)


@bodies.kernel("vector_norm", _INEXACT)
def vector_norm(xp: Namespace, x: Array, *, ord: float, axis: Axes, keepdims: bool) -> Array:
    """(sum of abs(x)**ord)**(1/ord), with the limits at 0 (how many are not zero) and at both infinities."""
    size = xp.absolute(wide(xp, x))
    if math.isinf(ord) and (ord < 0 or count(x.shape, axis)):
        extreme = xp.maximum if ord > 0 else xp.minimum
        return rounded(xp.asarray(extreme.reduce(size, axis=axis, keepdims=keepdims)), x)
    if ord == 0:
        return rounded(add_up(xp, (size != 0).astype(size.dtype), axis, keepdims), x)
    if ord == 2:
        return rounded(xp.sqrt(add_up(xp, size * size, axis, keepdims)), x)
    if ord == 1 or math.isinf(ord):
        return rounded(add_up(xp, size, axis, keepdims), x)
    return rounded(add_up(xp, size**ord, axis, keepdims) ** (1.0 / ord), x)


@bodies.kernel("logsumexp", dt.FLOATS)
def logsumexp(xp: Namespace, x: Array, *, axis: Axes, keepdims: bool) -> Array:
    """log(sum(exp(x))) without overflow; -inf for no elements."""
    values = wide(xp, x)
    if count(x.shape, axis) == 0:
        return rounded(xp.log(add_up(xp, values, axis, keepdims)), x)
    largest = xp.asarray(xp.maximum.reduce(values, axis=axis, keepdims=True))
    largest = xp.where(xp.isfinite(largest), largest, xp.zeros_like(largest))
    shifted = xp.asarray(xp.subtract(values, largest))
    total = xp.log(add_up(xp, xp.exp(shifted), axis, keepdims))
    return rounded(total + largest.reshape(total.shape), x)


@bodies.kernel("argmax", _ORDERED)
def argmax(xp: Namespace, x: Array, *, axis: int, keepdims: bool) -> Array:
    return wide(xp, x).argmax(axis, keepdims=keepdims) if x.ndim else xp.zeros((), "i8")


@bodies.kernel("argmin", _ORDERED)
def argmin(xp: Namespace, x: Array, *, axis: int, keepdims: bool) -> Array:
    return wide(xp, x).argmin(axis, keepdims=keepdims) if x.ndim else xp.zeros((), "i8")
