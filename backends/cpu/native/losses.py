"""The cross entropy of scores and classes: one pass through memory each way, and no log probabilities kept.

A row of scores, or of columns side by side, is read again while it is in the cache: for its largest number, for the
sum of exponentials. Losses are added up in float64, of each chunk and then in order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds, rows
from flambeau.backends.cpu.native.lanes import Lanes, dtype_name, lanes
from flambeau.backends.cpu.native.nn import dense, fit
from flambeau.backends.cpu.native.rows import Row
from flambeau.backends.cpu.native.softmax_columns import BLOCK, Block, tops
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm import maths
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, I64, PTR

Array = np.ndarray[Any, Any]
_INT64: Final = np.dtype(np.int64)
Mask = Value | None


@dataclass(frozen=True)
class Kind:
    """What a kernel is made for: whether classes have weights, targets are smoothed, each loss is written."""

    source: str
    weighted: bool
    smooth: bool
    each: bool


class _Classes:
    """The target of each example, its weight, and what the losses of a chunk add up to."""

    def __init__(self, f: JobFunction, kind: Kind, target: Value, weight: Value, ignored: Value, classes: Value):
        self.f, self.kind, self.read = f, kind, lanes(kind.source)
        self.targets, self.weights, self.ignored, self.classes = target, weight, ignored, classes
        self.loss, self.weight, self.bad = (f.variable(t, 0) for t in (F64, F64, I64))

    def of(self, n: Value) -> tuple[Value, Value, Value]:
        """The class of example ``n`` (0 where it has none), its weight, and whether it counts."""
        f = self.f
        t = f.load(I64, self.targets, n)
        kept, inside = t.ne(self.ignored), t.compare("ult", self.classes)
        self.bad.set(f.select(kept & ~inside, 1, self.bad.now))
        counts = kept & inside
        safe = f.select(counts, t, 0)
        weight = self.read.load_one(f, self.weights, safe) if self.kind.weighted else f.constant(self.read.compute, 1.0)
        return safe, f.select(counts, weight, 0.0), counts

    def add(self, loss: Value, weight: Value) -> None:
        """Take a loss, of the computing type, and its weight into the sums."""
        wide = (x if x.type == F64 else x.convert("fpext", F64) for x in (loss, weight))
        for variable, x in zip((self.loss, self.weight), wide, strict=True):
            variable.set(variable.now + x)

    def end(self, sums: Value) -> None:
        """Write the sums of the chunk."""
        f = self.f
        for i, x in enumerate((self.loss.now, self.weight.now, self.bad.now.convert("sitofp", F64))):
            f.store(x, sums + (f.chunk * 3 + i) * 8)


def _loss(f: JobFunction, c: _Classes, found: tuple[Value, Value, Value, Value | None], smoothing: Value) -> Value:
    """The loss of an example from its class's score, the weight, the sum over the row, and that of the weighted row."""
    score, weight, total, spread = found
    plain = weight * (total - score)
    if spread is None:
        return plain
    rest = smoothing.convert("fptrunc", plain.type) if plain.type != F64 else smoothing
    return plain * (1.0 - rest) + rest * spread


_PARAMS: Final = [PTR] * 5 + [F64, F64] + [I64] * 5


@cache
def forward(target: Target, kind: Kind) -> Job:
    """(x, target, weight, losses, sums of chunks, smoothing, sum of weights, ignored, rows, rows of a
    chunk, classes, 0)."""
    f = JobFunction(Module(target), f"cross_entropy_{kind.source}", _PARAMS)
    x0, targets, weights, losses, sums, smoothing, all_weights, ignored, total, per, count, _ = f.values
    read, start = lanes(kind.source), f.chunk * per
    row, c = Row(f, read, count), _Classes(f, kind, targets, weights, ignored, count)
    for r in f.range(start, folds.least(f, start + per, total)):
        x = x0 + r * count * read.memory.bytes
        top = row.largest(x)
        power = _power(read, x, top)
        weighed = _weighed(read, weights if kind.weighted else None, x, top)
        powers, *dots = row.total(power, weighed) if kind.smooth else row.total(power)
        log = maths.log(f, row.rounded(powers))
        lead = top.lane(0)
        safe, weight, counts = c.of(r)
        spread = None
        if kind.smooth:
            spread = f.select(
                counts, (log * row.rounded(all_weights) - row.rounded(dots[0])) / row.rounded(row.count), 0.0
            )
        score = f.load(read.memory, x, safe) - lead
        loss = f.select(counts, _loss(f, c, (score, weight, log, spread), smoothing), 0.0)
        c.add(loss, weight)
        if kind.each:
            read.store(f, loss, losses, r)
    c.end(sums)
    f.ret()
    return jobs(f)[0]


