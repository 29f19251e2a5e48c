"""Sorting and what is read off a sorted axis: top elements, medians, modes, quantiles.

``argsort`` is the primitive: stable, nan as the largest. Gradients go to where the values stood.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast, overload

import numpy as np

from flambeau.backends.layout import Shape
from flambeau.core import creation, from_data
from flambeau.core import dtype as dt
from flambeau.core.arguments import normal_axis
from flambeau.core.autocast import autocasting
from flambeau.core.declare import OpFunction, composite, op
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError
from flambeau.core.ops import reduce, storage
from flambeau.core.ops.elementwise import ceil_p, floor_p, lerp_p, maximum_p, round_half_even_p, where
from flambeau.core.ops.scan import Pair, along, cummax, cut, positions, put_back, shifted
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.record import OPS, ordered
from flambeau.core.results import ValuesIndices, returned
from flambeau.core.tensor import Tensor

_SELECTION = ordered.but("selection", result=("same", "index"))

argsort_p = op("argsort(x: Tensor, *, axis: Axis = -1, descending: bool = False) -> Tensor", infer=storage.unchanged,
             dtype=reduce.TO_INDEX, differentiable=False, batch="along_axis", public=False,
             doc="The stable order of the elements along an axis.")  # fmt: skip


def take(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """The elements of ``x`` at ``indices`` along an axis."""
    return cast(Tensor, OPS["gather"].function(x, indices, axis))


@composite(
    "sort(x: Tensor, *, axis: Axis = -1, descending: bool = False) -> (values: Tensor, indices: Tensor)",
    infer=lambda x, **params: (x, x),
    dtype=_SELECTION,
    upcast=False,
    batch="along_axis",
    public=False,
    vjp=dict(x=lambda g, x_shape, indices, axis: put_back(g[0], x_shape, indices, axis)),
)
def sort_p(x: Tensor, *, axis: int, descending: bool) -> Pair:
    """The elements in order along an axis, and where they stood; stable."""
    indices = argsort_p(x, axis, descending)
    return take(x, indices, axis), indices


def _top_shape(x: Shape, *, k: int, axis: int, largest: bool) -> tuple[Shape, Shape]:
    if not 0 <= k <= x[axis]:
        raise ShapeError(
            f"topk: selected index k out of range: k={k}, "
            f"but input of shape {tuple(x)} has size {x[axis]} along dim {axis}"
        )
    shape = (*x[:axis], k, *x[axis + 1 :])
    return shape, shape


@composite(
    "topk(x: Tensor, *, k: int, axis: Axis = -1, largest: bool = True) -> (values: Tensor, indices: Tensor)",
    infer=_top_shape,
    check=True,
    dtype=_SELECTION,
    upcast=False,
    batch="along_axis",
    public=False,
    vjp=dict(x=lambda g, x_shape, indices, axis: put_back(g[0], x_shape, indices, axis)),
)
def topk_p(x: Tensor, *, k: int, axis: int, largest: bool) -> Pair:
    """The first ``k`` elements in descending (or ascending) order along an axis, and where they stood."""
    _top_shape(x.shape, k=k, axis=axis, largest=largest)
    indices = storage.clone_p(cut(argsort_p(x, axis, largest), axis, 0, k), order="C")
    return take(x, indices, axis), indices


# -- public functions --------------------------------------------------------------------------------
@public(out=True)
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> ValuesIndices[Tensor]:
    """(values, indices): the elements in order along ``dim``, and where they stood; equal ones keep their order.

    >>> fb.sort(fb.tensor([3, 1, 2])).indices
    tensor([1, 2, 0])
    """
    found: ValuesIndices[Tensor] = returned("sort", along(sort_p, input, dim, descending=descending))
    return found


@public()
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that sort ``input`` along ``dim``; equal elements keep their order.

    >>> fb.argsort(fb.tensor([3.0, 1.0, 2.0]))
    tensor([1, 2, 0])
    """
    return along(argsort_p, input, dim, descending=descending)


@public(out=True)
def msort(input: Tensor) -> Tensor:
    """The elements in ascending order along the first dimension.

    >>> fb.msort(fb.tensor([3.0, 1.0]))
    tensor([1., 3.])
    """
    return along(sort_p, input, 0)[0]


