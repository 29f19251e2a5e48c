"""Pooling of float32 as machine code: how a call becomes jobs. Every one is told in three axes.

Memory beside the result: for each thread as many rows of the input as a window has.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.backends.cpu.native import pool_rows
from flambeau.backends.cpu.native.conv import dense, served
from flambeau.backends.cpu.native.conv_tile import Memory
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.jobs import Job
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F32

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_LARGEST: Final = 1 << 30  # of a plane, whose places are counted in 32 bits, and of an axis with what is around it
_WORK: Final = 1 << 16  # elements of input that a chunk should have
_CHUNKS: Final = 16  # that there should be, if they can be large enough:
_LEAST: Final = 1 << 12  # elements of one, which take as long as its call


class Windows:
    """The windows of planes in three axes, and what the jobs are told of them."""

    def __init__(self, inside: Ints, outside: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints):
        more = 3 - len(inside)
        self.inside, self.outside, self.kernel, self.stride, self.dilation = (
            (1,) * more + tuple(v) for v in (inside, outside, kernel, stride, dilation)
        )
        self.padding = (0,) * more + tuple(padding)
        reach = [
            (o - 1) * s + d * (k - 1) + 1
            for o, s, d, k in zip(self.outside, self.stride, self.dilation, self.kernel, strict=True)
        ]
        self.framed, self.largest = reach[2], max(prod(self.inside), *reach)
        self.pitch = -(-max(self.framed, 1) // self.stride[2])

    @property
    def is_served(self) -> bool:
        """Whether there is something to do, and it can be counted."""
        small = self.largest + 2 * max(*self.padding, *self.inside) < _LARGEST
        return min(*self.inside, *self.outside) > 0 and small and self.framed > self.padding[2]

    @property
    def is_whole(self) -> bool:
        """Whether the only window of a plane is all of it: numpy goes along its numbers, not along its rows."""
        plain = not any(self.padding) and max(self.dilation) == 1
        return plain and prod(self.outside) == 1 and self.inside == self.kernel

    def has_real_places(self) -> bool:
        """Whether each window has a place that is inside: none has to say which of others is its largest."""
        axes = zip(self.inside, self.outside, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        for n, o, k, s, p, d in axes:
            if p < k and d == 1:
                continue
            places = (np.arange(o) * s - p)[:, None] + np.arange(k) * d
            if not ((places >= 0) & (places < n)).any(1).all():
                return False
        return True

    def numbers(self, count: int, per_chunk: int, lanes: int) -> Ints:
        """The values of ``pool_rows.WINDOWS``."""
        room = self.room(lanes)
        return (
            count, per_chunk, *self.inside, *self.outside, *self.kernel, *self.stride, *self.padding,
            *self.dilation[:2], self.framed, self.pitch, room,
        )  # fmt: skip

    def room(self, lanes: int) -> int:
        """Numbers that a row of a frame takes, with a vector that reaches over its end."""
        return self.pitch * self.stride[2] + lanes

    def counts(self, include_pad: bool, divisor: int | None, lanes: int) -> list[Array]:
        """See :func:`_counts`."""
        return _counts(
            self.inside, self.outside, self.kernel, self.stride, self.padding, include_pad, divisor, lanes
        )  # fmt: skip

    def per_chunk(self, count: int, size: int) -> int:
        """How many of ``count`` pieces of ``size`` elements a chunk has."""
        return max(1, _LEAST // size, min(-(-count // _CHUNKS), _WORK // size))


@lru_cache(256)
def _places(kernel: int, dilation: int, stride: int, pitch: int) -> Array:
    """Where the columns of a window stand in a frame, and in the image: (kernel, 2)."""
    at = np.arange(kernel, dtype=np.int64) * dilation
    return np.ascontiguousarray(np.stack([at % stride * pitch + at // stride, at], 1))


@lru_cache(256)
def _starts(outside: int, stride: int, padding: int, dilation: int, lanes: int) -> Array:
    """The first column of each window that is inside."""
    at = np.arange(-(-outside // lanes) * lanes) * stride - padding
    found: Array = (at + np.maximum(-(at // dilation), 0) * dilation).astype(np.int32)
    return found


class _Call(NamedTuple):
    """What a call of a job is told beside the arrays' addresses: the same for all operands of a shape."""

    outside: Ints  #: The result's shape.
    is_whole: bool
    job: Job | None = None
    chunks: int = 0
    room: int = 0  #: Floats of memory that a thread needs.
    tables: tuple[Array, ...] = ()  #: Whose addresses come before the memory's,
    addresses: Ints = ()
    numbers: Ints = ()  #: and what comes after it.

    def run(self, *arrays: int) -> None:
        """Do it on arrays, by their addresses, whose numbers lie one after the other."""
        job, chunks = self.job, self.chunks
        assert job is not None
        memory = Memory(self.room, 1 if chunks == 1 else 0)
        job(chunks, *arrays, *self.addresses, memory.address, memory.bytes, *self.numbers)


