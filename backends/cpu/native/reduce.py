"""Reductions over any axes as machine code: what they lie like in memory, the jobs for that, and how they end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import dtype_name, served
from flambeau.backends.cpu.native.layout import Axes, Layout, copies, layout, told, two
from flambeau.backends.llvm.quick import bound
from flambeau.backends.llvm.target import Target
from flambeau.core.dtype import dtype_named

Array = np.ndarray[Any, Any]

#: Elements of a chunk.
_CHUNK: Final = 1 << 16
#: Columns of a block, where rows are many; rows of a piece.
_BLOCK: Final = 512
_PIECE: Final = 256, 8192
#: Columns fewer than this are taken several rows at a time.
_NARROW: Final = 64


class Step(NamedTuple):
    """A job on (operand, result, centre), and its flat result; each of the centres is used ``repeat`` times."""

    call: Callable[..., None]
    results: int
    dtype: np.dtype[Any]
    repeat: int = 1

    def run(self, x: Array, centre: Array | None = None) -> Array:
        """The flat results."""
        out = np.empty(self.results, self.dtype)
        self.call(x, out, centre if centre is None or self.repeat == 1 else centre.repeat(self.repeat))
        return out


class Plan:
    """A reduction of operands of one shape and layout: what is found out once for all of them."""

    def __init__(self, target: Target, where: Layout, axes: tuple[int, ...], keepdims: bool):
        self.target, self.where = target, where
        self.count = math.prod(where.x.shape[a] for a in axes)
        self._back, self._shape = where.ends(axes, keepdims)
        self._steps: dict[tuple[str, str], list[Step] | None] = {}

    def fold(self, name: str, x: Array, to: str = "", centre: Array | None = None) -> Array:
        """The flat results of a fold of an operand, as :func:`fold` gives them."""
        if (name, to) not in self._steps:
            self._steps[name, to] = _steps(self.target, name, self.where, to)
        steps = self._steps[name, to]
        if steps is None:
            return fold(self.target, name, replace(self.where, x=x), to, centre)
        for step in steps:
            x, centre = step.run(x, centre), None
        return x

    def result(self, flat: Array) -> Array:
        """Flat results as the reduction returns them."""
        if self._back is not None:
            flat = flat.reshape(self.where.shape).transpose(self._back)
        return flat.reshape(self._shape)


@lru_cache(1024)
def _plan(
    target: Target, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any], axis: Axes, keepdims: bool
) -> Plan | None:
    """The plan for operands that kernels can read as they lie, if there is something to reduce."""
    like = np.lib.stride_tricks.as_strided(np.empty(1, dtype), shape, strides)  # nobody looks at what is in it
    axes = _axes(like.ndim, axis)
    where = told(like, axes) if _is_work(target, like, axes) else None
    return None if where is None else Plan(target, where, axes, keepdims)


def _axes(ndim: int, axis: Axes) -> tuple[int, ...]:
    return tuple(range(ndim)) if axis is None else tuple(a % ndim for a in axis)


def _is_work(target: Target, x: Array, axes: tuple[int, ...]) -> bool:
    """Whether there is something to reduce that kernels can read."""
    return bool(x.size) and served(x, target) and any(x.shape[a] > 1 for a in axes)


def _planned(target: Target, x: Array, axis: Axes, keepdims: bool) -> tuple[Plan, Array] | None:
    """The plan of a reduction, and the operand or a copy of it that lies so."""
    if type(x) is not np.ndarray or not x.flags.aligned:
        return None
    axis = None if axis is None else tuple(axis)
    plan = _plan(target, x.shape, x.strides, x.dtype, axis, keepdims)
    if plan is not None:
        return plan, x
    axes = _axes(x.ndim, axis)
    if not _is_work(target, x, axes):
        return None
    for copied in copies(x, axes):
        plan = _plan(target, copied.shape, copied.strides, copied.dtype, axis, keepdims)
        if plan is not None:
            return plan, copied
    return None


# -- one fold --------------------------------------------------------------------------------------
def fold(target: Target, name: str, where: Layout, to: str = "", centre: Array | None = None) -> Array:
    """The flat results of a fold, in the dtype named ``to``, or else that of the fold's results.

    ``centre`` has a number for each result, in the dtype of the fold's results.
    """
    to = to or _result(name, where.x.dtype)
    if _is_narrow(where):
        return _fold_narrow(target, name, where, to, centre)
    step, parts = _first(target, name, where, to)
    out = step.run(where.x, centre)
    return out if parts is None else _again(target, name, out.reshape(parts), to)


def _steps(target: Target, name: str, where: Layout, to: str) -> list[Step] | None:
    """The jobs of a fold, each on the results of the one before; None where it is not that simple."""
    to, found = to or _result(name, where.x.dtype), []
    while not _is_narrow(where):
        step, parts = _first(target, name, where, to)
        found.append(step)
        if parts is None:
            return found
        name, where = folds.FOLDS[name].again, _middle(np.empty(parts, step.dtype))
    return None


def _result(name: str, dtype: np.dtype[Any]) -> str:
    """The dtype of a fold's results."""
    return "float64" if folds.FOLDS[name].wide or dtype.itemsize == 8 else "float32"


