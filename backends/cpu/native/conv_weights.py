"""The gradient of a convolution's weight: for each tap of each channel, and each output channel, a sum over places.

The images stand in memory with their padding, so that each tap is a row of numbers that is read where it lies; the
output's gradient goes by in panels, turned, so that output channels are the lanes. Some images at a time stay in the
cache. Parts of the batch are summed apart where there are too few channels to share among threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native.conv_tile import (
    UNROLL,
    Accumulators,
    call_for,
    tile_of,
    turned_panel,
    unrolled,
)
from flambeau.backends.cpu.native.micro import Tile
from flambeau.backends.cpu.native.planes import copy_row
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F32, I64, PTR

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]

_PLACES: Final = 1024  # of the output that a panel holds
_CACHE: Final = 1 << 17  # numbers of padded images at a time
_ROWS: Final = 576  # taps of channels at a time
_CHUNKS: Final = 16  # that there should be

POINTERS: Final = ("x", "grad", "out", "offsets", "memory")
NUMBERS: Final = (
    "memory_bytes", "batch", "channels", "out_channels", "groups", "depth", "height", "width", "padded0", "padded1",
    "padded2", "padding0", "padding1", "padding2", "kernel", "out_depth", "out_height", "out_width", "stride0",
    "stride1", "stride2", "step", "images", "parts", "block", "size",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How the work is cut.

    Args:
        step: channels at a time.
        images: that stand padded in memory at a time.
        parts: of the batch.
        width: output channels at a time.
        chunks: of one group.
        padded: sizes of an image with its padding.
        offsets: where each tap of each of ``step`` channels lies in it, in whole tiles.
        floats: of memory for one thread.
    """

    step: int
    images: int
    parts: int
    width: int
    chunks: int
    padded: Ints
    offsets: Array
    floats: int


