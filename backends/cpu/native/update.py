"""Rules that change lists of arrays in place, element by element: all lines of a rule in one pass over memory.

    rule = Rule(("p", "g", "b"), ("lr", "momentum"), (("b", "b * momentum + g"), ("p", "p - lr * b")))
    update(target, rule, [params, grads, buffers], [0.1, 0.9])

A line sets a column or a name of the rule's own to an expression of columns, numbers and names set before. float16
and bfloat16 are computed with in float32 and rounded once, when the rule is done. The results are those of numpy's
functions one after another, to the last bit, at every width and for any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.backends.cpu.native.lanes import Lanes, lanes, served
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
from flambeau.core.expr import lower, parse
from flambeau.core.expr.lower import wide

Array = np.ndarray[Any, Any]


class Rule(NamedTuple):
    """What happens to the arrays of a row.

    Args:
        columns: the names of the lists.
        numbers: the names of numbers, which may be others at each call.
        lines: what is set to which expression, in this order.
    """

    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]

    @property
    def written(self) -> tuple[bool, ...]:
        """Which columns change."""
        names = {name for name, _ in self.lines}
        return tuple([name in names for name in self.columns])


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
    """All lines for a vector of each column."""
    values = dict(zip(rule.numbers, scalars, strict=True))
    for name, p in zip(rule.columns, pointers, strict=True):
        values[name] = read.load(f, p, i, mask, 1.0)
    compute = wide(dtype_named(read.name))
    for name, source in rule.lines:
        program = lower(parse(source, tuple(values)), (compute,) * len(values), compute, printer.native)
        values[name] = printer.print_program(f, program, list(values.values()))
    for name, p, written in zip(rule.columns, pointers, rule.written, strict=True):
        if written:
            read.store(f, values[name], p, i, mask)
