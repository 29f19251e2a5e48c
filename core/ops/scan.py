"""Scans along one axis (running sums, products, extremes) and differences of neighbours.

A backend may have a kernel for each. The bodies combine elements 1, 2, 4, ... places apart (Hillis and
Steele, "Data parallel algorithms", CACM 1986), so each is a few ops per doubling of the length. Every
gradient here is again a scan: products and logarithms of sums through :func:`affine_scan`, which never
divides, so that zeros and infinities cost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar, Unpack, cast

from flambeau.backends.layout import Shape
from flambeau.core import creation
from flambeau.core import dtype as dt
from flambeau.core.arguments import normal_axis
from flambeau.core.autograd.inplace import in_place
from flambeau.core.declare import OpFunction, composite
from flambeau.core.dispatch import call
from flambeau.core.dtype import DTypeLike, Number, as_dtype
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError
from flambeau.core.ops import storage
from flambeau.core.ops.elementwise import (
    cj,
    exp_p,
    isnan_p,
    log1p_p,
    logaddexp_p,
    logical_not_p,
    round_half_even_p,
    where,
)
from flambeau.core.out import check_out, deliver, in_dtype
from flambeau.core.public import public
from flambeau.core.record import OPS, Fields, accumulating, floating, ordered
from flambeau.core.results import ValuesIndices, returned
from flambeau.core.tensor import Tensor

R = TypeVar("R")
Pair: TypeAlias = tuple[Tensor, Tensor]


def along(record: OpFunction[R], x: Tensor, dim: int, **params: object) -> R:
    """Run an op along ``dim``, its other params in order; a 0-d tensor is taken as one of one element, as in torch."""
    if x.ndim:
        return record(x, dim, *params.values())
    normal_axis(dim, 0)
    out: object = record(x.reshape((1,)), 0, *params.values())
    flat = tuple(o.reshape(()) for o in out) if isinstance(out, tuple) else cast(Tensor, out).reshape(())
    return cast(R, flat)


def cut(x: Tensor, axis: int, start: int, stop: int) -> Tensor:
    """The view of ``x`` from ``start`` to ``stop`` along one axis."""
    index = [slice(0, n, 1) for n in x.shape]
    index[axis] = slice(start, max(stop, start), 1)
    return storage.basic_index_p(x, tuple(index))


def shifted(x: Tensor, axis: int, by: int, fill: float) -> Tensor:
    """The elements moved ``by`` places up the axis (down if negative), ``fill`` coming in behind them."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (by, -by)
    return storage.pad_p(x, widths=tuple(widths), value=fill)


def positions(x: Tensor, axis: int) -> Tensor:
    """0, 1, 2, ... along ``axis``, of size 1 along the others."""
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    return creation.arange(x.shape[axis], device=x.device).reshape(tuple(shape))


def put_back(g: Tensor, x_shape: Shape, indices: Tensor, axis: int) -> Tensor:
    """The gradient of a selection: each element of ``g`` added where it was taken from."""
    zeros = creation.zeros_at(g, tuple(x_shape))
    return cast(Tensor, call(OPS["scatter"], (zeros, indices, g), {"axis": axis, "reduce": "add"}))


def backwards(x: Tensor, axis: int) -> Tensor:
    """``x`` read from the end of the axis."""
    return storage.flip_p(x, axes=(axis,))


def doubling(x: R, n: int, step: Callable[[R, int], R]) -> R:
    """Apply ``step(x, by)`` for by = 1, 2, 4, ... below the length ``n`` of an axis."""
    by = 1
    while by < n:
        x = step(x, by)
        by *= 2
    return x


# -- records -----------------------------------------------------------------------------------------
def _scan(schema: str, **fields: Unpack[Fields]) -> Callable[[Callable[..., R]], OpFunction[R]]:
    given: Fields = {"infer": storage.unchanged, "batch": "along_axis", "public": False, **fields}
    return composite(schema, **given)


def _pair(x: Shape, *, axis: int) -> tuple[Shape, Shape]:
    return x, x


@_scan(
    "affine_scan(a: Tensor, b: Tensor, *, axis: Axis) -> Tensor",
    infer=lambda a, b, **params: b,
    dtype=accumulating,
    vjp=lambda g, needs, a, out, axis: _affine_vjp(g, needs, a, out, axis),
)
def affine_scan_p(a: Tensor, b: Tensor, *, axis: int) -> Tensor:
    """out[t] = a[t] * out[t - 1] + b[t] along an axis, from 0 before the first; ``a`` and ``b`` have one shape."""

    def step(pair: Pair, by: int) -> Pair:
        factor, total = pair
        return factor * shifted(factor, axis, by, 0), total + factor * shifted(total, axis, by, 0)

    return doubling((a, b), a.shape[axis], step)[1]


