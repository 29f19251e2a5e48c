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
from flambeau.backends.cpu.native.lists import each_piece, pieces
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


def update(target: Target, rule: Rule, columns: Sequence[list[Array]], numbers: Sequence[float]) -> bool:
    """Change the arrays by the rule; False, and nothing done, for what is not served."""
    model = columns[0][0] if columns[0] else None
    if model is None or not served(model, target):
        return model is None
    found = _compiled[target, rule, model.dtype.name]
    work = pieces(columns, found.written, model.dtype)
    if work is None or _meet(columns, found.written):
        return False
    found.job(work.chunks, address(work.table), address(work.starts), *numbers)
    return True


def _meet(columns: Sequence[list[Array]], written: Sequence[bool]) -> bool:
    """Whether an array that changes stands in the lists twice: then its rows have an order."""
    changing = [id(x) for column, w in zip(columns, written, strict=True) if w for x in column]
    return len(set(changing)) < len(changing)


class _Compiled(NamedTuple):
    job: Job
    written: tuple[bool, ...]


def _compile(key: tuple[Target, Rule, str]) -> _Compiled:
    (job,) = jobs(write(*key))
    return _Compiled(job, key[1].written)


_compiled: Final = Cache(_compile, limit=1024)


def write(target: Target, rule: Rule, dtype: str) -> JobFunction:
    """The job of a rule on arrays of a dtype."""
    read = lanes(dtype)
    f = JobFunction(Module(target), "update", [PTR, PTR, *[F64] * len(rule.numbers)])
    table, starts, *numbers = f.values
    rounded = [n if read.compute == F64 else n.convert("fptrunc", read.compute) for n in numbers]
    scalars = [f.splat(n, read.count) for n in rounded]
    for pointers, count in each_piece(f, len(rule.columns), table, starts):
        main = count & -read.count
        for i in f.range(0, main, read.count):
            _vector(f, rule, read, pointers, scalars, i, None)
        for i in f.range(main, count, read.count):
            _vector(f, rule, read, pointers, scalars, i, f.below(count - i, read.count))
    f.ret()
    return f


def _vector(
    f: JobFunction, rule: Rule, read: Lanes, pointers: list[Value], scalars: list[Value], i: Value, mask: Value | None
) -> None:
    """All lines for a vector of each column; what is written before it is read is not read from memory."""
    places, values = dict(zip(rule.columns, pointers, strict=True)), dict(zip(rule.numbers, scalars, strict=True))
    compute = wide(dtype_named(read.name))
    for name, source in rule.lines:
        operands = rule.operands(source)
        for other in operands:
            if other not in values:
                values[other] = read.load(f, places[other], i, mask, 1.0)
        if not operands:
            values[name] = f.constant(read.vector, float(source))
            continue
        program = lower(parse(source, operands), (compute,) * len(operands), compute, printer.native)
        values[name] = printer.print_program(f, program, [values[other] for other in operands])
    for name, written in zip(rule.columns, rule.written, strict=True):
        if written:
            read.store(f, values[name], places[name], i, mask)


# -- sums of all ---------------------------------------------------------------------------------------
def total(target: Target, arrays: list[Array], fold: str) -> float | None:
    """The numbers of all arrays joined to one by a fold of :mod:`.folds`; None for what is not served.

    What is added is added in float64, chunk by chunk in the same order for any number of threads.
    """
    if not arrays or not served(arrays[0], target):
        return None
    dtype = arrays[0].dtype
    work = pieces([arrays], [False], dtype)
    if work is None:
        return None
    job, kind = _totals[target, fold, dtype.name]
    parts = np.empty(max(work.chunks, 1), kind)
    parts[:1] = FOLDS[fold].start
    job(work.chunks, address(work.table), address(work.starts), address(parts))
    return float(parts.sum() if FOLDS[fold].again == "sum" else parts.max())


def _total(key: tuple[Target, str, str]) -> tuple[Job, type[np.floating[Any]]]:
    f = write_total(*key)
    (job,) = jobs(f)
    return job, np.float64 if FOLDS[key[1]].type(lanes(key[2])) == F64 else np.float32


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
