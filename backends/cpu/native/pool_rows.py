"""The jobs of pooling: rows of the output one by one, from rows of the input that stand in frames (see ``planes``)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from flambeau.backends.cpu.native.conv_tile import below
from flambeau.backends.cpu.native.planes import copy_row, gather_row
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F32, I32, I64, PTR

#: What all jobs of windows are told. ``room`` is how many numbers a row of a frame takes.
WINDOWS: Final = (
    "count", "per_chunk", "depth", "height", "width", "out_depth", "out_height", "out_width", "kernel0", "kernel1",
    "kernel2", "stride0", "stride1", "stride2", "padding0", "padding1", "padding2", "dilation0", "dilation1", "framed",
    "pitch", "room",
)  # fmt: skip


class Rows:
    """A job over rows of the output; ``places`` points to where the window's columns stand in a frame."""

    def __init__(self, target: Target, name: str, pointers: tuple[str, ...]):
        names = (*pointers, "places", "memory", "memory_bytes", *WINDOWS)
        kinds = [PTR] * (len(pointers) + 2) + [I64] * (1 + len(WINDOWS))
        self.f = f = JobFunction(Module(target), name, kinds)
        self.v = v = dict(zip(names, f.values, strict=True))
        self.lanes = target.lanes(F32)
        self.vector = F32.vector(self.lanes)
        self.memory = v["memory"] + f.thread * v["memory_bytes"]
        self.used = f.minimum(v["width"], v["framed"] - v["padding2"])  # columns that some window reads

    def done(self) -> Job:
        """The job, compiled."""
        self.f.ret()
        (job,) = jobs(self.f)
        return job

    def mine(self) -> Iterator[Value]:
        """The numbers of what this chunk does."""
        begin = self.f.chunk * self.v["per_chunk"]
        yield from self.f.range(begin, self.f.minimum(begin + self.v["per_chunk"], self.v["count"]))

    def position(self, row: Value) -> tuple[Value, Value, Value]:
        """Plane, and where in depth and height, a row of the output is."""
        oh, od = self.v["out_height"], self.v["out_depth"]
        return row // (oh * od), row // oh % od, row % oh

    @contextmanager
    def real(self, d: Value, h: Value, i: Value, j: Value) -> Iterator[Value]:
        """The block runs if place (i, j) of a window is inside; with the number of that row in its plane."""
        f, v = self.f, self.v
        z = d * v["stride0"] - v["padding0"] + i * v["dilation0"]
        y = h * v["stride1"] - v["padding1"] + j * v["dilation1"]
        with f.when(z.compare("ult", v["depth"]) & y.compare("ult", v["height"])):
            yield z * v["height"] + y

    def window(self, d: Value, h: Value) -> Iterator[tuple[Value, Value]]:
        """Rows of the input that a row's windows meet: which of the window, and which of the plane."""
        for i in self.f.range(0, self.v["kernel0"]):
            for j in self.f.range(0, self.v["kernel1"]):
                with self.real(d, h, i, j) as row:
                    yield i * self.v["kernel1"] + j, row

    def columns(self, width: int) -> Iterable[Value]:
        """Columns of the window; written out where ``width`` is known."""
        return [self.f.value(I64, i) for i in range(width)] if width else self.f.range(0, self.v["kernel2"])

    def vectors(self, count: Value) -> Iterator[tuple[Value, Value | None]]:
        """First number and mask of the vectors of a row; whole ones have no mask."""
        f, main = self.f, count & ~(self.lanes - 1)
        for i in f.range(0, main, self.lanes):
            yield i, None
        with f.when(main < count):
            yield main, below(f, count - main, self.lanes)

    def load(self, source: Value, i: Value, mask: Value | None) -> Value:
        """A vector, 0 where the mask is not."""
        f = self.f
        return f.load(self.vector, source, i) if mask is None else f.load_masked(self.vector, source, i, mask)

    def store(self, x: Value, to: Value, i: Value, mask: Value | None) -> None:
        """A vector where the mask is."""
        if mask is None:
            self.f.store(x, to, i)
        else:
            self.f.store_masked(x, to, i, mask)

    def fill(self, to: Value, count: Value, value: float) -> None:
        """Numbers that are all the same."""
        for i, mask in self.vectors(count):
            self.store(self.f.constant(self.vector, value), to, i, mask)


def _class(stride: int) -> int:
    return stride if stride < 3 else 0


