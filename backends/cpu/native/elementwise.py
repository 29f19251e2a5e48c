"""Elementwise kernels in machine code: expressions on arrays of any strides, casts and copies."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.backends.base import Kernel
from flambeau.backends.cpu.chunks import like, same
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.cpu.storage import address, broadcast_strides
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, Program, lower

Array = np.ndarray[Any, Any]

#: Elements in a chunk, and columns of a chunk where an operand's rows lie across.
CHUNK: Final = 1 << 16
_TILE: Final = 128
#: Columns below which a longer axis is walked instead.
_SHORT: Final = 16
#: Bytes of a result from which it goes past the caches, where it is not new, and steps up to which that pays.
STREAM, _STREAM_STEPS = 1 << 24, 8


class Plan(NamedTuple):
    """How arrays are walked: what a job is called with beside the addresses.

    ``offsets`` are the bytes from an array's first element to the one where the walk begins.
    """

    chunks: int
    offsets: tuple[int, ...]
    strides: tuple[int, ...]
    columns: int
    width: int
    rows: int
    height: int
    axes: int
    table: Array  # kept alive


class Elementwise:
    """A program on arrays: ``kernel(*ins, out=None)``; what it does not serve goes to ``fallback``.

    It serves aligned arrays of the program's dtypes in this machine's order of bytes, of any strides; an ``out``
    that is an input, or lies apart from all of them.
    """

    def __init__(self, program: Program, fallback: Kernel):
        self.program, self.fallback = program, fallback
        self.dtypes = tuple(d.numpy for d in program.inputs)
        self.arity, self.result = len(program.inputs), program.out.numpy
        self.light = len(program.steps) - self.arity <= _STREAM_STEPS
        self._jobs: dict[bool, Any] = {}

    def __call__(self, *ins: Array, out: Array | None = None) -> Array:
        if len(ins) > self.arity:  # `out` by position
            *ins, out = ins  # type: ignore[assignment]
        target = self.prepared(ins, out)
        if target is None:
            made: Array = self.fallback(*ins, out=out)
            return made
        self.run(ins, target, out is not None)
        return target

    def prepared(self, ins: Sequence[Array], out: Array | None) -> Array | None:
        """The array to write to; None for what is not served."""
        if active() is None:
            return None
        for x, dtype in zip(ins, self.dtypes, strict=True):
            if type(x) is not np.ndarray or x.dtype != dtype or not x.flags.aligned:
                return None
        shape = ins[0].shape
        for x in ins:
            if x.shape != shape:
                shape = np.broadcast_shapes(*[v.shape for v in ins])
                break
        if out is None:
            return like(tuple(ins), shape, self.result)
        if type(out) is not np.ndarray or out.dtype != self.result or out.shape != shape or not out.flags.behaved:
            return None
        if any(x is not out and np.may_share_memory(x, out) and not same(x, out) for x in ins):
            return None
        return out if out.flags.forc or not _meets_itself(out) else None

    def run(self, ins: Sequence[Array], out: Array, old: bool) -> None:
        """Compute what :meth:`prepared` found good; ``old`` memory was not just made."""
        if out.size == 0:
            return
        arrays = (*ins, out)
        streaming = old and self.light and out.nbytes >= STREAM and all(x is not out for x in ins)
        shape = out.shape
        strides = tuple([x.strides if x.shape == shape else broadcast_strides(x, shape) for x in arrays])
        plan = plans[shape, strides, tuple([x.itemsize for x in arrays])]
        job = self._jobs.get(streaming)
        if job is None:
            job = self._jobs[streaming] = jobs[(self.program, active(), streaming)]
        places = [address(x) + o for x, o in zip(arrays, plan.offsets, strict=True)]
        job(plan.chunks, *places, *plan.strides, *plan[3:8], address(plan.table))


def kernel(
    expr: Expr, dtypes: tuple[DType, ...], result: DType, fallback: Kernel
) -> Kernel | None:
    """The kernel of an expression; None where the printer has not all of it."""
    from flambeau.backends.llvm import printer  # at the first large operands

    program = lower(expr, dtypes, result, printer.native)
    return None if printer.unserved(program) else Elementwise(program, fallback)


def _make(key: tuple[Program, Any, bool]) -> Any:
    from flambeau.backends.cpu.native import walk
    from flambeau.backends.llvm.jobs import jobs as compiled

    program, target, streaming = key
    (job,) = compiled(walk.write(target, program, streaming))
    return job


jobs: Final[Cache[tuple[Program, Any, bool], Any]] = Cache(_make, limit=4096)


# -- walking -----------------------------------------------------------------------------------------
def _plan(key: tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[int, ...]]) -> Plan:
    """The plan for (shape, byte strides of each array, bytes of a number of each); it depends on these alone."""
    shape, strides, sizes = key
    dims, offsets = _dims(shape, strides)
    inner = len(dims) - 1
    if dims[inner][0] < _SHORT:
        inner = max(range(len(dims)), key=lambda i: dims[i][0])
    columns, steps = dims.pop(inner)
    rows = prod(n for n, _ in dims)
    across = any(s not in (0, size) for s, size in zip(steps, sizes, strict=True))
    width = min(columns, _TILE if across and rows > 1 else CHUNK)
    height = min(rows, max(1, CHUNK // width))
    table = np.array([[n for n, _ in dims], *([s[k] for _, s in dims] for k in range(len(sizes)))], np.int64)
    chunks = -(-columns // width) * -(-rows // height)
    return Plan(chunks, offsets, steps, columns, width, rows, height, len(dims), table)


def _dims(
    shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...]
) -> tuple[list[tuple[int, tuple[int, ...]]], tuple[int, ...]]:
    """The axes as few as tell the same walk, of steps forward in the result, the longest first; and where it starts."""
    dims, offsets = [], [0] * len(strides)
    for axis, n in enumerate(shape):
        steps = [s[axis] for s in strides]
        if n == 1:
            continue
        if steps[-1] < 0:
            offsets = [o + (n - 1) * s for o, s in zip(offsets, steps, strict=True)]
            steps = [-s for s in steps]
        dims.append((n, tuple(steps)))
    dims.sort(key=lambda d: -d[1][-1])
    merged: list[tuple[int, tuple[int, ...]]] = []
    for n, steps in dims:
        if merged and merged[-1][1] == tuple([n * s for s in steps]):
            merged[-1] = merged[-1][0] * n, steps
        else:
            merged.append((n, steps))
    return merged or [(1, (0,) * len(strides))], tuple(offsets)


plans: Final = Cache(_plan, limit=1024)


def _meets_itself(x: Array) -> bool:
    """Whether two indices may name one element: an axis steps less far than those within it reach."""
    reach = x.itemsize
    for stride, n in sorted((abs(s), n) for s, n in zip(x.strides, x.shape, strict=True) if n > 1):
        if stride < reach:
            return True
        reach = stride * n
    return False
