"""Connectionist temporal classification: the recursions over time, the states of a sequence side by side in vectors.

Graves et al., ICML 2006. The states are the labels with a blank before, between and after them; a number is the
logarithm of a sum of probabilities. The gradient runs forward once more, keeping all rows, and then backward.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import inf
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu import threads
from flambeau.backends.cpu.native.lanes import Lanes, Span, dtype_name, lanes
from flambeau.backends.cpu.native.nn import dense, fit
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm import maths
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I64, PTR

Array = np.ndarray[Any, Any]
_OPERANDS: Final = [PTR] * 4  # log probabilities, labels, and how many there are of each in every sequence
_SIZES: Final = [I64] * 6  # steps, batch, classes, labels of a row, blank, numbers of a row of states
_EDGE: Final = 16  # numbers beside a row of states that are never reached


class _Sequence:
    """One sequence: its rows of states in memory of the thread's own, and the way through time."""

    def __init__(self, f: JobFunction, read: Lanes, ins: list[Value], sizes: list[Value], memory: Value, places: Value):
        self.f, self.read = f, read
        x, labels, seen, wanted = ins
        self.steps, self.batch, self.classes, width, self.blank, self.row = sizes
        n = f.chunk
        self.x, self.labels = x + n * self.classes * read.memory.bytes, labels + n * width * 8
        self.seen, self.wanted = f.load(I64, seen, n), f.load(I64, wanted, n)
        self.states = self.wanted * 2 + 1
        self.places = places  # the class of each state
        self.skip, self.emitted, self.following, self.rows = (memory + self._bytes(i) for i in range(4))

    def _bytes(self, row: Value | int) -> Value:
        """The bytes to the first state of a row of the memory."""
        f = self.f
        return (f.value(I64, row) * self.row + _EDGE) * self.read.compute.bytes

    def at(self, t: Value) -> Value:
        """The row of states of a time."""
        return self.rows + t * self.row * self.read.compute.bytes

    def vectors(self, body: Callable[[Value], None]) -> None:
        """For each vector of states; memory has room for the last."""
        for s in self.f.range(0, self.states, self.read.count):
            body(s)

    def clear(self, row: Value) -> None:
        """No state of a row is reached, nor is what stands beside it."""
        f, never = self.f, self.f.constant(self.read.vector, -inf)
        start = row + -_EDGE * self.read.compute.bytes
        for s in f.range(0, self.row, self.read.count):
            f.store(never, start, s)

    def begin(self) -> None:
        """Write the class of each state, and where a blank may be left out."""
        f, read = self.f, self.read
        for row in (self.skip, self.emitted, self.following):
            self.clear(row)
        for s in f.range(0, self.states):
            label = f.variable(I64, self.blank)
            with f.when((s & 1).ne(0)):
                here = f.load(I64, self.labels, s >> 1)
                label.set(here)
                before = f.variable(I64, -1)
                with f.when(s > 1):
                    before.set(f.load(I64, self.labels, (s >> 1) - 1))
                free = here.ne(self.blank) & here.ne(before.now)
                f.store(f.select(free, f.constant(read.compute, 0.0), -inf), self.skip, s)
            f.store(label.now, self.places, s)

    def emit(self, t: Value) -> None:
        """Write the log probability of the class of each state."""
        f = self.f
        here = self.here(self.x, t)
        for s in f.range(0, self.states):
            f.store(f.load(self.read.compute, here, f.load(I64, self.places, s)), self.emitted, s)

    def here(self, p: Value, t: Value) -> Value:
        """The probabilities of a time."""
        return p + t * self.batch * self.classes * self.read.memory.bytes

    def sum(self, *ways: Value) -> Value:
        """log(sum(exp(ways))); -inf where all are."""
        f = self.f
        top = ways[0]
        for x in ways[1:]:
            top = f.maximum(top, x)
        top = f.select(top.eq(-inf), 0.0, top)
        total = maths.exp_nonpositive(f, ways[0] - top)
        for x in ways[1:]:
            total = total + maths.exp_nonpositive(f, x - top)
        return maths.log(f, total) + top

    def forward(self, row: Callable[[Value], Value]) -> Value:
        """Run forward, ``row(t)`` being where the states of a time stand; minus the log likelihood."""
        f, read = self.f, self.read
        first = row(f.constant(I64, 0))
        self.clear(first)
        self.emit(f.constant(I64, 0))
        for s in range(2):
            with f.when(self.states > s):
                f.store(f.load(read.compute, self.emitted, s), first, s)
        for t in f.range(1, self.seen):
            self.emit(t)
            before, now = row(t - 1), row(t)
            self.clear(now)

            def step(s: Value, before: Value = before, now: Value = now) -> None:
                stay, next_, jump = (f.load(read.vector, before, s - i) for i in range(3))
                found = self.sum(stay, next_, jump + f.load(read.vector, self.skip, s))
                f.store(found + f.load(read.vector, self.emitted, s), now, s)

            self.vectors(step)
        last = row(self.seen - 1)
        return -self.sum(f.load(read.compute, last, self.states - 1), f.load(read.compute, last, self.states - 2))

    def back(self, t: Value) -> None:
        """From ``following``, what is to come after each state of time t + 1, with its emission to that after t."""
        f, read = self.f, self.read
        self.emit(t + 1)

        def taken(s: Value) -> None:
            found = f.load(read.vector, self.following, s) + f.load(read.vector, self.emitted, s)
            f.store(found, self.emitted, s)

        def step(s: Value) -> None:
            stay, next_, jump = (f.load(read.vector, self.emitted, s + i) for i in range(3))
            f.store(self.sum(stay, next_, jump + f.load(read.vector, self.skip, s + 2)), self.following, s)

        self.vectors(taken)
        self.vectors(step)


