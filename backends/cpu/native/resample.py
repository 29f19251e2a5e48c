"""Resampling of up to three axes in one pass: rows are added into one with their weights, which is then gathered.

Both directions are this: the elements of a gradient are resampled by the transposed weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import numpy as np

from flambeau.backends.cpu import threads
from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import Lanes, Span, dtype_name, lanes
from flambeau.backends.cpu.native.nn import dense, fit
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I1, I32, I64, PTR, Type

Array = np.ndarray[Any, Any]
_CHUNK: Final = 1 << 15  # elements of the result
_MOST: Final = 1 << 31  # of a row, whose places are counted in 32 bits


class AxisTaps(Protocol):
    """What the op's param says of an axis: for each result the places of some elements, -1 for none, and weights."""

    size: int
    places: Array
    weights: Array

    @property
    def shape(self) -> tuple[int, int]:
        """How many results there are, and how many taps each has at most."""


def gather(f: Function, type: Type, base: Value, index: Value) -> Value:
    """The numbers at ``base[index]``, whose lanes are all inside."""
    n = index.type.lanes
    if n == 1:
        return f.load(type, base, index)
    where = f.emit(PTR.vector(n), f"getelementptr {type.name}, ptr {base.text}, {index.type} {index.text}")
    vector = type.vector(n)
    name = f"llvm.masked.gather.{vector.suffix}.v{n}p0"
    f.module.declare(f"declare {vector} @{name}(<{n} x ptr>, i32, <{n} x i1>, {vector})")
    every = f.constant(I1.vector(n), True)
    args = f"<{n} x ptr> {where.text}, i32 {type.bytes}, {every.type} {every.text}, {vector} zeroinitializer"
    return f.emit(vector, f"call {vector} @{name}({args})")


@cache
def resampled(target: Target, source: str) -> Job:
    """(x, out, memory, places and weights of three axes, their sizes, the results', their taps, rows of results, rows
    of a chunk, bytes of memory of a thread). Of the last axis the taps are rows of whole vectors."""
    f = JobFunction(Module(target), f"resample_{source}", [PTR] * 9 + [I64] * 12)
    x, out, memory, *tables = f.values[:9]
    deep, high, wide, deep_out, high_out, wide_out, *taps, total, per, room = f.values[9:]
    read, start = lanes(source), f.chunk * per
    row, span = memory + f.thread * room, Span(f, wide, read.count)
    for r in f.range(start, folds.least(f, start + per, total)):
        plane, d, h = r // high_out // deep_out, r // high_out % deep_out, r % high_out
        span.each(lambda i, mask: f.store(f.constant(read.vector, -0.0), row, i))
        for kd in f.range(d * taps[0], (d + 1) * taps[0]):
            at_d = f.load(I64, tables[0], kd)
            with f.when(at_d.compare("ge", 0)):
                for kh in f.range(h * taps[1], (h + 1) * taps[1]):
                    at_h = f.load(I64, tables[2], kh)
                    with f.when(at_h.compare("ge", 0)):
                        weight = f.load(read.compute, tables[1], kd) * f.load(read.compute, tables[3], kh)
                        here = x + ((plane * deep + at_d) * high + at_h) * wide * read.memory.bytes
                        _add_row(f, span, here, row, f.splat(weight, read.count))
        _gathered(
            f, read, Span(f, wide_out, read.count), row, out + r * wide_out * read.memory.bytes, tables[4:], taps[2]
        )
    f.ret()
    return jobs(f)[0]


def _add_row(f: Function, span: Span, x: Value, row: Value, weight: Value) -> None:
    t = weight.type

    def add(i: Value, mask: Value | None) -> None:
        v = f.load(t, x, i) if mask is None else f.load_masked(t, x, i, mask)
        f.store(f.muladd(v, weight, f.load(t, row, i)), row, i)

    span.each(add)


def _gathered(f: Function, read: Lanes, span: Span, row: Value, out: Value, tables: list[Value], taps: Value) -> None:
    """The results of a row: of each tap the places and weights stand in a row of their own."""
    n = span.width
    t, pitch = I32.vector(n), (span.count + n - 1) & ~(n - 1)

    def body(j: Value, mask: Value | None) -> None:
        total = f.variable(read.vector, -0.0)
        for k in f.range(0, taps):
            place = f.load(t, tables[0], k * pitch + j)
            found = gather(f, read.compute, row, f.select(place < 0, 0, place))
            weight = f.load(read.vector, tables[1], k * pitch + j)
            total.set(f.select(place < 0, total.now, f.muladd(found, weight, total.now)))
        read.store(f, total.now, out, j, mask)

    span.each(body)


# -- what is called --------------------------------------------------------------------------------
_Tables = tuple[Array, Array]
_made: WeakKeyDictionary[AxisTaps, dict[tuple[str, bool], _Tables]] = WeakKeyDictionary()


def _tables(taps: AxisTaps, dtype: np.dtype[Any], last: bool) -> _Tables:
    """Places and weights as the job reads them; they stay with the taps."""
    made = _made.setdefault(taps, {})
    key = dtype_name(dtype), last
    if key not in made:
        if last:
            width = 64 // dtype.itemsize
            room = ((0, 0), (0, -taps.shape[0] % width))
            places: Array = np.pad(taps.places.T, room, constant_values=-1).astype(np.int32)
            weights = np.pad(taps.weights.T, room).astype(dtype)
        else:
            places, weights = taps.places, taps.weights.astype(dtype)
        made[key] = np.ascontiguousarray(places), np.ascontiguousarray(weights)
    return made[key]


_ONE: Final = np.zeros((1, 1), np.int64)


def resample(target: Target, x: Array, *, taps: Sequence[AxisTaps]) -> Array | None:
    """The last axes resampled."""
    n = len(taps)
    if not fit(target, x) or not 1 <= n <= min(3, x.ndim) or x.shape[-1] >= _MOST:
        return None
    if tuple(t.size for t in taps) != x.shape[x.ndim - n :]:
        return None
    x, one = dense(x), np.ones((1, 1), x.dtype)
    tables = [(_ONE, one)] * (3 - n) + [_tables(t, x.dtype, i == n - 1) for i, t in enumerate(taps)]
    sizes = [1] * (3 - n) + [t.size for t in taps]
    outs, counts = ([1] * (3 - n) + [t.shape[i] for t in taps] for i in range(2))
    out = np.empty((*x.shape[: x.ndim - n], *(t.shape[0] for t in taps)), x.dtype)
    if not out.size:
        return out
    total, per = out.size // outs[2], max(1, _CHUNK // outs[2])
    room = -(-sizes[2] * x.itemsize // 64) * 64 + 64
    count, flat = threads.num_threads(), [v for pair in tables for v in pair]
    memory = np.empty(count * room, np.uint8)
    resampled(target, dtype_name(x.dtype))(
        -(-total // per), *(address(v) for v in (x, out, memory, *flat)), *sizes, *outs, *counts,
        total, per, room, most=count,
    )  # fmt: skip
    return out


KERNELS: Final[dict[str, Callable[..., Any]]] = {"resample": resample}
