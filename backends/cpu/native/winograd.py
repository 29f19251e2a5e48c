"""Convolutions of 3 × 3 with a quarter of the multiplications: the three kernels, for strides of 1 in two axes.

Tiles of 4 × 4 results are taken some at a time. What they read of the images becomes 6 × 6 numbers a tile, channels
side by side; then there are 36 products of (tiles, channels) with (channels, output channels), and what comes out is
turned into results. In float32 the error is at most three times that of a sum of all products, which tests hold. One
number that is inf or nan makes a tile nan, so that such results are told, and computed in the ordinary way. The
gradient of the weight is an algorithm of the same kind, whose filter is a tile of the output's gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from flambeau.backends.cpu.native.after import AHEAD, NOTHING, After, Follow
from flambeau.backends.cpu.native.conv_tile import below, call_for, products, tile_of
from flambeau.backends.cpu.native.micro import Tile
from flambeau.backends.cpu.native.pack import transpose
from flambeau.backends.cpu.native.winograd_tiles import INPUT, SIDE, both_ways, gathered, matrices, spread
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F32, I64, PTR

#: Results of a tile along an axis, and taps.
RESULTS, TAPS = 4, 3
#: Numbers of a transformed tile.
NUMBERS = SIDE * SIDE

#: What both jobs over tiles are told. A unit is a row of tiles of one image; ``capacity`` tiles are done at a time.
SIZES = (
    "memory_bytes", "units", "channels", "out_channels", "groups", "height", "width", "out_height", "out_width",
    "padding0", "padding1", "high", "wide", "step", "chunks", "capacity", "parts", "block",
)  # fmt: skip


# -- tiles of images -------------------------------------------------------------------------------
def turn_of(module: Module, tile: Tile) -> Function:
    """``turn(source, plane, count, channels, to, pitch)``: ``to[i][c] = source[c][i]``, of ``count`` numbers in a row.

    Channels are ``plane`` numbers apart; what stands behind the last one, up to whole vectors, is anything.
    """
    lanes, vector = tile.lanes, tile.vector
    f = Function(module, "turn", [PTR, I64, I64, I64, PTR, I64], internal=True)
    source, plane, count, channels, to, pitch = f.args
    main = count & ~(lanes - 1)
    rest = below(f, count - main, lanes)
    for c in f.range(0, channels, lanes):
        rows = [source + plane * f.minimum(c + i, channels - 1) * 4 for i in range(lanes)]
        for i in f.range(0, main, lanes):
            for k, found in enumerate(transpose(f, [f.load(vector, r, i) for r in rows])):
                f.store(found, to, (i + k) * pitch + c)
        with f.when(main < count):
            for k, found in enumerate(transpose(f, [f.load_masked(vector, r, main, rest) for r in rows])):
                with f.when(count - main > k):
                    f.store(found, to, (main + k) * pitch + c)
    f.ret()
    return f


def rows_of(
    f: Function, tile: Tile, turn: Function, count: int, source: Value, plane: Value, first: Value, height: Value,
    width: Value, channels: Value, to: Value, pitch: Value, length: Value, before: Value,
) -> None:  # fmt: skip
    """Rows of images from ``first`` on, channels side by side, ``before`` places into rows of ``length`` places.

    Rows that are not there become zeros; places around the image are left as they are.
    """
    for r in f.range(0, count):
        line = to + (r * length + before) * pitch * 4
        row = first + r
        real = row.compare("ult", height)
        with f.when(real):
            f.call(turn, source + row * width * 4, plane, width, channels, line, pitch)
        with f.unless(real):
            for i in f.range(0, width * pitch, tile.lanes):
                f.store(f.constant(tile.vector, 0.0), line, i)


def images_of(module: Module, tile: Tile, turn: Function) -> Function:
    """``images(source, plane, first, height, width, channels, scratch, length, before, wide, to, pitch, apart)``.

    The tiles of one unit: number e of tile t goes to ``to[e * apart + t * pitch + c]``.
    """
    f = Function(module, "images", [PTR, *[I64] * 5, PTR, *[I64] * 3, PTR, I64, I64], internal=True)
    source, plane, first, height, width, channels, scratch, length, before, wide, to, pitch, apart = f.args
    rows_of(
        f, tile, turn, SIDE, source, plane, first, height, width, channels, scratch, pitch, length, before
    )  # fmt: skip
    for t in f.range(0, wide):
        for c in f.range(0, channels, tile.lanes):
            here = scratch + (t * RESULTS * pitch + c) * 4
            grid = [[f.load(tile.vector, here, (length * r + q) * pitch) for q in range(SIDE)] for r in range(SIDE)]
            put(f, both_ways(f, spread, INPUT, grid), to + (t * pitch + c) * 4, apart)
    f.ret()
    return f


def put(f: Function, grid: Sequence[Sequence[Value]], to: Value, apart: Value) -> None:
    """Write the numbers of a tile, each ``apart`` from the one before."""
    for e, value in enumerate([x for row in grid for x in row]):
        f.store(value, to, apart * e)


# -- results ---------------------------------------------------------------------------------------
def _results(module: Module, tile: Tile) -> Function:
    """``results(m, pitch, apart, bias, y, plane, channels, height, width, wide)``: the tiles of one unit.

    ``height`` rows are still there, from ``y`` on; rows are ``width`` long. Returns nan if one of them is not finite.
    """
    f = Function(module, "results", [PTR, I64, I64, PTR, PTR, *[I64] * 5], F32, internal=True)
    m, pitch, apart, bias, y, plane, channels, height, width, wide = f.args
    lanes, output = tile.lanes, matrices(RESULTS).output
    aside = f.buffer(RESULTS * RESULTS * lanes * 4)
    nothing = f.variable(tile.vector, 0.0)
    for t in f.range(0, wide):
        for c in f.range(0, channels, lanes):
            here = m + (t * pitch + c) * 4
            grid = [[f.load(tile.vector, here, apart * (SIDE * i + j)) for j in range(SIDE)] for i in range(SIDE)]
            shift = f.load_masked(tile.vector, bias, c, below(f, channels - c, lanes))
            found = [[x + shift for x in row] for row in both_ways(f, gathered, output, grid)]
            nothing.set(unless_finite(f, found, nothing.now))
            to, right = y + (c * plane + t * RESULTS) * 4, width - t * RESULTS
            whole = (height >= RESULTS) & (right >= RESULTS) & (channels - c >= lanes)
            with f.when(whole, likely=True):
                _whole(f, tile, found, to, plane, width)
            with f.unless(whole, likely=False):
                for place, value in enumerate([x for row in found for x in row]):
                    f.store(value, aside, place * lanes)
                for k in f.range(0, f.minimum(channels - c, lanes)):
                    for i in f.range(0, f.minimum(height, RESULTS)):
                        for j in f.range(0, f.minimum(right, RESULTS)):
                            f.store(f.load(F32, aside, (i * RESULTS + j) * lanes + k), to, k * plane + i * width + j)
    f.ret(f.reduce(nothing.now, Value.__add__))
    return f


def unless_finite(f: Function, grid: Sequence[Sequence[Value]], start: Value) -> Value:
    """0 in each lane, or nan where a number is inf or nan."""
    for row in grid:
        for value in row:
            start = f.muladd(value, 0.0, start)
    return start


def _whole(f: Function, tile: Tile, found: list[list[Value]], to: Value, plane: Value, width: Value) -> None:
    """A tile of whole vectors of channels: turned, then four numbers at a time."""
    together = tile.lanes // RESULTS
    for first in range(0, RESULTS, together):
        vectors = [x for row in found[first : first + together] for x in row]
        for k, channel in enumerate(transpose(f, vectors)):
            for i in range(together):
                part = f.shuffle(channel, None, range(RESULTS * i, RESULTS * (i + 1)))
                f.store(part, to, plane * k + width * (first + i))


# -- filters ---------------------------------------------------------------------------------------
@cache
def filters(target: Target) -> Job:
    """The job that transforms a weight, a panel of output channels of a group at a time: ``to[e][panel][c][column]``.

    A filter stands ``row`` numbers from the one of the next output channel, ``column`` from that of the next channel;
    ``which`` are its nine taps in order.
    """
    module, tile = Module(target), tile_of(target)
    f = JobFunction(module, "filters", [PTR] * 3 + [I64] * 7)
    weight, to, which, channels, out_channels, row, column, group, parts, block = f.values
    panel = f.chunk % parts
    first = panel * block
    source = weight + f.chunk // parts * group * 4
    apart = parts * channels * tile.width
    to = to + (f.chunk // parts * NUMBERS * apart + panel * channels * tile.width) * 4
    taps = [f.load(I64, which, t) for t in range(TAPS * TAPS)]
    filter_ = matrices(RESULTS).filter
    for v in f.range(0, block, tile.lanes):
        rows = [source + f.minimum(first + v + i, out_channels - 1) * row * 4 for i in range(tile.lanes)]
        for c in f.range(0, channels):
            found = [_lanes_of(f, [r + (c * column + tap) * 4 for r in rows]) for tap in taps]
            grid = [found[TAPS * i : TAPS * (i + 1)] for i in range(TAPS)]
            put(f, both_ways(f, spread, filter_, grid), to + (c * tile.width + v) * 4, apart)
    f.ret()
    (job,) = jobs(f)
    return job


def _lanes_of(f: Function, pointers: Sequence[Value]) -> Value:
    """A vector of numbers from different places."""
    vector = F32.vector(len(pointers))
    found = f.constant(vector, 0.0)
    for i, pointer in enumerate(pointers):
        number = f.load(F32, pointer)
        found = f.emit(vector, f"insertelement {vector} {found.text}, float {number.text}, i32 {i}")
    return found


# -- jobs over tiles -------------------------------------------------------------------------------
class Chunk:
    """What both jobs compute from their sizes: some units of a group, and where their tiles stand in memory."""

    def __init__(self, f: JobFunction, tile: Tile, pointers: Sequence[str]):
        self.f, self.tile = f, tile
        self.v = v = dict(zip((*pointers, *SIZES), f.values, strict=False))  # behind them stands a line's
        self.group, self.number = f.chunk // v["chunks"], f.chunk % v["chunks"]
        self.pitch = (v["channels"] + (tile.lanes - 1)) & ~(tile.lanes - 1)
        self.out_pitch = (v["out_channels"] + (tile.lanes - 1)) & ~(tile.lanes - 1)
        self.length = v["wide"] * RESULTS + (TAPS - 1)
        self.plane, self.out_plane = v["height"] * v["width"], v["out_height"] * v["out_width"]
        self.apart = odd_lines(f, v["capacity"] * self.pitch)
        self.scratch = v["memory"] + f.thread * v["memory_bytes"]
        self.tiles = self.scratch + self.length * SIDE * self.pitch * 4
        self.behind = self.tiles + self.apart * (NUMBERS * 4)

    def input(self, images: Function, u: Value, to: Value) -> None:
        """The tiles of unit ``u`` of the images to ``to``."""
        f, v = self.f, self.v
        n, first = u // v["high"], u % v["high"] * RESULTS
        source = v["x"] + (n * v["groups"] + self.group) * v["channels"] * self.plane * 4
        f.call(
            images, source, self.plane, first - v["padding0"], v["height"], v["width"], v["channels"], self.scratch,
            self.length, v["padding1"], v["wide"], to, self.pitch, self.apart,
        )  # fmt: skip

    def output(self, pointer: str, u: Value) -> tuple[Value, Value, Value]:
        """The first plane of a unit's results, how many rows are still there, and which is its first."""
        v = self.v
        n, first = u // v["high"], u % v["high"] * RESULTS
        plane = v[pointer] + (n * v["groups"] + self.group) * v["out_channels"] * self.out_plane * 4
        return plane, v["out_height"] - first, first


