"""Groups with reductions of rows in machine code: a row goes through all steps before the next one begins.

A row is passed over once more than reductions depend on each other: each pass computes what the next reductions add
up, and then what is stored. What a later pass needs again is computed again where that is a few additions and
products; else it is kept in a row of memory of the thread, or read where it was stored. Sums are those of
:mod:`~flambeau.backends.cpu.native.rows`: of vectors of 64 bytes at every target, by fours, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan, prod
from typing import Any, Final

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu import threads
from flambeau.backends.cpu.native import folds, rows
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.cpu.native.elementwise import meets_itself
from flambeau.backends.cpu.native.fused_rows_plan import Form, Pass, Plan, Read, Small, plan
from flambeau.backends.cpu.native.fused_steps import served
from flambeau.backends.cpu.native.lanes import Span, lanes, tree
from flambeau.backends.cpu.native.matmul import workspaces
from flambeau.backends.cpu.storage import address
from flambeau.backends.group import REDUCTIONS, Group, Operand, Step
from flambeau.backends.llvm import casts
from flambeau.backends.llvm.ir import Function, Value, Variable
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.printer import print_steps
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import F64, I1, I64, PTR
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Mask = Value | None


#: Numbers in all rows from which kernels are certainly machine code, and in a row up to which it is worth its cache.
_LEAST, _LONGEST = 1 << 12, 1 << 15


def fuses(table: KernelTable, step: Step, operands: Sequence[Operand], shape: Shape) -> bool:
    """Whether a step of a kernel of rows is served: reductions are, of floats, over rows of some length."""
    if not step.axes:
        return active() is not None and served(table, step, tuple([x.dtype for x in operands])) is not None
    length = prod(shape[len(shape) - step.axes :])
    if prod(shape) < _LEAST or length > _LONGEST:
        return False
    floats = all(x.dtype in dt.FLOATS for x in operands) and step.dtype in dt.FLOATS
    half = dt.float16 in (step.dtype, *(x.dtype for x in operands))
    target = active()
    return (
        target is not None and step.name in REDUCTIONS and floats and length > 1 and 0 not in shape
        and not (half and not target.half)
    )  # fmt: skip


def kernel(table: KernelTable, group: Group) -> Kernel | None:
    """The function of a group with reductions; None for what is not served."""
    target = active()
    found = None if target is None else plan(table, group)
    if target is None or found is None:
        return None
    return FusedRows(group, found, _jobs[found.form, target])


# -- the job ---------------------------------------------------------------------------------------
@dataclass
class _Places:
    """Where a row's numbers stand: of each array the group reads or makes, and of what is kept."""

    arrays: list[Value]
    kept: Value


class _Writer:
    """Writes what is done with a row."""

    def __init__(self, f: Function, form: Form, count: Value, pitch: Value, length: Value):
        self.f, self.form, self.pitch = f, form, pitch
        self.read = lanes("float64" if any(casts.REGISTER[d].bits == 64 for d in form.dtypes) else "float32")
        self.span = Span(f, count, self.read.count)
        self.length = length
        self.ones: dict[int, Value] = {}

    def row(self, places: _Places) -> None:
        """All passes over one row."""
        f = self.f
        self.ones = {}
        for value, (array, dtype) in self.form.ones.items():
            self.ones[value] = casts.load(f, dtype, 1, places.arrays[array])
        for one in self.form.passes:
            self._small(one.before, places)
            if one.results:
                self._over(one, places)
        self._small(self.form.after, places)

    def _small(self, small: Small, places: _Places) -> None:
        """Steps of what is left of a row: single numbers."""
        values = print_steps(self.f, small.steps, [self.ones[k] for k in small.reads], 1)
        for value, number in small.makes:
            self.ones[value] = values[number]
        for array, number, dtype in small.stores:
            casts.store(values[number], dtype, places.arrays[array])

    def _over(self, one: Pass, places: _Places) -> None:
        f, width = self.f, self.read.count
        ones = {k: f.splat(self.ones[k], width) for k in one.reads_ones}
        accs = [_Total(f, fold.name, fold.dtype, self.read.count) for fold in one.folds]
        for group in self.span.groups():
            found: list[list[Value]] = [[] for _ in accs]
            for i, mask in group:
                inputs = [self._read(r, ones, places, i, mask) for r in one.reads]
                values = print_steps(f, one.steps, inputs, width)
                for s in one.stores:
                    self._store(values[s.number], s.dtype, self._place(s.array, s.kept, places), i, mask)
                for fold, some in zip(one.folds, found, strict=True):
                    x = values[fold.number]
                    some.append(x if mask is None else f.select(mask, x, _NEUTRAL[fold.name]))
            for acc, some in zip(accs, found, strict=True):
                acc.add(some)
        for fold, acc in zip(one.folds, accs, strict=True):
            self.ones[fold.value] = acc.ended(self.length)

    def _read(self, r: Read, ones: dict[int, Value], places: _Places, i: Value, mask: Mask) -> Value:
        if r.one is not None:
            return ones[r.one]
        return self._load(self._place(r.array, r.kept, places), r.dtype, i, mask)

    def _place(self, array: int | None, kept: int, places: _Places) -> Value:
        if array is not None:
            return places.arrays[array]
        return places.kept + self.pitch * kept

    def _load(self, p: Value, dtype: DType, i: Value, mask: Mask) -> Value:
        t = casts.STORED[dtype].vector(self.read.count)
        return casts.widen(self.f.load(t, p, i) if mask is None else self.f.load_masked(t, p, i, mask), dtype)

    def _store(self, x: Value, dtype: DType, p: Value, i: Value, mask: Mask) -> None:
        x = casts.narrow(x, dtype)
        if mask is None:
            self.f.store(x, p, i)
        else:
            self.f.store_masked(x, p, i, mask)


