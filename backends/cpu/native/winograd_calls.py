"""Which convolutions go Winograd's way, how they are cut, and the calls of its jobs."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import winograd, winograd_weights
from flambeau.backends.cpu.native.after import NOTHING, Applied
from flambeau.backends.cpu.native.conv_tile import Memory, tile_of
from flambeau.backends.cpu.native.micro import Tile
from flambeau.backends.cpu.native.winograd import NUMBERS, RESULTS, TAPS
from flambeau.backends.cpu.native.winograd_tiles import SIDE
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.target import Target

Array = np.ndarray[Any, Any]
Ints = tuple[int, ...]
Pair = tuple[int, int]

#: Numbers that the tiles of a chunk should have, and tiles that it has at least, if they are there.
_CACHE: Final = 1 << 19
_TILES: Final = 48
_CHUNKS: Final = 16  # that there should be, if they can be large enough
#: Multiplications that a number of a transformed tile, and one of a transformed filter, cost as much as.
_AROUND, _FILTER = 16, 80
#: Numbers in the sums of a weight's gradient, and chunks that there are in any case.
_SUMS, _PARTS = 1 << 22, 2


@dataclass(frozen=True)
class Sizes:
    """What the jobs are told: :data:`winograd.SIZES`, but for the first."""

    units: int
    channels: int
    out_channels: int
    groups: int
    height: int
    width: int
    out_height: int
    out_width: int
    padding0: int
    padding1: int
    high: int
    wide: int
    step: int
    chunks: int
    capacity: int
    parts: int
    block: int


def pays(batch: int, channels: int, out_channels: int, outside: Ints) -> bool:
    """Whether a convolution with 3 × 3 taps, of a group of channels, is quicker this way: by its sizes alone."""
    depth, height, width = outside
    if min(channels, out_channels) < 16 or min(height, width) < RESULTS or depth > 1:
        return False
    tiles = batch * -(-height // RESULTS) * -(-width // RESULTS)
    direct = batch * height * width * TAPS * TAPS * channels * out_channels
    products = NUMBERS * (tiles * channels * out_channels)
    around = NUMBERS * (tiles * (channels + out_channels) * _AROUND + channels * out_channels * _FILTER)
    return products + around < direct


def square(taps: Array, stride: Ints) -> tuple[Pair, list[int]] | None:
    """The padding in two axes and the order of the taps, if they are a square of 3 × 3 that moves by single places."""
    if len(taps) != TAPS * TAPS or stride != (1, 1, 1):
        return None
    low, high = taps.min(0), taps.max(0)
    if low[0] != 0 or tuple(high - low) != (0, TAPS - 1, TAPS - 1):
        return None
    return (int(-low[1]), int(-low[2])), np.lexsort((taps[:, 2], taps[:, 1])).tolist()


def _odd_lines(count: int) -> int:
    return -(-count // 16) * 16 | 16


@lru_cache(128)
def _sizes(
    tile: Tile, batch: int, channels: int, out_channels: int, groups: int, inside: Pair, outside: Pair, padding: Pair,
    sums: bool,
) -> tuple[Sizes, int]:  # fmt: skip
    """The sizes, and how many numbers of memory a thread needs."""
    high, wide = (-(-n // RESULTS) for n in outside)
    units = batch * high
    pitch, out_pitch = (-(-n // tile.lanes) * tile.lanes for n in (channels, out_channels))
    parts = -(-out_channels // tile.width)
    block = -(-out_channels // (parts * tile.lanes)) * tile.lanes
    parts = -(-out_channels // block)
    some = max(1, min(units, max(_TILES, _CACHE // NUMBERS // (pitch + out_pitch)) // wide))
    if sums:
        chunks = max(_PARTS, min(_CHUNKS, _SUMS // (NUMBERS * channels * out_pitch * groups), -(-units // some)))
        step = -(-units // chunks)
        some = min(some, step)
        behind = _odd_lines(parts * some * wide * tile.width)
    else:
        chunks = -(-units // some)
        step = some = -(-units // chunks)
        behind = _odd_lines(some * wide * out_pitch)
    sizes = Sizes(
        units, channels, out_channels, groups, *inside, *outside, *padding, high, wide, step, -(-units // step),
        some * wide, parts, block,
    )  # fmt: skip
    images = (wide * RESULTS + TAPS - 1) * SIDE * pitch
    gradients = RESULTS * RESULTS * wide * out_pitch if sums else 0
    return sizes, images + gradients + NUMBERS * (_odd_lines(some * wide * pitch) + behind)


def conv(
    target: Target, x: Array, weight: Array, which: list[int], bias: Array, y: Array, inside: Pair,
    outside: Pair, padding: Pair, applied: Applied = NOTHING,
) -> bool:  # fmt: skip
    """The convolution of x, in two axes, with the nine taps ``which`` of a weight (groups, O, C, taps), a view.

    False where a result is inf or nan, and others may wrongly be.
    """
    tile, (groups, out_channels, channels, _) = tile_of(target), weight.shape
    s, floats = _sizes(tile, x.shape[0], channels, out_channels, groups, inside, outside, padding, False)
    panels = np.empty(groups * NUMBERS * s.parts * channels * tile.width, np.float32)
    group, row, column, _ = (n // 4 for n in weight.strides)
    table = np.array(which, np.int64)
    winograd.filters(target)(
        groups * s.parts, address(weight), address(panels), address(table), channels, out_channels, row, column, group,
        s.parts, s.block,
    )  # fmt: skip
    memory, flags = Memory(floats), np.empty(groups * s.chunks, np.float32)
    winograd.forward(target, applied.after)(
        len(flags), address(x), address(panels), address(bias), address(y), address(flags), memory.address,
        memory.bytes, *astuple(s), *applied.values,
    )  # fmt: skip
    return not flags.any()


def conv_grad_weight(
    target: Target, grad: Array, x: Array, out: Array, groups: int, inside: Pair, outside: Pair, padding: Pair
) -> bool:
    """The gradient of a weight (groups * O, C, 3, 3) into ``out``; False as in :func:`conv`."""
    tile, channels, out_channels = tile_of(target), x.shape[1] // groups, grad.shape[1] // groups
    s, floats = _sizes(tile, x.shape[0], channels, out_channels, groups, inside, outside, padding, True)
    memory = Memory(floats)
    pitch = -(-out_channels // tile.lanes) * tile.lanes
    found = np.empty(groups * s.chunks * NUMBERS * channels * pitch, np.float32)
    winograd_weights.sums(target)(
        groups * s.chunks, address(x), address(grad), address(found), memory.address, memory.bytes, *astuple(s)
    )
    pieces = -(-channels // winograd_weights.CHANNELS)
    flags = np.empty(groups * pieces, np.float32)
    winograd_weights.collected(target)(
        len(flags), address(found), address(out), address(flags), channels, out_channels, s.chunks, pieces
    )
    return not flags.any()
