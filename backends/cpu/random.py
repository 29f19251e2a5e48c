"""Random bits on numpy: the shared body, some blocks at a time in the cache, over the threads."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu.chunks import in_chunks
from flambeau.backends.xp import Array
from flambeau.backends.xp import random as xp_random
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.random import UNIFORM_BITS, WORDS_PER_BLOCK, largest_below

_BLOCKS: Final = 16384  # that are made at a time
_SMALL: Final = 256  # words, at most, of a draw for which others are made ahead
_AHEAD: Final = 256  # blocks made ahead: a call of numpy costs more than they do
_MASK64: Final = 0xFFFFFFFFFFFFFFFF


#: Seed, first block and words of the last small draw; read and replaced as one object.
_last: tuple[int, int, Array] = (0, 0, np.empty(0, np.uint32))


def bind(table: KernelTable) -> None:
    table.register("random_bits", random_bits)
    table.register("uniform_numbers", uniform_numbers, dtypes=(dt.float32, dt.float64))


def random_bits(seed: int, offset: int, *, length: int, index: int = 0) -> Array:
    """``length`` words (uint32) of the stream of ``seed``, from block ``offset`` on."""
    if length <= _SMALL:
        return _small(int(seed) & _MASK64, int(offset) & _MASK64, length)
    if length <= 8 * _BLOCKS:
        return xp_random.random_bits(np, seed, offset, length=length)
    words = np.empty((-(-length // 4), 4), np.uint32)

    def work(part: slice) -> None:
        xp_random.fill(np, words[part], int(seed) & _MASK64, (int(offset) + part.start) & _MASK64)

    in_chunks(work, len(words), 1, _BLOCKS)
    return words.reshape(-1)[:length]


def _small(seed: int, offset: int, length: int) -> Array:
    """Words of a small draw; where one goes on soon after another, from words that were made ahead."""
    global _last
    known, first, words = _last
    at = (offset - first) * WORDS_PER_BLOCK
    if seed != known or not 0 <= at <= _AHEAD * WORDS_PER_BLOCK:  # a new stream, or a new place in it
        words = xp_random.random_bits(np, seed, offset, length=length)
        _last = seed, offset, words
        return words.copy()
    if at + length > len(words):
        words, at = xp_random.random_bits(np, seed, offset, length=_AHEAD * WORDS_PER_BLOCK), 0
        _last = seed, offset, words
    return words[at : at + length].copy()


def uniform_numbers(
    seed: int, offset: int, low: float, high: float, *, shape: tuple[int, ...], dtype: DType, index: int = 0
) -> Array:
    """Numbers in [low, high), to the bit those of the steps in :mod:`flambeau.core.ops.random`."""
    count = math.prod(shape)
    if dtype is dt.float64:
        pairs = random_bits(seed, offset, length=2 * count).reshape(count, 2)
        out = (pairs[:, 0] >> np.uint32(5)).astype(np.float64)
        out *= 2.0**26
        out += pairs[:, 1] >> np.uint32(6)
        out *= 2.0**-53
    else:
        bits = random_bits(seed, offset, length=count)
        bits >>= np.uint32(32 - UNIFORM_BITS["float32"])
        out = bits.astype(np.float32)
        out *= 2.0 ** -UNIFORM_BITS["float32"]
    if (low, high) != (0.0, 1.0):
        out *= high - low
        out += low
        if low < high:
            np.minimum(out, largest_below(high, dtype.name), out=out)
    return out.reshape(shape)