@cache
def largest(target: Target, stride: int, width: int) -> Job:
    """The job of max pooling; ``width`` of the window, or 0 for any.

    ``starts`` are the first columns that are inside, for each column of the output: int32, in whole vectors.
    """
    r = Rows(target, "largest", ("x", "y", "indices", "starts"))
    f, v, t, numbers = r.f, r.v, r.vector, I32.vector(r.lanes)
    copy = copy_row(f.module, "copy", r.lanes, _class(stride))
    r.fill(r.memory, v["room"] * v["kernel0"] * v["kernel1"], -math.inf)
    first = f.variable(I64)
    for n in r.mine():
        plane, d, h = r.position(n)
        x = v["x"] + plane * v["depth"] * v["height"] * v["width"] * 4
        first.set(-1)
        for slot, row in r.window(d, h):
            with f.when(first.now < 0):
                first.set(row * v["width"])
            to = r.memory + slot * v["room"] * 4
            f.call(copy, x + row * v["width"] * 4, r.used, to, v["padding2"], v["pitch"], v["stride2"])
        for i, mask in r.vectors(v["out_width"]):
            begin = f.splat((i * v["stride2"] - v["padding2"]).trunc(I32), r.lanes)
            base = f.lanes(numbers) * f.splat(v["stride2"].trunc(I32), r.lanes) + begin
            best = f.variable(t)
            best.set(-math.inf)
            at = f.variable(numbers)
            at.set(f.load(numbers, v["starts"], i) + f.splat(first.now.trunc(I32), r.lanes))
            for slot, row in r.window(d, h):
                source = r.memory + (slot * v["room"] + i) * 4
                for k in r.columns(width):
                    new, old = f.load(t, source, f.load(I64, v["places"], k * 2)), best.now
                    better = new.compare("not_le", old) & old.compare("ordered", old)
                    best.set(f.select(better, new, old))
                    there = (row * v["width"] + f.load(I64, v["places"], k * 2 + 1)).trunc(I32)
                    at.set(f.select(better, base + f.splat(there, r.lanes), at.now))
            r.store(best.now, v["y"], n * v["out_width"] + i, mask)
            r.store(at.now.sext(I64), v["indices"], n * v["out_width"] + i, mask)
    return r.done()


@cache
def scattered(target: Target) -> Job:
    """The job of max pooling's gradient: a chunk is some planes; ``wrong`` becomes 1 for an index out of range."""
    f = JobFunction(Module(target), "scattered", [PTR] * 4 + [I64] * 4)
    grad, indices, out, wrong, planes, per_chunk, count, size = f.values
    lanes = target.lanes(F32)
    begin = f.chunk * per_chunk
    for p in f.range(begin, f.minimum(begin + per_chunk, planes)):
        to, main = out + p * size * 4, size & ~(lanes - 1)
        for i in f.range(0, main, lanes):
            f.store(f.constant(F32.vector(lanes), 0.0), to, i)
        for i in f.range(main, size):
            f.store(f.constant(F32, 0.0), to, i)
        for i in f.range(p * count, (p + 1) * count):
            at = f.load(I64, indices, i)
            inside = at.compare("ult", size)
            with f.when(inside, likely=True):
                f.store(f.load(F32, to, at) + f.load(F32, grad, i), to, at)
            with f.unless(inside, likely=True):
                f.store(f.constant(I64, 1), wrong)
    f.ret()
    (job,) = jobs(f)
    return job


@cache
def mean(target: Target, stride: int) -> Job:
    """The job of average pooling; ``counts0, counts1, counts2`` are how many numbers a window counts along an axis.

    The rows of a window are added up first, then its columns.
    """
    r = Rows(target, "mean", ("x", "y", "counts0", "counts1", "counts2"))
    f, v, t = r.f, r.v, r.vector
    copy = copy_row(f.module, "copy", r.lanes, _class(stride))
    r.fill(r.memory, v["room"], 0.0)
    line = r.memory + v["room"] * 4
    for n in r.mine():
        plane, d, h = r.position(n)
        x = v["x"] + plane * v["depth"] * v["height"] * v["width"] * 4
        total = f.variable(t)
        for i, mask in r.vectors(r.used):
            total.set(0.0)
            for _, row in r.window(d, h):
                total.set(total.now + r.load(x + row * v["width"] * 4, i, mask))
            r.store(total.now, line, i, mask)
        f.call(copy, line, r.used, r.memory, v["padding2"], v["pitch"], v["stride2"])
        rows = f.load(F32, v["counts0"], d) * f.load(F32, v["counts1"], h)
        for i, mask in r.vectors(v["out_width"]):
            total.set(0.0)
            for k in f.range(0, v["kernel2"]):
                total.set(total.now + f.load(t, r.memory, f.load(I64, v["places"], k * 2) + i))
            count = f.splat(rows, r.lanes) * f.load(t, v["counts2"], i)
            r.store(total.now / count, v["y"], n * v["out_width"] + i, mask)
    return r.done()


@cache
def spread(target: Target, stride: int) -> Job:
    """The job of average pooling's gradient; a chunk is some planes."""
    r = Rows(target, "spread", ("grad", "out", "counts0", "counts1", "counts2"))
    f, v, t = r.f, r.v, r.vector
    gather = gather_row(f.module, "gather", r.lanes, _class(stride))
    line = r.memory + v["room"] * 4
    size, rows = v["depth"] * v["height"] * v["width"], v["out_depth"] * v["out_height"]
    for p in r.mine():
        out = v["out"] + p * size * 4
        r.fill(out, size, 0.0)
        for n in f.range(0, rows):
            d, h = n // v["out_height"], n % v["out_height"]
            r.fill(r.memory, v["room"], 0.0)
            count = f.splat(f.load(F32, v["counts0"], d) * f.load(F32, v["counts1"], h), r.lanes)
            for i, mask in r.vectors(v["out_width"]):
                g = r.load(v["grad"] + (p * rows + n) * v["out_width"] * 4, i, mask)
                share = g / (count * f.load(t, v["counts2"], i))
                for k in f.range(0, v["kernel2"]):
                    at = f.load(I64, v["places"], k * 2) + i
                    f.store(f.load(t, r.memory, at) + share, r.memory, at)
            f.call(gather, r.memory, r.used, line, v["padding2"], v["pitch"], v["stride2"])
            for _, row in r.window(d, h):
                to = out + row * v["width"] * 4
                for i, mask in r.vectors(r.used):
                    r.store(r.load(to, i, mask) + r.load(line, i, mask), to, i, mask)
    return r.done()
