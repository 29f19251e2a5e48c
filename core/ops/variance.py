"""Moments and norms: variance, standard deviation, vector norms. Each has a body; a backend may have a kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.backends.layout import Shape
from flambeau.core import dtype as dt
from flambeau.core.creation import full_like
from flambeau.core.errors import ShapeError
from flambeau.core.ops import storage
from flambeau.core.ops.elementwise import abs_p, cj, sgn_p, sqrt_p, where
from flambeau.core.ops.reduce import (
    INEXACT,
    Axes,
    Dims,
    max_p,
    mean_p,
    min_p,
    reduced,
    reduction,
    restore,
    size_of,
    sum_p,
)
from flambeau.core.public import public
from flambeau.core.tensor import Tensor

_MOMENT = INEXACT.but("moment", result="real")


def _deviations(x: Tensor, axis: Axes, correction: float) -> tuple[Tensor, float]:
    """x - mean(x), and what the sum of its squares is divided by."""
    count = size_of(x.shape, axis) - correction
    return x - mean_p(x, axis, True), count if count > 0 else 0.0


def _var_vjp(g: Tensor, x: Tensor, axis: Axes, correction: float, keepdims: bool) -> Tensor:
    from_mean, count = _deviations(x, axis, correction)
    return restore(g, x.shape, axis, keepdims) * from_mean * 2 / count


@reduction(
    "var(x: Tensor, *, axis: Axes = None, correction: float = 1, keepdims: bool = False) -> Tensor",
    dtype=_MOMENT,
    vjp=dict(x=_var_vjp),
)
def var_p(x: Tensor, *, axis: Axes, correction: float, keepdims: bool) -> Tensor:
    """The mean squared distance from the mean, with ``correction`` fewer elements counted.

    >>> fb.var(fb.tensor([1.0, 3.0]))
    tensor(2.)
    """
    from_mean, count = _deviations(x, axis, correction)
    squared = from_mean * from_mean if x.dtype.category == dt.FLOATING else (from_mean * cj(from_mean)).real
    return sum_p(squared, axis, keepdims) / count


def _std_vjp(g: Tensor, x: Tensor, out: Tensor, axis: Axes, correction: float, keepdims: bool) -> Tensor:
    slope = where(out == 0, 0.0, g / (2 * where(out == 0, 1.0, out)))  # 0 where nothing varies, as in torch
    return _var_vjp(slope, x, axis, correction, keepdims)


@reduction(
    "std(x: Tensor, *, axis: Axes = None, correction: float = 1, keepdims: bool = False) -> Tensor",
    dtype=_MOMENT,
    vjp=dict(x=_std_vjp),
)
def std_p(x: Tensor, *, axis: Axes, correction: float, keepdims: bool) -> Tensor:
    """The square root of the variance.

    >>> fb.std(fb.tensor([1.0, 3.0]))
    tensor(1.4142)
    """
    return sqrt_p(var_p(x, axis, correction, keepdims))


def _vector_norm_vjp(g: Tensor, x: Tensor, out: Tensor, ord: float, axis: Axes, keepdims: bool) -> Tensor:
    """Of several subgradients the one that torch takes: 0 at 0, ties of the extremes shared."""
    g, whole = restore(g, x.shape, axis, keepdims), restore(out, x.shape, axis, keepdims)
    if ord == 0:
        return where(x != x, x, 0.0)
    if math.isinf(ord):
        chosen = (abs_p(x) == whole) | (x != x)
        return sgn_p(x) * where(chosen, g / sum_p(chosen, axis, True), 0.0)
    if ord == 1:
        return sgn_p(x) * g
    slope = where(whole == 0, 0.0, g / where(whole == 0, 1.0, whole) ** (ord - 1))
    if ord == 2:
        return x * slope
    size = where(x == 0, 1.0, abs_p(x))
    return where(x == 0, 0.0, sgn_p(x) * size ** (ord - 1)) * slope


def _vector_norm_jvp(
    tangents: Sequence[Tensor], primals: Sequence[Tensor], out: Tensor, ord: float, axis: Axes, keepdims: bool
) -> Tensor:
    """The product with the gradient, which has no nan at 0."""
    slope = _vector_norm_vjp(full_like(out, 1), primals[0], out, ord, axis, keepdims)
    moved = slope * tangents[0]
    if moved.dtype.category == dt.COMPLEX:
        moved = slope.real * tangents[0].real + slope.imag * tangents[0].imag
    return sum_p(moved, axis, keepdims)


def _normed(x: Shape, *, ord: float, axis: Axes, keepdims: bool) -> Shape:
    if (math.isinf(ord) or ord < 0) and size_of(x, axis) == 0:
        raise ShapeError(f"vector_norm: the {ord} norm of no elements is not defined; input has shape {tuple(x)}")
    return reduced(x, axis=axis, keepdims=keepdims)


@reduction(
    "vector_norm(x: Tensor, *, ord: float = 2, axis: Axes = None, keepdims: bool = False) -> Tensor",
    autocast="same|float32",
    infer=_normed,
    check=True,
    dtype=_MOMENT,
    vjp=dict(x=_vector_norm_vjp),
    jvp=_vector_norm_jvp,
)
def vector_norm_p(x: Tensor, *, ord: float, axis: Axes, keepdims: bool) -> Tensor:
    """(sum of abs(x)**ord)**(1/ord), with the limits at 0 (how many are not zero) and at both infinities."""
    size = abs_p(x)
    if ord == math.inf:
        return max_p(size, axis, keepdims)
    if ord == -math.inf:
        return min_p(size, axis, keepdims)
    if ord == 0:
        return storage.cast_p(sum_p(x != 0, axis, keepdims), dtype=size.dtype)
    if ord == 1:
        return sum_p(size, axis, keepdims)
    if ord == 2:
        return sqrt_p(sum_p(size * size, axis, keepdims))
    return sum_p(size**ord, axis, keepdims) ** (1.0 / ord)


# -- public functions --------------------------------------------------------------------------------
def _arguments_of_var(name: str, dim: Dims, unbiased: bool | None, correction: float | None) -> tuple[Dims, float]:
    """(dim, correction) from torch's forms ``(unbiased)``, ``(dim, unbiased)`` and by keyword."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}: give unbiased or correction, not both")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return dim, correction