@public(out=True)
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesIndices[Tensor]:
    """(values, indices) of the ``k`` largest (or smallest) elements along ``dim``, in order.

    ShapeError when ``dim`` has fewer than ``k``.

    >>> fb.topk(fb.tensor([1, 5, 3]), 2).values
    tensor([5, 3])
    """
    if input.dtype is dt.bool_:
        raise DTypeError("topk: not implemented for bool; make it an integer tensor first")
    if input.ndim == 0:
        normal_axis(dim, 0)
        flat = topk_p(input.reshape((1,)), k, 0, largest)
        single: ValuesIndices[Tensor] = returned("topk", tuple(t.reshape(()) if k == 1 else t for t in flat))
        return single
    found: ValuesIndices[Tensor] = returned("topk", topk_p(input, k, dim, largest))
    return found


#: The rank that is looked for along an axis: one for all, or a tensor of them.
Rank: TypeAlias = Callable[[Tensor, int], int | Tensor]


def _at_rank(x: Tensor, dim: int, keepdim: bool, rank: Rank, name: str = "median") -> ValuesIndices[Tensor]:
    """(values, indices) of the element that stands at ``rank(x, axis)`` in ascending order along ``dim``."""
    if x.ndim == 0:
        normal_axis(dim, 0)
        whole = _at_rank(x.reshape((1,)), 0, False, rank)
        return _pair(name, whole.values.reshape(()), whole.indices.reshape(()))
    axis = normal_axis(dim, x.ndim)
    order = argsort_p(x, axis)
    place = rank(x, axis)
    indices = cut(order, axis, place, place + 1) if isinstance(place, int) else take(order, place, axis)
    values = take(x, indices, axis)
    if keepdim:
        return _pair(name, values, indices)
    shape = tuple(n for i, n in enumerate(x.shape) if i != axis)
    return _pair(name, values.reshape(shape), indices.reshape(shape))


def _pair(name: str, values: Tensor, indices: Tensor) -> ValuesIndices[Tensor]:
    found: ValuesIndices[Tensor] = returned(name, (values, indices))
    return found


@public(out=True)
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> ValuesIndices[Tensor]:
    """(values, indices) of the ``k``-th smallest element along ``dim``, counted from 1.

    Of equal elements it is the one that PyTorch's selection finds on the CPU.

    >>> fb.kthvalue(fb.tensor([3.0, 1.0, 2.0]), 2).values
    tensor(2.)
    """
    axis = normal_axis(dim, input.ndim)
    size = input.shape[axis] if input.ndim else 1
    if not 1 <= k <= size:
        raise ShapeError(f"kthvalue: selected number k out of range: k={k}, but dim {dim} has size {size}")
    if not input.ndim:
        return _at_rank(input, dim, keepdim, lambda x, axis: k - 1, "kthvalue")
    values, indices = _at_rank(input, axis, True, lambda x, axis: k - 1)
    if _has_equals(input.detach(), values.detach(), axis):
        host = (input.float() if input.dtype in dt.LOW_PRECISION else input).detach().cpu()._host()
        places = np.apply_along_axis(_selected, axis, host, k - 1)
        indices = from_data.tensor(np.expand_dims(places, axis), device=input.device)
        values = take(input, indices, axis)
    return _pair("kthvalue", *(t if keepdim else t.squeeze(axis) for t in (values, indices)))


def _has_equals(x: Tensor, values: Tensor, axis: int) -> bool:
    """Whether an element that was found has equals along the axis; inside transforms nobody can tell."""
    if x._key.level is not None or x._key.backend.has("no_data") or not x.numel():
        return False
    equal = (x == values) | ((x != x) & (values != values))
    return bool((reduce.sum_p(equal, axis, False) > 1).any())


