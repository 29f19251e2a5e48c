"""Random bits on numpy: the shared body, some blocks at a time in the cache, over the threads."""

from __future__ import annotations

from typing import Final

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu.chunks import in_chunks
from flambeau.backends.xp import Array
from flambeau.backends.xp import random as xp_random

_BLOCKS: Final = 16384  # that are made at a time
_MASK64: Final = 0xFFFFFFFFFFFFFFFF


def bind(table: KernelTable) -> None:
    table.register("random_bits", random_bits)


def random_bits(seed: int, offset: int, *, length: int, index: int = 0) -> Array:
    """``length`` words (uint32) of the stream of ``seed``, from block ``offset`` on."""
    if length <= 8 * _BLOCKS:
        return xp_random.random_bits(np, seed, offset, length=length)
    words = np.empty((-(-length // 4), 4), np.uint32)

    def work(part: slice) -> None:
        xp_random.fill(np, words[part], int(seed) & _MASK64, (int(offset) + part.start) & _MASK64)

    in_chunks(work, len(words), 1, _BLOCKS)
    return words.reshape(-1)[:length]
