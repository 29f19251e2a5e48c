"""Random numbers on the CPU: small draws from numbers made ahead, large ones in machine code or by numpy, to the bit.

How a draw is made depends on the moment, its numbers do not: numpy and machine code take the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu import normal
from flambeau.backends.cpu.chunks import in_chunks
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.xp import Array
from flambeau.backends.xp import random as xp_random
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.random import UNIFORM_BITS, WORDS_PER_BLOCK, largest_below

if TYPE_CHECKING:
    from flambeau.backends.llvm.target import Target  # lazy for start-up

_BLOCKS: Final = 16384  # that are made at a time
_SMALL: Final = 256  # numbers, at most, of a draw for which others are made ahead
_AHEAD: Final = 256  # blocks made ahead: a call of numpy costs more than they do
#: Words made by numpy from which the compiler is worth its start.
_WORTH: Final = 1 << 16
_MASK32: Final = 0xFFFFFFFF
_MASK64: Final = 0xFFFFFFFFFFFFFFFF
_FLOATS: Final = (dt.float16, dt.bfloat16, dt.float32, dt.float64)

_made = 0


def bind(table: KernelTable) -> None:
    table.register("random_bits", random_bits)
    table.register("dropout_mask", dropout_mask)
    table.register("permutation", permutation)
    for dtype in _FLOATS:
        table.register("uniform_numbers", _kernel_of(dtype, _fill_uniform), (dtype,))
        table.register("normal_numbers", _kernel_of(dtype, _fill_normal), (dtype,))
    for dtype in (d for d in dt.ALL if not d.is_complex):
        table.register("integer_numbers", _kernel_of(dtype, _fill_integers, 2), (dtype,))


def _compiled(words: int) -> Target | None:
    """The target of a draw of so many words; None where numpy makes it, which it does until there was much to do."""
    global _made
    if _made < _WORTH:
        _made += words
        if _made < _WORTH:
            return None
    return active()


class _Ahead:
    """Draws of one sampler and dtype; where a small one goes on soon after another, from numbers made ahead.

    Args:
        fill: ``fill(out, seed, offset, *params)`` writes the numbers from block ``offset`` on.
        dtype: what is made.
        per_block: numbers that a block gives.
    """

    def __init__(self, fill: Callable[..., None], dtype: np.dtype[Any], per_block: int):
        self.fill, self.dtype, self.per_block = fill, dtype, per_block
        #: Seed, parameters, first block and numbers of the last small draw; read and replaced as one object.
        self.last: tuple[int, tuple[Any, ...], int, Array] = (0, (), 0, np.empty(0, dtype))

    def draw(self, seed: int, offset: int, length: int, *params: Any) -> Array:
        """``length`` numbers, which are nobody else's."""
        seed, offset = seed & _MASK64, offset & _MASK64
        if length > _SMALL:
            return self.made(seed, offset, length, params)
        known, given, first, numbers = self.last
        at = (offset - first) * self.per_block
        if seed != known or params != given or not 0 <= at <= _AHEAD * self.per_block:  # a new place in a stream
            numbers = self.made(seed, offset, length, params)
            self.last = seed, params, offset, numbers
            return numbers.copy()
        if at + length > len(numbers):
            numbers, at = self.made(seed, offset, _AHEAD * self.per_block, params), 0
            self.last = seed, params, offset, numbers
        return numbers[at : at + length].copy()

    def made(self, seed: int, offset: int, length: int, params: tuple[Any, ...]) -> Array:
        """The same, made now."""
        out = np.empty(length, self.dtype)
        self.fill(out, seed, offset, *params)
        return out


def _kernel_of(dtype: DType, fill: Callable[..., None], per_block: int = 4) -> Kernel:
    """The kernel of a sampler with two parameters: ``kernel(seed, offset, a, b, *, shape, dtype)``.

    It writes to ``out``, where one is given: an array of that shape and dtype, aligned and in C order. To say so it has
    an attribute ``fills``.
    """
    ahead = _Ahead(fill, dtype.numpy, 2 if dtype is dt.float64 else per_block)

    def kernel(
        seed: int, offset: int, a: float, b: float, *, shape: tuple[int, ...], dtype: DType, index: int = 0,
        out: Array | None = None,
    ) -> Array:  # fmt: skip
        if out is not None:
            if out.size <= _SMALL:
                out.reshape(-1)[:] = ahead.draw(seed, offset, out.size, a, b)
            else:
                fill(out.reshape(-1), seed & _MASK64, offset & _MASK64, a, b)
            return out
        if len(shape) == 1:
            return ahead.draw(seed, offset, shape[0], a, b)
        return ahead.draw(seed, offset, math.prod(shape), a, b).reshape(shape)

    kernel.fills = True  # type: ignore[attr-defined]  # it takes `out`
    return kernel


# -- words ------------------------------------------------------------------------------------------
def random_bits(seed: int, offset: int, *, length: int, index: int = 0) -> Array:
    """``length`` words (uint32) of the stream of ``seed``, from block ``offset`` on."""
    return _words.draw(int(seed), int(offset), length)


def dropout_mask(seed: int, offset: int, limit: int, *, shape: tuple[int, ...], index: int = 0) -> Array:
    """Which words from block ``offset`` on are below ``limit``."""
    return _masks.draw(int(seed), int(offset), math.prod(shape), int(limit)).reshape(shape)


