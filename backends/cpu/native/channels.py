"""Batch normalisation: the planes of a channel are rows, one for each of the batch, that have one mean together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import lanes
from flambeau.backends.cpu.native.rows import Body, Row
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, I64, PTR


class Planes:
    """The planes of one channel after the other; ``count`` numbers in each, ``batch`` times ``channels`` of them."""

    def __init__(self, f: JobFunction, row: Row, sizes: tuple[Value, Value, Value]):
        self.f, self.row = f, row
        self.batch, self.channels, self.count = sizes
        self.number = (self.batch * self.count).convert("sitofp", F64)

    def sums(self, c: Value, *bodies: Callable[[Value], Body]) -> list[Value]:
        """Sums over a channel; each function gets the bytes to a plane."""
        accs = self.row.start(len(bodies))
        for here in self.each(c):
            self.row.add(accs, *[body(here) for body in bodies])
        return self.row.ended(accs)

    def each(self, c: Value) -> Iterator[Value]:
        """The bytes to each plane of a channel."""
        for n in self.f.range(0, self.batch):
            yield (n * self.channels + c) * self.count * self.row.read.memory.bytes


def _started(target: Target, name: str, source: str, pointers: int) -> tuple[JobFunction, Planes, Iterator[Value]]:
    """A job of (pointers…, eps, batch, channels, count, channels of a chunk), and its channels."""
    f = JobFunction(Module(target), f"{name}_{source}", [PTR] * pointers + [F64] + [I64] * 4)
    batch, channels, count, per = f.values[-4:]
    first = f.chunk * per
    planes = Planes(f, Row(f, lanes(source), count), (batch, channels, count))
    return f, planes, f.range(first, folds.least(f, first + per, channels))


@cache
def batch_norm(target: Target, source: str, scaled: bool, shifted: bool) -> Job:
    """(x, out, weight, bias, mean, variance, eps, batch, channels, count, channels of a chunk)."""
    f, planes, channels = _started(target, "batch_norm", source, 6)
    x, out, weight, bias, means, variances, eps = f.values[:7]
    read = planes.row.read
    for c in channels:
        mean, variance = _moments(planes, c, x)
        folds.put(f, read, mean, means, c)
        folds.put(f, read, variance, variances, c)
        affine = weight if scaled else None, bias if shifted else None
        _normalised(planes, c, (x, out), (mean, variance + eps), affine)
    f.ret()
    return jobs(f)[0]


@cache
def batch_norm_given(target: Target, source: str, scaled: bool, shifted: bool) -> Job:
    """The same by a mean and a variance that are read."""
    f, planes, channels = _started(target, "batch_norm_given", source, 6)
    x, out, weight, bias, means, variances, eps = f.values[:7]
    read = planes.row.read
    for c in channels:
        mean, variance = (folds.wider(f, read.load_one(f, p, c)) for p in (means, variances))
        affine = weight if scaled else None, bias if shifted else None
        _normalised(planes, c, (x, out), (mean, variance + eps), affine)
    f.ret()
    return jobs(f)[0]


def _normalised(
    planes: Planes,
    c: Value,
    ends: tuple[Value, Value],
    moments: tuple[Value, Value],
    affine: tuple[Value | None, Value | None],
) -> None:
    """Normalise a channel by its mean and its variance, to which eps was added."""
    f, read, (mean, variance), (weight, bias) = planes.f, planes.row.read, moments, affine
    k = planes.row.splat(1.0 / f.apply("sqrt", variance))
    k = k if weight is None else k * f.splat(read.load_one(f, weight, c), read.count)
    b = None if bias is None else f.splat(read.load_one(f, bias, c), read.count)
    _applied(planes, c, *ends, (planes.row.splat(mean), k, b))


def _moments(planes: Planes, c: Value, x: Value) -> tuple[Value, Value]:
    """The mean and the variance of a channel."""
    f, row = planes.f, planes.row

    def plain(here: Value) -> Body:
        return lambda i, mask: row.read.load(f, x + here, i, mask)

    mean = planes.sums(c, plain)[0] / planes.number
    centre = row.splat(mean)

    def square(here: Value) -> Body:
        def body(i: Value, mask: Value | None) -> Value:
            d = row.read.load(f, x + here, i, mask) - centre
            return d * d

        return body

    return mean, planes.sums(c, square)[0] / planes.number


def _applied(planes: Planes, c: Value, x: Value, out: Value, with_: tuple[Value, Value, Value | None]) -> None:
    """Write (x - mean) * factor + bias for a channel."""
    f, read, (mean, k, b) = planes.f, planes.row.read, with_

    def write(here: Value) -> Callable[[Value, Value | None], None]:
        def body(i: Value, mask: Value | None) -> None:
            y = (read.load(f, x + here, i, mask) - mean) * k
            read.store(f, y if b is None else y + b, out + here, i, mask)

        return body

    for here in planes.each(c):
        planes.row.span.each(write(here))


@cache
def sums(target: Target, source: str) -> Job:
    """The sums of a gradient, and of it times the distance from the mean, of each channel.

    (grad, x, mean, sums, products, 0, batch, channels, count, channels of a chunk)
    """
    f, planes, channels = _started(target, "batch_norm_sums", source, 5)
    for c in channels:
        _sums(planes, c, *f.values[:5])
    f.ret()
    return jobs(f)[0]


def _sums(planes: Planes, c: Value, grad: Value, x: Value, means: Value, totals: Value, dots: Value) -> None:
    f, read = planes.f, planes.row.read
    mean = f.splat(read.load_one(f, means, c), read.count)

    def plain(here: Value) -> Body:
        return lambda i, mask: read.load(f, grad + here, i, mask)

    def product(here: Value) -> Body:
        return lambda i, mask: read.load(f, grad + here, i, mask) * (read.load(f, x + here, i, mask) - mean)

    total, dot = planes.sums(c, plain, product)
    folds.put(f, read, total, totals, c)
    folds.put(f, read, dot, dots, c)
