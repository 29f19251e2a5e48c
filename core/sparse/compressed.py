"""Into the compressed layouts: rows or columns, of elements or of blocks, of one matrix or of a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.core import dtype as dt
from flambeau.core.creation import zeros
from flambeau.core.errors import ArgumentError, ShapeError
from flambeau.core.memory_format import Layout, sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr, strided
from flambeau.core.ops.joining import stack
from flambeau.core.ops.search import unique
from flambeau.core.sparse.convert import as_coo, coalesce, from_dense, sum_at
from flambeau.core.sparse.make import flat_places
from flambeau.core.sparse.tensor import BY_ROW, NAMES, OF_BLOCKS, SparseTensor, answers, coo, made
from flambeau.core.tensor import Tensor

Blocks = Sequence[int]


def compress(x: SparseTensor, kind: Layout, blocks: Blocks = (), name: str = "to_sparse") -> SparseTensor:
    """A sparse tensor in a compressed layout; all its sparse dimensions but two are those of a batch."""
    if x._kind is kind and x._blocksize == tuple(blocks):
        return x
    n = x._sparse_dims
    if n < 2:
        raise ShapeError(f"{name}: layout {kind!r} is for matrices, got shape {tuple(x.shape)}")
    sizes, by_row = [*x.shape[:n]], kind in BY_ROW
    x = as_coo(x)
    for axis, block in zip((-2, -1), blocks, strict=False):
        sizes[axis] //= block
    turned = (*range(n - 2), n - 2, n - 1) if by_row else (*range(n - 2), n - 1, n - 2)
    grid = [sizes[a] for a in turned]
    if blocks:
        flat, held = _blocks_of(x, tuple(blocks), turned, grid)
    else:
        in_turn = x._where[0] if by_row else stack([x._where[0][a] for a in turned])
        ordered = coalesce(coo(in_turn, x._held, (*grid, *x.shape[n:]), by_row and x._coalesced))
        flat, held = flat_places(ordered._where[0], grid), ordered._held
    start, others = _lines(flat, grid)
    return made((start, others), held.reshape((*others.shape, *held.shape[1:])), tuple(x.shape), kind, True)


def _blocks_of(
    x: SparseTensor, blocks: tuple[int, ...], turned: Sequence[int], grid: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """The numbers of the blocks that hold something, in order, and their elements."""
    where, (down, across) = x._where[0], blocks
    rows, columns = where[-2], where[-1]
    of_block = [*where[:-2].unbind(0)] if where.shape[0] > 2 else []
    of_block += [rows.div(down, rounding_mode="floor"), columns.div(across, rounding_mode="floor")]
    flat = flat_places(stack([of_block[a] for a in turned]), grid)
    found, owner = unique(flat, return_inverse=True)
    place = (owner * down + rows % down) * across + columns % across
    held = sum_at(place, x._held, found.shape[0] * down * across)
    return found, held.reshape((found.shape[0], *blocks, *x._held.shape[1:]))


def _lines(flat: Tensor, grid: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Where each row or column begins, and the other index, of each matrix of the batch."""
    batch, lines = tuple(grid[:-2]), grid[-2]
    count, width = math.prod(batch), max(grid[-1], 1)
    line = flat.div(width, rounding_mode="floor")
    number = line.div(max(lines, 1), rounding_mode="floor")
    counts = zeros(count * (lines + 1), dtype=dt.int64, device=flat.device)
    counts = counts.index_add(0, line + number + 1, flat.new_ones(flat.shape))
    if batch:
        totals = counts.reshape((count, lines + 1)).sum(1)
        if count and bool((totals != totals[0]).any()):
            raise RuntimeError("Expect the same number of specified elements per batch.")
    start = counts.reshape((*batch, lines + 1)).cumsum(-1)
    return start, (flat % width).reshape((*batch, flat.shape[0] // max(count, 1)))


def in_layout(x: SparseTensor, kind: Layout, blocks: Blocks = ()) -> SparseTensor:
    """A sparse tensor in another sparse layout."""
    return as_coo(x) if kind is sparse_coo else compress(x, kind, blocks)


def laid_out_as(x: SparseTensor, other: SparseTensor) -> SparseTensor:
    """A sparse tensor in the layout of another, and in blocks of the same size; sparse_coo where these do not fit."""
    n, blocks = x._sparse_dims, other._blocksize
    fit = not any(m % b for m, b in zip(x.shape[n - 2 : n], blocks, strict=False))
    return in_layout(x, other._kind, blocks) if fit else as_coo(x)


# -- what users call -----------------------------------------------------------------------------------
def to_sparse(
    input: Tensor, sparse_dim: int | None, layout: Layout | None, blocksize: Blocks | None, dense_dim: int | None
) -> Tensor:
    """A tensor, dense or sparse, in a sparse layout."""
    if layout is strided:
        raise RuntimeError("to_sparse: layout must be a sparse one, got flambeau.strided; use to_dense()")
    kind = layout or sparse_coo
    if layout is None and blocksize is not None:
        kind = sparse_bsr
    if kind not in NAMES:
        raise ArgumentError(f"to_sparse: layout must be a sparse one, got {kind!r}")
    way = f"to_sparse: conversion from {NAMES.get(input.layout, 'Strided')} to {NAMES[kind]}"
    blocks = _checked_blocks(way, input, kind, blocksize)
    if isinstance(input, SparseTensor):
        return _converted(input, sparse_dim, kind, blocks, dense_dim, way)
    if dense_dim is not None:
        limit = input.ndim if kind is sparse_coo else max(input.ndim - 2, 0)
        if not 0 <= dense_dim <= limit:
            raise ArgumentError(f"to_sparse: dense_dim argument must be in [0,{limit}] range, but {dense_dim} is given")
        sparse_dim = input.ndim - dense_dim if sparse_dim is None else sparse_dim
    if kind is sparse_coo:
        return from_dense(input, sparse_dim)
    lead = input.ndim if sparse_dim is None else sparse_dim
    if lead < 2:
        raise ShapeError(f"to_sparse: layout {kind!r} is for matrices, got shape {tuple(input.shape)}")
    _check_divisible(input.shape[lead - 2 : lead], blocks)
    return compress(from_dense(input, lead), kind, blocks)


def _checked_blocks(way: str, input: Tensor, kind: Layout, blocksize: Blocks | None) -> tuple[int, ...]:
    if kind not in OF_BLOCKS:
        if blocksize is not None:
            raise RuntimeError(f"{way} with blocksize argument given is not supported")
        return ()
    if blocksize is None:
        raise RuntimeError(f"{way} without blocksize argument given is not supported")
    blocks = tuple(int(b) for b in blocksize)
    if len(blocks) != 2:
        raise ShapeError(f"to_sparse: blocksize needs to be a tuple of size 2, but got {len(blocks)}")
    if min(blocks) < 1:
        raise ArgumentError(f"to_sparse: blocksize needs to be positive, but got {list(blocks)}")
    return blocks


def _check_divisible(sizes: Sequence[int], blocks: Blocks) -> None:
    if any(n % b for n, b in zip(sizes, blocks, strict=False)):
        raise ShapeError(
            f"to_sparse: tensor sparse size {tuple(sizes)} must be divisible by given blocksize {tuple(blocks)}"
        )


def _converted(
    x: SparseTensor, sparse_dim: int | None, kind: Layout, blocks: Blocks, dense_dim: int | None, way: str
) -> Tensor:
    dims = x._sparse_dims if x._kind is sparse_coo else 2
    if dense_dim is not None and dense_dim != x.ndim - x._sparse_dims:
        raise ArgumentError(f"{way} with dense_dim argument given is not supported")
    if sparse_dim is not None and sparse_dim != dims:
        raise ArgumentError(f"{way} with sparse_dim argument !={dims} is not supported")
    if kind is not sparse_coo and dims != 2:
        raise ShapeError(f"{way} for input tensors with sparse_dim()!=2 is not supported")
    lead = x._sparse_dims
    _check_divisible(x.shape[lead - 2 : lead], blocks)
    return in_layout(x, kind, blocks)


@answers("to_sparse")
def _to_sparse(
    input: SparseTensor, sparse_dim: int | None = None, *, layout: Layout | None = None,
    blocksize: Blocks | None = None, dense_dim: int | None = None,
) -> Tensor:  # fmt: skip
    return to_sparse(input, sparse_dim, layout, blocksize, dense_dim)


@answers("to_sparse_coo")
def _to_coo(input: SparseTensor) -> Tensor:
    return as_coo(input)


@answers("to_sparse_csr")
def _to_csr(input: SparseTensor, dense_dim: int | None = None) -> Tensor:
    return to_sparse(input, None, sparse_csr, None, dense_dim)


@answers("to_sparse_csc")
def _to_csc(input: SparseTensor, dense_dim: int | None = None) -> Tensor:
    return to_sparse(input, None, sparse_csc, None, dense_dim)


@answers("to_sparse_bsr")
def _to_bsr(input: SparseTensor, blocksize: Blocks, dense_dim: int | None = None) -> Tensor:
    return to_sparse(input, None, sparse_bsr, blocksize, dense_dim)


@answers("to_sparse_bsc")
def _to_bsc(input: SparseTensor, blocksize: Blocks, dense_dim: int | None = None) -> Tensor:
    return to_sparse(input, None, sparse_bsc, blocksize, dense_dim)
