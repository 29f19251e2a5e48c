"""Reductions over any axes as machine code: what they lie like in memory, the jobs for that, and how they end."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import dtype_name, empty, served
from flambeau.backends.cpu.native.layout import Axes, Layout, layout, two
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.target import Target

Array = np.ndarray[Any, Any]

#: Elements of a chunk.
_CHUNK: Final = 1 << 16
#: Columns of a block, where rows are many; rows of a piece.
_BLOCK: Final = 512
_PIECE: Final = 256, 8192
#: Columns fewer than this are taken several rows at a time.
_NARROW: Final = 64


def _where(target: Target, x: Array, axis: Axes) -> tuple[Layout, tuple[int, ...]] | None:
    """The layout of a reduction and its axes, if there is something to reduce that kernels can read."""
    axes = tuple(range(x.ndim)) if axis is None else tuple(a % x.ndim for a in axis)
    if not x.size or not served(x, target) or all(x.shape[a] == 1 for a in axes):
        return None
    where = layout(x, axes)
    return None if where is None else (where, axes)


# -- one fold --------------------------------------------------------------------------------------
def fold(target: Target, name: str, where: Layout, to: str = "", centre: Array | None = None) -> Array:
    """The flat results of a fold, in the dtype named ``to``, or else that of the fold's results.

    ``centre`` has a number for each result, in the dtype of the fold's results.
    """
    to = to or _result(name, where.x.dtype)
    done = _fold_rows if where.rows else _fold_columns
    return done(target, name, where, to, centre)


def _result(name: str, dtype: np.dtype[Any]) -> str:
    """The dtype of a fold's results."""
    return "float64" if folds.FOLDS[name].wide or dtype.itemsize == 8 else "float32"


def _again(target: Target, name: str, partial: Array, to: str) -> Array:
    """Partial results of the last axis, or of the last but one, joined."""
    where = layout(partial, (1,))
    assert where is not None
    return fold(target, folds.FOLDS[name].again, where, to)


def _at(x: Array | None) -> int:
    return 0 if x is None else address(x)