def plan(
    tile: Tile, batch: int, channels: int, out_channels: int, groups: int, inside: Ints, padding: Ints, taps: Array,
    outside: Ints,
) -> Plan:  # fmt: skip
    """Cut the work by the sizes alone."""
    padded = tuple([n + 2 * p for n, p in zip(inside, padding, strict=True)])
    plane, kernel = prod(padded), len(taps)
    step = max(1, min(channels, _ROWS // kernel, _CACHE // plane))
    blocks = -(-channels // step)
    step = -(-channels // blocks)
    vectors = -(-out_channels // tile.lanes)
    width = -(-vectors // -(-vectors // tile.vectors)) * tile.lanes
    shared = blocks * -(-out_channels // width)
    parts = max(1, min(batch, _CHUNKS // (shared * groups)))
    per_part = -(-batch // parts)
    parts = -(-batch // per_part)
    images = max(1, min(per_part, _CACHE // (step * plane))) if any(padding) else per_part
    places = taps + np.array(padding)
    within = (places[:, 0] * padded[1] + places[:, 1]) * padded[2] + places[:, 2]
    flat = (np.arange(step)[:, None] * plane + within).reshape(-1)
    rows = -(-flat.size // tile.rows) * tile.rows
    offsets = np.concatenate([flat, np.repeat(flat[-1:], rows - flat.size)])
    offsets = np.ascontiguousarray(offsets, np.int64)
    floats = 4 * _PLACES + _PLACES * tile.width + rows * tile.width + images * step * plane * any(padding)
    return Plan(step, images, parts, width, parts * shared, padded, offsets, floats + 4 * tile.lanes)


@cache
def weights(target: Target) -> Job:
    """The job of the gradient of the weight, (parts, groups * O, C, taps) in the order of the channels."""
    module = Module(target)
    tile = tile_of(target)
    copy = copy_row(module, "copy", tile.lanes, 1)
    turn = turned_panel(module, "turn", tile)
    multiply = [_product(module, f"product{n}", tile, n) for n in range(1, tile.vectors + 1)]
    f = JobFunction(module, "weights", [PTR] * len(POINTERS) + [I64] * len(NUMBERS))
    _chunk(f, tile, copy, turn, multiply)
    (job,) = jobs(f)
    return job


class _Sizes:
    """What a chunk computes from its arguments once."""

    def __init__(self, f: JobFunction, tile: Tile):
        v = dict(zip((*POINTERS, *NUMBERS), f.values, strict=True))
        self.v = v
        blocks = (v["channels"] + v["step"] - 1) // v["step"]
        wide = (v["out_channels"] + v["block"] - 1) // v["block"]
        rest = f.chunk // v["parts"]
        self.part = f.chunk % v["parts"]
        self.channel = rest % blocks * v["step"]
        self.out_channel = rest // blocks % wide * v["block"]
        self.group = rest // blocks // wide
        self.channels = f.minimum(v["channels"] - self.channel, v["step"])
        self.columns = f.minimum(v["out_channels"] - self.out_channel, v["block"])
        self.rows = self.channels * v["kernel"]
        self.plane = v["depth"] * v["height"] * v["width"]
        self.padded = v["padded0"] * v["padded1"] * v["padded2"]
        self.outside = v["out_depth"] * v["out_height"] * v["out_width"]
        self.image = v["groups"] * v["channels"] * self.plane
        self.is_padded = (v["padding0"] + v["padding1"] + v["padding2"]).ne(0)
        self.pitch = f.select(self.is_padded, v["step"] * self.padded, self.image)  # from image to image
        self.x = v["x"] + (self.group * v["channels"] + self.channel) * self.plane * 4
        self.grad = v["grad"] + (self.group * v["out_channels"] + self.out_channel) * self.outside * 4
        self.table = v["memory"] + f.thread * v["memory_bytes"]
        self.panel = self.table + 16 * _PLACES
        self.sums = self.panel + 4 * _PLACES * tile.width
        tall = (v["step"] * v["kernel"] + (tile.rows - 1)) // tile.rows * tile.rows
        self.frame = self.sums + tall * (4 * tile.width)


def _chunk(f: JobFunction, tile: Tile, copy: Function, turn: Function, multiply: list[Function]) -> None:
    z = _Sizes(f, tile)
    v = z.v
    for i in f.range(0, (z.rows + (tile.rows - 1)) // tile.rows * tile.rows * tile.width, tile.lanes):
        f.store(f.constant(tile.vector, 0.0), z.sums, i)
    per_part = (v["batch"] + v["parts"] - 1) // v["parts"]
    begin = z.part * per_part
    end = f.minimum(begin + per_part, v["batch"])
    for n in f.range(begin, end, v["images"]):
        images = f.minimum(end - n, v["images"])
        frame = f.select(z.is_padded, z.frame, z.x + n * z.image * 4)
        with f.when(z.is_padded):
            _fill(f, z, n, images, copy)
        for q in f.range(0, images * z.outside, _PLACES):
            count = f.minimum(images * z.outside - q, _PLACES)
            runs = _runs(f, z, q, count)
            for image in f.range(q // z.outside, (q + count - 1) // z.outside + 1):
                low, high = f.maximum(q, image * z.outside), f.minimum(q + count, (image + 1) * z.outside)
                source = (
                    z.grad + ((n + image) * v["groups"] * v["out_channels"] * z.outside + low - image * z.outside) * 4
                )
                f.call(turn, source, z.outside, high - low, z.columns, z.panel + (low - q) * (4 * tile.width))
            for i in f.range(0, z.rows, tile.rows):
                call_for(
                    f, multiply, z.columns, tile.lanes, z.table, runs, z.panel, v["offsets"] + i * 8, frame,
                    v["stride2"] * 4, z.sums + i * (4 * tile.width),
                )  # fmt: skip
    first = z.group * v["out_channels"] + z.out_channel
    out = v["out"] + (z.part * v["size"] + (first * v["channels"] + z.channel) * v["kernel"]) * 4
    for j in f.range(0, z.columns):
        row = out + j * v["channels"] * v["kernel"] * 4
        for i in f.range(0, z.rows):
            f.store(f.load(F32, z.sums + j * 4, i * tile.width), row, i)
    f.ret()


def _fill(f: Function, z: _Sizes, first: Value, images: Value, copy: Function) -> None:
    """Some images into the frame; what stands around them is zero already."""
    v = z.v
    for n in f.range(0, images):
        for c in f.range(0, z.channels):
            plane, to = z.x + ((first + n) * z.image + c * z.plane) * 4, z.frame + (n * v["step"] + c) * z.padded * 4
            for d in f.range(0, v["depth"]):
                for h in f.range(0, v["height"]):
                    row = ((d + v["padding0"]) * v["padded1"] + h + v["padding1"]) * v["padded2"]
                    source = plane + (d * v["height"] + h) * v["width"] * 4
                    f.call(copy, source, v["width"], to + row * 4, v["padding2"], v["padded2"], 1)


def _runs(f: Function, z: _Sizes, start: Value, count: Value) -> Value:
    """Write where each row of places begins in the frame, in bytes, and how long it is; return how many there are."""
    v = z.v
    done, runs = f.variable(I64, 0), f.variable(I64, 0)
    with f.loop() as leave:
        at = done.now
        leave(at >= count)
        image, place = (start + at) // z.outside, (start + at) % z.outside
        row, column = place // v["out_width"], place % v["out_width"]
        length = f.minimum(v["out_width"] - column, count - at)
        i0, i1 = row // v["out_height"] * v["stride0"], row % v["out_height"] * v["stride1"]
        lies = image * z.pitch + (i0 * v["padded1"] + i1) * v["padded2"] + column * v["stride2"]
        f.store(lies * 4, z.table, runs.now * 2)
        f.store(length, z.table, runs.now * 2 + 1)
        done.set(at + length)
        runs.set(runs.now + 1)
    return runs.now


def _product(module: Module, name: str, tile: Tile, vectors: int) -> Function:
    """``name(table, runs, panel, offsets, frame, step, sums)``: a tile of sums over the places of all runs."""
    f = Function(module, name, [PTR, I64, PTR, PTR, PTR, I64, PTR], internal=True)
    table, runs, panel, offsets, frame, step, sums = f.args
    total = Accumulators(f, tile, vectors)
    taps = [frame + f.load(I64, offsets, i) * 4 for i in range(tile.rows)]
    at_panel = f.variable(PTR, panel)
    for run in f.range(0, runs):
        begin, length = f.load(I64, table, run * 2), f.load(I64, table, run * 2 + 1)
        rows = [tap + begin for tap in taps]
        along = f.variable(I64, 0)
        along.set(0)
        first, whole, end = unrolled(f, length)
        for low, high, times in ((first, whole, UNROLL), (whole, end, 1)):
            for _ in f.range(low, high, times):
                for _ in range(times):
                    here = along.now
                    total.step([row + here for row in rows], at_panel)
                    along.set(here + step)
    for i, row_sums in enumerate(total.sums):
        for j, value in enumerate(row_sums):
            at = i * tile.width + j * tile.lanes
            f.store(f.load(tile.vector, sums, at) + value.now, sums, at)
    f.ret()
    return f