@public(out=True)
def var(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> Tensor:  # fmt: skip
    """The variance over ``dim`` (an int, a tuple, or None for all).

    The sum of squared distances from the mean is divided by the number of elements less ``correction``
    (1 by default; ``unbiased=False`` means 0).

    >>> fb.var(fb.tensor([1.0, 3.0]))
    tensor(2.)
    """
    axes, less = _arguments_of_var("var", dim, unbiased, correction)
    return var_p(input, axes, less, keepdim)


@public(out=True)
def std(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> Tensor:  # fmt: skip
    """The standard deviation over ``dim``, the square root of :func:`var` with the same arguments.

    >>> fb.std(fb.tensor([1.0, 3.0]))
    tensor(1.4142)
    """
    axes, less = _arguments_of_var("std", dim, unbiased, correction)
    return std_p(input, axes, less, keepdim)


@public(method=False, out=True)
def var_mean(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(:func:`var`, :func:`mean`) over ``dim``, with the arguments of the first.

    >>> fb.var_mean(fb.tensor([1.0, 3.0]))
    (tensor(2.), tensor(2.))
    """
    axes, less = _arguments_of_var("var_mean", dim, unbiased, correction)
    return var_p(input, axes, less, keepdim), mean_p(input, axes, keepdim)


@public(method=False, out=True)
def std_mean(
    input: Tensor, dim: Dims = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(:func:`std`, :func:`mean`) over ``dim``, with the arguments of the first.

    >>> fb.std_mean(fb.tensor([1.0, 3.0]))
    (tensor(1.4142), tensor(2.))
    """
    axes, less = _arguments_of_var("std_mean", dim, unbiased, correction)
    return std_p(input, axes, less, keepdim), mean_p(input, axes, keepdim)