def _middle(partial: Array) -> Layout:
    """Partial results of the second axis."""
    where = layout(partial, (1,))
    assert where is not None
    return where


def _again(target: Target, name: str, partial: Array, to: str) -> Array:
    """Partial results of the second axis joined."""
    return fold(target, folds.FOLDS[name].again, _middle(partial), to)


#: The job of a fold, and the shape of its results where they are partial ones.
_First = tuple[Step, tuple[int, ...] | None]


def _first(target: Target, name: str, where: Layout, to: str) -> _First:
    return (_first_of_rows if where.rows else _first_of_columns)(target, name, where, to)


def _first_of_rows(target: Target, name: str, where: Layout, to: str) -> _First:
    x = where.x
    gone, step = where.gone[0] if where.gone else (1, 0)
    kept, count, most, parts, repeat = where.kept, where.inner, where.inner, 1, 1
    cut = gone == 1 and len(kept) < 2 and count > _CHUNK
    if cut:
        parts, most = -(-count // _CHUNK), _CHUNK
        kept = (*kept, (parts, _CHUNK * x.itemsize))
    elif gone > 1 and where.outer == 1:  # a result for each of them first
        parts, repeat, kept, gone = gone, gone, ((1, 0), (gone, step)), 1
    total = where.outer * parts
    per = max(1, _CHUNK // (gone * most))
    kind = dtype_named(to if parts == 1 else _result(name, x.dtype)).numpy
    job = folds.rows(target, dtype_name(x.dtype), dtype_name(kind), name, cut)
    call = bound(
        job, -(-total // per), 3, total, per, *two(kept), gone, step, count, most, skip=where.skip
    )  # fmt: skip
    return Step(call, total, kind, repeat), None if parts == 1 else (where.outer, parts)


def _first_of_columns(target: Target, name: str, where: Layout, to: str) -> _First:
    x, width = where.x, where.inner
    gone, step = where.gone[0] if len(where.gone) > 1 else (1, 0)
    count, down = where.gone[-1]
    block = min(max(_CHUNK // (count * gone), _BLOCK), folds.WIDEST) & ~15
    blocks = -(-width // block)
    piece = min(max((1 << 18) // min(width, block), _PIECE[0]), _PIECE[1])
    pieces = -(-count // piece)
    kind = dtype_named(to if pieces == 1 else _result(name, x.dtype)).numpy
    job, parts = folds.columns(target, dtype_name(x.dtype), dtype_name(kind), name), where.outer * pieces
    per = max(1, _CHUNK // (gone * min(count, piece) * min(width, block)))
    call = bound(
        job, -(-parts // per) * blocks, 3, width, block, blocks, *two(where.kept), gone, step, count, down, piece,
        pieces, per, parts, skip=where.skip,
    )  # fmt: skip
    return Step(call, parts * width, kind), None if pieces == 1 else (where.outer, pieces, width)


def _is_narrow(where: Layout) -> bool:
    """Whether there are so few columns, one after the other, that a vector should have several rows."""
    if where.rows or len(where.gone) > 1 or where.inner >= _NARROW:
        return False
    count, down = where.gone[-1]
    return down == where.inner * where.x.itemsize and count >= 2 * -(-_NARROW // where.inner)


def _fold_narrow(target: Target, name: str, where: Layout, to: str, centre: Array | None) -> Array:
    """Few columns: several rows are taken as one, and their results and those of the rows left are joined."""
    many = -(-_NARROW // where.inner)
    width, outer, (count, down) = where.inner, where.outer, where.gone[-1]
    whole = count // many
    wide = replace(where, gone=((whole, down * many),), inner=width * many)
    tiled = None if centre is None else np.tile(centre.reshape(outer, width), many)
    parts = fold(target, name, wide, "", tiled).reshape(outer, many, width)
    if whole * many < count:
        rest = replace(where, gone=((count - whole * many, down),), skip=where.skip + whole * many * down)
        left = fold(target, name, rest, "", centre).reshape(outer, 1, width)
        parts = np.concatenate([parts, left], 1)
    return _again(target, name, parts, to)


# -- the reductions --------------------------------------------------------------------------------
def _folded(name: str, target: Target, x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array | None:
    """A reduction that is a fold and nothing more."""
    found = _planned(target, x, axis, keepdims)
    if found is None:
        return None
    plan, x = found
    return plan.result(plan.fold(name, x, dtype_name(x.dtype)))


def _truth(name: str, target: Target, x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array | None:
    """Whether any is, or all are, not zero."""
    found = _planned(target, x, axis, keepdims)
    if found is None:
        return None
    plan, x = found
    return plan.result(plan.fold(name, x) != 0)


def mean(target: Target, x: Array, *, axis: Axes, keepdims: bool) -> Array | None:
    """The sum over the number of elements, divided before it is rounded."""
    found = _planned(target, x, axis, keepdims)
    if found is None:
        return None
    plan, x = found
    total = plan.fold("sum", x)
    total /= plan.count
    return plan.result(total.astype(x.dtype, copy=False))


def _variance(plan: Plan, x: Array, correction: float) -> Array:
    """The sum of the squared distances from the mean, which is computed before, over the degrees of freedom."""
    centre = plan.fold("sum", x)
    centre /= plan.count
    total = plan.fold("spread", x, "", centre)
    total /= max(plan.count - correction, 0)
    return total


def var(target: Target, x: Array, *, axis: Axes, correction: float, keepdims: bool) -> Array | None:
    """The mean squared distance from the mean, ``correction`` fewer elements counted."""
    found = _planned(target, x, axis, keepdims)
    if found is None:
        return None
    plan, x = found
    return plan.result(_variance(plan, x, correction).astype(x.dtype, copy=False))


def std(target: Target, x: Array, *, axis: Axes, correction: float, keepdims: bool) -> Array | None:
    """The root of :func:`var`."""
    found = _planned(target, x, axis, keepdims)
    if found is None:
        return None
    plan, x = found
    squares = _variance(plan, x, correction)
    return plan.result(np.sqrt(squares, squares).astype(x.dtype, copy=False))


_NORMS: Final = {1.0: "sum_sizes", 2.0: "sum_squares", math.inf: "max_size", -math.inf: "min_size"}


def vector_norm(target: Target, x: Array, *, ord: float, axis: Axes, keepdims: bool) -> Array | None:
    """The norms of order 1, 2, inf and -inf."""
    name, found = _NORMS.get(ord), _planned(target, x, axis, keepdims)
    if name is None or found is None:
        return None
    plan, x = found
    norms = plan.fold(name, x)
    return plan.result((np.sqrt(norms, norms) if ord == 2 else norms).astype(x.dtype, copy=False))


def logsumexp(target: Target, x: Array, *, axis: Axes, keepdims: bool) -> Array | None:
    """log(sum(exp(x))), less the largest meanwhile so that nothing overflows."""
    found = _planned(target, x, axis, keepdims)
    if found is None:
        return None
    plan, x = found
    largest = plan.fold("max", x).astype("f8")
    centre = np.where(np.isfinite(largest), largest, 0)
    total = np.log(plan.fold("sum_exp", x, "", centre))
    total = np.where(np.isposinf(largest), largest, total + centre)
    return plan.result(total.astype(x.dtype))


KERNELS: Final = {
    **{name: partial(_folded, name) for name in ("sum", "prod", "max", "min")},
    **{name: partial(_truth, name) for name in ("any", "all")},
    "mean": mean,
    "var": var,
    "std": std,
    "vector_norm": vector_norm,
    "logsumexp": logsumexp,
}
