"""Elementwise kernels on numpy: bare ufuncs, those that compute much spread over the threads.

Arithmetic and comparisons of full precision stay bare: a Python function around them would cost a small
call a quarter more, and large ones wait for memory, not for cores.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu import split
from flambeau.backends.xp import elementwise as xp_elementwise
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

Array = np.ndarray[Any, Any]

#: Functions that cost several nanoseconds an element in every floating dtype.
_COSTLY: Final = frozenset((
    "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt reciprocal sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "sigmoid pow idiv floor_divide fmod remainder atan2 hypot nextafter logaddexp logaddexp2 gcd lcm"
).split())  # fmt: skip
_BOOL_RESULT: Final = frozenset(
    "lt le gt ge eq ne isnan isinf isfinite signbit logical_not logical_and logical_or logical_xor".split()
)
#: bfloat16 functions that ml_dtypes computes one by one through the C library.
_THROUGH_FLOAT32: Final = frozenset((
    "exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh pow atan2 logaddexp logaddexp2"
).split())  # fmt: skip
#: Elements in a piece of a kernel that makes temporaries: they stay in the second-level cache.
BLOCK: Final = 32768
#: From here on a bitwise choice beats numpy's, which mispredicts a branch at every other element.
SELECT: Final = 4096


def bind(table: KernelTable) -> None:
    xp_elementwise.bind(table, np)
    for dtype in dt.ALL:
        _bind_large(table, dtype)
        if dtype.itemsize <= 8:
            table.register("where", _select(dtype), (dtype,))


def _bind_large(table: KernelTable, dtype: DType) -> None:
    """Replace, for one dtype, the kernels that are worth several threads."""
    costly = set(table.names()) & (set(xp_elementwise.names()) if dtype in dt.LOW_PRECISION else _COSTLY)
    for name in costly - {"where"}:
        entry = table.own(name, dtype)
        if entry is None:
            continue
        result = np.dtype(bool) if name in _BOOL_RESULT else dtype.to_real().numpy if name == "abs" else dtype.numpy
        if dtype is dt.bfloat16 and name in _THROUGH_FLOAT32:
            wide = table.own(name, dt.float32)
            assert wide is not None
            table.register(name, _blocked(xp_elementwise.in_float32(np, wide.fn, dtype), result), (dtype,))
        else:
            wrap = split.binary if name in xp_elementwise.BINARY else split.unary
            table.register(name, wrap(entry.fn, result), (dtype,))


def _blocked(native: Kernel, result: np.dtype[Any]) -> Kernel:
    """A kernel with temporaries: large operands go through it in pieces that stay in the cache."""

    def kernel(*ins: Array, out: Array | None = None) -> Array:
        if max([x.size for x in ins]) <= BLOCK:
            made: Array = native(*ins, out=out)
            return made
        return split.spread(native, ins, out, result, BLOCK)

    return kernel


def _select(dtype: DType) -> Kernel:
    """``where`` as a choice of bits: all ones or all zeros from the condition, then and and xor."""
    bits = np.dtype(f"i{dtype.itemsize}")

    def choose(condition: Array, x: Array, y: Array, out: Array) -> Array:
        mask = np.negative(condition.view(np.int8)).astype(bits)
        x, y, target = x.view(bits), y.view(bits), out.view(bits)
        if y.ndim == 0 and not y:
            return np.bitwise_and(mask, x, target)
        mask &= x ^ y
        return np.bitwise_xor(mask, y, target)

    def kernel(condition: Array, x: Array, y: Array, out: Array | None = None) -> Array:
        if condition.size < SELECT:
            return xp_elementwise.where(np, condition, x, y, out)
        return split.spread(choose, (condition, x, y), out, dtype.numpy, BLOCK)

    return kernel
