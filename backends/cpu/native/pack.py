"""Panels: parts of a matrix copied so that a micro-kernel reads them in a row, widened on the way.

A panel of width P holds ``dst[k][P]``, where k runs over the terms of the sums. Goto and van de Geijn, "Anatomy of
High-Performance Matrix Multiplication", ACM TOMS 34 (2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flambeau.backends.llvm.ir import Function, Operand, Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.types import F16, F32, F64, I16, I32, I64, PTR, Type

_LINE: Final = 64  # bytes of a cache line


@dataclass(frozen=True)
class Numbers:
    """A floating dtype: ``memory`` is one number as it is stored, ``compute`` as it is multiplied and added.

    float16 and bfloat16 are stored as 16 bits and computed in float32.
    """

    name: str
    memory: Type
    compute: Type

    @property
    def is_low(self) -> bool:
        """Whether numbers are widened when they are read."""
        return self.memory != self.compute

    def load(self, f: Function, lanes: int, p: Value, i: Operand = 0, mask: Value | None = None) -> Value:
        """Numbers at ``p[i]`` as they are computed with, 0 in the lanes that ``mask`` leaves out."""
        t = self.memory.vector(lanes)
        found = f.load(t, p, i) if mask is None else f.load_masked(t, p, i, mask)
        return self.widened(found) if self.is_low else found

    def store(self, f: Function, x: Value, p: Value, i: Operand = 0, mask: Value | None = None) -> None:
        """Write computed numbers, rounded to nearest even."""
        if self.is_low:
            x = self.narrowed(f, x)
        if mask is None:
            f.store(x, p, i)
        else:
            f.store_masked(x, p, i, mask)

    def widened(self, bits: Value) -> Value:
        """float32 of the 16 bits."""
        if self.name == "bfloat16":
            return (bits.zext(I32) << 16).bitcast(F32)
        return bits.bitcast(F16).convert("fpext", F32)

    def narrowed(self, f: Function, x: Value) -> Value:
        """The 16 bits of the nearest number; nan stays one."""
        if self.name == "float16":
            return x.convert("fptrunc", F16).bitcast(I16)
        bits = x.bitcast(I32)
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        return f.select(x.is_nan(), bits >> 16 | 0x40, rounded).trunc(I16)


NUMBERS: Final = {
    "float16": Numbers("float16", I16, F32),
    "bfloat16": Numbers("bfloat16", I16, F32),
    "float32": Numbers("float32", F32, F32),
    "float64": Numbers("float64", F64, F64),
}


def group(numbers: Numbers, width: int) -> int:
    """How many panels of a width a cache line of the matrix reaches over."""
    return -(-_LINE // numbers.memory.bytes // width)


def pieces(width: int, lanes: int) -> list[tuple[int, int]]:
    """(start, length) of the vectors that a row of a panel is moved by.

    >>> pieces(48, 16), pieces(6, 8)
    ([(0, 16), (16, 16), (32, 16)], [(0, 6)])
    """
    return [(i, min(lanes, width - i)) for i in range(0, width, lanes)]


def define_along(
    module: Module, name: str, numbers: Numbers, width: int, count: int = 1, ahead: bool = False
) -> Function:
    """``name(src, ld, k, size, dst)``: panels of a matrix whose rows are terms: ``dst[k][j] = src[k * ld + j]``.

    ``size`` of ``count * width`` numbers in a row are there; panels that none is in are left alone, and what is
    behind them in a panel is 0. Panels stand one after the other, each of k rows.
    """
    f = Function(module, name, [PTR, I64, I64, I64, PTR], internal=True)
    src, ld, k, size, dst = f.args
    parts = pieces(width, module.target.lanes(numbers.compute))
    with f.when(size.eq(count * width), likely=True):
        s, d = f.variable(PTR, src), f.variable(PTR, dst)
        for _ in f.range(0, k):
            for panel in range(count):
                to = f.at(d.now, k * (panel * width), numbers.compute)
                for start, lanes in parts:
                    f.store(numbers.load(f, lanes, s.now, panel * width + start), to, start)
            if ahead:
                prefetch(f, f.at(s.now, count * width, numbers.memory))
            s.set(f.at(s.now, ld, numbers.memory))
            d.set(f.at(d.now, width, numbers.compute))
        f.ret()
    for first in f.range(0, size, width):
        masks = [f.below(_above(f, size - first - start), lanes) for start, lanes in parts]
        to = f.at(dst, k * first, numbers.compute)
        for row in f.range(0, k):
            s_row = f.at(src, row * ld + first, numbers.memory)
            for (start, lanes), mask in zip(parts, masks, strict=True):
                f.store(numbers.load(f, lanes, s_row, start, mask), to, row * width + start)
    f.ret()
    return f


def _above(f: Function, count: Value) -> Value:
    """A count that may have gone below 0."""
    return f.select(count < 0, 0, count)


def define_across(module: Module, name: str, numbers: Numbers, width: int) -> Function:
    """``name(src, ld, k, size, dst)``: a panel of a matrix whose rows are summed: ``dst[k][j] = src[j * ld + k]``.

    ``size`` of ``width`` rows are there; in place of the others stand copies of the first. Up to a vector's lanes of
    rows behind the panel are written too.
    """
    f = Function(module, name, [PTR, I64, I64, I64, PTR], internal=True)
    src, ld, k, size, dst = f.args
    lanes = module.target.lanes(numbers.compute)
    whole = width - width % lanes
    for start in f.range(0, whole, lanes):
        _turn(f, numbers, width, [(start + r, size > start + r) for r in range(lanes)], src, ld, k, dst, start)
    if whole < width:
        rest = [(f.constant(I64, r), size > r) for r in range(whole, width)]
        _turn(f, numbers, width, rest, src, ld, k, dst, f.constant(I64, whole))
    f.ret()
    return f


def _turn(
    f: Function, numbers: Numbers, width: int, rows: list[tuple[Value, Value]],
    src: Value, ld: Value, k: Value, dst: Value, start: Value,
) -> None:  # fmt: skip
    """Rows, each with whether it is there, to the columns of a panel from ``start`` on."""
    lanes = f.target.lanes(numbers.compute)
    lines = [f.at(src, f.select(there, ld * row, 0), numbers.memory) for row, there in rows]

    def tile(at: Value, mask: Value | None) -> None:
        for line in lines:
            prefetch(f, f.at(line, ld * width + at, numbers.memory))
        found = [numbers.load(f, lanes, line, at, mask) for line in lines]
        for r, column in enumerate(transpose(f, [*found, *found[:1] * (lanes - len(found))])):
            part = column if len(lines) == lanes else f.shuffle(column, None, range(len(lines)))
            f.store(part, dst, (at + r) * width + start)

    if f.target.masks:
        for at in f.range(0, k, lanes):
            tile(at, f.below(k - at, lanes))
        return
    main = k & ~(lanes - 1)
    for at in f.range(0, main, lanes):
        tile(at, None)
    with f.when(main < k):
        tile(main, f.below(k - main, lanes))


def transpose(f: Function, rows: list[Value]) -> list[Value]:
    """The transposed square of as many vectors as a vector has lanes, by exchanging ever smaller blocks."""
    lanes = len(rows)
    half = lanes // 2
    while half:
        turned = list(rows)
        for i in range(lanes):
            if not i & half:
                upper, lower = rows[i], rows[i | half]
                order = range(lanes)
                turned[i] = f.shuffle(upper, lower, [x if not x & half else lanes + (x ^ half) for x in order])
                turned[i | half] = f.shuffle(upper, lower, [x | half if not x & half else lanes + x for x in order])
        rows = turned
        half //= 2
    return rows


def prefetch(f: Function, address: Value, *, write: bool = False, near: bool = False) -> None:
    """Ask for a cache line, to the first cache if ``near``; nothing happens where no memory is."""
    f.module.declare("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
    level = 3 if near else 2
    f.write(f"call void @llvm.prefetch.p0(ptr {address.text}, i32 {int(write)}, i32 {level}, i32 1)")
