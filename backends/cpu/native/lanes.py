"""Floats in registers: float16 and bfloat16 are widened to float32 when they are read, and rounded when written.

A vector is 64 bytes of computing type at every target, in several registers where they are narrower: what is added
to what then does not depend on the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from flambeau.backends.llvm.ir import Function, Operand, Value
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F16, F32, F64, I16, I32, Type
from flambeau.core.dtype import dtype_named

Array = np.ndarray[Any, Any]

#: Vectors that a loop takes at a time.
UNROLL: Final = 4


@dataclass(frozen=True)
class Lanes:
    """Vectors of a dtype: ``memory`` is one number as it is stored, ``compute`` as it is computed with.

    ``bytes`` is the size of a vector of the computing type.
    """

    name: str
    memory: Type
    compute: Type
    bytes: int = 64

    @property
    def count(self) -> int:
        """Numbers in a vector."""
        return self.bytes // self.compute.bytes

    @property
    def vector(self) -> Type:
        """A vector as it is computed with."""
        return self.compute.vector(self.count)

    def load(self, f: Function, p: Value, i: Operand = 0, mask: Value | None = None, other: float = 0.0) -> Value:
        """The vector at ``p[i]``, with ``other`` in the lanes that ``mask`` leaves out."""
        if self.memory == self.compute:
            return f.load(self.vector, p, i) if mask is None else f.load_masked(self.vector, p, i, mask, other)
        t = I16.vector(self.count)
        found = self._widened(f.load(t, p, i) if mask is None else f.load_masked(t, p, i, mask))
        return found if mask is None or other == 0 else f.select(mask, found, other)

    def load_one(self, f: Function, p: Value, i: Operand = 0) -> Value:
        """One number."""
        found = f.load(self.memory, p, i)
        return found if self.memory == self.compute else self._widened(found)

    def store(self, f: Function, x: Value, p: Value, i: Operand = 0, mask: Value | None = None) -> None:
        """Write a vector, or one number, of the computing type."""
        if self.memory != self.compute:
            x = self._narrowed(f, x)
        if mask is None:
            f.store(x, p, i)
        else:
            f.store_masked(x, p, i, mask)

    def _widened(self, bits: Value) -> Value:
        if self.name == "bfloat16":
            return (bits.zext(I32) << 16).bitcast(F32)
        return bits.bitcast(F16).convert("fpext", F32)

    def _narrowed(self, f: Function, x: Value) -> Value:
        if self.name == "float16":
            return x.convert("fptrunc", F16).bitcast(I16)
        bits = x.bitcast(I32)  # to nearest even
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        return f.select(x.is_nan(), bits >> 16 | 0x40, rounded).trunc(I16)


_ALL: Final = {
    "float16": Lanes("float16", I16, F32),
    "bfloat16": Lanes("bfloat16", I16, F32),
    "float32": Lanes("float32", F32, F32),
    "float64": Lanes("float64", F64, F64),
}


@cache
def lanes(name: str) -> Lanes:
    """The vectors of a floating dtype by its name."""
    return _ALL[name]


@cache
def dtype_name(dtype: np.dtype[Any]) -> str:
    """The name of a dtype, which numpy makes anew each time."""
    return dtype.name


def served(x: Array, target: Target) -> bool:
    """Whether kernels can read an array: plain floats of this machine's byte order, where they may stand."""
    name = dtype_name(x.dtype)
    return name in _ALL and x.flags.aligned and x.dtype.isnative and (name != "float16" or target.half)


def empty(shape: int | tuple[int, ...], name: str) -> Array:
    """A new array of a dtype by its name."""
    return np.empty(shape, dtype_named(name).numpy)


class Span:
    """Numbers one after the other, by vectors: ``main4`` of them in groups of four, ``main`` in whole vectors."""

    def __init__(self, f: Function, count: Value, width: int):
        self.f, self.count, self.width = f, count, width
        self.main4 = count & ~(UNROLL * width - 1)
        self.main = count & ~(width - 1)
        self.mask = f.below(count - self.main, width)

    def each(self, body: Callable[[Value, Value | None], None]) -> None:
        """``body(index, mask)`` for each vector; the mask is None but for the rest at the end."""
        f = self.f
        for i in f.range(0, self.main, self.width):
            body(i, None)
        with f.when(self.main < self.count):
            body(self.main, self.mask)

    def groups(self) -> Iterator[list[tuple[Value, Value | None]]]:
        """(index, mask) of the vectors that a loop takes at a time: four, one, and the rest at the end."""
        f = self.f
        for i in f.range(0, self.main4, UNROLL * self.width):
            yield [(i + u * self.width, None) for u in range(UNROLL)]
        for i in f.range(self.main4, self.main, self.width):
            yield [(i, None)]
        with f.when(self.main < self.count):
            yield [(self.main, self.mask)]


def tree(values: list[Value], join: Callable[[Value, Value], Value]) -> Value:
    """Values joined by pairs."""
    while len(values) > 1:
        pairs = [join(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
        values = [*pairs, values[-1]] if len(values) % 2 else pairs
    return values[0]


def to_float(x: Value, type: Type) -> Value:
    """A count as a float."""
    return x.convert("sitofp", type)
