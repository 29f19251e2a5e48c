"""Philox4x32-10 over an array namespace, as :mod:`flambeau.core.random` defines it."""

from __future__ import annotations

from typing import Any, Final

from flambeau.backends.base import KernelTable
from flambeau.backends.xp import Array, Bodies

ROUNDS: Final = 10
_MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS: Final = (0x9E3779B9, 0xBB67AE85)
_MASK32: Final = 0xFFFFFFFF
_MASK64: Final = 0xFFFFFFFFFFFFFFFF

bodies = Bodies()


def bind(table: KernelTable, xp: Any) -> None:
    bodies.bind(table, xp)


@bodies.kernel("random_bits")
def random_bits(xp: Any, seed: int, offset: int, *, length: int, index: int = 0) -> Array:
    """``length`` words (uint32) of the stream of ``seed``, from block ``offset`` on."""
    blocks = -(-length // 4)
    counter = xp.arange(blocks, dtype="u8")
    counter += xp.uint64(int(offset) & _MASK64)
    return philox(xp, counter, int(seed) & _MASK64).reshape(-1)[:length]


def philox(xp: Any, counter: Array, seed: int) -> Array:
    """The blocks (n, 4) of uint32 for 64-bit counters (n,) whose upper 64 bits are zero."""
    mask, half = xp.uint64(_MASK32), xp.uint64(32)
    c0, c1 = counter & mask, counter >> half
    c2 = c3 = xp.zeros_like(counter)
    k0, k1 = seed & _MASK32, seed >> 32
    m0, m1 = (xp.uint64(m) for m in _MULTIPLIERS)
    for _ in range(ROUNDS):
        p0, p1 = c0 * m0, c2 * m1
        c0, c1 = (p1 >> half) ^ c1 ^ xp.uint64(k0), p1 & mask
        c2, c3 = (p0 >> half) ^ c3 ^ xp.uint64(k1), p0 & mask
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK32, (k1 + _KEY_STEPS[1]) & _MASK32
    out = xp.empty((counter.size, 4), "u4")
    for i, word in enumerate((c0, c1, c2, c3)):
        out[:, i] = word
    return out
