"""Moments and norms: variance, standard deviation, vector norms. Each has a body; a backend may have a kernel."""

# What the functions of records return is generated, and Any to mypy.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from flambeau.core import dtype as dt
from flambeau.core.errors import ShapeError
from flambeau.core.ops import storage
from flambeau.core.ops.elementwise import abs_p, cj, sgn_p, sqrt_p, where
from flambeau.core.ops.reduce import INEXACT, Axes, max_p, mean_p, min_p, reduced, reduction, restore, size_of, sum_p
from flambeau.core.public import public
from flambeau.core.tensor import Tensor

_MOMENT = INEXACT.but("moment", result="real")


def _deviations(x: Any, axis: Axes, correction: float) -> tuple[Any, float]:
    """x - mean(x), and what the sum of its squares is divided by."""
    count = size_of(x.shape, axis) - correction
    return x - mean_p(x, axis, True), count if count > 0 else 0.0


def _var_vjp(g: Any, x: Any, axis: Axes, correction: float, keepdims: bool) -> Any:
    from_mean, count = _deviations(x, axis, correction)
    return restore(g, x.shape, axis, keepdims) * from_mean * 2 / count


@reduction(
    "var(x: Tensor, *, axis: Axes = None, correction: float = 1, keepdims: bool = False) -> Tensor",
    dtype=_MOMENT,
    vjp=dict(x=_var_vjp),
)
def var_p(x: Any, *, axis: Axes, correction: float, keepdims: bool) -> Any:
    """The mean squared distance from the mean, with ``correction`` fewer elements counted.

    >>> fb.var(fb.tensor([1.0, 3.0]))
    tensor(2.)
    """
    from_mean, count = _deviations(x, axis, correction)
    squared = from_mean * from_mean if x.dtype.category == dt.FLOATING else (from_mean * cj(from_mean)).real
    return sum_p(squared, axis, keepdims) / count


def _std_vjp(g: Any, x: Any, out: Any, axis: Axes, correction: float, keepdims: bool) -> Any:
    slope = where(out == 0, 0.0, g / (2 * where(out == 0, 1.0, out)))  # 0 where nothing varies, as in torch
    return _var_vjp(slope, x, axis, correction, keepdims)


@reduction(
    "std(x: Tensor, *, axis: Axes = None, correction: float = 1, keepdims: bool = False) -> Tensor",
    dtype=_MOMENT,
    vjp=dict(x=_std_vjp),
)
def std_p(x: Any, *, axis: Axes, correction: float, keepdims: bool) -> Any:
    """The square root of the variance.

    >>> fb.std(fb.tensor([1.0, 3.0]))
    tensor(1.4142)
    """
    return sqrt_p(var_p(x, axis, correction, keepdims))


def _vector_norm_vjp(g: Any, x: Any, out: Any, ord: float, axis: Axes, keepdims: bool) -> Any:
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


def _normed(x: Sequence[int], *, ord: float, axis: Any, keepdims: bool) -> tuple[int, ...]:
    if math.isinf(ord) and size_of(x, axis) == 0:
        raise ShapeError(f"vector_norm: the {ord} norm of no elements is not defined; input has shape {tuple(x)}")
    return reduced(x, axis=axis, keepdims=keepdims)


@reduction(
    "vector_norm(x: Tensor, *, ord: float = 2, axis: Axes = None, keepdims: bool = False) -> Tensor",
    infer=_normed,
    check=True,
    dtype=_MOMENT,
    vjp=dict(x=_vector_norm_vjp),
)
def vector_norm_p(x: Any, *, ord: float, axis: Axes, keepdims: bool) -> Any:
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
def _arguments_of_var(name: str, dim: Any, unbiased: Any, correction: Any) -> tuple[Any, float]:
    """(dim, correction) from torch's forms ``(unbiased)``, ``(dim, unbiased)`` and by keyword."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}: give unbiased or correction, not both")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    return dim, correction


def _moments(name: str, record: Callable[..., Any], with_mean: bool) -> Callable[..., Any]:
    def moments(
        input: Tensor,
        dim: int | Sequence[int] | None = None,
        unbiased: Any = None,
        keepdim: bool = False,
        *,
        correction: Any = None,
        **kw: Any,
    ) -> Any:
        keep = kw.pop("keepdims", keepdim)
        axes, less = _arguments_of_var(name, kw.pop("axis", dim), unbiased, correction)
        spread = record(input, axes, less, keep, **kw)
        return (spread, mean_p(input, axes, keep)) if with_mean else spread

    value = "tensor(2.)" if name.startswith("var") else "tensor(1.4142)"
    what = {"var": "variance", "std": "standard deviation"}[name.removesuffix("_mean")]
    moments.__name__ = moments.__qualname__ = name
    moments.__doc__ = f"""The {what}{" and the mean, as a pair," if with_mean else ""} over ``dim`` (all by default).

    The sum of squared distances from the mean is divided by the number of elements less ``correction``
    (1 by default; ``unbiased=False`` means 0).

    >>> fb.{name}(fb.tensor([1.0, 3.0]))
    {f"({value}, tensor(2.))" if with_mean else value}
    """
    return moments


var, std = _moments("var", var_p, False), _moments("std", std_p, False)
public()(std)
public()(var)
var_mean, std_mean = _moments("var_mean", var_p, True), _moments("std_mean", std_p, True)
public(method=False)(std_mean)
public(method=False)(var_mean)
