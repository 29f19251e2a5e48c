"""Reading by index along an axis: elements and whole rows of any dtype, every index checked on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.places import (
    CHUNK,
    UNITS,
    Checked,
    Indexed,
    copy_row,
    in_a_line,
    indexed,
    kind_of,
    movable,
    readable,
    vector,
)  # fmt: skip
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.planned import FLAG, OPERAND, RESULT, plan
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR

Array = np.ndarray[Any, Any]

#: How many times as large as the result an operand may be that is copied to be read.
_COPIED: Final = 4


@cache
def _take(target: Target, kind: str, item: int, wrap: bool) -> Job:
    """Elements at indices.

    (x, index, out, flag, outer, along, inner, size of the axis, three strides of x and of the index, outer ones of a
    chunk, blocks along the axis, and how many of a block)
    """
    f = JobFunction(Module(target), f"take_{kind}_{item}{'_wrapped' if wrap else ''}", [PTR] * 4 + [I64] * 13)
    x, index, out, flag, outer, count, inner, n, xo, xm, xi, io, im, ii, per, blocks, size = f.values
    unit, checked = UNITS[item], Checked(f, n, flag, wrap)
    start, parts = folds.blocks_of(f, blocks, size, per, outer)
    stop = folds.least(f, start + size, count)
    for o in parts:
        base, at, to = x + o * xo, index + o * io, out + o * count * inner * item
        if kind == "flat":
            for j, i in checked.each(at, im, start, stop):
                f.store(f.load(unit, base + i * xm), to + j * item)
            continue
        for j in f.range(start, stop):
            where, row = at + j * im, to + j * inner * item
            if kind == "rows":
                copy_row(f, unit, base + checked.one(where) * xm, row, inner)
            else:
                for c, i in checked.each(where, ii, 0, inner):
                    f.store(f.load(unit, base + i * xm + c * xi), row + c * item)
    f.ret()
    return jobs(f)[0]


def _read(target: Target, x: Indexed, index: Indexed, wrap: bool) -> tuple[Job, int, tuple[int, ...]]:
    """The job, its chunks, and what it takes behind the addresses."""
    outer, count, inner = index.sizes
    size = max(1, min(count, CHUNK // inner))
    blocks, per = -(-count // size), max(1, CHUNK // (count * inner))
    values = (*index.sizes, x.sizes[1], *x.strides, *index.strides, per, blocks, size)
    return _take(target, kind_of(index, x), x.x.itemsize, wrap), -(-outer // per) * blocks, values


def _taken(target: Target, x: Indexed, index: Indexed, out: Array, wrap: bool) -> Array | None:
    """``out`` filled; None where an index is outside, which the other kernel names."""
    flag = np.zeros(1, np.int64)
    job, chunks, values = _read(target, x, index, wrap)
    job(chunks, address(x.x), address(index.x), address(out), address(flag), *values)
    return None if flag[0] else out


def _plan(target: Target, x: Indexed, index: Indexed, shape: tuple[int, ...], wrap: bool) -> bytes | None:
    job, chunks, values = _read(target, x, index, wrap)
    if chunks > 1:
        return None
    addresses = (OPERAND[0], OPERAND[1], RESULT[0], FLAG)
    return plan(job, (*addresses, *values), (x.x.dtype, index.x.dtype), (shape, x.x.dtype))


def _source(x: Array, axis: int, wanted: int) -> Indexed | None:
    """What is read, if there is something and it need not be copied for few elements."""
    if not wanted or not x.size or not movable(x):
        return None
    return indexed(x, axis) or (readable(x, axis) if x.size <= _COPIED * wanted else None)


def _within(x: Array, index: Array, axis: int) -> Array:
    """The part of ``x`` that an index of its rank may point to."""
    return x[tuple([slice(None) if i == axis else slice(n) for i, n in enumerate(index.shape)])]


def gather(target: Target, x: Array, index: Array, *, axis: int) -> Array | None:
    """out[.., j, ..] = x[.., index[.., j, ..], ..]; ``index`` may be smaller than ``x`` along the other axes."""
    if not index.ndim or not movable(index):
        return None
    axis %= index.ndim
    source = _source(_within(x, index, axis), axis, index.size)
    if source is None:
        return None
    return _taken(target, source, readable(index, axis), np.empty(index.shape, x.dtype), False)


def plan_gather(target: Target, large: bool, x: Array, index: Array, *, axis: int) -> bytes | None:
    if not index.size or not index.ndim or not x.size or not movable(x, index):
        return None
    axis %= index.ndim
    source, at = indexed(_within(x, index, axis), axis), indexed(index, axis)
    return None if source is None or at is None else _plan(target, source, at, index.shape, False)


def _by_vector(target: Target, x: Array, index: Array, axis: int, wrap: bool) -> Array | None:
    if not x.ndim or not movable(index):
        return None
    axis %= x.ndim
    out = np.empty((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]), x.dtype)
    source = _source(x, axis, out.size)
    return None if source is None else _taken(target, source, vector(index, source), out, wrap)


def _plan_by_vector(target: Target, x: Array, index: Array, axis: int, wrap: bool) -> bytes | None:
    if not x.ndim or not x.size or not index.size or not movable(x, index):
        return None
    axis %= x.ndim
    source = indexed(x, axis)
    if source is None or not in_a_line(index):
        return None
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    return _plan(target, source, vector(index, source), shape, wrap)


def index_select(target: Target, x: Array, index: Array, *, axis: int) -> Array | None:
    """The slices of ``x`` at the places of a vector of indices."""
    return _by_vector(target, x, index.reshape(-1), axis, False)


def plan_index_select(target: Target, large: bool, x: Array, index: Array, *, axis: int) -> bytes | None:
    return _plan_by_vector(target, x, index, axis, False) if index.ndim == 1 else None


def index_get(target: Target, x: Array, *indices: Array, axis: int) -> Array | None:
    """``x`` read at one integer array; negative ones count back."""
    return _by_vector(target, x, indices[0], axis, True) if len(indices) == 1 else None


def plan_index_get(target: Target, large: bool, x: Array, index: Array, *, axis: int) -> bytes | None:
    return _plan_by_vector(target, x, index, axis, True)


def embedding(target: Target, weight: Array, index: Array, *, padding_idx: int) -> Array | None:
    """The rows of ``weight`` that ``index`` says."""
    return _by_vector(target, weight, index, 0, False)


def plan_embedding(target: Target, large: bool, weight: Array, index: Array, *, padding_idx: int) -> bytes | None:
    return _plan_by_vector(target, weight, index, 0, False)


KERNELS: Final = {"gather": gather, "index_select": index_select, "index_get": index_get, "embedding": embedding}
PLANS: Final[dict[str, Callable[..., bytes | None]]] = {
    "gather": plan_gather, "index_select": plan_index_select, "index_get": plan_index_get, "embedding": plan_embedding,
}  # fmt: skip
