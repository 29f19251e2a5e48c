"""An axis that is indexed, between what stands before it and behind: how gathering and scattering see their operands.

Every operand is told as (outer, along the axis, inner) with strides in bytes; an index that says the same for all of
the inner ones has the inner stride 0, and whole rows are moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from flambeau.backends.llvm.ir import Function, Operand, Value
from flambeau.backends.llvm.types import I1, I8, I16, I32, I64, Type

Array = np.ndarray[Any, Any]
Three = tuple[int, int, int]

#: The type that moves an element of so many bytes.
UNITS: Final[dict[int, Type]] = {1: I8, 2: I16, 4: I32, 8: I64, 16: I64.vector(2)}
#: Elements of a chunk.
CHUNK: Final = 1 << 15
#: Indices that are checked and then used, while they are in the cache, and how many a loop takes.
_BLOCK: Final = 2048
_UNROLL: Final = 4


@dataclass(frozen=True)
class Indexed:
    """An operand along an axis: sizes and strides in bytes of what is before, along and behind."""

    x: Array
    sizes: Three
    strides: Three

    @property
    def count(self) -> int:
        """How many there are."""
        return self.sizes[0] * self.sizes[1] * self.sizes[2]


def movable(*arrays: Array) -> bool:
    """Whether elements may be read and written where they stand."""
    return all(x.flags.aligned and x.dtype.isnative and x.itemsize in UNITS for x in arrays)


def indexed(x: Array, axis: int) -> Indexed | None:
    """``x`` in three dimensions around ``axis``; None where its strides do not allow that."""
    told = _told(x.shape, x.strides, axis)
    return None if told is None else Indexed(x, *told)


@lru_cache(1024)
def _told(shape: tuple[int, ...], strides: tuple[int, ...], axis: int) -> tuple[Three, Three] | None:
    before, behind = _merged(shape[:axis], strides[:axis]), _merged(shape[axis + 1 :], strides[axis + 1 :])
    if before is None or behind is None:
        return None
    return (before[0], shape[axis], behind[0]), (before[1], strides[axis], behind[1])


def readable(x: Array, axis: int) -> Indexed:
    """The same; of a dense copy where it must be."""
    found = indexed(x, axis) or indexed(np.ascontiguousarray(x), axis)
    assert found is not None
    return found


def _merged(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, int] | None:
    """Dimensions as one: how many, and how many bytes from one to the next."""
    count, step = 1, 0
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n == 1:
            continue
        if count == 1:
            count, step = n, s
        elif s == count * step:
            count *= n
        else:
            return None
    return count, step


def in_a_line(index: Array) -> bool:
    """Whether an array's elements follow each other at one distance, so that it is a vector without a copy."""
    return _merged(index.shape, index.strides) is not None


def vector(index: Array, like: Indexed) -> Indexed:
    """Indices of any shape, one after the other, the same for all that is before and behind."""
    flat = index.reshape(-1)
    return Indexed(flat, (like.sizes[0], flat.size, like.sizes[2]), (0, flat.strides[0], 0))


def kind_of(index: Indexed, *moved: Indexed) -> str:
    """flat: one element each; rows: what is behind in one piece; each: by themselves."""
    if index.sizes[2] == 1:
        return "flat"
    whole = index.strides[2] == 0 and all(v.strides[2] == v.x.itemsize for v in moved)
    return "rows" if whole else "each"


class Checked:
    """The indices of a kernel, which are checked before anything is read or written where they point.

    One outside sets ``flag`` and ends the function.
    """

    def __init__(self, f: Function, size: Value, flag: Value, wrap: bool):
        self.f, self.size, self.flag, self.wrap = f, size, flag, wrap

    def one(self, where: Value) -> Value:
        """The index at an address."""
        i = self._read(where)
        self._refuse(i.compare("uge", self.size))
        return i

    def each(self, at: Value, step: Value, start: Operand, stop: Value) -> Iterator[tuple[Value, Value]]:
        """(number, index) from ``start`` to ``stop``, ``step`` bytes apart: the body is written several times."""
        f = self.f
        for first in f.range(start, stop, _BLOCK):
            end = f.select(first + _BLOCK < stop, first + _BLOCK, stop)
            self._check(at + first * step, step, end - first)
            whole = first + ((end - first) & ~(_UNROLL - 1))
            for j in f.range(first, whole, _UNROLL):
                for u in range(_UNROLL):
                    yield j + u, self._read(at + (j + u) * step)
            for j in f.range(whole, end):
                yield j, self._read(at + j * step)

    def _read(self, where: Value) -> Value:
        i = self.f.load(I64, where)
        return self._wrapped(i) if self.wrap else i

    def _wrapped(self, i: Value) -> Value:
        return self.f.select(i < 0, i + self.f.value(i.type, self.size), i)

    def _check(self, at: Value, step: Value, count: Value) -> None:
        f, t = self.f, I64.vector(8)
        bad, worst = f.variable(t.mask, False), f.variable(I1, False)
        main = f.select(step.eq(I64.bytes), count & ~7, 0)
        for j in f.range(0, main, 8):
            i = f.load(t, at, j)
            bad.set(bad.now | (self._wrapped(i) if self.wrap else i).compare("uge", self.size))
        for j in f.range(main, count):
            worst.set(worst.now | self._read(at + j * step).compare("uge", self.size))
        self._refuse(f.reduce(bad.now, lambda a, b: a | b) | worst.now)

    def _refuse(self, outside: Value) -> None:
        f = self.f
        with f.when(outside, likely=False):
            f.store(f.constant(I64, 1), self.flag)
            f.ret()


def copy_row(f: Function, unit: Type, source: Value, to: Value, count: Value) -> None:
    """``count`` elements that stand next to each other."""
    wide = unit.scalar.vector(64 // unit.scalar.bytes)
    lanes = 64 // unit.bytes
    main = count & ~(lanes - 1)
    for c in f.range(0, main, lanes):
        f.store(f.load(wide, source + c * unit.bytes), to + c * unit.bytes)
    for c in f.range(main, count):
        f.store(f.load(unit, source + c * unit.bytes), to + c * unit.bytes)
