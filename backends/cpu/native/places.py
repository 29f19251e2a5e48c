"""An axis that is indexed, between what stands before it and behind: how gathering and scattering see their operands.

Every operand is told as (outer, along the axis, inner) with strides in bytes; an index that says the same for all of
the inner ones has the inner stride 0, and whole rows are moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from flambeau.backends.llvm.ir import Function, Value, Variable
from flambeau.backends.llvm.types import I1, I8, I16, I32, I64, Type

Array = np.ndarray[Any, Any]
Three = tuple[int, int, int]

#: The type that moves an element of so many bytes.
UNITS: Final[dict[int, Type]] = {1: I8, 2: I16, 4: I32, 8: I64, 16: I64.vector(2)}
#: Elements of a chunk.
CHUNK: Final = 1 << 15


@dataclass(frozen=True)
class Indexed:
    """An operand along an axis: sizes and strides in bytes of what is before, along and behind."""

    x: Array
    sizes: Three
    strides: Three


def movable(*arrays: Array) -> bool:
    """Whether elements may be read and written where they stand."""
    return all(x.flags.aligned and x.dtype.isnative and x.itemsize in UNITS for x in arrays)


def indexed(x: Array, axis: int) -> Indexed | None:
    """``x`` in three dimensions around ``axis``; None where its strides do not allow that."""
    before = _merged(x.shape[:axis], x.strides[:axis])
    behind = _merged(x.shape[axis + 1 :], x.strides[axis + 1 :])
    if before is None or behind is None:
        return None
    return Indexed(x, (before[0], x.shape[axis], behind[0]), (before[1], x.strides[axis], behind[1]))


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
    """Indices as they are read: one outside counts as 0, and ``bad`` tells that there was one."""

    def __init__(self, f: Function, size: Value, wrap: bool):
        self.f, self.size, self.wrap = f, size, wrap
        self.bad: Variable = f.variable(I1, False)

    def read(self, where: Value) -> Value:
        """The index at an address, inside whatever stands there."""
        f = self.f
        i = f.load(I64, where)
        if self.wrap:
            i = f.select(i < 0, i + self.size, i)
        inside = i.compare("ult", self.size)
        self.bad.set(self.bad.now | ~inside)
        return f.select(inside, i, 0)

    def report(self, flag: Value) -> None:
        """Say to the caller if one was outside."""
        f = self.f
        with f.when(self.bad.now, likely=False):
            f.store(f.constant(I64, 1), flag)


def copy_row(f: Function, unit: Type, source: Value, to: Value, count: Value) -> None:
    """``count`` elements that stand next to each other."""
    wide = unit.scalar.vector(64 // unit.scalar.bytes)
    lanes = 64 // unit.bytes
    main = count & ~(lanes - 1)
    for c in f.range(0, main, lanes):
        f.store(f.load(wide, source + c * unit.bytes), to + c * unit.bytes)
    for c in f.range(main, count):
        f.store(f.load(unit, source + c * unit.bytes), to + c * unit.bytes)
