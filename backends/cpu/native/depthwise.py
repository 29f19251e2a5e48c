"""Convolutions of single channels: each plane is put into the cache with room around it, then rows of vectors are
summed over the taps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native.conv_tile import below
from flambeau.backends.cpu.native.planes import copy_row, gather_row
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F32, I64, PTR

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

#: Taps whose gradients are summed at a time.
TAPS: Final = 5
_VECTORS: Final = 4  # of a row at a time

FRAME: Final = (
    "depth", "height", "width", "low0", "low1", "low2", "framed0", "framed1", "framed2", "pitch",
)  # fmt: skip
PLACES: Final = ("out_depth", "out_height", "out_width", "stride0", "stride1", "stride2", "kernel")


@dataclass(frozen=True)
class Frame:
    """The part of a plane, or of what is around it, that some taps read.

    Args:
        inside: sizes of the plane.
        low: where the frame begins in the plane's places, which may be before it.
        sizes: of the frame.
        stride: along the last axis.
        floats: that it takes, with vectors that reach over its end.
    """

    inside: Ints
    low: Ints
    sizes: Ints
    stride: int
    floats: int

    @property
    def pitch(self) -> int:
        """Numbers of one phase of a row."""
        return -(-self.sizes[2] // self.stride)

    @property
    def numbers(self) -> Ints:
        """What the jobs are told, in the order of ``FRAME``."""
        return (*self.inside, *self.low, *self.sizes, self.pitch)

    def offsets(self, taps: Array) -> Array:
        """Where taps stand in the frame, for the output's place 0."""
        at = taps - np.array(self.low)
        last = at[:, 2] % self.stride * self.pitch + at[:, 2] // self.stride
        row = self.pitch * self.stride
        return np.ascontiguousarray((at[:, 0] * self.sizes[1] + at[:, 1]) * row + last, np.int64)