def _affine_vjp(g: Tensor, needs: Sequence[bool], a: Tensor, out: Tensor, axis: int) -> tuple[Tensor | None, Tensor]:
    """What an element's gradient passes on goes down the recurrence, so it is the same scan from the end."""
    total = affine_back(cj(shifted(a, axis, -1, 0)), g, axis)
    return (total * cj(shifted(out, axis, 1, 0)) if needs[0] else None), total


def affine_back(a: Tensor, g: Tensor, axis: int) -> Tensor:
    """out[t] = a[t] * out[t + 1] + g[t]: the scan from the end."""
    return backwards(affine_scan_p(backwards(a, axis), backwards(g, axis), axis), axis)


def _cumsum_vjp(g: Tensor, axis: int) -> Tensor:
    return backwards(cumsum_p(backwards(g, axis), axis), axis)


@_scan(
    "cumsum(x: Tensor, *, axis: Axis) -> Tensor",
    autocast="same|float32",
    dtype=accumulating,
    linear=["x"],
    vjp=dict(x=_cumsum_vjp),
)
def cumsum_p(x: Tensor, *, axis: int) -> Tensor:
    """The sum of the elements so far along an axis."""
    return doubling(x, x.shape[axis], lambda x, by: x + shifted(x, axis, by, 0))


@_scan(
    "cumprod(x: Tensor, *, axis: Axis) -> Tensor",
    autocast="same|float32",
    dtype=accumulating,
    vjp=dict(x=lambda g, x, out, axis: _cumprod_vjp(g, x, out, axis)),
)
def cumprod_p(x: Tensor, *, axis: int) -> Tensor:
    """The product of the elements so far along an axis."""
    return doubling(x, x.shape[axis], lambda x, by: x * shifted(x, axis, by, 1))


def _cumprod_vjp(g: Tensor, x: Tensor, out: Tensor, axis: int) -> Tensor:
    """(The product before i) * sum over k >= i of g[k] * (the product between i and k)."""
    return cj(shifted(out, axis, 1, 1)) * affine_back(cj(shifted(x, axis, -1, 0)), g, axis)


def log_of_sum(x: Tensor, y: Tensor) -> Tensor:
    """log(exp(x) + exp(y)); of complex numbers the one with the larger real part is taken out."""
    if x.dtype.category < dt.COMPLEX:
        return logaddexp_p(x, y)
    first = x.real >= y.real
    larger, smaller = where(first, x, y), where(first, y, x)
    nothing = larger == -float("inf")
    return larger + log1p_p(exp_p(where(nothing, -1.0, smaller) - where(nothing, 0.0, larger)) * logical_not_p(nothing))


@_scan(
    "logcumsumexp(x: Tensor, *, axis: Axis) -> Tensor",
    dtype=floating,
    vjp=dict(x=lambda g, x, out, axis: _logcumsumexp_vjp(g, x, out, axis)),
)
def logcumsumexp_p(x: Tensor, *, axis: int) -> Tensor:
    """The logarithm of the sum of exponentials so far along an axis, without overflow."""
    out: Tensor = doubling(x, x.shape[axis], lambda x, by: log_of_sum(x, shifted(x, axis, by, -float("inf"))))
    return out if x.dtype.category < dt.COMPLEX else _continued(x, out, axis)


def _continued(x: Tensor, out: Tensor, axis: int) -> Tensor:
    """Complex logarithms with the multiples of 2π that adding one element after the other gives.

    Each is within a quarter turn of the larger of two: the element, or the sum before, whose turns then go on.
    """

    def turned(angle: Tensor) -> Tensor:  # into [-π, π]
        return angle - round_half_even_p(angle / math.tau) * math.tau

    before = shifted(out.real, axis, 1, -math.inf)
    first = x.real >= before
    start = x.imag + turned(out.imag - x.imag)
    step = where(first, 0.0, turned(out.imag - shifted(out.imag, axis, 1, 0.0)))
    turns = cumsum_p(step, axis)
    since = cummax_p(where(first, positions(x, axis), 0), axis)[0]
    angle = OPS["gather"].function(start - turns, since, axis) + turns  # declared above this module
    found: Tensor = out.real + angle * 1j
    return found