def _power(read: Lanes, x: Value, top: Value) -> rows.Body:
    """The exponentials of the scores, from the largest on."""
    f = x.function
    return lambda i, mask: maths.exp_nonpositive(f, read.load(f, x, i, mask, -np.inf) - top)


def _weighed(read: Lanes, weights: Value | None, x: Value, top: Value) -> rows.Body:
    """The scores, from the largest on, times the weights."""

    def body(i: Value, mask: Mask) -> Value:
        f = x.function
        d = read.load(f, x, i, mask) - top
        return d if weights is None else d * read.load(f, weights, i, mask)

    return body


@cache
def forward_columns(target: Target, kind: Kind) -> Job:
    """The same of columns: (…, ignored, columns, blocks, classes, 0), a chunk being a block of columns of a part."""
    f = JobFunction(Module(target), f"cross_entropy_columns_{kind.source}", _PARAMS)
    x0, targets, weights, losses, sums, smoothing, all_weights, ignored, width, blocks, count, _ = f.values
    read = lanes(kind.source)
    part, first = f.chunk // blocks, f.chunk % blocks * BLOCK
    columns = folds.least(f, width - first, BLOCK)
    block, c = Block(f, read, columns, count, width), _Classes(f, kind, targets, weights, ignored, count)
    x = x0 + (part * count * width + first) * read.memory.bytes
    high, totals, dots = tops(f, block, x), block.buffer("sums", F64, 0.0), block.buffer("dots", F64, 0.0)

    def take(i: Value, j: Value, mask: Mask) -> None:
        d = read.load(f, x, i, mask) - f.load(read.vector, high, j)
        block.add(maths.exp_nonpositive(f, d), totals, j)
        if kind.smooth:
            w = f.splat(read.load_one(f, weights, block.row.now), read.count) if kind.weighted else None
            block.add(d if w is None else d * w, dots, j)

    block.each(take)
    last = block.buffer("last", read.compute, 0.0)
    block.span.each(lambda j, mask: f.store(maths.log(f, block.sums(totals, j)), last, j))
    for j in f.range(0, columns):
        n = part * width + first + j
        log, lead = f.load(read.compute, last, j), f.load(read.compute, high, j)
        safe, weight, counts = c.of(n)
        spread = None
        if kind.smooth:
            dot = f.load(F64, dots, j)
            found = (log if log.type == F64 else log.convert("fpext", F64)) * all_weights - dot
            found = found / count.convert("sitofp", F64)
            spread = found if log.type == F64 else found.convert("fptrunc", log.type)
        score = f.load(read.memory, x, safe * width + j) - lead
        loss = f.select(counts, _loss(f, c, (score, weight, log, spread), smoothing), 0.0)
        c.add(loss, weight)
        if kind.each:
            read.store(f, loss, losses, n)
    c.end(sums)
    f.ret()
    return jobs(f)[0]


# -- gradients -------------------------------------------------------------------------------------
_BACK: Final = [PTR] * 5 + [F64] * 3 + [I64] * 5


class _Slopes:
    """What the gradient of an example is made of: factors of its exponentials, of its class, and of all classes."""

    def __init__(self, f: JobFunction, kind: Kind, classes: _Classes, values: tuple[Value, ...]):
        self.f, self.kind, self.c = f, kind, classes
        self.grads, self.scale, self.smoothing, self.all_weights = values

    def _number(self, x: Value) -> Value:
        return x if self.c.read.compute == F64 else x.convert("fptrunc", self.c.read.compute)

    def of(self, n: Value) -> tuple[Value, Value, Value, Value | None]:
        """The class, the factor of the exponentials, of the class, and of all where targets are smoothed."""
        f, read = self.f, self.c.read
        safe, weight, counts = self.c.of(n)
        g = self._number(self.scale) if not self.kind.each else read.load_one(f, self.grads, n)
        if not self.kind.smooth:
            first = f.select(counts, g * weight, 0.0)
            return safe, first, first, None
        first = f.select(counts, g * weight * (1.0 - self._number(self.smoothing)), 0.0)
        rest = self._number(self.smoothing / self.c.classes.convert("sitofp", F64))
        every = f.select(counts, g * rest, 0.0)
        return safe, first + every * self._number(self.all_weights), first, every