def _selected(row: np.ndarray[Any, Any], rank: int) -> int:
    """Where the element of a rank stands that quickselect finds, with PyTorch's choice of pivots, the median of three.

    Hoare, "Algorithm 65: Find", CACM 4 (1961). What the two pointers of a round exchange is found for all at once.
    """
    _, a = np.unique(row, return_inverse=True)  # so that nan is a number like others, the largest
    places = np.arange(len(a))

    def exchange(i: Any, j: Any) -> None:  # Any: a place or an array of places
        for v in (a, places):
            v[i], v[j] = v[j].copy(), v[i].copy()

    left, right = 0, len(a) - 1
    while right > left + 1:
        exchange((left + right) // 2, left + 1)
        for i, j in ((left + 1, right), (left, right), (left + 1, left)):
            if a[i] > a[j]:
                exchange(i, j)
        ups = left + 2 + np.flatnonzero(a[left + 2 : right + 1] >= a[left])
        downs = left + 1 + np.flatnonzero(a[left + 1 : right] <= a[left])[::-1]
        both = min(len(ups), len(downs))
        m = int((ups[:both] <= downs[:both]).sum())
        exchange(ups[:m], downs[:m])
        # A pointer stops at the next such element, or at one that was put there by an exchange.
        last = slice(max(m - 2, 0), m)
        up = min([*ups[m : m + 1], right, *(d for d in downs[last] if d > ups[m - 1])])
        down = max([*downs[m : m + 1], left + 1, *(u for u in ups[last] if u < downs[m - 1])])
        exchange(left, down)
        left, right = (up if down <= rank else left), (down - 1 if down >= rank else right)
    if right == left + 1 and a[left] > a[right]:
        exchange(left, right)
    return int(places[rank])


def _middle(name: str, skip_nan: bool) -> Rank:
    """The rank of the lower median: of the numbers, or, where nan counts, of the first nan."""

    def rank(x: Tensor, axis: int) -> int | Tensor:
        n = x.shape[axis]
        if n == 0:
            raise IndexError(f"{name}: input of shape {tuple(x.shape)} has size 0 along dim {axis}, and no median")
        if x.dtype.category < dt.FLOATING:
            return (n - 1) // 2
        numbers = reduce.sum_p(x == x, axis, True)
        if skip_nan:
            return maximum_p(numbers - 1, 0) >> 1
        return where(numbers == n, (n - 1) // 2, numbers)

    return rank


def _median_record(name: str, skip_nan: bool) -> OpFunction[Tensor]:
    """The median of all elements."""

    @composite(f"{name}(x: Tensor) -> Tensor", infer=lambda x: (), dtype=ordered, upcast=False, public=False,
               vjp=dict(x=lambda g, x, out: reduce.shared(g, x, out, None, False)))  # fmt: skip
    def of_all(x: Tensor) -> Tensor:
        if not x.numel() and x.dtype.category == dt.FLOATING:
            return creation.full((), math.nan, dtype=x.dtype, device=x.device)
        return _at_rank(x.reshape((x.numel(),)), 0, False, _middle(name, skip_nan)).values

    return of_all


median_p, nanmedian_p = _median_record("median", False), _median_record("nanmedian", True)


@overload
def median(input: Tensor, dim: None = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor: ...
@overload
def median(input: Tensor, dim: int, keepdim: bool = False, *, out: Pair | None = None) -> ValuesIndices[Tensor]: ...
@public()
def median(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Tensor | Pair | None = None
) -> Tensor | ValuesIndices[Tensor]:
    """The median; nan where there is one.

    With ``dim`` the pair (values, indices) along it. Of an even number of elements it is the lower of the
    two in the middle. IndexError for a dimension of size 0.

    >>> fb.median(fb.tensor([3.0, 1.0, 2.0]))
    tensor(2.)
    """
    found = median_p(input) if dim is None else _at_rank(input, dim, keepdim, _middle("median", False))
    answer: Tensor | ValuesIndices[Tensor] = deliver("median", returned("median", found), out)
    return answer


@overload
def nanmedian(input: Tensor, dim: None = None, keepdim: bool = False, *, out: Tensor | None = None) -> Tensor: ...
@overload
def nanmedian(input: Tensor, dim: int, keepdim: bool = False, *, out: Pair | None = None) -> ValuesIndices[Tensor]: ...
@public()
def nanmedian(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, out: Tensor | Pair | None = None
) -> Tensor | ValuesIndices[Tensor]:
    """The median of what is not nan.

    With ``dim`` the pair (values, indices) along it. Of an even number of elements it is the lower of the
    two in the middle. IndexError for a dimension of size 0.

    >>> fb.nanmedian(fb.tensor([3.0, 1.0, 2.0]))
    tensor(2.)
    """
    found = nanmedian_p(input) if dim is None else _at_rank(input, dim, keepdim, _middle("nanmedian", True))
    answer: Tensor | ValuesIndices[Tensor] = deliver("nanmedian", returned("nanmedian", found), out)
    return answer


@public(out=True)
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> ValuesIndices[Tensor]:
    """(values, indices) of the most frequent element along ``dim``, the smallest of several, and its last place.

    >>> fb.mode(fb.tensor([1, 2, 2])).values
    tensor(2)
    """

    def rank(x: Tensor, axis: int) -> int | Tensor:
        ordered_values = take(x, argsort_p(x, axis), axis)
        place = positions(x, axis)
        starts = (place == 0) | (ordered_values != shifted(ordered_values, axis, 1, 0))
        run = place - cummax(where(starts, place, 0), axis).values
        return reduce.argmax_p(run, axis, True)

    return _at_rank(input, dim, keepdim, rank, "mode")


# -- quantiles ---------------------------------------------------------------------------------------
_ROUNDED: Final = {"lower": floor_p, "higher": ceil_p, "nearest": round_half_even_p}


@public(out=True)
@autocasting("float32|same")
def quantile(
    input: Tensor, q: float | Tensor, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The ``q``-quantiles of all or along ``dim``.

    ``q``: a number or a 1-d tensor of numbers in [0, 1], of the dtype of ``input``; the results stand along
    a new first dimension. Between two elements ``interpolation`` decides: linear, lower, higher, midpoint, nearest.
    DTypeError unless ``input`` is float32 or float64.

    >>> fb.quantile(fb.tensor([0.0, 1.0, 2.0]), 0.25)
    tensor(0.5000)
    """
    return _quantiles("quantile", input, q, dim, keepdim, interpolation, skip_nan=False)


@public(out=True)
@autocasting("float32|same")
def nanquantile(
    input: Tensor, q: float | Tensor, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The quantiles of what is not nan, else as :func:`quantile`.

    >>> fb.nanquantile(fb.tensor([0.0, 1.0, 2.0]), 0.25)
    tensor(0.5000)
    """
    return _quantiles("nanquantile", input, q, dim, keepdim, interpolation, skip_nan=True)


def _quantiles(
    name: str, input: Tensor, q: float | Tensor, dim: int | None, keepdim: bool, interpolation: str, skip_nan: bool
) -> Tensor:
    if interpolation not in (*_ROUNDED, "linear", "midpoint"):
        raise ArgumentError(
            f"{name}: interpolation must be linear, lower, higher, midpoint or nearest, got {interpolation!r}"
        )
    if input.dtype not in (dt.float32, dt.float64):
        raise DTypeError(f"{name}: input must be a float32 or float64 tensor, got {input.dtype}")
    levels = _levels(name, input, q)
    axis = 0 if dim is None else normal_axis(dim, input.ndim)
    x = input.reshape((input.numel(),)) if dim is None or input.ndim == 0 else input
    if x.shape[axis] == 0:
        raise IndexError(f"{name}: input of shape {tuple(input.shape)} has no elements along the reduced dim")
    found = _between(x.movedim(axis, -1), levels.reshape((levels.numel(),)), interpolation, skip_nan).movedim(-1, 0)
    if keepdim:
        kept = tuple(1 if dim is None or i == axis else n for i, n in enumerate(input.shape))
        found = found.reshape((levels.numel(), *kept))
    return found.reshape((*levels.shape, *found.shape[1:]))


def _levels(name: str, x: Tensor, q: float | Tensor) -> Tensor:
    if not isinstance(q, Tensor):
        if not 0 <= q <= 1:
            raise ArgumentError(f"{name}: q must be in the range [0, 1], got {q}")
        return from_data.scalar_tensor(float(q), x.dtype, x.device)
    if q.ndim > 1:
        raise ShapeError(f"{name}: q must be a scalar or 1-d tensor, got shape {tuple(q.shape)}")
    if q.dtype is not x.dtype:
        raise DTypeError(f"{name}: q must have the dtype of input, got {q.dtype} and {x.dtype}")
    if q._key.level is None and not bool(((q >= 0) & (q <= 1)).all()):
        raise ArgumentError(f"{name}: q values must be in the range [0, 1]")
    return q


def _between(x: Tensor, levels: Tensor, interpolation: str, skip_nan: bool) -> Tensor:
    """The quantiles along the last axis, as a last axis."""
    axis, n = x.ndim - 1, x.shape[-1]
    ordered_values = take(x, argsort_p(x, axis), axis)
    numbers = reduce.sum_p(x == x, axis, True)
    if skip_nan:
        rank = levels * maximum_p(numbers - 1, 0)
    else:
        rank = where(numbers == n, levels * (n - 1), n - 1)
    if interpolation in _ROUNDED:
        return take(ordered_values, storage.cast_p(_ROUNDED[interpolation](rank), dtype=dt.int64), axis)
    below = floor_p(rank)
    low = take(ordered_values, storage.cast_p(below, dtype=dt.int64), axis)
    high = take(ordered_values, storage.cast_p(ceil_p(rank), dtype=dt.int64), axis)
    halves = interpolation == "midpoint"
    return lerp_p(low, high, 0.5 * storage.cast_p(rank != below, dtype=rank.dtype) if halves else rank - below)
