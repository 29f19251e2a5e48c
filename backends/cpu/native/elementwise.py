"""Elementwise kernels in machine code: expressions on arrays of any strides, casts and copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.backends.base import Kernel
from flambeau.backends.cpu.chunks import like, same
from flambeau.backends.cpu.native import walk
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.cpu.storage import address, broadcast_strides, expand
from flambeau.backends.llvm import calls, casts, cpython, printer
from flambeau.backends.llvm.compiler import load
from flambeau.backends.llvm.jobs import Job, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, ExprError, Program, Step, lower
from flambeau.core.expr.lower import wide

Array = np.ndarray[Any, Any]

#: Elements in a chunk, and columns of a chunk where an operand's rows lie across.
CHUNK: Final = 1 << 16
#: Steps up to which a built-in takes the usual chunk, and the one of longer programs: for one it keeps the
#: interpreter's lock.
_LIGHT, _CHUNK_OF_MANY = 16, 1 << 13
_TILE: Final = 128
#: Bytes of a result from which it goes past the caches, where it is not new, and steps up to which that pays.
STREAM, _STREAM_STEPS = 1 << 24, 8


class Plan(NamedTuple):
    """How arrays are walked.

    Args:
        chunks: how many there are.
        offsets: bytes from the first element of each array to the one where the walk begins.
        strides: bytes between columns, of each array.
        counts: the other parameters of a job (:func:`~flambeau.backends.cpu.native.walk.parameters`).
        table: what the last of them points to.
    """

    chunks: int
    offsets: tuple[int, ...]
    strides: tuple[int, ...]
    counts: tuple[int, ...]
    table: Array


class Elementwise:
    """A program on arrays: ``kernel(*ins, out=None)``; what it does not serve goes to ``fallback``.

    It serves aligned arrays of the given dtypes in this machine's order of bytes, of any strides; an ``out`` that is
    an input, or lies apart from all of them. ``make`` gives the program at the first call that needs it, or None.
    """

    def __init__(self, make: Callable[[], Program | None], dtypes: tuple[DType, ...], result: DType, fallback: Kernel):
        self.make, self.fallback = make, fallback
        self.dtypes, self.result, self.arity = tuple(d.numpy for d in dtypes), result.numpy, len(dtypes)
        self.sizes = tuple([d.itemsize for d in (*self.dtypes, self.result)])
        self._program: Program | None = None
        self._lines: dict[tuple[Target | None, bool], Lines] = {}
        self._refused = False

    def __call__(self, *ins: Array, out: Array | None = None) -> Array:
        if len(ins) > self.arity:  # `out` by position
            *ins, out = ins  # type: ignore[assignment]
        if out is None and (made := self.dense(ins)) is not None:
            return made
        target = self.prepared(ins, out)
        if target is None:
            usual: Array = self.fallback(*ins, out=out)
            return usual
        self.run(ins, target, out is not None)
        return target

    def dense(self, ins: Sequence[Array]) -> Array | None:
        """The new result of arrays of one shape in C order, for which little is asked; None for others."""
        shape, target = ins[0].shape, active()
        for x, dtype in zip(ins, self.dtypes, strict=True):
            if type(x) is not np.ndarray or x.dtype != dtype or x.shape != shape or not x.flags.carray:
                return None
        count, program = ins[0].size, self.program
        if target is None or program is None or not count:
            return None
        lines = self._lines.get((target, False))
        if lines is None:
            lines = self._lines[target, False] = compiled[program, target, False]
        out: Array = np.empty(shape, self.result)
        plan = _flat[count, self.sizes]
        places = [x.__array_interface__["data"][0] for x in (*ins, out)]
        lines.walk(plan.chunks, *lines.places, *places, *plan.strides, *plan.counts)
        return out

    def prepared(self, ins: Sequence[Array], out: Array | None) -> Array | None:
        """The array to write to; None for what is not served."""
        for x, dtype in zip(ins, self.dtypes, strict=True):
            if type(x) is not np.ndarray or x.dtype != dtype or not x.flags.aligned:
                return None
        shape = ins[0].shape
        for x in ins:
            if x.shape != shape:
                shape = np.broadcast_shapes(*[v.shape for v in ins])
                break
        if out is not None and not (
            type(out) is np.ndarray and out.dtype == self.result and out.shape == shape and out.flags.behaved
        ):
            return None
        if active() is None or self.program is None:
            return None
        if out is None:
            made: Array = like(tuple(ins), shape, self.result)
            return made
        if any(x is not out and np.may_share_memory(x, out) and not same(x, out) for x in ins):
            return None
        return out if out.flags.forc or not meets_itself(out) else None

    def builtin(self, name: str) -> Kernel:
        """A built-in for arrays in order, over this for all others; of the same lines, so its bits are the same."""
        target, program = active(), self.program
        if program is None:
            return self.fallback
        if target is None or cpython.unsuited() or self.arity > calls.MOST:
            return self
        lines = self._lines[target, False] = compiled[program, target, False]
        module = Module(target)
        chunk = builtin_chunk(len(program.steps))
        job = walk.write_in_order(module, lines.places[0], lines.places[2], self.sizes, chunk)
        f = calls.builtin_of_job(job, "ordered", program.inputs, program.out, chunk, True)
        f.title = name
        (made,) = calls.builtins({f: self})
        return made

    @property
    def program(self) -> Program | None:
        """The program; None where it is not served."""
        if self._program is None and not self._refused:
            self._program = self.make()
            self._refused = self._program is None
        return self._program

    def run(self, ins: Sequence[Array], out: Array, old: bool) -> None:
        """Compute what :meth:`prepared` found good; ``old`` memory was not just made."""
        if out.size == 0:
            return
        arrays = (*ins, out)
        shape = out.shape
        strides = tuple([x.strides if x.shape == shape else broadcast_strides(x, shape) for x in arrays])
        plan = plans[shape, strides, tuple([x.itemsize for x in arrays])]
        streaming = old and out.nbytes >= STREAM and all(x is not out for x in ins)
        target = active()
        lines = self._lines.get((target, streaming))
        if lines is None:
            program = self.program
            assert program is not None
            light = len(program.steps) - self.arity <= _STREAM_STEPS
            lines = self._lines[target, streaming] = compiled[program, target, streaming and light]
        places = [address(x) + o for x, o in zip(arrays, plan.offsets, strict=True)]
        lines.walk(plan.chunks, *lines.places, *places, *plan.strides, *plan.counts)


def builtin_chunk(steps: int) -> int:
    """Elements in a chunk of a built-in of so many steps."""
    return calls.CHUNK if steps <= _LIGHT else _CHUNK_OF_MANY


def of_expression(make: Callable[[], Expr], dtypes: tuple[DType, ...], result: DType, fallback: Kernel) -> Elementwise:
    """The kernel of an expression, parsed at the first call."""

    def program() -> Program | None:
        try:
            found = lower(make(), dtypes, result, printer.native)
        except (ExprError, KeyError):  # no meaning for these dtypes, or a function that only numpy has
            return None
        return None if printer.unserved(found) else found

    return Elementwise(program, dtypes, result, fallback)


class Lines(NamedTuple):
    """A program in memory: the job that walks it, and what that is called with first."""

    walk: Job
    places: tuple[int, int, int]


def _compile(key: tuple[Program, Target | None, bool]) -> Lines:
    program, target, streaming = key
    assert target is not None
    module = Module(target)
    names = ("line", "past") if streaming else ("line",)
    for name in names:
        walk.write_line(module, name, program, name == "past")
    found = load(module, names)
    sizes = tuple([casts.STORED[d].bytes for d in (*program.inputs, program.out)])
    return Lines(_walks[target, sizes], (found["line"], found.get("past", 0), walk.width(target, program.steps)[0]))


def _walk(key: tuple[Target, tuple[int, ...]]) -> Job:
    (job,) = jobs(walk.write(*key))
    return job


_walks: Final = Cache(_walk)
compiled: Final = Cache(_compile, limit=4096)


# -- copies ------------------------------------------------------------------------------------------
def _copy(key: tuple[DType, DType]) -> Elementwise:
    """``kernel(source, out=)``: a cast, rounded once."""
    source, to = key
    return Elementwise(lambda: cast_program(source, to), (source,), to, _unserved)


def cast_program(source: DType, to: DType) -> Program:
    """A cast; what it stores rounds, so that a float64 goes to float16 in one rounding."""
    register = wide(source)
    steps = [Step("input", register, (), 0)]
    if register is not wide(to) and not (register is dt.float64 and to is dt.float16):
        steps.append(Step("cast", wide(to), (0,)))
    return Program(tuple(steps), (source,), to)


def _unserved(*ins: Array, out: Array | None = None) -> Array:
    raise AssertionError("copies are prepared before they are run")


_copies: Final = Cache(_copy)
_COPIED: Final = {d.numpy: d for d in dt.ALL if d not in dt.COMPLEXES}


def _gains(source: DType, to: DType) -> bool:
    """Whether numpy's own loop is the slower one."""
    if source in dt.LOW_PRECISION:
        return source is not to and not (source is dt.bfloat16 and to is dt.float32)
    return to in dt.LOW_PRECISION or (source.is_floating_point and to.category == dt.INTEGER)