@cache
def backward(target: Target, kind: Kind) -> Job:
    """(x, target, weight, grads, out, gradient of all, smoothing, sum of weights,
    ignored, rows, rows of a chunk, classes, 0)."""
    f = JobFunction(Module(target), f"cross_entropy_grad_{kind.source}", _BACK)
    x0, targets, weights, grads, out0, scale, smoothing, all_weights, ignored, total, per, count, _ = f.values
    read, start = lanes(kind.source), f.chunk * per
    row, c = Row(f, read, count), _Classes(f, kind, targets, weights, ignored, count)
    slopes = _Slopes(f, kind, c, (grads, scale, smoothing, all_weights))
    for r in f.range(start, folds.least(f, start + per, total)):
        here = r * count * read.memory.bytes
        x, out = x0 + here, out0 + here
        safe, power, first, every = slopes.of(r)
        factor = f.splat(power, read.count) * _powers(row, x, out)
        _rest(
            row, out, factor, None if every is None else f.splat(every, read.count), weights if kind.weighted else None
        )
        f.store(f.load(read.memory, out, safe) - first, out, safe)
    f.ret()
    return jobs(f)[0]


def _powers(row: Row, x: Value, out: Value) -> Value:
    """Write the exponentials of a row, from its largest number on; one over their sum, in every lane."""
    f, read, top = row.f, row.read, row.largest(x)

    def kept(i: Value, mask: Mask) -> Value:
        e = maths.exp_nonpositive(f, read.load(f, x, i, mask, -np.inf) - top)
        read.store(f, e, out, i, mask)
        return e

    return row.splat(1.0 / row.total(kept)[0])


def _rest(row: Row, out: Value, factor: Value, every: Value | None, weights: Value | None) -> None:
    """Times a factor, less that of all classes."""
    f, read = row.f, row.read

    def write(i: Value, mask: Mask) -> None:
        y = read.load(f, out, i, mask) * factor
        if every is not None:
            y = y - (every if weights is None else every * read.load(f, weights, i, mask))
        read.store(f, y, out, i, mask)

    row.span.each(write)


@cache
def backward_columns(target: Target, kind: Kind) -> Job:
    """The same of columns: (…, ignored, columns, blocks, classes, 0)."""
    f = JobFunction(Module(target), f"cross_entropy_grad_columns_{kind.source}", _BACK)
    x0, targets, weights, grads, out0, scale, smoothing, all_weights, ignored, width, blocks, count, _ = f.values
    read = lanes(kind.source)
    part, first = f.chunk // blocks, f.chunk % blocks * BLOCK
    columns = folds.least(f, width - first, BLOCK)
    block, c = Block(f, read, columns, count, width), _Classes(f, kind, targets, weights, ignored, count)
    slopes = _Slopes(f, kind, c, (grads, scale, smoothing, all_weights))
    start = part * width + first
    here = (part * count * width + first) * read.memory.bytes
    x, out = x0 + here, out0 + here
    high, totals = tops(f, block, x), block.buffer("sums", F64, 0.0)
    powers, firsts, all_ = (block.buffer(name, read.compute, 0.0) for name in ("powers", "firsts", "all"))
    for j in f.range(0, columns):
        _, power, one, every = slopes.of(start + j)
        for buffer, value in ((powers, power), (firsts, one), (all_, every)):
            if value is not None:
                f.store(value, buffer, j)

    def keep(i: Value, j: Value, mask: Mask) -> None:
        e = maths.exp_nonpositive(f, read.load(f, x, i, mask) - f.load(read.vector, high, j))
        block.add(e, totals, j)
        read.store(f, e, out, i, mask)

    def divide(j: Value, mask: Mask) -> None:
        f.store(f.load(read.vector, powers, j) / block.sums(totals, j), powers, j)

    def write(i: Value, j: Value, mask: Mask) -> None:
        y = read.load(f, out, i, mask) * f.load(read.vector, powers, j)
        if kind.smooth:
            e = f.load(read.vector, all_, j)
            y = y - (e * f.splat(read.load_one(f, weights, block.row.now), read.count) if kind.weighted else e)
        read.store(f, y, out, i, mask)

    block.each(keep)
    block.span.each(divide)
    block.each(write)
    for j in f.range(0, columns):
        safe, _, _ = c.of(start + j)
        at = safe * width + j
        f.store(f.load(read.memory, out, at) - f.load(read.compute, firsts, j), out, at)
    f.ret()
    return jobs(f)[0]


