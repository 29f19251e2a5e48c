"""Philox4x32-10 over an array namespace, as :mod:`flambeau.core.random` defines it."""

from __future__ import annotations

from typing import Final

from flambeau.backends.xp import Array, Namespace
from flambeau.core.random import KEY_STEPS, MULTIPLIERS, ROUNDS, WORDS_PER_BLOCK

_MASK32: Final = 0xFFFFFFFF
_MASK64: Final = 0xFFFFFFFFFFFFFFFF


def random_bits(xp: Namespace, seed: int, offset: int, *, length: int, index: int = 0) -> Array:
    """``length`` words (uint32) of the stream of ``seed``, from block ``offset`` on."""
    words = xp.empty((-(-length // WORDS_PER_BLOCK), WORDS_PER_BLOCK), "u4")
    fill(xp, words, int(seed) & _MASK64, int(offset) & _MASK64)
    return words.reshape(-1)[:length]


def fill(xp: Namespace, words: Array, seed: int, offset: int) -> None:
    """Write to ``words`` (n, 4), uint32, the n blocks from the 64-bit counter ``offset`` on.

    The 32-bit values stand in 64-bit elements, where their products fit: words 0 and 2 in one array, which the
    rounds multiply, words 1 and 3 in another.
    """
    even, odd, products = (xp.zeros((2, len(words)), "u8") for _ in range(3))
    counter = xp.arange(len(words), dtype="u8")
    counter += xp.uint64(offset)
    mask, half = xp.uint64(_MASK32), xp.uint64(32)
    xp.bitwise_and(counter, mask, even[0])
    xp.right_shift(counter, half, odd[0])
    factors, crossed = xp.array(MULTIPLIERS, "u8")[:, None], products[::-1]
    for keys in xp.array(_round_keys(seed), "u8"):
        xp.multiply(even, factors, products)
        xp.right_shift(crossed, half, even)
        even ^= odd
        even ^= keys
        xp.bitwise_and(crossed, mask, odd)
    for i in range(WORDS_PER_BLOCK):
        words[:, i] = (odd if i % 2 else even)[i // 2]


def _round_keys(seed: int) -> list[list[list[int]]]:
    """For each round the two key words, as a column."""
    low, high = seed & _MASK32, seed >> 32
    return [[[(low + r * KEY_STEPS[0]) & _MASK32], [(high + r * KEY_STEPS[1]) & _MASK32]] for r in range(ROUNDS)]
