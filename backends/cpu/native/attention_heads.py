"""The operands of attention as its jobs read them: matrices with the numbers of a row next to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native.attention_products import QUERIES
from flambeau.backends.cpu.native.lanes import dtype_name, lanes, served
from flambeau.backends.cpu.native.matmul import offsets
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.target import Target

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

#: Bytes from row to row up to which rows are read where they lie: further apart they come into the same few places
#: of the cache.
_NEAR: Final = 1024


@dataclass(frozen=True)
class Heads:
    """Queries (..., L, E), keys (..., S, E), values (..., S, V) and a mask (..., L, S) or None, of one dtype.

    ``lead`` is the shape of the batch, over which keys, values and mask may be broadcast.
    """

    query: Array
    key: Array
    value: Array
    mask: Array | None
    name: str

    @property
    def lead(self) -> Shape:
        """The shape of the batch."""
        lead: Shape = self.query.shape[:-2]
        return lead

    @property
    def count(self) -> int:
        """How many matrices of queries there are."""
        return prod(self.lead)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """L, S, E, V."""
        return self.query.shape[-2], self.key.shape[-2], self.key.shape[-1], self.value.shape[-1]

    def pointers(self) -> list[int]:
        """The addresses of the four."""
        return [0 if x is None else address(x) for x in (self.query, self.key, self.value, self.mask)]

    def steps(self) -> list[int]:
        """From row to row of the four."""
        return [0 if x is None else row_step(x) for x in (self.query, self.key, self.value, self.mask)]

    def block(self, most: int) -> int:
        """How many keys are a block, a multiple of QUERIES: as many as have ``most`` numbers, or as there are."""
        _, keys, width, depth = self.sizes
        wanted = max(1, min(8, most // (max(width, depth) * QUERIES)))
        return min(wanted, -(-keys // QUERIES)) * QUERIES

    def places(self, *arrays: Array | None) -> Array:
        """Where the matrices of each head begin in some arrays, in numbers: (heads, arrays)."""
        return _places(self.lead, self.query.itemsize, _layouts(arrays))

    def fit(self, target: Target, grad: Array, grad_lse: Array, out: Array, lse: Array) -> bool:
        """Whether results and gradients for them are of this dtype and these shapes."""
        rows = self.query.shape[:-1]
        result, line = (*rows, self.value.shape[-1]), (*rows, 1)
        return all(
            x.shape == shape and x.dtype == self.query.dtype and served(x, target)
            for x, shape in ((grad, result), (out, result), (grad_lse, line), (lse, line))
        )


@dataclass(frozen=True)
class Groups(Heads):
    """The same by groups of heads that share keys and values."""

    @property
    def number(self) -> int:
        """How many there are."""
        return prod(self.key.shape[:-2])

    @property
    def members(self) -> int:
        """Heads of each."""
        return self.count // self.number

    def tables(self, looking: Sequence[Array | None], shared: Sequence[Array]) -> tuple[Array, Array]:
        """Offsets as the gradients' job has them.

        (heads, arrays and one) of what each head has of its own, and of rows of numbers, group after group; and
        (groups, arrays) of what groups share.
        """
        lead, (*keys, _, _), itemsize = self.lead, self.key.shape, self.query.itemsize
        own = _grouped(lead, tuple(keys), self.query.shape[-2], itemsize, _layouts(looking))
        return own, _places(tuple(keys), itemsize, _layouts(shared))


def groups_of(heads: Heads) -> Groups:
    """Heads as groups: each its own one where keys and values are shared by different heads."""
    key, value = heads.key, heads.value
    if key.shape[:-2] != value.shape[:-2]:
        key, value = (np.broadcast_to(x, (*heads.lead, *x.shape[-2:])) for x in (key, value))
    return Groups(heads.query, key, value, heads.mask, heads.name)


@lru_cache(64)
def _grouped(lead: Shape, keys: Shape, rows: int, itemsize: int, arrays: tuple[tuple[Shape, Shape], ...]) -> Array:
    """Where the matrices of each head begin in some arrays, and its rows of numbers; group after group."""
    lines = np.arange(prod(lead)) * rows
    return np.column_stack([_places(lead, itemsize, arrays), lines])[_order(lead, keys)]


def _order(lead: Shape, keys: Shape) -> Array:
    """The numbers of the heads, those that share keys next to each other."""
    known = (1,) * (len(lead) - len(keys)) + keys
    shared = [i for i, (n, m) in enumerate(zip(lead, known, strict=True)) if n != m]
    own = [i for i in range(len(lead)) if i not in shared]
    return np.arange(prod(lead)).reshape(lead).transpose(*own, *shared).ravel()


def _layouts(arrays: Sequence[Array | None]) -> tuple[tuple[Shape, Shape], ...]:
    return tuple([((1, 1), (0, 0)) if x is None else (x.shape, x.strides) for x in arrays])


@lru_cache(1024)
def _places(lead: Shape, itemsize: int, arrays: tuple[tuple[Shape, Shape], ...]) -> Array:
    return np.ascontiguousarray(offsets(lead, itemsize, *arrays))


def lying_as(x: Array, shape: Shape) -> Array:
    """New memory whose axes follow each other as those of ``x``, but for the last, whose numbers are dense."""
    if x.flags.c_contiguous:
        return np.empty(shape, x.dtype)
    order, back = _axes(x.strides[: len(shape) - 1])
    return np.empty([shape[i] for i in order], x.dtype).transpose(back)


@lru_cache(1024)
def _axes(strides: Shape) -> tuple[Shape, Shape]:
    """The axes by these steps, the largest first, and one more; and where each stands there."""
    last = len(strides)
    order = (*sorted(range(last), key=lambda i: -abs(strides[i])), last)
    return order, tuple([order.index(i) for i in range(last + 1)])


def row_step(x: Array) -> int:
    """From row to row, in numbers."""
    return x.strides[-2] // x.itemsize if x.shape[-2] > 1 else 0


def lies(x: Array, target: Target, name: str) -> bool:
    """Whether rows can be read where they lie: by whole vectors, and near each other."""
    return x.shape[-1] % target.lanes(lanes(name).compute) == 0 and 0 <= x.strides[-2] <= _NEAR


def heads_of(target: Target, query: Array, key: Array, value: Array, mask: Array | None) -> Heads | None:
    """The operands, copied where their rows are not dense; None where they are not for machine code."""
    arrays = [x for x in (query, key, value, mask) if x is not None]
    dtype = query.dtype
    if any(x.dtype != dtype or not served(x, target) or 0 in x.shape for x in arrays):
        return None
    if min(query.ndim, key.ndim, value.ndim) < 2 or query.shape[-1] != key.shape[-1] or not query.ndim <= 32:
        return None
    if key.shape[-2] != value.shape[-2]:
        return None
    lead = query.shape[:-2]
    if not (_reaches(key.shape[:-2], lead) and _reaches(value.shape[:-2], lead)):
        return None
    if mask is not None:
        wanted = (query.shape[-2], key.shape[-2])
        if not _reaches(mask.shape, (*lead, *wanted)):
            return None
        rows = (1,) * (2 - mask.ndim) + mask.shape
        mask = dense_rows(np.broadcast_to(mask, (*rows[:-2], *rows[-2:-1], wanted[1])))
        mask = np.broadcast_to(mask, (*rows[:-2], *wanted))
    query, key, value = (dense_rows(x) for x in (query, key, value))
    return Heads(query, key, value, mask, dtype_name(dtype))


def _reaches(shape: Shape, whole: Shape) -> bool:
    """Whether a shape broadcasts to another."""
    extra = len(whole) - len(shape)
    return shape == whole or (
        extra >= 0 and all(n in (1, m) for n, m in zip(shape, whole[extra:], strict=True))
    )  # fmt: skip


def dense_rows(x: Array) -> Array:
    """``x``, or a copy where the numbers of a row are not next to each other."""
    good = (x.strides[-1] == x.itemsize or x.shape[-1] == 1) and not any(s % x.itemsize for s in x.strides)
    return x if good else np.ascontiguousarray(x)


def widened(arrays: Sequence[Array | None]) -> list[Array | None] | None:
    """float16 and bfloat16 as float32; None where the first is neither, or others are of another dtype."""
    first = arrays[0]
    assert first is not None
    if dtype_name(first.dtype) not in ("float16", "bfloat16"):
        return None
    if any(x is not None and x.dtype != first.dtype for x in arrays):
        return None
    return [None if x is None else x.astype(np.float32) for x in arrays]
