"""Kernels over rows of numbers next to each other: softmax and log_softmax, layer_norm and rms_norm, and gradients.

A chunk is some rows. Sums along a row are those of :mod:`folds`; what is exponentiated, of float32 in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import inf
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import Lanes, Span, lanes
from flambeau.backends.llvm import maths
from flambeau.backends.llvm.ir import Function, Value, Variable
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, I64, PTR

Array = np.ndarray[Any, Any]
Body = Callable[[Value, Value | None], Value]

#: Elements of a chunk, and the fewest rows of one that has sums of its own.
CHUNK: Final = 1 << 16
SUMMED: Final = 8
_SUM: Final = folds.FOLDS["sum"]


class Row:
    """One row of ``count`` numbers, which functions of (index, mask) read and write by vectors."""

    def __init__(self, f: Function, read: Lanes, count: Value):
        self.f, self.read = f, read
        self.span = Span(f, count, read.count)
        self.count = count.convert("sitofp", F64)

    def start(self, count: int) -> list[Variable]:
        """Sums that :meth:`add` adds to."""
        return [self.f.variable(F64.vector(self.read.count), 0.0) for _ in range(count)]

    def add(self, accs: list[Variable], *bodies: Body) -> None:
        """Add what each of some functions makes of the vectors."""
        f = self.f
        for group in self.span.groups():
            found: list[list[Value]] = [[] for _ in bodies]
            for i, mask in group:
                for body, values in zip(bodies, found, strict=True):
                    x = body(i, mask)
                    values.append(x if mask is None else f.select(mask, x, 0.0))
            for acc, values in zip(accs, found, strict=True):
                acc.set(folds.joined(f, acc.now, values, _SUM.join))

    def ended(self, accs: list[Variable]) -> list[Value]:
        """The sums over the lanes, as float64."""
        return [self.f.reduce(acc.now, lambda a, b: a + b) for acc in accs]

    def total(self, *bodies: Body) -> list[Value]:
        """The sums of what each of some functions makes of the vectors, as float64."""
        accs = self.start(len(bodies))
        self.add(accs, *bodies)
        return self.ended(accs)

    def largest(self, x: Value) -> Value:
        """The largest number at ``x``, in every lane; a nan may be missed."""
        f = self.f
        acc = f.variable(self.read.vector, -inf)
        for group in self.span.groups():
            for i, mask in group:
                acc.set(f.maximum(self.read.load(f, x, i, mask, -inf), acc))
        return f.splat(f.reduce(acc.now, f.maximum), self.read.count)

    def rounded(self, x: Value) -> Value:
        """A float64 as the computing type."""
        return x if self.read.compute == F64 else x.convert("fptrunc", self.read.compute)

    def splat(self, x: Value) -> Value:
        """A float64 in every lane of the computing type."""
        return self.f.splat(self.rounded(x), self.read.count)


# -- softmax ---------------------------------------------------------------------------------------
def _softmax(f: Function, row: Row, x: Value, y: Value) -> None:
    read = row.read
    top = row.largest(x)
    exact = read.memory == read.compute

    def power(i: Value, mask: Value | None) -> Value:
        return maths.exp_nonpositive(f, read.load(f, x, i, mask, -inf) - top)

    def kept(i: Value, mask: Value | None) -> Value:
        e = power(i, mask)
        read.store(f, e, y, i, mask)
        return e

    (total,) = row.total(kept if exact else power)
    k = row.splat(1.0 / total)

    def write(i: Value, mask: Value | None) -> None:
        read.store(f, (read.load(f, y, i, mask) if exact else power(i, mask)) * k, y, i, mask)

    row.span.each(write)


def _log_softmax(f: Function, row: Row, x: Value, y: Value) -> None:
    read = row.read
    top = row.largest(x)
    (total,) = row.total(lambda i, mask: maths.exp_nonpositive(f, read.load(f, x, i, mask, -inf) - top))
    log = f.splat(maths.log(f, row.rounded(total)), read.count)
    row.span.each(lambda i, mask: read.store(f, read.load(f, x, i, mask) - top - log, y, i, mask))


def _softmax_grad(f: Function, row: Row, g: Value, r: Value, out: Value) -> None:
    read = row.read
    (dot,) = row.total(lambda i, mask: read.load(f, g, i, mask) * read.load(f, r, i, mask))
    s = row.splat(dot)
    row.span.each(
        lambda i, mask: read.store(f, (read.load(f, g, i, mask) - s) * read.load(f, r, i, mask), out, i, mask)
    )


def _log_softmax_grad(f: Function, row: Row, g: Value, r: Value, out: Value) -> None:
    read = row.read
    (total,) = row.total(lambda i, mask: read.load(f, g, i, mask))
    s = row.splat(total)

    def write(i: Value, mask: Value | None) -> None:
        e = maths.exp_nonpositive(f, read.load(f, r, i, mask, -inf))
        read.store(f, read.load(f, g, i, mask) - e * s, out, i, mask)

    row.span.each(write)


_SOFTMAX: Final[dict[str, tuple[int, Callable[..., None]]]] = {
    "softmax": (2, _softmax),
    "log_softmax": (2, _log_softmax),
    "softmax_grad": (3, _softmax_grad),
    "log_softmax_grad": (3, _log_softmax_grad),
}


@cache
def softmax(target: Target, source: str, name: str) -> Job:
    """softmax, log_softmax, or the gradient of one: (operands, result, rows, rows of a chunk, length)."""
    pointers, body = _SOFTMAX[name]
    f = JobFunction(Module(target), f"{name}_{source}", [PTR] * pointers + [I64] * 3)
    *ps, total, per, count = f.values
    read, start = lanes(source), f.chunk * per
    row = Row(f, read, count)
    for r in f.range(start, folds.least(f, start + per, total)):
        body(f, row, *[p + r * count * read.memory.bytes for p in ps])
    f.ret()
    return jobs(f)[0]


# -- normalisation ---------------------------------------------------------------------------------
def moments(f: Function, row: Row, x: Value, eps: Value, centred: bool) -> tuple[Value, Value]:
    """The mean, or zero, and one over the root of the mean square distance from it plus ``eps``, in every lane."""
    read = row.read
    mean = f.constant(read.vector, 0.0)
    if centred:
        mean = row.splat(row.total(lambda i, mask: read.load(f, x, i, mask))[0] / row.count)

    def square(i: Value, mask: Value | None) -> Value:
        d = read.load(f, x, i, mask) - mean
        return d * d

    (total,) = row.total(square)
    return mean, row.splat(1.0 / f.apply("sqrt", total / row.count + eps))


@cache
def norm(target: Target, source: str, centred: bool, scaled: bool, shifted: bool) -> Job:
    """layer_norm, or rms_norm unless ``centred``: (x, out, weight, bias, eps, rows, rows of a chunk, length)."""
    f = JobFunction(Module(target), f"norm_{source}", [PTR] * 4 + [F64] + [I64] * 3)
    x, out, weight, bias, eps, total, per, count = f.values
    read, start = lanes(source), f.chunk * per
    row, affine = Row(f, read, count), (weight if scaled else None, bias if shifted else None)
    for r in f.range(start, folds.least(f, start + per, total)):
        here = r * count * read.memory.bytes
        _norm_row(f, row, x + here, out + here, affine, moments(f, row, x + here, eps, centred))
    f.ret()
    return jobs(f)[0]


def _norm_row(
    f: Function,
    row: Row,
    x: Value,
    out: Value,
    affine: tuple[Value | None, Value | None],
    moments: tuple[Value, Value],
) -> None:
    read, (weight, bias), (mean, rstd) = row.read, affine, moments

    def write(i: Value, mask: Value | None) -> None:
        y = (read.load(f, x, i, mask) - mean) * rstd
        y = y if weight is None else y * read.load(f, weight, i, mask)
        read.store(f, y if bias is None else y + read.load(f, bias, i, mask), out, i, mask)

    row.span.each(write)


@cache
def norm_grad(target: Target, source: str, centred: bool, scaled: bool) -> Job:
    """Its gradient: (grad, x, weight, out, of weight, of bias, eps, rows, rows of a chunk, length).

    The gradients of weight and bias, in the computing type, have a row for each chunk, zeros before.
    """
    f = JobFunction(Module(target), f"norm_grad_{source}", [PTR] * 6 + [F64] + [I64] * 3)
    g0, x0, weight, out0, weights, biases, eps, total, per, count = f.values
    read, start = lanes(source), f.chunk * per
    wide = lanes("float64" if read.compute == F64 else "float32")
    row = Row(f, read, count)
    mine = f.chunk * count * read.compute.bytes
    of_weight, of_bias = weights + mine, biases + mine
    for r in f.range(start, folds.least(f, start + per, total)):
        here = r * count * read.memory.bytes
        pointers = g0 + here, x0 + here, out0 + here, weight if scaled else None
        found = moments(f, row, x0 + here, eps, centred)
        _norm_grad_row(f, row, wide, pointers, found, (of_weight, of_bias), centred)
    f.ret()
    return jobs(f)[0]


def _norm_grad_row(
    f: Function,
    row: Row,
    wide: Lanes,
    pointers: tuple[Value, Value, Value, Value | None],
    moments: tuple[Value, Value],
    sums: tuple[Value, Value],
    centred: bool,
) -> None:
    read, (g, x, out, weight), (mean, rstd), (of_weight, of_bias) = row.read, pointers, moments, sums

    def inner(i: Value, mask: Value | None) -> Value:
        grad = read.load(f, g, i, mask)
        return grad if weight is None else grad * read.load(f, weight, i, mask)

    def standard(i: Value, mask: Value | None) -> Value:
        return (read.load(f, x, i, mask) - mean) * rstd

    def along(i: Value, mask: Value | None) -> Value:
        grad, s = read.load(f, g, i, mask), standard(i, mask)
        wide.store(f, wide.load(f, of_weight, i, mask) + grad * s, of_weight, i, mask)
        if centred:
            wide.store(f, wide.load(f, of_bias, i, mask) + grad, of_bias, i, mask)
        return (grad if weight is None else grad * read.load(f, weight, i, mask)) * s

    totals = row.total(along, inner) if centred else row.total(along)
    a, *b = [row.splat(v / row.count) for v in totals]

    def write(i: Value, mask: Value | None) -> None:
        d = inner(i, mask) - standard(i, mask) * a
        read.store(f, (d - b[0] if centred else d) * rstd, out, i, mask)

    row.span.each(write)
