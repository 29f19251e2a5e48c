"""Philox4x32-10, the counter-based generator that every random number comes from, and who hands out its counters.

There is one stream of 32-bit words per seed. Word ``i`` of a draw at ``offset`` is word ``i % 4`` of the
block whose counter is ``offset + i // 4`` (64 bits, little end first, the upper 64 bits zero) and whose key
is the 64-bit seed. So every backend and any number of threads make the same bits, and a generator's whole
state is ``(seed, offset)``.

The functions below define, in plain integers, the bits and every sampler made of them; the kernels and ops
are checked against them. Source of the algorithm: J. K. Salmon, M. A. Moraes, R. O. Dror and D. E. Shaw,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from operator import index
from typing import Final

from flambeau.core.locks import fork_safe

ROUNDS: Final = 10
MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)  # of counter words 0 and 2
KEY_STEPS: Final = (0x9E3779B9, 0xBB67AE85)  # added to the key words after each round
WORDS_PER_BLOCK: Final = 4
#: How many random bits a uniform number of each dtype has: the most that keep it below 1 exactly.
UNIFORM_BITS: Final = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}

_MASK32: Final = 0xFFFFFFFF
_MASK64: Final = 0xFFFFFFFFFFFFFFFF
_DEFAULT_SEED: Final = 67280421310721  # PyTorch's, for a Generator that nobody has seeded

Words = tuple[int, int, int, int]


def philox4x32(counter: Sequence[int], key: Sequence[int], rounds: int = ROUNDS) -> Words:
    """One block: four random 32-bit words from four counter words and two key words.

    >>> [f"{word:08x}" for word in philox4x32((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        low, high = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (high >> 32) ^ c1 ^ k0, high & _MASK32, (low >> 32) ^ c3 ^ k1, low & _MASK32
        k0, k1 = (k0 + KEY_STEPS[0]) & _MASK32, (k1 + KEY_STEPS[1]) & _MASK32
    return c0, c1, c2, c3


def random_words(seed: int, offset: int, length: int) -> list[int]:
    """The ``length`` words that the ``random_bits`` kernel returns for this seed and offset.

    >>> random_words(0, 0, 5)[:4] == list(philox4x32((0, 0, 0, 0), (0, 0)))
    True
    """
    key = (seed & _MASK32, seed >> 32 & _MASK32)
    words: list[int] = []
    for block in range(-(-length // WORDS_PER_BLOCK)):
        counter = (offset + block) & _MASK64
        words.extend(philox4x32((counter & _MASK32, counter >> 32, 0, 0), key))
    return words[:length]


# Samplers, one number each: what the ops compute elementwise from a draw's words. Those that take two
# words take words 2i and 2i + 1 for element i, except normals, of which one pair of words makes two.


def uniform(word: int, bits: int = 24) -> float:
    """A number in [0, 1) from the top ``bits`` (at most 32, see ``UNIFORM_BITS``) of a word.

    >>> uniform(0xFFFFFFFF) == 1 - 2**-24
    True
    """
    return (word >> (32 - bits)) * 2.0**-bits


def uniform_double(first: int, second: int) -> float:
    """A float64 in [0, 1) with 53 random bits: 27 of the first word above 26 of the second."""
    return ((first >> 5) * 2.0**26 + (second >> 6)) * 2.0**-53


#: Of each dtype: the digits of a number in base 2, and the exponent of the smallest step.
_PRECISION: Final = {"float16": (11, -24), "bfloat16": (8, -133), "float32": (24, -149), "float64": (53, -1074)}


def largest_below(high: float, dtype: str) -> float:
    """The largest number of a floating dtype below ``high``: what a draw in [low, high) is held to, as it may round up.

    >>> largest_below(1.0, "float16"), largest_below(0.0, "float64")
    (0.99951171875, -5e-324)
    """
    digits, least = _PRECISION[dtype]
    if not math.isfinite(high):
        return high
    part, exponent = math.frexp(high)
    step = max(exponent - digits, least) if high else least
    found = math.floor(math.ldexp(high, -step))
    if found == math.ldexp(high, -step):
        step -= part == 0.5 and step > least  # below a power of 2 the steps are half as wide
        found = int(math.ldexp(high, -step)) - 1
    return math.ldexp(found, step)


def normal_pair(first: float, second: float) -> tuple[float, float]:
    """Elements 2i and 2i + 1 of a standard normal draw, by Box and Muller, from two uniforms in [0, 1).

    The first uniform is turned round, ``1 - u``, into (0, 1], so that the logarithm is finite.
    """
    radius = math.sqrt(-2.0 * math.log(1.0 - first))
    angle = 2.0 * math.pi * second
    return radius * math.cos(angle), radius * math.sin(angle)


def uniform_int(first: int, second: int, span: int) -> int:
    """An integer in [0, span), span at most 2**64: the upper half of the 128-bit product of span and 64 bits.

    Each value's probability is off by less than ``span / 2**64`` of itself. In 64-bit unsigned steps, for
    span up to 2**32: ``(first * span + (second * span >> 32)) >> 32``.

    >>> uniform_int(0x80000000, 0, 10), uniform_int(0xFFFFFFFF, 0xFFFFFFFF, 10)
    (5, 9)
    """
    return ((first << 32 | second) * span) >> 64


def sort_key(first: int, second: int) -> int:
    """The signed 64-bit key whose stable ascending argsort is a random permutation."""
    key = first << 32 | second
    return key - (1 << 64) if key >> 63 else key


def permutation(seed: int, offset: int, length: int) -> list[int]:
    """The permutation of ``range(length)`` that ``randperm`` returns for this seed and offset."""
    words = random_words(seed, offset, 2 * length)
    keys = [sort_key(*words[2 * i : 2 * i + 2]) for i in range(length)]
    return sorted(range(length), key=keys.__getitem__)


class Philox:
    """A seed and a position in its stream of random words, from which samplers take counters.

    Drawing is safe from several threads at once; each draw gets counters of its own.
    :class:`flambeau.Generator` adds torch's methods.

    >>> stream = Philox()
    >>> stream.state = (7, 0)
    >>> stream.reserve(5), stream.reserve(1), stream.state
    (0, 2, (7, 3))
    """

    __slots__ = ("_lock", "_offset", "_seed")

    def __init__(self) -> None:
        self._lock = fork_safe(threading.Lock())
        self._seed, self._offset = _DEFAULT_SEED, 0

    def reserve(self, count: int) -> int:
        """Take the counters for ``count`` words: the offset to draw them at, which nobody else gets."""
        return self.draw(count)[1]

    def draw(self, count: int) -> tuple[int, int]:
        """The seed and the offset for ``count`` words, read together."""
        with self._lock:
            seed, offset = self._seed, self._offset
            self._offset = (offset + -(-index(count) // WORDS_PER_BLOCK)) & _MASK64  # a count may be a tensor
        return seed, offset

    @property
    def state(self) -> tuple[int, int]:
        """(seed, offset), as plain ints; may be assigned."""
        return self._place()

    @state.setter
    def state(self, value: tuple[int, int]) -> None:
        self._go_to(*value)

    def _place(self) -> tuple[int, int]:
        with self._lock:
            return self._seed, self._offset

    def _go_to(self, seed: int, offset: int) -> None:
        with self._lock:
            self._seed, self._offset = seed & _MASK64, offset & _MASK64