def copy(dst: Array, src: Array) -> bool:
    """Write ``src`` to ``dst``, cast and broadcast; False, and nothing done, for what is not served."""
    source, to = _COPIED.get(src.dtype), _COPIED.get(dst.dtype)
    if source is None or to is None or not _gains(source, to):
        return False
    made = _copies[source, to]
    target = made.prepared((src,), dst) if src.shape == dst.shape else _broadcast(made, src, dst)
    if target is None:
        return False
    made.run((src,), target, True)
    return True


def _broadcast(made: Elementwise, src: Array, dst: Array) -> Array | None:
    try:
        seen = expand(src, dst.shape)
    except ValueError:
        return None  # numpy says what is wrong
    return made.prepared((seen,), dst)


# -- walking -----------------------------------------------------------------------------------------
def _plan(key: tuple[tuple[int, ...], tuple[tuple[int, ...], ...], tuple[int, ...]]) -> Plan:
    """The plan for (shape, byte strides of each array, bytes of a number of each); it depends on these alone."""
    shape, strides, sizes = key
    dims, offsets = _dims(shape, strides)
    columns, steps = dims.pop()
    dims.reverse()  # the job counts rows from the shortest step up
    if columns < walk.SHORT and dims:  # it takes several along the first axis at once
        dims.insert(0, dims.pop(max(range(len(dims)), key=lambda i: dims[i][0])))
    rows = prod(n for n, _ in dims)
    across = any(s not in (0, size) for s, size in zip(steps, sizes, strict=True))
    width = min(columns, _TILE if across and rows > 1 else CHUNK)
    height = min(rows, max(1, CHUNK // width))
    table = np.array([[n for n, _ in dims], *([s[k] for _, s in dims] for k in range(len(sizes)))], np.int64)
    chunks = -(-columns // width) * -(-rows // height)
    return Plan(chunks, offsets, steps, (columns, width, rows, height, len(dims), address(table)), table)


def _dims(
    shape: tuple[int, ...], strides: tuple[tuple[int, ...], ...]
) -> tuple[list[tuple[int, tuple[int, ...]]], tuple[int, ...]]:
    """The axes as few as tell the same walk, of steps forward in the result, the longest first; and where it starts."""
    dims: list[tuple[int, tuple[int, ...]]] = []
    offsets = [0] * len(strides)
    for axis, n in enumerate(shape):
        steps = tuple([s[axis] for s in strides])
        if n == 1:
            continue
        if steps[-1] < 0:
            offsets = [o + (n - 1) * s for o, s in zip(offsets, steps, strict=True)]
            steps = tuple([-s for s in steps])
        dims.append((n, steps))
    dims.sort(key=lambda d: -d[1][-1])
    merged: list[tuple[int, tuple[int, ...]]] = []
    for n, steps in dims:
        if merged and merged[-1][1] == tuple([n * s for s in steps]):
            merged[-1] = merged[-1][0] * n, steps
        else:
            merged.append((n, steps))
    return merged or [(1, (0,) * len(strides))], tuple(offsets)


plans: Final = Cache(_plan, limit=1024)
#: Plans of arrays in order by their number of elements and the bytes of a number of each.
_flat: Final[Cache[tuple[int, tuple[int, ...]], Plan]] = Cache(
    lambda key: _plan(((key[0],), tuple([(n,) for n in key[1]]), key[1])), limit=1024
)


def meets_itself(x: Array) -> bool:
    """Whether two indices may name one element: an axis steps less far than those within it reach."""
    reach = x.itemsize
    for stride, n in sorted((abs(s), n) for s, n in zip(x.strides, x.shape, strict=True) if n > 1):
        if stride < reach:
            return True
        reach = stride * n
    return False