def frame(inside: Ints, taps: Array, outside: Ints, stride: Ints, target: Target) -> Frame:
    """The frame of taps (K, 3) for an output of some sizes."""
    low, high = taps.min(0).tolist(), taps.max(0).tolist()
    sizes = tuple([(o - 1) * s + h - b + 1 for o, s, b, h in zip(outside, stride, low, high, strict=True)])
    pitch = -(-sizes[2] // stride[2])
    floats = sizes[0] * sizes[1] * pitch * stride[2] + (_VECTORS + 1) * target.lanes(F32)
    return Frame(tuple(inside), tuple(low), sizes, stride[2], floats)


class _Plane:
    """The frame in a job."""

    def __init__(self, f: JobFunction, v: dict[str, Value], copies: list[Function]):
        self.f, self.v, self.copies = f, v, copies
        self.row = v["pitch"] * v["stride2"]
        self.memory = v["memory"] + f.thread * v["memory_bytes"]

    def fill(self, source: Value) -> None:
        """A plane into the frame; what stands around it is zero already."""
        f, v = self.f, self.v
        begin = f.maximum(v["low2"], 0)
        count = f.minimum(v["low2"] + v["framed2"], v["width"]) - begin
        for d in f.range(f.maximum(v["low0"], 0), f.minimum(v["low0"] + v["framed0"], v["depth"])):
            for h in f.range(f.maximum(v["low1"], 0), f.minimum(v["low1"] + v["framed1"], v["height"])):
                row = self.memory + ((d - v["low0"]) * v["framed1"] + h - v["low1"]) * self.row * 4
                here = source + ((d * v["height"] + h) * v["width"] + begin) * 4
                place = begin - v["low2"]
                self._by_stride(self.copies, count, here, count, row, place, v["pitch"], v["stride2"])

    def give(self, to: Value, gathers: list[Function]) -> None:
        """The frame, which begins before the plane, to a plane; zeros where it does not reach."""
        f, v = self.f, self.v
        row = v["height"] * v["width"]
        beyond = [v[f"low{i}"] + v[f"framed{i}"] < v[name] for i, name in enumerate(("depth", "height", "width"))]
        with f.when(beyond[0] | beyond[1] | beyond[2]):
            for i in f.range(0, v["depth"] * row):
                f.store(f.constant(F32, 0.0), to, i)
        count = f.minimum(v["low2"] + v["framed2"], v["width"])
        for d in f.range(0, f.minimum(v["low0"] + v["framed0"], v["depth"])):
            for h in f.range(0, f.minimum(v["low1"] + v["framed1"], v["height"])):
                here = self.memory + ((d - v["low0"]) * v["framed1"] + h - v["low1"]) * self.row * 4
                there = to + (d * row + h * v["width"]) * 4
                self._by_stride(gathers, count, here, count, there, -v["low2"], v["pitch"], v["stride2"])

    def _by_stride(self, functions: list[Function], count: Value, *args: Value) -> None:
        """Call the function of the stride along the last axis, 1, 2 or more, if there is something to copy."""
        f, stride = self.f, self.v["stride2"]
        for i, function in enumerate(functions):
            fits = stride.eq(i + 1) if i < 2 else stride > 2
            with f.when(fits & (count > 0)):
                f.call(function, *args)

    def at(self, d: Value, h: Value) -> Value:
        """Where the windows of a row of the output begin."""
        v = self.v
        return self.memory + (d * v["stride0"] * v["framed1"] + h * v["stride1"]) * self.row * 4


def _job(target: Target, name: str, names: tuple[str, ...], pointers: int) -> tuple[JobFunction, dict[str, Value], int]:
    f = JobFunction(Module(target), name, [PTR] * pointers + [I64] * (len(names) - pointers))
    return f, dict(zip(names, f.values, strict=True)), target.lanes(F32)


def _copies(f: Function, lanes: int) -> list[Function]:
    return [copy_row(f.module, f"copy{stride}", lanes, stride) for stride in (1, 2, 0)]


@cache
def forward(target: Target) -> Job:
    """The job of a depthwise convolution; a chunk is ``planes`` of images' channels."""
    names = (
        "x", "weight", "bias", "y", "offsets", "memory", "memory_bytes", "count", "channels", "planes", *FRAME, *PLACES,
    )  # fmt: skip
    f, v, lanes = _job(target, "forward", names, 6)
    plane = _Plane(f, v, _copies(f, lanes))
    inside, rows = v["depth"] * v["height"] * v["width"], v["out_depth"] * v["out_height"]
    begin = f.chunk * v["planes"]
    for p in f.range(begin, f.minimum(begin + v["planes"], v["count"])):
        channel = p % v["channels"]
        plane.fill(v["x"] + p * inside * 4)
        weight, start = v["weight"] + channel * v["kernel"] * 4, f.load(F32, v["bias"], channel)
        for d in f.range(0, v["out_depth"]):
            for h in f.range(0, v["out_height"]):
                to = v["y"] + (p * rows + d * v["out_height"] + h) * v["out_width"] * 4
                _row(f, v, lanes, plane.at(d, h), weight, start, to)
    f.ret()
    (job,) = jobs(f)
    return job


@cache
def scattered(target: Target) -> Job:
    """The job of its input's gradient, for strides: each number times the filter is added to a frame of the input."""
    names = (
        "grad", "weight", "out", "offsets", "memory", "memory_bytes", "count", "channels", "planes", *FRAME, *PLACES,
    )  # fmt: skip
    f, v, lanes = _job(target, "scattered", names, 5)
    plane, vector, width = _Plane(f, v, []), F32.vector(lanes), v["out_width"]
    gathers = [gather_row(f.module, f"gather{stride}", lanes, stride) for stride in (1, 2, 0)]
    rows, main = v["out_depth"] * v["out_height"], width & ~(lanes - 1)
    rest = below(f, width - main, lanes)
    begin = f.chunk * v["planes"]
    for p in f.range(begin, f.minimum(begin + v["planes"], v["count"])):
        weight = v["weight"] + p % v["channels"] * v["kernel"] * 4
        for i in f.range(0, v["framed0"] * v["framed1"] * plane.row, lanes):
            f.store(f.constant(vector, 0.0), plane.memory, i)
        for d in f.range(0, v["out_depth"]):
            for h in f.range(0, v["out_height"]):
                grad, at = v["grad"] + (p * rows + d * v["out_height"] + h) * width * 4, plane.at(d, h)
                for t in f.range(0, v["kernel"]):
                    to = at + f.load(I64, v["offsets"], t) * 4
                    number = f.splat(f.load(F32, weight, t), lanes)
                    for i in f.range(0, main, lanes):
                        f.store(f.muladd(f.load(vector, grad, i), number, f.load(vector, to, i)), to, i)
                    with f.when(main < width):
                        g = f.load_masked(vector, grad, main, rest)
                        f.store_masked(f.muladd(g, number, f.load(vector, to, main)), to, main, rest)
        plane.give(v["out"] + p * v["depth"] * v["height"] * v["width"] * 4, gathers)
    f.ret()
    (job,) = jobs(f)
    return job


def _row(f: Function, v: dict[str, Value], lanes: int, source: Value, weight: Value, start: Value, to: Value) -> None:
    """A row of the output, some vectors at a time."""
    vector, wide = F32.vector(lanes), _VECTORS * lanes
    for i in f.range(0, v["out_width"], wide):
        left = v["out_width"] - i
        for count in range(1, _VECTORS + 1):
            fits = left > (count - 1) * lanes
            with f.when(fits if count == _VECTORS else fits & (left <= count * lanes)):
                sums = [f.variable(vector) for _ in range(count)]
                for total in sums:
                    total.set(start)
                for t in f.range(0, v["kernel"]):
                    number = f.splat(f.load(F32, weight, t), lanes)
                    at = source + (f.load(I64, v["offsets"], t) + i) * 4
                    for j, total in enumerate(sums):
                        total.set(f.muladd(f.load(vector, at, j * lanes), number, total.now))
                for j, total in enumerate(sums[:-1]):
                    f.store(total.now, to, i + j * lanes)
                last = (count - 1) * lanes
                f.store_masked(sums[-1].now, to, i + last, below(f, f.minimum(left - last, lanes), lanes))


@cache
def weights(target: Target) -> Job:
    """The job of its weight's gradient; a chunk is a channel. The taps are given in groups of ``TAPS``."""
    names = ("x", "grad", "out", "offsets", "memory", "memory_bytes", "batch", "channels", *FRAME, *PLACES)
    f, v, lanes = _job(target, "weights", names, 5)
    plane = _Plane(f, v, _copies(f, lanes))
    inside, rows = v["depth"] * v["height"] * v["width"], v["out_depth"] * v["out_height"]
    out = v["out"] + f.chunk * v["kernel"] * 4
    for n in f.range(0, v["batch"]):
        p = n * v["channels"] + f.chunk
        plane.fill(v["x"] + p * inside * 4)
        for t in f.range(0, v["kernel"], TAPS):
            sums = _sums(f, v, lanes, plane, v["grad"] + p * rows * v["out_width"] * 4, v["offsets"] + t * 8)
            for j, total in enumerate(sums):
                f.store(f.load(F32, out, t + j) + total, out, t + j)
    f.ret()
    (job,) = jobs(f)
    return job


def _sums(f: Function, v: dict[str, Value], lanes: int, plane: _Plane, grad: Value, offsets: Value) -> list[Value]:
    """The sums of some taps over a plane."""
    vector, width = F32.vector(lanes), v["out_width"]
    sums = [f.variable(vector) for _ in range(TAPS)]
    for total in sums:
        total.set(0.0)
    taps = [f.load(I64, offsets, j) * 4 for j in range(TAPS)]
    main = width & ~(lanes - 1)
    rest = below(f, width - main, lanes)
    for d in f.range(0, v["out_depth"]):
        for h in f.range(0, v["out_height"]):
            row, source = grad + (d * v["out_height"] + h) * width * 4, plane.at(d, h)
            for i in f.range(0, main, lanes):
                g = f.load(vector, row, i)
                for tap, total in zip(taps, sums, strict=True):
                    total.set(f.muladd(g, f.load(vector, source + tap, i), total.now))
            with f.when(main < width):
                g = f.load_masked(vector, row, main, rest)
                for tap, total in zip(taps, sums, strict=True):
                    total.set(f.muladd(g, f.load_masked(vector, source + tap, main, rest), total.now))
    return [f.reduce(total.now, lambda a, b: a + b) for total in sums]