def _fold_rows(target: Target, name: str, where: Layout, to: str, centre: Array | None) -> Array:
    x = where.x
    gone, step = where.gone[0] if where.gone else (1, 0)
    kept, count, most, parts = where.kept, where.inner, where.inner, 1
    cut = gone == 1 and len(kept) < 2 and count > _CHUNK
    if cut:
        parts, most = -(-count // _CHUNK), _CHUNK
        kept = (*kept, (parts, _CHUNK * x.itemsize))
    elif gone > 1 and where.outer == 1:  # a result for each of them first
        parts, kept, gone = gone, ((1, 0), (gone, step)), 1
        centre = None if centre is None else centre.repeat(parts)
    total = where.outer * parts
    per = max(1, _CHUNK // (gone * most))
    out = empty(total, to if parts == 1 else _result(name, x.dtype))
    job = folds.rows(target, dtype_name(x.dtype), dtype_name(out.dtype), name, cut)
    job(
        -(-total // per), where.address, address(out), _at(centre), total, per, *two(kept), gone, step, count, most
    )  # fmt: skip
    return out if parts == 1 else _again(target, name, out.reshape(-1, parts), to)


def _fold_columns(target: Target, name: str, where: Layout, to: str, centre: Array | None) -> Array:
    x, size, width = where.x, where.x.itemsize, where.inner
    gone, step = where.gone[0] if len(where.gone) > 1 else (1, 0)
    count, down = where.gone[-1]
    many = -(-_NARROW // width)
    if width < _NARROW and gone == 1 and down == width * size and count >= 2 * many:
        return _fold_narrow(target, name, where, to, centre, many)
    block = min(max(_CHUNK // (count * gone), _BLOCK), folds.WIDEST) & ~15
    blocks = -(-width // block)
    piece = min(max((1 << 18) // min(width, block), _PIECE[0]), _PIECE[1])
    pieces = -(-count // piece)
    out = empty(where.outer * pieces * width, to if pieces == 1 else _result(name, x.dtype))
    job, parts = folds.columns(target, dtype_name(x.dtype), dtype_name(out.dtype), name), where.outer * pieces
    per = max(1, _CHUNK // (gone * min(count, piece) * min(width, block)))
    job(
        -(-parts // per) * blocks, where.address, address(out), _at(centre), width, block, blocks, *two(where.kept),
        gone, step, count, down, piece, pieces, per, parts,
    )  # fmt: skip
    return out if pieces == 1 else _again(target, name, out.reshape(-1, pieces, width), to)


def _fold_narrow(target: Target, name: str, where: Layout, to: str, centre: Array | None, many: int) -> Array:
    """Few columns: ``many`` rows are taken as one, and their results and those of the rows left are joined."""
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
    told = _where(target, x, axis)
    if told is None:
        return None
    where, axes = told
    return where.result(fold(target, name, where, dtype_name(x.dtype)), axes, keepdims)


def _truth(name: str, target: Target, x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array | None:
    """Whether any is, or all are, not zero."""
    told = _where(target, x, axis)
    if told is None:
        return None
    where, axes = told
    return where.result(fold(target, name, where) != 0, axes, keepdims)


def mean(target: Target, x: Array, *, axis: Axes, keepdims: bool) -> Array | None:
    """The sum over the number of elements, divided before it is rounded."""
    told = _where(target, x, axis)
    if told is None:
        return None
    where, axes = told
    total = fold(target, "sum", where)
    total /= _count(x, axes)
    return where.result(total.astype(x.dtype), axes, keepdims)


def _count(x: Array, axes: tuple[int, ...]) -> int:
    return math.prod(x.shape[a] for a in axes)


def _variance(target: Target, where: Layout, count: int, correction: float) -> Array:
    """The sum of the squared distances from the mean, which is computed before, over the degrees of freedom."""
    centre = fold(target, "sum", where)
    centre /= count
    total = fold(target, "spread", where, "", centre)
    total /= max(count - correction, 0)
    return total


def var(target: Target, x: Array, *, axis: Axes, correction: float, keepdims: bool) -> Array | None:
    """The mean squared distance from the mean, ``correction`` fewer elements counted."""
    told = _where(target, x, axis)
    if told is None:
        return None
    where, axes = told
    found = _variance(target, where, _count(x, axes), correction)
    return where.result(found.astype(x.dtype), axes, keepdims)


def std(target: Target, x: Array, *, axis: Axes, correction: float, keepdims: bool) -> Array | None:
    """The root of :func:`var`."""
    told = _where(target, x, axis)
    if told is None:
        return None
    where, axes = told
    found = np.sqrt(_variance(target, where, _count(x, axes), correction))
    return where.result(found.astype(x.dtype), axes, keepdims)


_NORMS: Final = {1.0: "sum_sizes", 2.0: "sum_squares", math.inf: "max_size", -math.inf: "min_size"}


def vector_norm(target: Target, x: Array, *, ord: float, axis: Axes, keepdims: bool) -> Array | None:
    """The norms of order 1, 2, inf and -inf."""
    name, told = _NORMS.get(ord), _where(target, x, axis)
    if name is None or told is None:
        return None
    where, axes = told
    found = fold(target, name, where)
    return where.result((np.sqrt(found) if ord == 2 else found).astype(x.dtype), axes, keepdims)


def logsumexp(target: Target, x: Array, *, axis: Axes, keepdims: bool) -> Array | None:
    """log(sum(exp(x))), less the largest meanwhile so that nothing overflows."""
    told = _where(target, x, axis)
    if told is None:
        return None
    where, axes = told
    largest = fold(target, "max", where).astype("f8")
    centre = np.where(np.isfinite(largest), largest, 0)
    total = np.log(fold(target, "sum_exp", where, "", centre))
    total = np.where(np.isposinf(largest), largest, total + centre)
    return where.result(total.astype(x.dtype), axes, keepdims)


KERNELS: Final = {
    **{name: partial(_folded, name) for name in ("sum", "prod", "max", "min")},
    **{name: partial(_truth, name) for name in ("any", "all")},
    "mean": mean,
    "var": var,
    "std": std,
    "vector_norm": vector_norm,
    "logsumexp": logsumexp,
}