# -- what is called --------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Shape:
    """Examples as rows, or as columns side by side: ``width`` of each of ``parts``, over ``classes``."""

    parts: int
    classes: int
    width: int

    def chunks(self) -> tuple[int, tuple[int, int, int, int]]:
        """How many there are, and the sizes that a job wants."""
        if self.width == 1:
            per = max(1, rows.CHUNK // self.classes)
            return -(-self.parts // per), (self.parts, per, self.classes, 0)
        blocks = -(-self.width // BLOCK)
        return blocks * self.parts, (self.width, blocks, self.classes, 0)


def _shape(x_shape: tuple[int, ...]) -> _Shape:
    if len(x_shape) < 2:
        return _Shape(1, x_shape[0], 1)
    return _Shape(x_shape[0], x_shape[1], prod(x_shape[2:]))


@lru_cache(256)
def _plan(
    target: Target, back: bool, dtype: np.dtype[Any], x_shape: tuple[int, ...], weighted: bool, smooth: bool, each: bool
) -> tuple[Job, int, tuple[int, int, int, int]]:
    """The job of the loss, or of its gradient, how many chunks it has, and the sizes that it wants."""
    shape, kind = _shape(x_shape), Kind(dtype_name(dtype), weighted, smooth, each)
    by_rows, by_columns = (backward, backward_columns) if back else (forward, forward_columns)
    return (by_rows if shape.width == 1 else by_columns)(target, kind), *shape.chunks()


def _operands(
    target: Target, x: Array, classes: Array, weight: Array | None, more: tuple[Array, ...] = ()
) -> tuple[Array, Array, Array | None, float] | None:
    """All of it dense, and the sum of the weights; None for what is not served."""
    if x.ndim == 0 or not fit(target, x, weight, *more) or x.shape[:1] + x.shape[2:] != classes.shape and x.ndim > 1:
        return None
    classes_of_x = x.shape[min(x.ndim, 2) - 1]
    if weight is not None and weight.shape != (classes_of_x,) or classes.dtype.kind not in "iu":
        return None
    w = None if weight is None else dense(weight)
    numbers = dense(classes) if classes.dtype is _INT64 else np.ascontiguousarray(classes, np.int64)
    return dense(x), numbers.reshape(classes.shape), w, float(classes_of_x if w is None else w.sum(dtype="f8"))


def cross_entropy(
    target: Target, x: Array, classes: Array, weight: Array | None, *, ignore_index: int, reduction: str,
    smoothing: float,
) -> tuple[Array, Array] | None:  # fmt: skip
    """The loss, and the sum of the weights."""
    found = _operands(target, x, classes, weight)
    if found is None:
        return None
    x, classes, w, all_weights = found
    each = reduction == "none"
    losses = np.empty(classes.shape if each else (), x.dtype)
    job, chunks, sizes = _plan(target, False, x.dtype, x.shape, w is not None, smoothing != 0, each)
    sums = np.empty((chunks, 3))
    job(
        chunks, address(x), address(classes), 0 if w is None else address(w), address(losses), address(sums),
        smoothing, all_weights, ignore_index, *sizes,
    )  # fmt: skip
    loss, total, bad = (sums[0] if chunks == 1 else sums.sum(0)).tolist()
    if bad:
        return None  # whose error is the one that everything else gives
    if not each:  # the mean of nothing is nan
        losses[()] = loss if reduction == "sum" else loss / total if total else np.divide(loss, total)
    return losses, np.array(total, x.dtype)


def cross_entropy_grad(
    target: Target, grad: Array, x: Array, classes: Array, weight: Array | None, total: Array, *, ignore_index: int,
    reduction: str, smoothing: float,
) -> Array | None:  # fmt: skip
    """The gradient for the scores."""
    each = reduction == "none"
    if grad.shape != (classes.shape if each else ()) or total.shape != ():
        return None
    found = _operands(target, x, classes, weight, (grad, total))
    if found is None:
        return None
    x, classes, w, all_weights = found
    scale = 0.0
    if not each:
        scale = grad.item()
        if reduction == "mean":
            scale = scale / weights if (weights := total.item()) else 0.0
    out, g = np.empty(x.shape, x.dtype), dense(grad)
    job, chunks, sizes = _plan(target, True, x.dtype, x.shape, w is not None, smoothing != 0, each)
    job(
        chunks, address(x), address(classes), 0 if w is None else address(w), address(g), address(out),
        scale, smoothing, all_weights, ignore_index, *sizes,
    )  # fmt: skip
    return out


KERNELS: Final[dict[str, Callable[..., Any]]] = {
    "cross_entropy": cross_entropy,
    "cross_entropy_grad": cross_entropy_grad,
}