def odd_lines(f: Function, count: Value) -> Value:
    """A count made an odd number of cache lines, so that what is as far apart does not meet in the first cache."""
    return (count + 15) // 16 * 16 | 16


@cache
def forward(target: Target, after: After = NOTHING.after) -> Job:
    """The job of the convolution, then a line.

    ``filters`` are transformed ones. ``flags`` get nan for what is not finite before the line.
    """
    module, tile = Module(target), tile_of(target)
    multiply, results = products(module, "product", tile), _results(module, tile)
    images = images_of(module, tile, turn_of(module, tile))
    pointers = ("x", "filters", "bias", "y", "flags", "memory")
    more = after.parameters if after.sizes else []
    f = JobFunction(module, "forward", [PTR] * len(pointers) + [I64] * len(SIZES) + more)
    z, follow = Chunk(f, tile, pointers), Follow(f, after) if after.sizes else None
    v = z.v
    begin = z.number * v["step"]
    end = f.minimum(begin + v["step"], v["units"])
    m_apart = odd_lines(f, v["capacity"] * z.out_pitch)
    for u in f.range(begin, end):
        z.input(images, u, z.tiles + (u - begin) * v["wide"] * z.pitch * 4)
    count, zeros = (end - begin) * v["wide"], f.table(F32, [0.0] * tile.rows)
    panels = v["filters"] + z.group * (NUMBERS * 4 * tile.width) * v["parts"] * v["channels"]
    for e in f.range(0, NUMBERS):
        for part in f.range(0, v["parts"]):
            column = part * v["block"]
            columns = f.minimum(v["out_channels"] - column, v["block"])
            panel = panels + (e * v["parts"] + part) * v["channels"] * (tile.width * 4)
            for t in f.range(0, count, tile.rows):
                call_for(
                    f, multiply, columns, tile.lanes, v["channels"], z.tiles + (e * z.apart + t * z.pitch) * 4, z.pitch,
                    f.constant(I64, 1), panel, z.behind + (e * m_apart + t * z.out_pitch + column) * 4, z.out_pitch,
                    count - t, columns, f.constant(I64, 0), zeros,
                )  # fmt: skip
    nothing = f.variable(F32, 0.0)
    for u in f.range(begin, end):
        y, left, first = z.output("y", u)
        found = f.call(
            results, z.behind + (u - begin) * v["wide"] * z.out_pitch * 4, z.out_pitch, m_apart,
            v["bias"] + z.group * v["out_channels"] * 4, y + first * v["out_width"] * 4, z.out_plane, v["out_channels"],
            left, v["out_width"], v["wide"],
        )  # fmt: skip
        nothing.set(nothing.now + found)
        if follow is not None:
            for c in f.range(0, v["out_channels"]):
                plane = (u // v["high"] * v["groups"] + z.group) * v["out_channels"] + c
                place, count = plane * z.out_plane + first * v["out_width"], f.minimum(left, RESULTS) * v["out_width"]
                follow.fetch(place + AHEAD * z.out_plane, place, f.select(c + AHEAD < v["out_channels"], count, 0))
                follow(place, place, count)
    f.store(nothing.now, v["flags"], f.chunk)
    f.ret()
    (job,) = jobs(f)
    return job
