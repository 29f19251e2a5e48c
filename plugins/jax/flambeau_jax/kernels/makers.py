"""Arrays from nothing, and elements moved: ramps, random words, concatenation, padding, triangles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import jax.numpy as jnp
import numpy as np
from jax import lax

from flambeau.backends.base import Shape
from flambeau.backends.layout import is_contiguous
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType, host_scalar
from flambeau.core.random import KEY_STEPS, MULTIPLIERS, ROUNDS, WORDS_PER_BLOCK
from flambeau_jax.cells import Value, convert, filled

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend

_MASK32: Final = 0xFFFFFFFF
_MASK64: Final = 0xFFFFFFFFFFFFFFFF


def bind(backend: JaxBackend) -> None:
    table, do, operand = backend.kernels, backend.do, backend.operand

    def made(value: Value, index: int) -> StridedArray:
        return backend.new(value, index)

    def full(*, shape: Shape, value: complex, dtype: DType, index: int = 0) -> StridedArray:
        return made(do(filled, operand(host_scalar(value, dtype), dtype.numpy, index), shape=shape), index)

    def arange(start: Any, step: Any, *, length: int, dtype: DType, index: int = 0) -> StridedArray:
        kind = np.int64 if dtype.category <= dt.INTEGER else np.float64
        ends = [operand(_wrapped(v) if kind is np.int64 else v, kind, index) for v in (start, step)]
        return made(do(ramp, *ends, length=length, dtype=dtype.numpy), index)

    def random_bits(seed: int, offset: int, *, length: int, index: int = 0) -> StridedArray:
        keys = [operand(k, np.uint32, index) for k in (seed & _MASK32, seed >> 32 & _MASK32)]
        return made(do(philox, *keys, operand(offset & _MASK64, np.uint64, index), length=length), index)

    def cat(*xs: Any, axis: int) -> StridedArray:
        arrays = xs[0] if len(xs) == 1 and isinstance(xs[0], (list, tuple)) else xs
        kept = [x for x in arrays if x.shape != (0,)] or list(arrays[:1])
        return made(do(joined, *map(backend.load, kept), axis=axis), kept[0].index)

    def clone(x: StridedArray, *, order: str = "K") -> StridedArray:
        if order == "K" and not is_contiguous(x.shape, x.strides):
            found: StridedArray = of_strides(x, order=order)
            return found
        return made(backend.load(x), x.index)  # nobody writes to a value, so that two may share it

    def cast(x: StridedArray, *, dtype: DType) -> StridedArray:
        if not is_contiguous(x.shape, x.strides):
            found: StridedArray = cast_strides(x, dtype=dtype)
            return found
        return made(do(convert, backend.load(x), dtype=dtype.numpy), x.index)

    assert table.parent is not None
    of_strides: Any = table.parent.find("clone", dt.float32)
    cast_strides: Any = table.parent.find("cast", dt.float32)
    for fn in (full, arange, random_bits, cat, clone, cast):
        table.register(fn.__name__, fn)
    backend.function("pad", padded)
    backend.function("flip", flipped)
    backend.function("tril", lambda x, *, diagonal=0: jnp.tril(x, diagonal))
    backend.function("triu", lambda x, *, diagonal=0: jnp.triu(x, diagonal))


def _wrapped(value: int) -> int:
    """An integer modulo 2**64, signed."""
    return (int(value) + 2**63) % 2**64 - 2**63


def ramp(start: Value, step: Value, *, length: int, dtype: np.dtype[Any]) -> Value:
    """Element i is start + i * step, computed by itself."""
    return convert(start + jnp.arange(length, dtype=start.dtype) * step, dtype=dtype)


def joined(*xs: Value, axis: int) -> Value:
    return jnp.concatenate(xs, axis)


def padded(x: Value, *, widths: Sequence[tuple[int, int]], value: Any) -> Value:
    """A negative width takes away."""
    return lax.pad(x, jnp.asarray(value, x.dtype), [(before, after, 0) for before, after in widths])


def flipped(x: Value, *, axes: tuple[int, ...]) -> Value:
    return lax.rev(x, axes)


def philox(key0: Value, key1: Value, offset: Value, *, length: int) -> Value:
    """Philox4x32-10 as :mod:`flambeau.core.random` defines it: the same words as on every device."""
    u32, u64 = jnp.uint32, jnp.uint64
    counter = offset + jnp.arange(-(-length // WORDS_PER_BLOCK), dtype=u64)
    zero = jnp.zeros(counter.shape, u32)
    c0, c1, c2, c3 = counter.astype(u32), (counter >> 32).astype(u32), zero, zero
    for _ in range(ROUNDS):
        low, high = (u64(m) * c.astype(u64) for m, c in zip(MULTIPLIERS, (c0, c2), strict=True))
        c0, c1, c2, c3 = (
            (high >> 32).astype(u32) ^ c1 ^ key0, high.astype(u32), (low >> 32).astype(u32) ^ c3 ^ key1, low.astype(u32)
        )  # fmt: skip
        key0, key1 = key0 + u32(KEY_STEPS[0]), key1 + u32(KEY_STEPS[1])
    return jnp.stack([c0, c1, c2, c3], axis=1).reshape(-1)[:length]
