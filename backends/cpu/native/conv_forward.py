"""Convolution as a product of the weight with a matrix that never stands in memory.

Its columns are the output's places, of all images one after the other; its rows are the kernel's places (taps) of each
channel. Panels of it are packed from the images themselves, so that places of several small images share a panel.
A tap is told by where it reads for the output's place 0, in each of three axes, which may lie outside of the image:
padding, dilation and the phases of a transposed convolution are only other taps.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from flambeau.backends.cpu.native.conv_tile import Tile, below, call_for, products, tile_of
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F32, I32, I64, PTR

#: Rows of a panel that should be packed at a time.
DEPTH: Final = 640

POINTERS: Final = ("x", "weight", "bias", "y", "taps", "memory")
NUMBERS: Final = (
    "memory_bytes", "places", "channels", "out_channels", "groups", "depth", "height", "width", "kernel",
    "out_depth", "out_height", "out_width", "stride0", "stride1", "stride2", "step", "panels", "apart", "chunks",
)  # fmt: skip


@cache
def forward(target: Target, stride: int) -> Job:
    """The job of convolutions whose stride along the last axis is ``stride``: 1, 2, or 0 for any."""
    module = Module(target)
    tile = tile_of(target)
    pack, multiply = _pack(module, tile, stride), products(module, "product", tile)
    f = JobFunction(module, "forward", [PTR] * len(POINTERS) + [I64] * len(NUMBERS))
    _chunk(f, tile, pack, multiply)
    (job,) = jobs(f)
    return job


def _chunk(f: JobFunction, tile: Tile, pack: Function, multiply: list[Function]) -> None:
    """``panels`` panels of one group: for some channels at a time all of them, so that the weight stays at hand."""
    v = dict(zip((*POINTERS, *NUMBERS), f.values, strict=True))
    group, number = f.chunk // v["chunks"], f.chunk % v["chunks"]
    plane, outside = v["depth"] * v["height"] * v["width"], v["out_depth"] * v["out_height"] * v["out_width"]
    x = v["x"] + group * v["channels"] * plane * 4
    weight = v["weight"] + group * v["out_channels"] * v["channels"] * v["kernel"] * 4
    y, bias = v["y"] + group * v["out_channels"] * outside * 4, v["bias"] + group * v["out_channels"] * 4
    image, out_image = v["groups"] * v["channels"] * plane, v["groups"] * v["out_channels"] * outside
    panel = v["memory"] + f.thread * v["memory_bytes"]
    tiles = panel + v["step"] * v["kernel"] * (tile.columns * 4)
    begin = number * v["panels"] * tile.columns
    end = f.minimum(begin + v["panels"] * tile.columns, v["places"])
    pitch = v["channels"] * v["kernel"]

    for c in f.range(0, v["channels"], v["step"]):
        some = f.minimum(v["channels"] - c, v["step"])
        for q in f.range(begin, end, tile.columns):
            columns = f.minimum(end - q, tile.columns)
            first, last = q // outside, (q + columns - 1) // outside
            within = first.eq(last)
            aside = tiles + (q - begin) // tile.columns * v["apart"] * 4
            target = f.select(within, y + (first * out_image + q - first * outside) * 4, aside)
            ldc = f.select(within, outside, tile.columns)
            for n in f.range(first, last + 1):
                low, high = f.maximum(q, n * outside), f.minimum(q + columns, (n + 1) * outside)
                source, to = x + (n * image + c * plane) * 4, panel + (low - q) * 4
                f.call(
                    pack, source, to, v["taps"], v["kernel"], some, v["depth"], v["height"], v["width"],
                    v["out_height"], v["out_width"], v["stride0"], v["stride1"], v["stride2"], low - n * outside,
                    high - low,
                )  # fmt: skip
            for i in f.range(0, v["out_channels"], tile.rows):
                call_for(
                    f, multiply, columns, tile.lanes, some * v["kernel"], weight + (i * pitch + c * v["kernel"]) * 4,
                    pitch, panel, target + i * ldc * 4, ldc, v["out_channels"] - i, columns, c, bias + i * 4,
                )  # fmt: skip
            with f.unless(within | (c + some < v["channels"])):
                for n in f.range(first, last + 1):
                    low, high = f.maximum(q, n * outside), f.minimum(q + columns, (n + 1) * outside)
                    to = y + (n * out_image + low - n * outside) * 4
                    _rows(f, tile, aside + (low - q) * 4, to, outside, v["out_channels"], high - low)
    f.ret()


def _rows(f: Function, tile: Tile, source: Value, to: Value, pitch: Value, rows: Value, columns: Value) -> None:
    """Copy some columns of a tile to where rows are ``pitch`` apart."""
    for j in f.range(0, columns, tile.lanes):
        mask = below(f, columns - j, tile.lanes)
        for i in f.range(0, rows):
            value = f.load_masked(tile.vector, source + i * (tile.columns * 4), j, mask)
            f.store_masked(value, to + i * pitch * 4, j, mask)


def _pack(module: Module, tile: Tile, stride: int) -> Function:
    """The part of a panel that shows ``count`` places of one image from place ``start`` on."""
    f = Function(module, "pack", [PTR] * 3 + [I64] * 12, internal=True)
    x, panel, taps, kernel, channels, depth, height, width, oh, ow, s0, s1, s2, start, count = f.args
    plane, jump, lanes = depth * height * width * 4, kernel * (tile.columns * 4), tile.lanes
    done = f.variable(I64, 0)
    with f.loop() as leave:
        q = done.now
        leave(q >= count)
        place = start + q
        row, column = place // ow, place % ow
        run = f.minimum(f.minimum(ow - column, count - q), lanes)  # places next to each other in a row
        for t in f.range(0, kernel):
            tap = [f.load(I64, taps, t * 3 + axis) for axis in range(3)]
            i0, i1, i2 = row // oh * s0 + tap[0], row % oh * s1 + tap[1], column * s2 + tap[2]
            inside = i0.compare("ult", depth) & i1.compare("ult", height)
            whole = inside & run.eq(lanes) & (i2 >= 0) & (i2 + s2 * (lanes - 1) < width)
            source, to = x + ((i0 * height + i1) * width + i2) * 4, panel + (t * tile.columns + q) * 4
            if stride == 0:
                _one_by_one(f, source, to, plane, jump, channels, s2, i2, inside, width, run)
                continue
            with f.when(whole):
                for c in f.range(0, channels):
                    f.store(_vector(f, tile, stride, source + c * plane), to + c * jump)
            with f.unless(whole):
                live = below(f, run, lanes)
                masks = _inside(f, tile, stride, i2, width, run, inside)
                for c in f.range(0, channels):
                    f.store_masked(_vector(f, tile, stride, source + c * plane, masks), to + c * jump, 0, live)
        done.set(q + run)
    f.ret()
    return f


def _vector(f: Function, tile: Tile, stride: int, source: Value, masks: list[Value] | None = None) -> Value:
    """Numbers of a row, each or every second; of two vectors, the second begins where the first one ends."""
    starts = (0,) if stride == 1 else (0, tile.lanes - 1)
    if masks is None:
        parts = [f.load(tile.vector, source, start) for start in starts]
    else:
        parts = [f.load_masked(tile.vector, source, s, m) for s, m in zip(starts, masks, strict=True)]
    if stride == 1:
        return parts[0]
    half = tile.lanes // 2
    order = [2 * i if i < half else tile.lanes + 2 * (i - half) + 1 for i in range(tile.lanes)]
    return f.shuffle(parts[0], parts[1], order)


def _inside(f: Function, tile: Tile, stride: int, at: Value, width: Value, run: Value, row: Value) -> list[Value]:
    """The masks of :func:`_vector`: what lies in the row, and is wanted."""
    numbers = I32.vector(tile.lanes)
    masks = []
    for start in (0,) if stride == 1 else (0, tile.lanes - 1):
        places = f.lanes(numbers) + f.value(numbers, (at + start).trunc(I32))
        real = places.compare("ult", f.value(numbers, width.trunc(I32))) & f.splat(row, tile.lanes)
        masks.append(real & below(f, (run - 1) * stride + 1 - start, tile.lanes))
    return masks


def _one_by_one(
    f: Function, source: Value, to: Value, plane: Value, jump: Value, channels: Value, stride: Value, at: Value,
    row: Value, width: Value, run: Value,
) -> None:  # fmt: skip
    """The numbers of a run without vectors, for strides that are rare."""
    for i in f.range(0, run):
        real = row & (at + i * stride).compare("ult", width)
        here, there = source + i * stride * 4, to + i * 4
        with f.when(real):
            for c in f.range(0, channels):
                f.store(f.load(F32, here + c * plane), there + c * jump)
        with f.unless(real):
            for c in f.range(0, channels):
                f.store(f.constant(F32, 0.0), there + c * jump)
