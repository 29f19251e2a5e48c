"""The jobs of reductions: many numbers joined to one, where those lie next to each other, or in columns.

What is added is added in float64, of float64 itself in pieces of some thousand: float32 values are first added by
fours or eights (their error is below three roundings), then widened. That costs a third of adding each in float64, and
has no error that grows with the length, which pairwise sums of float32 still have (N. J. Higham, "The accuracy of
floating point summation", 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import inf, nan
from typing import Final

from flambeau.backends.cpu.native.lanes import Lanes, Span, lanes, tree
from flambeau.backends.llvm import maths
from flambeau.backends.llvm.ir import Function, Operand, Value, Variable
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, I1, I64, PTR, Type

Join = Callable[[Function, Value, Value], Value]
Lift = Callable[[Function, Value, Value | None], Value]

#: Rows that are added before they are added to the sums so far.
_ROWS: Final = 8
#: The most columns that one chunk has.
WIDEST: Final = 4096


def wider(f: Function, x: Value, centre: Value | None = None) -> Value:
    """A float as float64."""
    return x.convert("fpext", F64) if x.type.bits < 64 else x


def _square(f: Function, x: Value, centre: Value | None) -> Value:
    x = wider(f, x)
    d = x if centre is None else x - centre
    return d * d


def _exp(f: Function, x: Value, centre: Value | None) -> Value:
    assert centre is not None
    return maths.exp_nonpositive(f, x - (centre.convert("fptrunc", x.type.scalar) if x.type.bits < 64 else centre))


def _not_zero(f: Function, x: Value, centre: Value | None) -> Value:
    return f.select(x.ne(0), f.constant(x.type, 1), 0)


def nan_or(f: Function, join: str, a: Value, b: Value) -> Value:
    """The larger or smaller of two, or the one that is nan."""
    return f.select(a.is_nan(), a, f.maximum(a, b) if join == "max" else f.minimum(a, b))


@dataclass(frozen=True)
class Fold:
    """What becomes of each number, and how two results become one; ``start`` changes nothing.

    Args:
        again: the fold of partial results.
        wide: whether it computes in float64 whatever it reads.
        other: what stands where nothing is read.
        bare: what joins numbers faster and may miss a nan; nans are looked for apart then, two vectors at a time.
        centred: whether there is a number of the result's type for each result, which :attr:`lift` gets.
    """

    again: str
    lift: Lift
    join: Join
    start: float = 0.0
    wide: bool = True
    other: float = 0.0
    centred: bool = False
    bare: Join | None = None

    def type(self, read: Lanes) -> Type:
        """The type of a result."""
        return F64 if self.wide else read.compute


def _same(f: Function, x: Value, centre: Value | None) -> Value:
    return x


def _size(f: Function, x: Value, centre: Value | None) -> Value:
    return f.apply("fabs", x)


def _add(f: Function, a: Value, b: Value) -> Value:
    return a + b


def _max(f: Function, a: Value, b: Value) -> Value:
    return nan_or(f, "max", a, b)


def _min(f: Function, a: Value, b: Value) -> Value:
    return nan_or(f, "min", a, b)


FOLDS: Final = {
    "sum": Fold("sum", _same, _add),
    "sum_sizes": Fold("sum", _size, _add),
    "sum_squares": Fold("sum", _square, _add),
    "spread": Fold("sum", _square, _add, centred=True),
    "sum_exp": Fold("sum", _exp, _add, other=-inf, centred=True),
    "prod": Fold("prod", wider, lambda f, a, b: a * b, 1.0),
    "max": Fold("max", _same, _max, -inf, False, -inf, bare=Function.maximum),
    "min": Fold("min", _same, _min, inf, False, inf, bare=Function.minimum),
    "max_size": Fold("max", _size, _max, -inf, False, bare=Function.maximum),
    "min_size": Fold("min", _size, _min, inf, False, bare=Function.minimum),
    "any": Fold("max", _not_zero, _max, 0.0, False),
    "all": Fold("min", _not_zero, _min, 1.0, False),
}


def joined(f: Function, acc: Value, found: list[Value], join: Join) -> Value:
    """What there was with what was found, which is joined by pairs, widened, and joined to it."""
    more = tree(found, lambda a, b: join(f, a, b))
    return join(f, more if more.type.bits == acc.type.bits else wider(f, more), acc)


def fold_span(f: Function, fold: Fold, read: Lanes, p: Value, span: Span, acc: Variable, centre: Value | None) -> None:
    """Join what stands next to each other at ``p`` to the lanes of ``acc``."""
    odd = None if fold.bare is None else f.variable(I1.vector(read.count), acc.now.is_nan())
    for group in span.groups():
        found = []
        for i, mask in group:
            x = fold.lift(f, read.load(f, p, i, mask, fold.other), centre)
            found.append(x if mask is None else f.select(mask, x, fold.start))
        if odd is not None:
            odd.set(tree([odd.now, *unordered(found)], lambda a, b: a | b))
        acc.set(joined(f, acc.now, found, fold.bare or fold.join))
    if odd is not None:
        acc.set(f.select(odd.now, nan, acc.now))


def unordered(found: list[Value]) -> list[Value]:
    """Where there is a nan, by pairs."""
    return [a.compare("unordered", b) for a, b in zip(found[::2], found[1::2] or found[:1], strict=True)]


def put(f: Function, to: Lanes, x: Value, out: Value, i: Operand, mask: Value | None = None) -> None:
    """Write a result of any width."""
    to.store(f, x.convert("fptrunc", to.compute) if x.type.bits > to.compute.bits else x, out, i, mask)


def put_raw(f: Function, x: Value, p: Value, i: Operand, mask: Value | None) -> None:
    """Write numbers as they are."""
    if mask is None:
        f.store(x, p, i)
    else:
        f.store_masked(x, p, i, mask)


def least(f: Function, a: Value, b: Operand) -> Value:
    """The smaller of two counts."""
    b = f.value(a.type, b)
    return f.select(a < b, a, b)


def outer(f: Function, o: Value, within: Value, steps: tuple[Value, Value]) -> Value:
    """The bytes to number ``o`` of two outer dimensions, the second of ``within``."""
    return (o // within) * steps[0] + (o % within) * steps[1]


class Walk:
    """Through two outer dimensions, the second of ``within``, without a division for each step."""

    def __init__(self, f: Function, start: Value, within: Value, steps: tuple[Value, Value]):
        self.f, self.within, self.steps = f, within, steps
        self._far, self._near = f.variable(I64, start // within), f.variable(I64, start % within)

    @property
    def near(self) -> Value:
        """The number in the second dimension."""
        return self._near.now

    @property
    def far(self) -> Value:
        """The number in the first dimension."""
        return self._far.now

    @property
    def bytes(self) -> Value:
        """How far it went."""
        return self.far * self.steps[0] + self.near * self.steps[1]

    def step(self) -> None:
        """Go on to the next."""
        near = self.near + 1
        over = near.eq(self.within)
        self._far.set(self.f.select(over, self.far + 1, self.far))
        self._near.set(self.f.select(over, 0, near))


@cache
def rows(target: Target, source: str, to: str, name: str, cut: bool) -> Job:
    """Results of ``source`` numbers that lie next to each other, ``gone`` times ``count`` of them each.

    (x, out, centre, results, results of a chunk, inner of two outer dimensions, their strides, gone and its stride,
    count, most). With ``cut`` the inner outer dimension is pieces of ``most`` of the ``count`` numbers.
    """
    f = JobFunction(Module(target), f"fold_rows_{name}_{source}_{to}", [PTR] * 3 + [I64] * 9)
    x, out, centres, total, per, within, s1, s2, gone, step, count, most = f.values
    read, fold, start = lanes(source), FOLDS[name], f.chunk * per
    t = fold.type(read)
    span, walk = Span(f, count, read.count), Walk(f, start, within, (s1, s2))
    for o in f.range(start, least(f, start + per, total)):
        p = x + walk.bytes
        centre = None
        if fold.centred:
            centre = f.splat(f.load(t, centres, walk.far if cut else o), read.count)
        acc = f.variable(t.vector(read.count), fold.start)
        if cut:
            span = Span(f, least(f, count - walk.near * most, most), read.count)
        for r in f.range(0, gone):
            fold_span(f, fold, read, p + r * step, span, acc, centre)
        put(f, lanes(to), f.reduce(acc.now, lambda a, b: fold.join(f, a, b)), out, o)
        walk.step()
    f.ret()
    return jobs(f)[0]


def blocks_of(f: JobFunction, blocks: Value, block: Operand, per: Value, total: Value) -> tuple[Value, Iterator[Value]]:
    """The first column of a chunk, which is a block of columns of ``per`` of ``total`` parts, and those."""
    first = f.chunk // blocks * per
    return f.chunk % blocks * block, f.range(first, least(f, first + per, total))


@cache
def columns(target: Target, source: str, to: str, name: str) -> Job:
    """Results of numbers that lie in columns: a chunk is a block of columns, of ``per`` parts.

    (x, out, centre, columns, columns of a block, blocks, inner of two outer dimensions, their strides, gone and its
    stride, rows and their stride, rows of a piece, pieces, parts of a chunk, parts). A part is a piece of the rows.
    """
    f = JobFunction(Module(target), f"fold_columns_{name}_{source}_{to}", [PTR] * 3 + [I64] * 14)
    x, out, centres, width, block, blocks, within, s1, s2, gone, step, count, down, piece, pieces, per, total = f.values
    read, fold = lanes(source), FOLDS[name]
    t = fold.type(read)
    first, parts = blocks_of(f, blocks, block, per, total)
    columns = _Columns(f, fold, read, Span(f, least(f, width - first, block), read.count), f.buffer(WIDEST * t.bytes))
    for part in parts:
        o, top = part // pieces, part % pieces * piece
        base = x + outer(f, o, within, (s1, s2)) + first * read.memory.bytes
        centre = centres + (o * width + first) * t.bytes if fold.centred else None
        columns.begin()
        for g in f.range(0, gone):
            columns.take(base + g * step, (top, least(f, top + piece, count), down), centre)
        columns.end(lanes(to), out, part * width + first)
    f.ret()
    return jobs(f)[0]


class _Columns:
    """Columns side by side, with a result so far for each in memory."""

    def __init__(self, f: Function, fold: Fold, read: Lanes, span: Span, accs: Value):
        self.f, self.fold, self.read, self.span, self.accs = f, fold, read, span, accs
        self.vector = fold.type(read).vector(read.count)

    def begin(self) -> None:
        """Nothing was taken yet."""
        start = self.f.constant(self.vector, self.fold.start)
        self.span.each(lambda j, mask: self.f.store(start, self.accs, j))

    def take(self, base: Value, rows: tuple[Value, Value, Value], centre: Value | None) -> None:
        """The rows from a first to a last, so many bytes from one to the next."""
        f, (top, bottom, down) = self.f, rows
        whole = top + ((bottom - top) & ~(_ROWS - 1))
        for r in f.range(top, whole, _ROWS):
            self._some([base + (r + u) * down for u in range(_ROWS)], centre)
        for r in f.range(whole, bottom):
            self._some([base + r * down], centre)

    def _some(self, rows: list[Value], centre: Value | None) -> None:
        f, read = self.f, self.read

        def body(j: Value, mask: Value | None) -> None:
            c = None
            if centre is not None:
                c = f.load(self.vector, centre, j) if mask is None else f.load_masked(self.vector, centre, j, mask)
            found = [self.fold.lift(f, read.load(f, p, j, mask, self.fold.other), c) for p in rows]
            f.store(joined(f, f.load(self.vector, self.accs, j), found, self.fold.join), self.accs, j)

        self.span.each(body)

    def end(self, to: Lanes, out: Value, start: Value) -> None:
        """Write the results."""
        f = self.f
        self.span.each(lambda j, mask: put(f, to, f.load(self.vector, self.accs, j), out, start + j, mask))