def _started(target: Target, name: str, source: str, more: int) -> tuple[JobFunction, list[Value], _Sequence]:
    f = JobFunction(Module(target), f"{name}_{source}", _OPERANDS + [PTR] * more + _SIZES + [PTR, PTR, I64])
    *sizes, memory, places, bytes_ = f.values[4 + more :]
    read = lanes(source)
    sequence = _Sequence(
        f, read, f.values[:4], sizes, memory + f.thread * bytes_, places + f.thread * sizes[-1] * 8
    )  # fmt: skip
    sequence.begin()
    return f, f.values[4 : 4 + more], sequence


@cache
def forward(target: Target, source: str) -> Job:
    """(operands, losses, sizes, memory of the threads, of places, bytes of the first for each)."""
    f, (losses,), sequence = _started(target, "ctc", source, 1)
    f.store(sequence.forward(lambda t: sequence.at(t & 1)), losses, f.chunk)
    f.ret()
    return jobs(f)[0]


@cache
def backward(target: Target, source: str) -> Job:
    """(operands, gradients of the losses, out, sizes, and as :func:`forward`)."""
    f, (grads, out0), sequence = _started(target, "ctc_grad", source, 2)
    read = sequence.read
    out0 = out0 + f.chunk * sequence.classes * read.memory.bytes
    loss = sequence.forward(sequence.at)
    possible = loss.ne(inf)
    g = f.select(possible, f.load(read.compute, grads, f.chunk), 0.0)
    span, factor = Span(f, sequence.classes, read.count), f.splat(g, read.count)
    zero = f.constant(read.vector, 0.0)
    counted = f.select(possible, sequence.seen, 0)
    for u in f.range(counted, sequence.steps):
        row = sequence.here(out0, u)
        span.each(lambda i, mask, row=row: read.store(f, zero, row, i, mask))  # type: ignore[misc]
    _end(f, sequence)
    time = f.variable(I64, counted - 1)
    with f.loop() as leave:
        t = time.now
        leave(t < 0)
        with f.when(t < sequence.seen - 1):
            sequence.back(t)
        _gradients(f, sequence, (sequence.here(sequence.x, t), sequence.here(out0, t)), span, factor, (t, loss))
        time.set(t - 1)
    f.ret()
    return jobs(f)[0]


