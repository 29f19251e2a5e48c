"""Bisection of sorted sequences, several numbers at a time so that their memory accesses overlap."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import dtype_name
from flambeau.backends.cpu.native.places import movable
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm import casts
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.planned import OPERAND, RESULT, plan
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I32, I64, PTR
from flambeau.core.dtype import DType, dtype_named

Array = np.ndarray[Any, Any]

#: Values of a chunk, and how many are searched at a time.
_CHUNK: Final = 1 << 12
_TOGETHER: Final = 16


def _before(at: Value, value: Value, dtype: DType, right: bool) -> Value:
    """Whether a value comes behind an element of the sequence; nan comes behind all."""
    if dtype.is_floating_point:
        return at.compare("not_gt" if right else "not_ge", value)
    signed = dtype.is_signed
    return at.compare(("le" if signed else "ule") if right else ("lt" if signed else "ult"), value)


def _gather(f: Function, dtype: DType, x: Value, places: Value) -> Value:
    """The elements at the places of a vector, in registers."""
    t, lanes = casts.STORED[dtype], places.type.lanes
    where = f.emit(PTR.vector(lanes), f"getelementptr {t}, ptr {x.text}, {places.type} {places.text}")
    mask = f.constant(t.mask.vector(lanes), True)
    name = f"llvm.masked.gather.{t.vector(lanes).suffix}.{where.type.suffix}"
    return casts.widen(
        f.intrinsic(name, t.vector(lanes), where, f.constant(I32, t.bytes), mask, f.constant(t.vector(lanes), 0)), dtype
    )


def _bisect(f: Function, dtype: DType, right: bool, x: Value, length: Value, value: Value) -> Value:
    """The places of a vector of values."""
    t = I64.vector(value.type.lanes)
    low, high, left = f.variable(t, 0), f.variable(t, f.splat(length, t.lanes)), f.variable(I64, length)
    last = f.splat(length - 1, t.lanes)
    with f.loop() as leave:  # as often as the length has bits
        leave(left.now.eq(0))
        middle, open_ = (low.now + high.now) >> 1, low.now < high.now
        before = _before(_gather(f, dtype, x, f.minimum(middle, last)), value, dtype, right)
        high.set(f.select(open_ & ~before, middle, high.now))
        low.set(f.select(open_ & before, middle + 1, low.now))
        left.set(left.now >> 1)
    return low.now


@cache
def _search(target: Target, name: str, right: bool) -> Job:
    """(sequences, values, out, length of a sequence, values of each, blocks of those, values of a block)"""
    f = JobFunction(Module(target), f"search_{name}_{'right' if right else 'left'}", [PTR] * 3 + [I64] * 4)
    x, values, out, length, each, blocks, size = f.values
    dtype = dtype_named(name)
    row, start = f.chunk // blocks, f.chunk % blocks * size
    here, at = x + row * length * dtype.itemsize, row * each
    stop = folds.least(f, start + size, each)
    whole = start + ((stop - start) & ~(_TOGETHER - 1))
    t = casts.STORED[dtype].vector(_TOGETHER)
    for j in f.range(start, whole, _TOGETHER):
        wanted = casts.widen(f.load(t, values, at + j), dtype)
        f.store(_bisect(f, dtype, right, here, length, wanted), out, at + j)
    with f.when(whole < stop):
        mask = f.below(stop - whole, _TOGETHER)
        wanted = casts.widen(f.load_masked(t, values, at + whole, mask), dtype)
        f.store_masked(_bisect(f, dtype, right, here, length, wanted), out, at + whole, mask)
    f.ret()
    return jobs(f)[0]


def _work(target: Target, x: Array, values: Array, right: bool) -> tuple[Job, int, tuple[int, ...]] | None:
    """The job, its chunks and what it takes behind the addresses, of dense operands; None where nothing serves them."""
    name = dtype_name(x.dtype)
    if not x.size or not values.size or x.dtype != values.dtype or x.dtype.kind == "c" or not movable(x, values):
        return None
    if name == "float16" and not target.half:
        return None
    each = values.size if x.ndim == 1 else values.shape[-1]
    size = min(each, _CHUNK)
    blocks = -(-each // size)
    return _search(target, name, right), values.size // each * blocks, (x.shape[-1], each, blocks, size)


def searchsorted(target: Target, x: Array, values: Array, *, right: bool) -> Array | None:
    """Where each value would be inserted into ``x``, which is sorted along its last axis."""
    work = _work(target, x, values, right)
    if work is None:
        return None
    job, chunks, rest = work
    x, values = np.ascontiguousarray(x), np.ascontiguousarray(values)
    out = np.empty(values.shape, np.int64)
    job(chunks, address(x), address(values), address(out), *rest)
    return out


def plan_searchsorted(target: Target, large: bool, x: Array, values: Array, *, right: bool) -> bytes | None:
    work = _work(target, x, values, right)
    if work is None or work[1] > 1 or not (x.flags.c_contiguous and values.flags.c_contiguous):
        return None
    return plan(work[0], (*OPERAND[:2], RESULT[0], *work[2]), (x.dtype, x.dtype), (values.shape, np.dtype(np.int64)))


KERNELS: Final = {"searchsorted": searchsorted}
PLANS: Final = {"searchsorted": plan_searchsorted}