def _logcumsumexp_vjp(g: Tensor, x: Tensor, out: Tensor, axis: int) -> Tensor:
    """out[k] depends on out[k - 1] with the weight exp(out[k - 1] - out[k]), and on x[k] with exp(x[k] - out[k])."""
    weight = _share(out, shifted(out, axis, -1, float("inf")))
    return _share(x, out) * affine_back(weight, g, axis)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """exp(part - whole), and 0 where both are -inf."""
    nothing = part == -float("inf")
    return where(nothing, 0.0, cj(exp_p(where(nothing, 0.0, part) - where(nothing, 0.0, whole))))


def _extremes(x: Tensor, axis: int, keeps: Callable[[Tensor, Tensor], Tensor]) -> Pair:
    """The running extreme and its latest index: an element stays where ``keeps(it, the one before)`` or it is nan."""

    def step(pair: Pair, by: int) -> Pair:
        values, indices = pair
        before, where_before = shifted(values, axis, by, 0), shifted(indices, axis, by, -1)
        replaced = (where_before >= 0) & logical_not_p(keeps(values, before) | isnan_p(values))
        return where(replaced, before, values), where(replaced, where_before, indices)

    start = storage.expand_p(positions(x, axis), tuple(x.shape))
    return doubling((storage.clone_p(x), storage.clone_p(start, order="C")), x.shape[axis], step)


_RUNNING = ordered.but("running", result=("same", "index"))


@_scan(
    "cummax(x: Tensor, *, axis: Axis) -> (values: Tensor, indices: Tensor)",
    infer=_pair,
    dtype=_RUNNING,
    upcast=False,
    vjp=dict(x=lambda g, x_shape, indices, axis: put_back(g[0], x_shape, indices, axis)),
)
def cummax_p(x: Tensor, *, axis: int) -> Pair:
    """The largest element so far along an axis, and where it stands; nan wins."""
    return _extremes(x, axis, lambda new, old: new >= old)


@_scan(
    "cummin(x: Tensor, *, axis: Axis) -> (values: Tensor, indices: Tensor)",
    infer=_pair,
    dtype=_RUNNING,
    upcast=False,
    vjp=dict(x=lambda g, x_shape, indices, axis: put_back(g[0], x_shape, indices, axis)),
)
def cummin_p(x: Tensor, *, axis: int) -> Pair:
    """The smallest element so far along an axis, and where it stands; nan wins."""
    return _extremes(x, axis, lambda new, old: new <= old)


# -- public functions --------------------------------------------------------------------------------
@public()
def cumsum(input: Tensor, dim: int, *, dtype: DTypeLike | None = None, out: Tensor | None = None) -> Tensor:
    """The sum of the elements up to each along ``dim``, in the shape of ``input``; integers in int64.

    >>> fb.cumsum(fb.tensor([1, 2, 3]), 0)
    tensor([1, 3, 6])
    """
    check_out("cumsum", dtype, out)
    return deliver("cumsum", along(cumsum_p, in_dtype(input, dtype), dim), out, dtype)


@public()
def cumprod(input: Tensor, dim: int, *, dtype: DTypeLike | None = None, out: Tensor | None = None) -> Tensor:
    """The product of the elements up to each along ``dim``, in the shape of ``input``; integers in int64.

    >>> fb.cumprod(fb.tensor([1, 2, 3]), 0)
    tensor([1, 2, 6])
    """
    check_out("cumprod", dtype, out)
    return deliver("cumprod", along(cumprod_p, in_dtype(input, dtype), dim), out, dtype)


def _in_place(name: str, x: Tensor, dim: int, dtype: DTypeLike | None) -> Tensor:
    if dtype is not None and as_dtype(dtype) is not x.dtype:
        raise DTypeError(f"{name}_: dtype must be that of the tensor, {x.dtype}, got {as_dtype(dtype)}")
    in_place(OPS[name], (x if x.ndim else x.reshape((1,)),), {"axis": dim}, None)
    return x