@lru_cache(1024)
def _largest(
    target: Target, shape: Ints, outside: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> _Call | None:
    """The call of max pooling; None if it is not served."""
    w = Windows(shape[2:], outside, kernel, stride, padding, dilation)
    planes, lanes = shape[0] * shape[1], target.lanes(F32)
    if not (planes and w.is_served and w.has_real_places()):
        return None
    result = (*shape[:2], *outside)
    if w.is_whole:
        return _Call(result, True)
    rows = planes * w.outside[0] * w.outside[1]
    per_chunk = w.per_chunk(rows, w.inside[2] * w.stride[1])
    tables = (
        _starts(w.outside[2], w.stride[2], w.padding[2], w.dilation[2], lanes),
        _places(w.kernel[2], w.dilation[2], w.stride[2], w.pitch),
    )
    width = w.kernel[2] if w.kernel[2] in (2, 3) else 0
    return _Call(
        result, False, pool_rows.largest(target, min(w.stride[2], 3), width), -(-rows // per_chunk),
        w.room(lanes) * (w.kernel[0] * w.kernel[1] + 1), tables, tuple(map(address, tables)),
        w.numbers(rows, per_chunk, lanes),
    )  # fmt: skip


def max_pool(
    target: Target, x: Array, *, outside: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints
) -> tuple[Array, Array] | None:
    """The largest of each window and its index, as the numpy kernel; None if it is not served."""
    call = _largest(target, x.shape, outside, kernel, stride, padding, dilation) if served(x) else None
    if call is None:
        return None
    x, shape = dense(x), call.outside
    if call.is_whole:
        flat = x.reshape(shape[0] * shape[1], -1)
        which = flat.argmax(1)[:, None]
        return np.take_along_axis(flat, which, 1).reshape(shape), which.reshape(shape)
    y, indices = np.empty(shape, np.float32), np.empty(shape, np.int64)
    call.run(address(x), address(y), address(indices))
    return y, indices


def max_pool_grad(target: Target, grad: Array, indices: Array, *, shape: Ints) -> Array | None:
    """Zeros of ``shape`` with ``grad`` added at ``indices``; None if it is not served, or an index is out of range."""
    planes, size = shape[0] * shape[1], prod(shape[2:])
    if not (planes and size and grad.size and served(grad) and indices.dtype == np.int64):
        return None
    grad, indices = dense(grad), dense(indices)
    out, wrong = np.empty(shape, np.float32), np.zeros(1, np.int64)
    per_chunk = max(1, _LEAST // size, min(-(-planes // _CHUNKS), _WORK // size))
    pool_rows.scattered(target)(
        -(-planes // per_chunk), address(grad), address(indices), address(out), address(wrong), planes, per_chunk,
        grad.size // planes, size,
    )  # fmt: skip
    return None if wrong[0] else out


@lru_cache(128)
def _counts(
    inside: Ints, outside: Ints, kernel: Ints, stride: Ints, padding: Ints, include_pad: bool, divisor: int | None,
    lanes: int,
) -> list[Array]:  # fmt: skip
    """How many numbers a window counts along each axis, or the divisor in the last one; the last in whole vectors."""
    counts = []
    for n, o, k, s, p in zip(inside, outside, kernel, stride, padding, strict=True):
        start = np.arange(o) * s - p
        stop = np.minimum(start + k, n + p)
        if not include_pad:
            start, stop = np.maximum(start, 0), np.minimum(stop, n)
        counts.append((stop - start).astype(np.float32))
    if divisor is not None:
        counts = [np.ones_like(c) for c in counts]
        counts[2][...] = divisor
    counts[2] = np.concatenate([counts[2], np.ones(-len(counts[2]) % lanes, np.float32)])
    return counts


@lru_cache(1024)
def _mean(
    target: Target, shape: Ints, outside: Ints, kernel: Ints, stride: Ints, padding: Ints, include_pad: bool,
    divisor: int | None, backward: bool,
) -> _Call | None:  # fmt: skip
    """The call of average pooling, or of its gradient; None if it is not served."""
    w = Windows(shape[2:], outside, kernel, stride, padding, (1,) * len(kernel))
    planes, lanes = shape[0] * shape[1], target.lanes(F32)
    if not (planes and w.is_served):
        return None
    result = shape if backward else (*shape[:2], *outside)
    if w.is_whole:
        return _Call(result, True)
    count = planes if backward else planes * w.outside[0] * w.outside[1]
    per_chunk = w.per_chunk(count, prod(w.inside) if backward else w.inside[2] * w.stride[1])
    job = (pool_rows.spread if backward else pool_rows.mean)(target, min(w.stride[2], 3))
    tables = (*w.counts(include_pad, divisor, lanes), _places(w.kernel[2], 1, w.stride[2], w.pitch))
    return _Call(
        result, False, job, -(-count // per_chunk), w.room(lanes) + w.inside[2] + lanes, tables,
        tuple(map(address, tables)), w.numbers(count, per_chunk, lanes),
    )  # fmt: skip


def avg_pool(
    target: Target, x: Array, *, outside: Ints, kernel: Ints, stride: Ints, padding: Ints, count_include_pad: bool,
    divisor: int | None,
) -> Array | None:  # fmt: skip
    """The mean of each window; None if it is not served."""
    if not served(x):
        return None
    call = _mean(target, x.shape, outside, kernel, stride, padding, count_include_pad, divisor, False)
    if call is None:
        return None
    x, shape = dense(x), call.outside
    if call.is_whole:
        total: Array = np.add.reduce(x.reshape(shape[0] * shape[1], -1), 1, initial=np.float32(0))
        return (total / np.float32(divisor or prod(kernel))).reshape(shape)
    y = np.empty(shape, np.float32)
    call.run(address(x), address(y))
    return y


def avg_pool_grad(
    target: Target, grad: Array, *, shape: Ints, outside: Ints, kernel: Ints, stride: Ints, padding: Ints,
    count_include_pad: bool, divisor: int | None,
) -> Array | None:  # fmt: skip
    """Each element of ``grad`` spread over its window; None if it is not served."""
    if not served(grad):
        return None
    call = _mean(target, tuple(shape), outside, kernel, stride, padding, count_include_pad, divisor, True)
    if call is None:
        return None
    out = np.empty(shape, np.float32)
    if call.is_whole:
        rows = out.reshape(shape[0] * shape[1], -1)
        rows[...] = (grad / np.float32(divisor or prod(kernel))).reshape(len(rows), 1)
    else:
        grad = dense(grad)
        call.run(address(grad), address(out))
    return out
