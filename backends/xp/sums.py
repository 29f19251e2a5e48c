"""Sums whose error does not grow with the length.

numpy adds pairwise along the axis that is innermost in memory, and one by one along the others: three million float32
values of 0.1 in a column then have the mean 0.097. Here long columns are added in blocks, and the sums of the blocks
likewise, so that no number goes through more than some hundred additions (N. J. Higham, "The accuracy of floating
point summation", 1993).
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

from flambeau.backends.xp import Array, Namespace

Axes = tuple[int, ...] | None

#: Elements up to which nothing can go wrong.
SHORT: Final = 512
#: Additions one after the other that are left to numpy.
CHAIN: Final = 64
#: The length of a block.
BLOCK: Final = 32
#: Elements next to each other in memory that are better added each by itself, pairwise: numpy would walk many times
#: along so few of them.
_FEW: Final = 8
#: Elements of a product from which on it is added in blocks.
_DOT: Final = 512
_FAR: Final = 1 << 62  # where numpy walks an axis of stride 0: outside


def add_up(xp: Namespace, x: Array, axis: Axes = None, keepdims: bool = False, dtype: Any = None) -> Array:
    """The sum over ``axis`` (None or a tuple, not negative), computed in ``dtype``: an array, also of no dimensions."""
    if x.size > SHORT and x.dtype.kind in "fcV":
        axes = tuple(range(x.ndim)) if axis is None else axis
        inner, chain = _order(x, axes)
        if chain > CHAIN:
            out = _in_blocks(xp, x, axes, inner, dtype)
            return out if keepdims else out.reshape([n for i, n in enumerate(out.shape) if i not in axes])
    return xp.add.reduce(x, axis=axis, keepdims=keepdims, dtype=dtype, out=...)


def _order(x: Array, axes: tuple[int, ...]) -> tuple[int, int]:
    """The axis innermost in memory, and how many additions numpy would do one after the other."""
    order = sorted([i for i, n in enumerate(x.shape) if n > 1], key=lambda i: abs(x.strides[i]) or _FAR)
    run, reach = 1, None
    for i in order:
        if i not in axes or reach not in (None, x.strides[i]):
            break
        run, reach = run * x.shape[i], x.strides[i] * x.shape[i]
    return order[0], prod([x.shape[i] for i in axes]) // run


def _in_blocks(xp: Namespace, x: Array, axes: tuple[int, ...], inner: int, dtype: Any) -> Array:
    """The sum with ``axes`` kept as 1."""
    if x.shape[inner] <= _FEW:
        each = (slice(None),) * inner
        parts = [add_up(xp, x[(*each, slice(i, i + 1))], axes, True, dtype) for i in range(x.shape[inner])]
        found = xp.concatenate(parts, inner)
        return add_up(xp, found, (inner,), True, dtype) if inner in axes else found
    if inner in axes:
        longest, found = inner, xp.add.reduce(x, axis=inner, keepdims=True, dtype=dtype)
    else:
        longest = max(axes, key=lambda i: x.shape[i])
        found = _blocks(xp, x, longest, dtype)
    return add_up(xp, found, axes, True, dtype)


def _blocks(xp: Namespace, x: Array, axis: int, dtype: Any) -> Array:
    """The sums of blocks along one axis."""
    n = x.shape[axis]
    if n <= BLOCK:
        found: Array = xp.add.reduce(x, axis=axis, keepdims=True, dtype=dtype)
        return found
    each, whole = (slice(None),) * axis, n // BLOCK * BLOCK
    split = x[(*each, slice(0, whole))].reshape(*x.shape[:axis], n // BLOCK, BLOCK, *x.shape[axis + 1 :])
    found = xp.add.reduce(split, axis=axis + 1, dtype=dtype)
    if whole == n:
        return found
    rest = xp.add.reduce(x[(*each, slice(whole, n))], axis=axis, keepdims=True, dtype=dtype)
    return xp.concatenate([found, rest], axis)


def add_up_groups(xp: Namespace, rows: Array, group: Array) -> tuple[Array, Array]:
    """Each number in ``group`` once, and the sum of the rows that have it."""
    while True:
        order = xp.argsort(group, kind="stable")
        group = group[order]
        first = xp.flatnonzero(xp.concatenate([group[:1] == group[:1], group[1:] != group[:-1]]))
        sizes = xp.diff(xp.append(first, len(group)))
        blocks = -(-sizes // BLOCK)
        starts = first.repeat(blocks)
        starts += (xp.arange(len(starts)) - (xp.cumsum(blocks) - blocks).repeat(blocks)) * BLOCK
        rows, group = xp.add.reduceat(rows[order], starts, axis=0), group[starts]
        if len(starts) == len(first):
            return group, rows


def dots(xp: Namespace, x: Array, y: Array) -> Array:
    """The sum of ``x * y`` over the last axis, which is dense."""
    n = x.shape[-1]
    if n <= _DOT:
        return xp.einsum("...i,...i->...", x, y)
    whole = n // _DOT * _DOT
    shape = (*x.shape[:-1], n // _DOT, _DOT)
    parts = xp.einsum("...i,...i->...", x[..., :whole].reshape(shape), y[..., :whole].reshape(shape))
    total = add_up(xp, parts, (parts.ndim - 1,))
    return total if whole == n else total + xp.einsum("...i,...i->...", x[..., whole:], y[..., whole:])


def dots_down(xp: Namespace, x: Array, y: Array) -> Array:
    """The sum of ``x * y`` over the first of two axes."""
    n, m = x.shape
    if n <= BLOCK:
        return xp.einsum("ij,ij->j", x, y)
    whole = n // BLOCK * BLOCK
    shape = (n // BLOCK, BLOCK, m)
    parts = xp.einsum("bij,bij->bj", x[:whole].reshape(shape), y[:whole].reshape(shape))
    total = add_up(xp, parts, (0,))
    return total if whole == n else total + xp.einsum("ij,ij->j", x[whole:], y[whole:])