@public()
def cumsum_(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """:func:`cumsum` in place."""
    return _in_place("cumsum", input, dim, dtype)


@public()
def cumprod_(input: Tensor, dim: int, *, dtype: DTypeLike | None = None) -> Tensor:
    """:func:`cumprod` in place."""
    return _in_place("cumprod", input, dim, dtype)


@public()
def logcumsumexp(input: Tensor, dim: int, *, out: Tensor | None = None) -> Tensor:
    """log(cumsum(exp(input))) along ``dim`` without overflow; floating and complex dtypes.

    >>> fb.logcumsumexp(fb.zeros(2), 0)
    tensor([0.0000, 0.6931])
    """
    return deliver("logcumsumexp", along(logcumsumexp_p, input, dim), out)


@public()
def cummax(input: Tensor, dim: int, *, out: Pair | None = None) -> ValuesIndices[Tensor]:
    """(values, indices): the largest element up to each along ``dim``, and the index of its last occurrence.

    >>> fb.cummax(fb.tensor([1, 3, 2]), 0).values
    tensor([1, 3, 3])
    """
    answer: ValuesIndices[Tensor] = deliver("cummax", returned("cummax", along(cummax_p, input, dim)), out)
    return answer


@public()
def cummin(input: Tensor, dim: int, *, out: Pair | None = None) -> ValuesIndices[Tensor]:
    """(values, indices): the smallest element up to each along ``dim``, and the index of its last occurrence.

    >>> fb.cummin(fb.tensor([3.0, 1.0, 2.0]), 0).values
    tensor([3., 1., 1.])
    """
    answer: ValuesIndices[Tensor] = deliver("cummin", returned("cummin", along(cummin_p, input, dim)), out)
    return answer


@public(out=True)
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The ``n``-th differences of neighbours along ``dim``, after joining ``prepend`` and ``append``.

    >>> fb.diff(fb.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    if input.ndim == 0:
        raise ShapeError("diff: input must have at least one dimension, got a 0-d tensor")
    if n < 0:
        raise ArgumentError(f"diff: n must not be negative, got {n}")
    axis = normal_axis(dim, input.ndim)
    if not n:
        return input.clone()  # and nothing is joined, as in torch
    parts = [t for t in (prepend, input, append) if t is not None]
    x = storage.cat_p(parts, axis) if len(parts) > 1 else input
    for _ in range(min(n, x.shape[axis])):
        before, after = cut(x, axis, 0, x.shape[axis] - 1), cut(x, axis, 1, x.shape[axis])
        x = after != before if x.dtype is dt.bool_ else after - before
    return x


@public(aliases=("trapz",), method=False)
def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: Number | Tensor | None = None, dim: int = -1) -> Tensor:
    """The integral along ``dim`` by the trapezoidal rule, over the places ``x`` or the even step ``dx`` (1).

    >>> fb.trapezoid(fb.tensor([1.0, 2.0, 3.0]))
    tensor(4.)
    """
    axis = normal_axis(dim, y.ndim)
    n = y.shape[axis]
    if not n:
        return y.sum(axis)
    if x is not None:
        return _areas("trapezoid", y, x, dx, dim).sum(axis) / 2
    ends = cut(y, axis, 0, 1) + cut(y, axis, n - 1, n)
    return (y.sum(axis) - ends.squeeze(axis) * 0.5) * (1.0 if dx is None else dx)


@public(method=False)
def cumulative_trapezoid(
    y: Tensor, x: Tensor | None = None, *, dx: Number | Tensor | None = None, dim: int = -1
) -> Tensor:
    """The integral up to each element but the first along ``dim`` by the trapezoidal rule.

    >>> fb.cumulative_trapezoid(fb.tensor([1.0, 2.0, 3.0]))
    tensor([1.5000, 4.0000])
    """
    return cumsum(_areas("cumulative_trapezoid", y, x, dx, dim), dim) * (0.5 if x is not None or dx is None else dx / 2)


def _areas(name: str, y: Tensor, x: Tensor | None, dx: Number | Tensor | None, dim: int) -> Tensor:
    """Twice what stands between neighbours at places ``x``, or a step of 1 apart; in the dtype of both, as in torch."""
    if x is not None and dx is not None:
        raise TypeError(f"{name}: give the places x or the step dx, not both")
    axis = normal_axis(dim, y.ndim)
    n = y.shape[axis]
    middle = cut(y, axis, 0, n - 1) + cut(y, axis, 1, n)
    if x is None:
        return middle
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: x must be a tensor, got {type(x).__name__}")
    if dt.bool_ in (x.dtype, y.dtype):
        raise DTypeError(f"{name}: a bool has no difference, got {y.dtype.name} for y and {x.dtype.name} for x")
    if x.ndim == 1:
        if x.shape[0] != n:
            raise ShapeError(f"{name}: there must be one x for each of the {n} samples, got {x.shape[0]}")
        x = x.reshape(tuple(n if i == axis else 1 for i in range(y.ndim)))
    elif x.ndim < y.ndim:
        x = x.reshape((*(1,) * (y.ndim - x.ndim), *x.shape))
    return middle * diff(x, dim=axis)