_FOLDS: Final = {"sum": "sum", "mean": "sum", "max": "max", "min": "min"}
_NEUTRAL: Final = {"sum": 0.0, "mean": 0.0, "max": -inf, "min": inf}


class _Total:
    """What the vectors of a row are joined to: sums in float64, or the largest or smallest, nans apart."""

    def __init__(self, f: Function, name: str, dtype: DType, width: int):
        self.f, self.name, self.dtype, self.fold = f, name, dtype, folds.FOLDS[_FOLDS[name]]
        t = F64 if self.fold.wide else casts.REGISTER[dtype]
        self.acc = f.variable(t.vector(width), _NEUTRAL[name])
        self.odd = None if self.fold.bare is None else f.variable(I1.vector(width), 0)

    def add(self, found: list[Value]) -> None:
        """Join some vectors to it."""
        if self.odd is not None:
            self.odd.set(tree([self.odd.now, *folds.unordered(found)], lambda a, b: a | b))
        self.acc.set(folds.joined(self.f, self.acc.now, found, self.fold.bare or self.fold.join))

    def ended(self, length: Value) -> Value:
        """The number of the row."""
        f, join = self.f, self.fold.bare or self.fold.join
        found = f.reduce(self.acc.now, lambda a, b: join(f, a, b))
        if self.odd is not None:
            found = f.select(f.reduce(self.odd.now, lambda a, b: a | b), nan, found)
        if self.name == "mean":
            found = found / length
        t = casts.REGISTER[self.dtype]
        found = found if found.type == t else found.convert("fptrunc", t)
        return casts.widen(casts.narrow(found, self.dtype), self.dtype) if self.dtype in dt.LOW_PRECISION else found


def _job(key: tuple[Form, Target]) -> Job:
    """(addresses of arrays; rows, those of a chunk, length; axes around a row, the address of their sizes followed by
    each array's strides in bytes; memory, its bytes for each thread, those of a row kept)."""
    form, target = key
    arrays = form.arrays
    f = JobFunction(Module(target), "group_rows", [*[PTR] * arrays, *[I64] * 4, PTR, PTR, I64, I64])
    pointers, (total, per, count, axes, table, room, room_bytes, pitch) = f.values[:arrays], f.values[arrays:]
    writer = _Writer(f, form, count, pitch, count.convert("sitofp", F64))
    mine, start = room + f.thread * room_bytes, f.chunk * per
    places = [f.variable(PTR, p) for p in pointers]
    inner, left = f.load(I64, table), f.variable(I64, 0)
    onward = [f.load(I64, table, axes * (k + 1)) for k in range(arrays)]
    for r in f.range(start, folds.least(f, start + per, total)):
        with f.when(left.now.eq(0)):
            _find(f, r, pointers, places, axes, table)
            left.set(inner - r % inner)
        writer.row(_Places([p.now for p in places], mine))
        for place, step in zip(places, onward, strict=True):
            place.set(place.now + step)
        left.set(left.now - 1)
    f.ret()
    return jobs(f)[0]