def _fill_words(out: Array, seed: int, offset: int) -> None:
    target = _compiled(out.size)
    if target is not None:
        from flambeau.backends.cpu.native import random as native  # lazy: small work needs none of it

        native.words(target, out, seed, offset)
        return
    length = out.size
    words = out.reshape(-1, 4) if length % 4 == 0 else np.empty((-(-length // 4), 4), np.uint32)

    def work(part: slice) -> None:
        xp_random.fill(np, words[part], seed, (offset + part.start) & _MASK64)

    in_chunks(work, len(words), 1, _BLOCKS)
    if length % 4:
        out[:] = words.reshape(-1)[:length]


def _fill_mask(out: Array, seed: int, offset: int, limit: int) -> None:
    target = _compiled(out.size) if limit <= _MASK32 else None
    if target is not None:
        from flambeau.backends.cpu.native import random as native  # lazy: small work needs none of it

        native.mask(target, out, seed, offset, limit)
        return
    np.less(_words.made(seed, offset, out.size, ()), limit, out=out)


_words: Final = _Ahead(_fill_words, np.dtype(np.uint32), WORDS_PER_BLOCK)
_masks: Final = _Ahead(_fill_mask, np.dtype(bool), WORDS_PER_BLOCK)


def permutation(seed: int, offset: int, *, length: int, index: int = 0) -> Array:
    """The stable order of ``length`` signed keys, of which each has two words, the upper half first."""
    words = _words.draw(int(seed), int(offset), 2 * length)
    target = _compiled(0) if _SMALL < length < 1 << 30 else None
    if target is not None:
        from flambeau.backends.cpu.native import random as native  # lazy: small work needs none of it

        return native.order(target, words)
    pairs = words.reshape(length, 2).astype(np.int64)
    keys = pairs[:, 0] << 32 | pairs[:, 1]
    return np.argsort(keys, kind="stable")


# -- samplers ---------------------------------------------------------------------------------------
def _fill_uniform(out: Array, seed: int, offset: int, low: float, high: float) -> None:
    """Numbers in [low, high), to the bit those of the steps in :mod:`flambeau.core.ops.random`."""
    dtype = dt.from_numpy(out.dtype)
    target = _compiled(out.size)
    if target is not None:
        from flambeau.backends.cpu.native import random as native  # lazy: small work needs none of it

        native.uniform(target, out, seed, offset, low, high, dtype)
        return
    _unit(out, seed, offset, dtype)
    if (low, high) != (0.0, 1.0):
        of = out.dtype.type
        out *= of(high - low)
        out += of(low)
        if low < high:
            np.minimum(out, of(largest_below(high, dtype.name)), out=out)


def _unit(out: Array, seed: int, offset: int, dtype: DType) -> None:
    """Numbers in [0, 1), by numpy."""
    count = out.size
    if dtype is dt.float64:
        pairs = _words.made(seed, offset, 2 * count, ()).reshape(count, 2)
        np.copyto(out, pairs[:, 0] >> np.uint32(5))
        out *= 2.0**26
        out += pairs[:, 1] >> np.uint32(6)
        out *= 2.0**-53
        return
    digits = UNIFORM_BITS[dtype.name]
    bits = _words.made(seed, offset, count, ())
    bits >>= np.uint32(32 - digits)
    np.copyto(out, bits, casting="unsafe")
    out *= out.dtype.type(2.0**-digits)


def _fill_normal(out: Array, seed: int, offset: int, mean: float, std: float) -> None:
    """Normal numbers, two from each pair of uniform ones; float16 and bfloat16 are rounded from float32."""
    dtype = dt.from_numpy(out.dtype)
    target = _compiled(out.size)
    if target is not None:
        from flambeau.backends.cpu.native import random as native  # lazy: small work needs none of it

        native.normals(target, out, seed, offset, mean, std, dtype)
        return
    compute = dt.float64 if dtype is dt.float64 else dt.float32
    per_block = 2 if compute is dt.float64 else 4

    def work(part: slice) -> None:
        here = out[part.start * per_block : part.stop * per_block]
        uniform = np.empty((-(-len(here) // 2), 2), compute.numpy)
        _unit(uniform.reshape(-1), seed, (offset + part.start) & _MASK64, compute)
        both = np.empty_like(uniform)
        both[:, 0], both[:, 1] = normal.pairs(*np.ascontiguousarray(uniform.T))
        if (mean, std) != (0.0, 1.0):
            both *= std
            both += mean
        np.copyto(here, both.reshape(-1)[: len(here)], casting="unsafe")

    in_chunks(work, -(-out.size // per_block), 1, _BLOCKS)


def _fill_integers(out: Array, seed: int, offset: int, low: int, high: int) -> None:
    """Whole numbers in [low, high): the upper half of the 128-bit product of the span and 64 random bits."""
    count, span = out.size, high - low
    target = _compiled(2 * count) if span <= _MASK64 else None
    if target is not None:
        from flambeau.backends.cpu.native import random as native  # lazy: small work needs none of it

        native.integers(target, out, seed, offset, low, span, dt.from_numpy(out.dtype))
        return
    first, second = _words.made(seed, offset, 2 * count, ()).reshape(count, 2).astype(np.uint64).T
    small, large, half = np.uint64(span & _MASK32), np.uint64(span >> 32), np.uint64(32)
    middle = first * small + (second * small >> half)
    found = middle >> half
    if large:
        found += first * large
        found += (second * large + (middle & np.uint64(_MASK32))) >> half
    shifted = (found + np.uint64(low & _MASK64)).view(np.int64)
    np.copyto(out, shifted, casting="unsafe") if out.dtype != bool else np.not_equal(shifted, 0, out=out)