def _end(f: JobFunction, sequence: _Sequence) -> None:
    """Nothing comes after the last two states of the last time."""
    zero = f.constant(sequence.read.compute, 0.0)
    f.store(zero, sequence.following, sequence.states - 1)
    with f.when(sequence.states > 1):
        f.store(zero, sequence.following, sequence.states - 2)


def _gradients(
    f: Function, sequence: _Sequence, rows: tuple[Value, Value], span: Span, factor: Value, at: tuple[Value, Value]
) -> None:
    """The gradient of a time: of every class its probability, less the share of the ways through its states."""
    read, (x, out), (t, loss) = sequence.read, rows, at
    span.each(lambda i, mask: read.store(f, maths.exp(f, read.load(f, x, i, mask)) * factor, out, i, mask))
    alpha = sequence.at(t)
    missing = f.splat(loss, read.count)

    def share(s: Value) -> None:
        found = f.load(read.vector, alpha, s) + f.load(read.vector, sequence.following, s) + missing
        f.store(maths.exp(f, found) * factor, sequence.emitted, s)

    sequence.vectors(share)
    for s in f.range(0, sequence.states):
        c = f.load(I64, sequence.places, s)
        f.store(f.load(read.compute, out, c) - f.load(read.compute, sequence.emitted, s), out, c)
    sequence.clear(sequence.emitted)


# -- what is called --------------------------------------------------------------------------------
def _checked(
    target: Target, x: Array, labels: Array, seen: Array, wanted: Array, blank: int
) -> tuple[list[Array], tuple[int, ...]] | None:
    """The operands as the jobs want them, and sizes; None for what is not served."""
    if (
        not fit(target, x)
        or x.ndim != 3
        or labels.ndim != 2
        or any(v.dtype.kind != "i" for v in (labels, seen, wanted))
    ):
        return None
    steps, batch, classes = x.shape
    width = labels.shape[1]
    if labels.shape[0] != batch or seen.shape != (batch,) or wanted.shape != (batch,) or not 0 <= blank < classes:
        return None
    if seen.min() < 1 or seen.max() > steps or wanted.min() < 0 or wanted.max() > width:
        return None
    read = np.arange(width) < wanted[:, None]
    if np.any(read & ((labels < 0) | (labels >= classes))):
        return None
    row = -(-(2 * width + 1) // 16) * 16 + 2 * _EDGE
    ins = [dense(x), *(np.ascontiguousarray(v, np.int64) for v in (labels, seen, wanted))]
    return ins, (steps, batch, classes, width, blank, row)


def _run(job: Job, ins: list[Array], sizes: tuple[int, ...], rows: int, *others: Array) -> None:
    """A chunk for each sequence; every thread has memory for some rows of states."""
    x, row, count = ins[0], sizes[-1], threads.num_threads()
    memory = np.empty((count, 3 + rows, row), x.dtype)
    places = np.empty((count, row), np.int64)
    job(
        sizes[1], *(address(v) for v in (*ins, *others)), *sizes, address(memory), address(places),
        memory.strides[0], most=count,
    )  # fmt: skip


def ctc(target: Target, x: Array, labels: Array, seen: Array, wanted: Array, *, blank: int) -> Array | None:
    """Minus the log likelihood of each label sequence, inf where there is no way to it."""
    found = _checked(target, x, labels, seen, wanted, blank)
    if found is None:
        return None
    losses = np.empty(x.shape[1], x.dtype)
    _run(forward(target, dtype_name(x.dtype)), *found, 2, losses)
    return losses


def ctc_grad(
    target: Target, grad: Array, x: Array, labels: Array, seen: Array, wanted: Array, *, blank: int
) -> Array | None:
    """The gradient for the scores that the log probabilities are log_softmax of; 0 where there is no way."""
    found = _checked(target, x, labels, seen, wanted, blank)
    if found is None or not fit(target, x, grad) or grad.shape != seen.shape:
        return None
    out = np.empty(x.shape, x.dtype)
    _run(backward(target, dtype_name(x.dtype)), *found, len(x), dense(grad), out)
    return out


KERNELS: Final[dict[str, Callable[..., Any]]] = {"ctc": ctc, "ctc_grad": ctc_grad}
