"""Convolution as a product of the weight with a matrix that never stands in memory.

Its columns are the output's places, of all images one after the other; its rows are the kernel's places (taps) of each
channel. Panels of it are packed from the images themselves, so that places of several small images share a panel.
A tap is told by where it reads for the output's place 0, in each of three axes, which may lie outside of the image:
padding, dilation and the phases of a transposed convolution are only other taps.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

from flambeau.backends.cpu.native.after import AHEAD, NOTHING, After, Follow
from flambeau.backends.cpu.native.conv_tile import below, call_for, products, tile_of
from flambeau.backends.cpu.native.micro import Tile
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F32, I32, I64, PTR

#: Rows of a panel that should be packed at a time.
DEPTH: Final = 384
#: Channels that are packed at a time: their rows stay in the first cache from tap to tap, however far apart they are.
_CHANNELS: Final = 8

POINTERS: Final = ("x", "weight", "bias", "y", "taps", "memory")
NUMBERS: Final = (
    "memory_bytes", "places", "channels", "out_channels", "groups", "depth", "height", "width", "kernel",
    "out_depth", "out_height", "out_width", "stride0", "stride1", "stride2", "step", "panels", "chunks",
    "weight_group", "weight_row", "weight_step",
)  # fmt: skip


@cache
def forward(target: Target, stride: int, after: After = NOTHING.after) -> Job:
    """The job of convolutions whose stride along the last axis is ``stride``: 1, 2, or 0 for any; then a line."""
    module = Module(target)
    tile = tile_of(target)
    pack, multiply = _pack(module, tile, stride), products(module, "product", tile)
    more = after.parameters if after.sizes else []
    f = JobFunction(module, "forward", [PTR] * len(POINTERS) + [I64] * len(NUMBERS) + more)
    _chunk(f, tile, pack, multiply, Follow(f, after) if after.sizes else None)
    (job,) = jobs(f)
    return job


class _Chunk:
    """``panels`` panels of one group."""

    def __init__(self, f: JobFunction, tile: Tile):
        self.f, self.tile = f, tile
        self.v = v = dict(zip((*POINTERS, *NUMBERS), f.values, strict=False))  # behind them stands a line's
        group, number = f.chunk // v["chunks"], f.chunk % v["chunks"]
        self.group = group
        self.plane = v["depth"] * v["height"] * v["width"]
        self.outside = v["out_depth"] * v["out_height"] * v["out_width"]
        self.x = v["x"] + group * v["channels"] * self.plane * 4
        self.weight = v["weight"] + group * v["weight_group"] * 4
        self.y = v["y"] + group * v["out_channels"] * self.outside * 4
        self.bias = v["bias"] + group * v["out_channels"] * 4
        self.image = v["groups"] * v["channels"] * self.plane
        self.out_image = v["groups"] * v["out_channels"] * self.outside
        self.panel = v["memory"] + f.thread * v["memory_bytes"]
        self.size = v["step"] * v["kernel"] * (tile.width * 4)  # of a panel
        self.tiles = self.panel + self.size * v["panels"]
        self.begin = number * v["panels"] * tile.width
        self.end = f.minimum(self.begin + v["panels"] * tile.width, v["places"])

    def panels(self) -> Iterator[tuple[Value, Value, Value]]:
        """The first place of each panel, how many it has, and where it stands."""
        f, columns = self.f, self.tile.width
        for q in f.range(self.begin, self.end, columns):
            yield q, f.minimum(self.end - q, columns), self.panel + (q - self.begin) // columns * self.size

    def target(self, q: Value, columns: Value) -> tuple[Value, Value, Value]:
        """Where the results of a panel go, how far its rows are apart, and whether that is the output itself.

        Places of several images do not lie together there: they are computed aside.
        """
        f, v = self.f, self.v
        first = q // self.outside
        within = first.eq((q + columns - 1) // self.outside)
        aside = self.tiles + (q - self.begin) * v["out_channels"] * 4
        to = f.select(within, self.y + (first * self.out_image + q - first * self.outside) * 4, aside)
        return to, f.select(within, self.outside, self.tile.width), within

    def images(self, q: Value, columns: Value) -> Iterator[tuple[Value, Value, Value]]:
        """Each image that a panel shows, with the first of its places there and the one after the last."""
        f, outside = self.f, self.outside
        for n in f.range(q // outside, (q + columns - 1) // outside + 1):
            yield n, f.maximum(q, n * outside), f.minimum(q + columns, (n + 1) * outside)


def _chunk(f: JobFunction, tile: Tile, pack: Function, multiply: list[Function], follow: Follow | None) -> None:
    """For some channels at a time: the panels, then each piece of the weight with all of them; at last the line."""
    z = _Chunk(f, tile)
    v = z.v
    for c in f.range(0, v["channels"], v["step"]):
        some = f.minimum(v["channels"] - c, v["step"])
        for q, columns, panel in z.panels():
            for n, low, high in z.images(q, columns):
                source, to = z.x + (n * z.image + c * z.plane) * 4, panel + (low - q) * 4
                f.call(
                    pack, source, to, v["taps"], v["kernel"], some, v["depth"], v["height"], v["width"],
                    v["out_height"], v["out_width"], v["stride0"], v["stride1"], v["stride2"], low - n * z.outside,
                    high - low,
                )  # fmt: skip
        for i in f.range(0, v["out_channels"], tile.rows):
            weight = z.weight + (i * v["channels"] + c * v["weight_step"]) * v["kernel"] * 4
            for q, columns, panel in z.panels():
                to, ldc, _ = z.target(q, columns)
                call_for(
                    f, multiply, columns, tile.lanes, some * v["kernel"], weight, v["weight_row"], v["weight_step"],
                    panel, to + i * ldc * 4, ldc,
                    v["out_channels"] - i, columns, c, z.bias + i * 4,
                )  # fmt: skip
    for q, columns, _ in z.panels():
        aside, _, within = z.target(q, columns)
        with f.unless(within):
            for n, low, high in z.images(q, columns):
                to = z.y + (n * z.out_image + low - n * z.outside) * 4
                _rows(f, tile, aside + (low - q) * 4, to, z.outside, v["out_channels"], high - low)
    if follow is not None:
        for n, low, high in z.images(z.begin, z.end - z.begin):
            for i in f.range(0, v["out_channels"]):
                plane = (n * v["groups"] + z.group) * v["out_channels"] + i
                place, ahead = plane * z.outside + (low - n * z.outside), i + AHEAD < v["out_channels"]
                follow.fetch(place + AHEAD * z.outside, place, f.select(ahead, high - low, 0))
                follow(place, place, high - low)
    f.ret()


def _rows(f: Function, tile: Tile, source: Value, to: Value, pitch: Value, rows: Value, columns: Value) -> None:
    """Copy some columns of a tile to where rows are ``pitch`` apart."""
    for j in f.range(0, columns, tile.lanes):
        mask = below(f, columns - j, tile.lanes)
        for i in f.range(0, rows):
            value = f.load_masked(tile.vector, source + i * (tile.width * 4), j, mask)
            f.store_masked(value, to + i * pitch * 4, j, mask)


def _pack(module: Module, tile: Tile, stride: int) -> Function:
    """The part of a panel that shows ``count`` places of one image from place ``start`` on."""
    f = Function(module, "pack", [PTR] * 3 + [I64] * 12, internal=True)
    x, panel, taps, kernel, channels, depth, height, width, oh, ow, s0, s1, s2, start, count = f.args
    plane, jump, lanes = depth * height * width * 4, kernel * (tile.width * 4), tile.lanes
    done = f.variable(I64, 0)
    with f.loop() as leave:
        q = done.now
        leave(q >= count)
        place = start + q
        row, column = place // ow, place % ow
        run = f.minimum(f.minimum(ow - column, count - q), lanes)  # places next to each other in a row
        base0, base1, base2 = row // oh * s0, row % oh * s1, column * s2
        for some in f.range(0, channels, _CHANNELS):
            end = f.minimum(some + _CHANNELS, channels)
            for t in f.range(0, kernel):
                i0, i1, i2 = (b + f.load(I64, taps, t * 3 + i) for i, b in enumerate((base0, base1, base2)))
                inside = i0.compare("ult", depth) & i1.compare("ult", height)
                whole = inside & run.eq(lanes) & (i2 >= 0) & (i2 + s2 * (lanes - 1) < width)
                source, to = x + ((i0 * height + i1) * width + i2) * 4, panel + (t * tile.width + q) * 4
                if stride == 0:
                    _one_by_one(f, source, to, plane, jump, (some, end), s2, i2, inside, width, run)
                    continue
                with f.when(whole):
                    for c in f.range(some, end):
                        f.store(_vector(f, tile, stride, source + c * plane), to + c * jump)
                with f.unless(whole):
                    live = below(f, run, lanes)
                    masks = _inside(f, tile, stride, i2, width, run, inside)
                    for c in f.range(some, end):
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
    f: Function, source: Value, to: Value, plane: Value, jump: Value, channels: tuple[Value, Value], stride: Value,
    at: Value, row: Value, width: Value, run: Value,
) -> None:  # fmt: skip
    """The numbers of a run without vectors, for strides that are rare."""
    for i in f.range(0, run):
        real = row & (at + i * stride).compare("ult", width)
        here, there = source + i * stride * 4, to + i * 4
        with f.when(real):
            for c in f.range(*channels):
                f.store(f.load(F32, here + c * plane), there + c * jump)
        with f.unless(real):
            for c in f.range(*channels):
                f.store(f.constant(F32, 0.0), there + c * jump)


@cache
def arranged(target: Target) -> Job:
    """The job that puts a weight in the order of reading: pieces of as many rows as a tile has, column by column.

    A row is an output channel of a group (``rows`` of them), a column a tap of a channel; they are ``row``, ``column``
    numbers apart in memory, groups ``group``; ``which`` are the taps. Rows that are not there are 0.
    """
    rows_of = tile_of(target).rows
    f = JobFunction(Module(target), "arranged", [PTR] * 3 + [I64] * 7)
    weight, to, which, pieces, rows, channels, kernel, row, column, group = f.values
    begin = f.chunk % pieces * rows_of
    source = weight + (f.chunk // pieces * group + begin * row) * 4
    there = rows - begin
    at = f.variable(PTR, to + f.chunk * channels * kernel * (rows_of * 4))
    for whole in (True, False):
        with f.when(there >= rows_of if whole else there < rows_of):
            for c in f.range(0, channels):
                for t in f.range(0, kernel):
                    here = source + (c * column + f.load(I64, which, t)) * 4
                    for i in range(rows_of):
                        number = here + row * (4 * i)
                        value = f.load(F32, number) if whole else f.load_masked(F32, number, 0, there > i)
                        f.store(value, at.now, i)
                    at.set(at.now + rows_of * 4)
    f.ret()
    (job,) = jobs(f)
    return job
