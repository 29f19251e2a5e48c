"""The gradient of a convolution's weight by Winograd's algorithm: 3 × 3 results of filters that are 4 × 4 gradients."""

from __future__ import annotations

from functools import cache

from flambeau.backends.cpu.native.conv_tile import below, call_for, products, tile_of
from flambeau.backends.cpu.native.micro import Tile
from flambeau.backends.cpu.native.winograd import (
    NUMBERS,
    RESULTS,
    SIZES,
    TAPS,
    Chunk,
    images_of,
    odd_lines,
    put,
    rows_of,
    turn_of,
    unless_finite,
)  # fmt: skip
from flambeau.backends.cpu.native.winograd_tiles import SIDE, both_ways, gathered, matrices, spread
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F32, I64, PTR

#: Channels that a chunk of :func:`collected` has.
CHANNELS = 8


def _gradients(module: Module, tile: Tile, turn: Function) -> Function:
    """``gradients(source, plane, first, height, width, channels, scratch, wide, to, pitch, capacity, block, apart)``.

    The tiles of one unit as panels: number e of tile t goes to ``to[e * apart + (panel * capacity + t) * columns]``.
    """
    f = Function(module, "gradients", [PTR, *[I64] * 5, PTR, I64, PTR, *[I64] * 4], internal=True)
    source, plane, first, height, width, channels, scratch, wide, to, pitch, capacity, block, apart = f.args
    length = wide * RESULTS
    rows_of(
        f, tile, turn, RESULTS, source, plane, first, height, width, channels, scratch, pitch, length,
        f.constant(I64, 0),
    )  # fmt: skip
    filter_ = matrices(TAPS).filter
    for t in f.range(0, wide):
        for c in f.range(0, channels, tile.lanes):
            here = scratch + (t * RESULTS * pitch + c) * 4
            grid = [
                [f.load(tile.vector, here, (length * r + q) * pitch) for q in range(RESULTS)] for r in range(RESULTS)
            ]
            there = to + ((c // block * capacity + t) * tile.width + c % block) * 4
            put(f, both_ways(f, spread, filter_, grid), there, apart)
    f.ret()
    return f


@cache
def sums(target: Target) -> Job:
    """The job that sums the products over the tiles of some units: ``out[chunk][e][channel][output channel]``."""
    module, tile = Module(target), tile_of(target)
    turn = turn_of(module, tile)
    multiply, images = products(module, "product", tile), images_of(module, tile, turn)
    gradients = _gradients(module, tile, turn)
    pointers = ("x", "grad", "out", "memory")
    f = JobFunction(module, "sums", [PTR] * len(pointers) + [I64] * len(SIZES))
    z = Chunk(f, tile, pointers)
    v = z.v
    apart = odd_lines(f, v["parts"] * v["capacity"] * tile.width)
    scratch = z.behind + apart * (NUMBERS * 4)
    begin = z.number * v["step"]
    end = f.minimum(begin + v["step"], v["units"])
    size, zeros = v["channels"] * z.out_pitch, f.table(F32, [0.0] * tile.rows)
    out = v["out"] + f.chunk * size * (NUMBERS * 4)
    some = v["capacity"] // v["wide"]
    for first in f.range(begin, end, some):
        stop = f.minimum(first + some, end)
        for u in f.range(first, stop):
            t = (u - first) * v["wide"]
            z.input(images, u, z.tiles + t * z.pitch * 4)
            plane, _, row = z.output("grad", u)
            f.call(
                gradients, plane, z.out_plane, row, v["out_height"], v["out_width"], v["out_channels"], scratch,
                v["wide"], z.behind + t * (tile.width * 4), z.out_pitch, v["capacity"], v["block"], apart,
            )  # fmt: skip
        count, add = (stop - first) * v["wide"], (first > begin).zext(I64)
        for e in f.range(0, NUMBERS):
            for part in f.range(0, v["parts"]):
                column = part * v["block"]
                columns = f.minimum(v["out_channels"] - column, v["block"])
                panel = z.behind + (e * apart + part * v["capacity"] * tile.width) * 4
                for i in f.range(0, v["channels"], tile.rows):
                    call_for(
                        f, multiply, columns, tile.lanes, count, z.tiles + (e * z.apart + i) * 4, f.constant(I64, 1),
                        z.pitch, panel, out + (e * size + i * z.out_pitch + column) * 4, z.out_pitch,
                        v["channels"] - i, columns, add, zeros,
                    )  # fmt: skip
    f.ret()
    (job,) = jobs(f)
    return job


@cache
def collected(target: Target) -> Job:
    """The job that adds what the chunks of :func:`sums` found, and transforms it: some channels of a group a chunk.

    ``flags`` get nan for a chunk that is not finite.
    """
    module, tile = Module(target), tile_of(target)
    lanes = tile.lanes
    f = JobFunction(module, "collected", [PTR] * 3 + [I64] * 4)
    source, out, flags, channels, out_channels, chunks, pieces = f.values
    group, first = f.chunk // pieces, f.chunk % pieces * CHANNELS
    pitch = (out_channels + (lanes - 1)) & ~(lanes - 1)
    apart = channels * pitch
    source = source + group * chunks * apart * (NUMBERS * 4)
    out = out + group * out_channels * channels * (TAPS * TAPS * 4)
    aside, nothing = f.buffer(TAPS * TAPS * lanes * 4), f.variable(tile.vector, 0.0)
    for c in f.range(first, f.minimum(first + CHANNELS, channels)):
        for o in f.range(0, out_channels, lanes):
            there = below(f, out_channels - o, lanes)
            grid = _added(f, tile, source + (c * pitch + o) * 4, apart, chunks, there)
            found = both_ways(f, gathered, matrices(TAPS).output, grid)
            nothing.set(unless_finite(f, found, nothing.now))
            for i, value in enumerate([x for row in found for x in row]):
                f.store(value, aside, i * lanes)
            for k in f.range(0, f.minimum(out_channels - o, lanes)):
                to = out + ((o + k) * channels + c) * (TAPS * TAPS * 4)
                for i in range(TAPS * TAPS):
                    f.store(f.load(F32, aside, k + i * lanes), to, i)
    f.store(f.reduce(nothing.now, Value.__add__), flags, f.chunk)
    f.ret()
    (job,) = jobs(f)
    return job


def _added(
    f: Function, tile: Tile, source: Value, apart: Value, chunks: Value, there: Value
) -> list[list[Value]]:  # fmt: skip
    """The numbers of a tile, of all chunks in order; 0 in the lanes behind the last channel."""
    totals = [f.variable(tile.vector, 0.0) for _ in range(NUMBERS)]
    for total in totals:
        total.set(0.0)
    for chunk in f.range(0, chunks):
        here = source + chunk * apart * (NUMBERS * 4)
        for e, total in enumerate(totals):
            total.set(total.now + f.load_masked(tile.vector, here, apart * e, there))
    return [[totals[SIDE * i + j].now for j in range(SIDE)] for i in range(SIDE)]
