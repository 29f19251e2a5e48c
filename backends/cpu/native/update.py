"""Rules that change lists of arrays in place, all lines in one pass over memory; and sums over all of a list.

float16 and bfloat16 are computed with in float32 and rounded once, when the rule is done. The results are those of
numpy's functions one after another, to the last bit, at every width and for any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.backends.cpu.native.folds import FOLDS, fold_span
from flambeau.backends.cpu.native.lanes import Lanes, Span, lanes, served
from flambeau.backends.cpu.native.lists import each_piece, flags, pieces
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm import printer
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, PTR
from flambeau.core.cache import Cache
from flambeau.core.dtype import dtype_named
from flambeau.core.expr import Rule, lower, parse
from flambeau.core.expr.lower import wide

Array = np.ndarray[Any, Any]


#: Lines of a rule up to which a loop takes four vectors at a time, to which two.
_FEW, _SOME = 1, 3


def update(target: Target, rule: Rule, columns: Sequence[list[Array]], numbers: Sequence[float]) -> bool:
    """Change the arrays by the rule; False, and nothing done, for what is not served."""
    if not columns[0]:
        return True
    dtype = columns[0][0].dtype
    found = _compiled[target, rule, dtype]
    work = None if found is None else pieces(columns, found.flags, dtype)
    if found is None or work is None or _meet(columns, found.written):
        return False
    found.job(work.chunks, work.table, work.starts, *numbers)
    return True


def _meet(columns: Sequence[list[Array]], written: Sequence[int]) -> bool:
    """Whether an array that changes stands in the lists twice: then its rows have an order."""
    changing = [id(x) for i in written for x in columns[i]]
    return len(set(changing)) < len(changing)


class _Compiled(NamedTuple):
    job: Job
    written: tuple[int, ...]
    flags: bytes


def _compile(key: tuple[Target, Rule, np.dtype[Any]]) -> _Compiled | None:
    target, rule, dtype = key
    if not _served(target, dtype):
        return None
    (job,) = jobs(write(target, rule, dtype.name))
    written = rule.written
    return _Compiled(job, tuple([i for i, w in enumerate(written) if w]), flags(written))


def _served(target: Target, dtype: np.dtype[Any]) -> bool:
    return dtype.isnative and served(np.empty(0, dtype), target)


_compiled: Final = Cache(_compile, limit=1024)


def write(target: Target, rule: Rule, dtype: str) -> JobFunction:
    """The job of a rule on arrays of a dtype."""
    read = lanes(dtype)
    f = JobFunction(Module(target), "update", [PTR, PTR, *[F64] * len(rule.numbers)])
    table, starts, *numbers = f.values
    rounded = [n if read.compute == F64 else n.convert("fptrunc", read.compute) for n in numbers]
    scalars = [f.splat(n, read.count) for n in rounded]
    together = 4 if len(rule.lines) <= _FEW else 2 if len(rule.lines) <= _SOME else 1
    for pointers, count in each_piece(f, len(rule.columns), table, starts):
        body = _Body(f, rule, read, pointers, scalars)
        main, step = count & -read.count, together * read.count
        whole = count & -step
        for i in f.range(0, whole, step):
            body.write([(i + k * read.count, None) for k in range(together)])
        for i in f.range(whole, main, read.count):
            body.write([(i, None)])
        with f.when(main < count):
            body.write([(main, f.below(count - main, read.count))])
    f.ret()
    return f


class _Body:
    """All lines of a rule, for vectors of the columns; what is written before it is read is not read from memory."""

    def __init__(self, f: JobFunction, rule: Rule, read: Lanes, pointers: list[Value], scalars: list[Value]):
        self.f, self.rule, self.read = f, rule, read
        self.places = dict(zip(rule.columns, pointers, strict=True))
        self.numbers = dict(zip(rule.numbers, scalars, strict=True))
        self.compute = wide(dtype_named(read.name))

    def write(self, vectors: list[tuple[Value, Value | None]]) -> None:
        """Compute vectors, then store them all."""
        found = [self._values(i, mask) for i, mask in vectors]
        for name, written in zip(self.rule.columns, self.rule.written, strict=True):
            for (i, mask), values in zip(vectors, found, strict=True):
                if written:
                    self.read.store(self.f, values[name], self.places[name], i, mask)

    def _values(self, i: Value, mask: Value | None) -> dict[str, Value]:
        f, read, values = self.f, self.read, dict(self.numbers)
        for name, source in self.rule.lines:
            operands = self.rule.operands(source)
            for other in operands:
                if other not in values:
                    values[other] = read.load(f, self.places[other], i, mask, 1.0)
            if not operands:
                values[name] = f.constant(read.vector, float(source))
                continue
            program = lower(parse(source, operands), (self.compute,) * len(operands), self.compute, printer.native)
            values[name] = printer.print_program(f, program, [values[other] for other in operands])
        return values


# -- sums of all ---------------------------------------------------------------------------------------
def total(target: Target, arrays: list[Array], fold: str) -> float | None:
    """The numbers of all arrays joined to one by a fold of :mod:`.folds`; None for what is not served.

    What is added is added in float64, chunk by chunk in the same order for any number of threads.
    """
    if not arrays:
        return None
    dtype = arrays[0].dtype
    found = _totals[target, fold, dtype]
    work = None if found is None else pieces([arrays], _READ, dtype)
    if found is None or work is None:
        return None
    job, kind = found
    parts = np.empty(max(work.chunks, 1), kind)
    parts[:1] = FOLDS[fold].start
    job(work.chunks, work.table, work.starts, address(parts))
    return float(parts.sum() if FOLDS[fold].again == "sum" else parts.max())


def _total(key: tuple[Target, str, np.dtype[Any]]) -> tuple[Job, type[np.floating[Any]]] | None:
    target, fold, dtype = key
    if not _served(target, dtype):
        return None
    (job,) = jobs(write_total(target, fold, dtype.name))
    return job, np.float64 if FOLDS[fold].type(lanes(dtype.name)) == F64 else np.float32


_READ: Final = flags([False])
_totals: Final = Cache(_total, limit=64)


def write_total(target: Target, fold: str, dtype: str) -> JobFunction:
    """The job that joins the numbers of each chunk to one."""
    read, rule = lanes(dtype), FOLDS[fold]
    f = JobFunction(Module(target), f"total_{fold}", [PTR, PTR, PTR])
    table, starts, out = f.values
    acc = f.variable(rule.type(read).vector(read.count), rule.start)
    for (pointer,), count in each_piece(f, 1, table, starts):
        fold_span(f, rule, read, pointer, Span(f, count, read.count), acc, None)
    f.store(f.reduce(acc.now, lambda a, b: rule.join(f, a, b)), out, f.chunk)
    f.ret()
    return f