def _find(f: Function, r: Value, pointers: list[Value], places: list[Variable], axes: Value, table: Value) -> None:
    """The places of row ``r``; those of the rows behind it are a step apart, up to the end of the innermost axis."""
    rest = f.variable(I64, r)
    for place, p in zip(places, pointers, strict=True):
        place.set(p)
    for axis in f.range(0, axes):
        size = f.load(I64, table, axis)
        number = rest.now % size
        rest.set(rest.now // size)
        for k, place in enumerate(places):
            place.set(place.now + number * f.load(I64, table, axes * (k + 1) + axis))


_jobs: Final = Cache(_job, limit=512)


# -- the kernel ------------------------------------------------------------------------------------
class FusedRows:
    """``fn(*arrays)``: a tuple of the new arrays. What does not lie as the group says is copied."""

    def __init__(self, group: Group, made: Plan, job: Job):
        self.job, self.shape, self.axes = job, group.shape, group.axes
        self.reads = made.reads
        self.inputs = [(x.dtype.numpy, x.shape) for x in group.inputs]
        shapes = group.shapes
        self.outputs = []
        for o in group.outputs:
            shape = shapes[o.step]
            self.outputs.append((o.into, group.steps[o.step].dtype.numpy, shape, shape if o.shape is None else o.shape))
        cut = len(self.shape) - self.axes
        self.outer, self.count = self.shape[:cut], prod(self.shape[cut:])
        self.total, self.per = prod(self.outer), max(1, rows.CHUNK // self.count)
        self.pitch = -(-self.count * 8 // 64) * 64
        self.kept = made.form.kept * self.pitch
        self.chunks = -(-self.total // self.per)
        #: By strides of what is read and written: the axes around rows, with what else a job is told.
        self._walks: dict[tuple[Shape, ...], tuple[Array, tuple[int, ...]]] = {}
        #: The walks of calls that copy nothing, by shapes and strides of the inputs.
        self._plain: dict[tuple[tuple[Shape, Shape], ...], tuple[Array, tuple[int, ...]]] = {}

    def __call__(self, *arrays: Array) -> tuple[Array, ...]:
        layouts = tuple([(x.shape, x.strides) for x in arrays])
        walk = self._plain.get(layouts)
        if walk is None or not all([x.flags.aligned for x in arrays]):  # noqa: C419  # no generator: each call asks
            return self._call(layouts, arrays)
        outs = [np.empty(s, d) if i is None else arrays[i] for i, d, s, _ in self.outputs]
        self._run([*[arrays[i] for i in self.reads], *outs], walk[1])
        return self._new(outs)

    def _call(self, layouts: tuple[tuple[Shape, Shape], ...], arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """A call of arrays that may have to be copied."""
        for x, (dtype, shape) in zip(arrays, self.inputs, strict=True):
            if x.shape != shape or x.dtype != dtype:
                raise ValueError(f"a group's input must be of shape {shape} and {dtype}, got {x.shape} of {x.dtype}")
        read = [self._readable(arrays[i]) for i in self.reads]
        outs = [np.empty(s, d) if i is None else arrays[i] for i, d, s, _ in self.outputs]
        written = [x if self._lies(x) else np.empty(x.shape, x.dtype) for x in outs]
        walked = [*read, *written]
        strides = tuple([x.strides for x in walked])
        walk = self._walks.get(strides)
        if walk is None:
            table = self._table(walked)
            walk = self._walks[strides] = table, (self.total, self.per, self.count, table.shape[1], address(table))
        self._run(walked, walk[1])
        for x, made in zip(outs, written, strict=True):
            if x is not made:
                np.copyto(x, made)
        if all(x is made for x, made in zip((*[arrays[i] for i in self.reads], *outs), walked, strict=True)):
            self._plain[layouts] = walk
        return self._new(outs)

    def _new(self, outs: list[Array]) -> tuple[Array, ...]:
        return tuple([
            x if x.shape == shape else x.reshape(shape)
            for x, (i, _, _, shape) in zip(outs, self.outputs, strict=True) if i is None
        ])  # fmt: skip

    def _run(self, walked: list[Array], sizes: tuple[int, ...]) -> None:
        chunks = self.chunks
        if not self.kept:
            self.job(chunks, *map(address, walked), *sizes, 0, 0, 0)
            return
        most = 1 if chunks == 1 else threads.num_threads()
        workspace = workspaces.take(self.kept * most)
        self.job(chunks, *map(address, walked), *sizes, workspace[1], self.kept, self.pitch, most=most)
        workspaces.give(workspace)

    def _lies(self, x: Array) -> bool:
        """Whether each row of an array is dense."""
        step = x.itemsize
        for n, s in zip(reversed(x.shape[max(x.ndim - self.axes, 0) :]), reversed(x.strides), strict=False):
            if n != 1 and s != step:
                return False
            step *= n
        return x.flags.aligned and not (x.ndim > self.axes and x.flags.writeable and meets_itself(x))

    def _readable(self, x: Array) -> Array:
        step, axes = x.itemsize, self.axes
        for n, s in zip(reversed(x.shape[max(x.ndim - axes, 0) :]), reversed(x.strides), strict=False):
            if n != 1 and s != step:
                return np.ascontiguousarray(x)
            step *= n
        return x if x.flags.aligned else np.array(x)

    def _table(self, walked: Sequence[Array]) -> Array:
        """The axes around a row, as few as do, the innermost first: sizes, then the strides of each array."""
        merged: list[tuple[int, Shape]] = []
        for axis in reversed(range(len(self.outer))):
            n, back = self.outer[axis], len(self.shape) - axis
            steps = tuple([x.strides[-back] if x.ndim >= back and x.shape[-back] != 1 else 0 for x in walked])
            if n == 1:
                continue
            if merged and steps == tuple([merged[-1][0] * s for s in merged[-1][1]]):
                merged[-1] = merged[-1][0] * n, merged[-1][1]
            else:
                merged.append((n, steps))
        merged = merged or [(1, (0,) * len(walked))]
        return np.array([[n for n, _ in merged], *([s[k] for _, s in merged] for k in range(len(walked)))], np.int64)
