"""Where the operand of a reduction lies, told in few dimensions: which stay, which go, and which is innermost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Final, TypeAlias

import numpy as np

from flambeau.backends.cpu.storage import address

Array = np.ndarray[Any, Any]
Axes = tuple[int, ...] | None
#: A dimension: how many, and how many bytes from one to the next.
Dim = tuple[int, int]
_FAR: Final = 1 << 62  # where a broadcast dimension is put: outside


@dataclass(frozen=True)
class Layout:
    """An operand as ``kept`` outer dimensions (at most two), ``gone`` outer ones (at most two), and ``inner``.

    Args:
        x: the operand, or a copy of it that can be told like this.
        inner: how many numbers lie next to each other, all of them reduced or all kept.
        rows: whether those are reduced.
        shape: what stays, from the largest stride to the smallest.
        order: the axes of ``x`` that ``shape`` are.
        skip: the bytes of ``x`` that are left out.
    """

    x: Array
    kept: tuple[Dim, ...]
    gone: tuple[Dim, ...]
    inner: int
    rows: bool
    shape: tuple[int, ...]
    order: tuple[int, ...]
    skip: int = 0

    @property
    def address(self) -> int:
        """Where the first number stands."""
        return address(self.x) + self.skip

    @property
    def outer(self) -> int:
        """How many results there are to each inner one."""
        return prod(n for n, _ in self.kept)

    def result(self, flat: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
        """Results in the order of ``shape`` as the reduction returns them."""
        back, shape = self.ends(axes, keepdims)
        return (flat if back is None else flat.reshape(self.shape).transpose(back)).reshape(shape)

    def ends(self, axes: tuple[int, ...], keepdims: bool) -> tuple[list[int] | None, list[int]]:
        """How results in the order of ``shape`` are turned, None for not at all, and what shape they have then."""
        back = sorted(range(len(self.order)), key=self.order.__getitem__)
        full = [1 if i in axes else n for i, n in enumerate(self.x.shape)]
        shape = full if keepdims else [n for i, n in enumerate(full) if i not in axes]
        return None if back == sorted(back) else back, shape

    def along(self, found: Array) -> Array:
        """What :meth:`result` gave with ``keepdims``, flat again."""
        return found.transpose(*self.order, *(i for i in range(found.ndim) if i not in self.order)).reshape(-1)


def layout(x: Array, axes: tuple[int, ...]) -> Layout | None:
    """The layout of a reduction of ``x``, which is not empty, over ``axes``.

    None where elements that share memory are reduced or would be copied: a broadcast operand could be huge.
    """
    found = told(x, axes)
    for copied in copies(x, axes) if found is None else ():
        found = told(copied, axes)
        if found is not None:
            break
    return found


def told(x: Array, axes: tuple[int, ...]) -> Layout | None:
    """The layout of a reduction of ``x`` as it lies, if it can be told like this."""
    found = _told(x.shape, x.strides, x.itemsize, axes)
    return None if found is None else Layout(x, *found)


def copies(x: Array, axes: tuple[int, ...]) -> Iterator[Array]:
    """A dense copy, and one with all that stays before all that goes; none of what shares memory."""
    if x.nbytes <= x.itemsize + sum((n - 1) * abs(s) for n, s in zip(x.shape, x.strides, strict=True)):
        yield x.copy("K")
        order = [*(i for i in range(x.ndim) if i not in axes), *axes]
        yield np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


_Told: TypeAlias = tuple[tuple[Dim, ...], tuple[Dim, ...], int, bool, tuple[int, ...], tuple[int, ...]]


@lru_cache(1024)
def _told(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int, axes: tuple[int, ...]) -> _Told | None:
    dims = [(n, s, i) for i, (n, s) in enumerate(zip(shape, strides, strict=True)) if n > 1]
    if any(s == 0 and i in axes for _, s, i in dims):
        return None
    dims.sort(key=lambda d: -abs(d[1]) or -_FAR)
    merged: list[tuple[int, int, bool]] = []
    for n, s, i in dims:
        goes = i in axes
        if merged and merged[-1][2] == goes and merged[-1][1] == n * s:
            merged[-1] = merged[-1][0] * n, s, goes
        else:
            merged.append((n, s, goes))
    inner = merged.pop() if merged else (1, itemsize, True)
    kept = tuple((n, s) for n, s, goes in merged if not goes)
    gone = tuple((n, s) for n, s, goes in merged if goes)
    if inner[1] != itemsize or len(kept) > 2 or len(gone) > 2 - inner[2] or not inner[2] and not gone:
        return None
    order = tuple(i for _, _, i in dims if i not in axes)
    return kept, gone, inner[0], inner[2], tuple(shape[i] for i in order), order


def two(kept: tuple[Dim, ...]) -> tuple[int, int, int]:
    """The number of the inner of two outer dimensions, and their strides."""
    (_, far), (within, near) = ((1, 0),) * (2 - len(kept)) + kept
    return within, far, near
