"""Sorting rows, stable in both directions, nan as the largest; and the first few of a row by selection."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.backends.cpu.native import folds, radix
from flambeau.backends.cpu.native.lanes import dtype_name
from flambeau.backends.cpu.native.places import movable
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Value, Variable
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.maths.arithmetic import any_lane
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.planned import OPERAND, RESULT, SCRATCH, WORK, plan
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I32, I64, PTR, Type
from flambeau.core import config
from flambeau.core.dtype import dtype_named

Array = np.ndarray[Any, Any]

#: Elements of a chunk.
_CHUNK: Final = 1 << 14
#: Places have 31 bits.
_MOST: Final = 1 << 31
#: How many times as long a row must be as what is wanted of it to be selected rather than sorted,
_SELECTED: Final = 8
#: and how many candidates there is room for at least.
_ROOM: Final = 64
#: How many are few enough to be kept in order by insertion, of longer rows and of whole ones.
_FEW: Final = 16
_SHORT: Final = 32


class _Rows(JobFunction):
    """A kernel of rows being written.

    (x, values or nothing, places, scratch, rows, of a chunk, length, how many of each are wanted, room in the scratch)
    """

    def __init__(self, target: Target, name: str, source: str, descending: bool, values: bool):
        super().__init__(Module(target), f"{name}_{source}_{'down' if descending else 'up'}", [PTR] * 4 + [I64] * 5)
        self.dtype, self.descending, self.with_values = dtype_named(source), descending, values
        self.key = radix.stored(self.dtype)
        self.x, self.out, self.out_places, scratch, total, per, self.length, self.wanted, self.room = self.values
        self.sorter = radix.sorter(self.module, self.key)
        pair = self.key.bytes + I32.bytes
        self.keys = scratch + self.thread * self.room * (2 * pair)
        self.keys2 = self.keys + self.room * self.key.bytes
        self.places = self.keys2 + self.room * self.key.bytes
        self.places2 = self.places + self.room * I32.bytes
        first = self.chunk * per
        self.rows = self.range(first, folds.least(self, first + per, total))

    def keyed(self, bits: Value) -> Value:
        """The key of a number or of a vector of them."""
        return radix.key_of(self, bits, self.dtype, self.descending)

    def sort(self, count: Value) -> Value:
        """Sort the pairs in the scratch; whether they are in its second half then."""
        return self.call(self.sorter, self.keys, self.places, self.keys2, self.places2, count).ne(0)

    def deliver(self, row: Value, places: Value) -> None:
        """The results of a row from sorted places."""
        start, to = row * self.length, row * self.wanted
        for j in self.range(0, self.wanted):
            at = self.load(I32, places, j).zext(I64)
            self.store(at, self.out_places, to + j)
            if self.with_values:
                self.store(self.load(self.key, self.x, start + at), self.out, to + j)

    def done(self) -> Job:
        """What was written, compiled."""
        self.ret()
        return jobs(self)[0]


@cache
def _sort(target: Target, source: str, descending: bool, values: bool) -> Job:
    f = _Rows(target, "sort" if values else "argsort", source, descending, values)
    for r in f.rows:
        for j in f.range(0, f.length):
            f.store(f.keyed(f.load(f.key, f.x, r * f.length + j)), f.keys, j)
            f.store(j.trunc(I32), f.places, j)
        other = f.sort(f.length)
        f.deliver(r, f.select(other, f.places2, f.places))
    return f.done()


@cache
def _select(target: Target, source: str, descending: bool) -> Job:
    """Candidates are collected, and cut to the wanted ones whenever their room is full; what is no better than the
    last of those is passed by, a vector at a time."""
    f = _Rows(target, "select", source, descending, True)
    lanes = 64 // f.key.bytes
    vector, count, limit = f.key.vector(lanes), f.variable(I64), f.variable(f.key)

    def take(row: Value, j: Value, key: Value) -> None:
        f.store(key, f.keys, count.now)
        f.store(j.trunc(I32), f.places, count.now)
        count.set(count.now + 1)
        with f.when(count.now.eq(f.room), likely=False):
            other = f.sort(count.now)
            with f.when(other):
                for i in f.range(0, f.wanted):
                    f.store(f.load(f.key, f.keys2, i), f.keys, i)
                    f.store(f.load(I32, f.places2, i), f.places, i)
            count.set(f.wanted)
            limit.set(f.load(f.key, f.keys, f.wanted - 1))

    def one(row: Value, j: Value) -> None:
        key = f.keyed(f.load(f.key, f.x, row * f.length + j))
        with f.when(key.compare("ult", limit)):
            take(row, j, key)

    for r in f.rows:
        count.set(0)
        for j in f.range(0, f.room):
            take(r, j, f.keyed(f.load(f.key, f.x, r * f.length + j)))
        _rest(f, r, f.room, (vector, limit), one)
        other = f.sort(count.now)
        f.deliver(r, f.select(other, f.places2, f.places))
    return f.done()


@cache
def _few(target: Target, source: str, descending: bool, values: bool) -> Job:
    """The few best so far stand in order, and what is better than the last of them is inserted."""
    f = _Rows(target, "few" if values else "argfew", source, descending, values)
    lanes = 64 // f.key.bytes
    vector, limit = f.key.vector(lanes), f.variable(f.key)

    def insert(j: Value, key: Value, end: Value) -> None:
        place = f.variable(I64, end)
        with f.loop() as leave:
            i = place.now
            leave(i.eq(0))
            before = f.load(f.key, f.keys, i - 1)
            leave(before.compare("ule", key))
            f.store(before, f.keys, i)
            f.store(f.load(I32, f.places, i - 1), f.places, i)
            place.set(i - 1)
        f.store(key, f.keys, place.now)
        f.store(j.trunc(I32), f.places, place.now)

    def one(row: Value, j: Value) -> None:
        key = f.keyed(f.load(f.key, f.x, row * f.length + j))
        with f.when(key.compare("ult", limit)):
            insert(j, key, f.wanted - 1)
            limit.set(f.load(f.key, f.keys, f.wanted - 1))

    for r in f.rows:
        for j in f.range(0, f.wanted):
            insert(j, f.keyed(f.load(f.key, f.x, r * f.length + j)), j)
        limit.set(f.load(f.key, f.keys, f.wanted - 1))
        _rest(f, r, f.wanted, (vector, limit), one)
        f.deliver(r, f.places)
    return f.done()


def _rest(f: _Rows, row: Value, start: Value, past: tuple[Type, Variable], one: Callable[[Value, Value], None]) -> None:
    """``one`` of the numbers of a row from ``start`` on, where a vector of them has some better than the limit."""
    vector, limit = past
    whole = start + ((f.length - start) & ~(vector.lanes - 1))
    for j in f.range(start, whole, vector.lanes):
        keys = f.keyed(f.load(vector, f.x, row * f.length + j))
        with f.when(any_lane(f, keys.compare("ult", limit)), likely=False):
            for u in f.range(j, j + vector.lanes):
                one(row, u)
    for j in f.range(whole, f.length):
        one(row, j)


class _Work(NamedTuple):
    """How rows are sorted: the job and its chunks, what it takes behind the addresses, bytes of scratch of a thread."""

    job: Job
    chunks: int
    values: tuple[int, ...]
    scratch: int


def _work(target: Target, rows: Array, k: int, descending: bool, values: bool) -> _Work:
    """The first ``k`` of dense rows."""
    source, length = dtype_name(rows.dtype), rows.shape[-1]
    selected = k * _SELECTED <= length and length > 2 * _ROOM
    few = k <= (_FEW if k < length else _SHORT)
    room = -(-(k if few else max(_ROOM, 2 * k) if selected else length) // 16) * 16
    if few:
        job = _few(target, source, descending, values)
    elif selected:
        job = _select(target, source, descending)
    else:
        job = _sort(target, source, descending, values)
    total, per = rows.size // length, max(1, _CHUNK // length)
    return _Work(job, -(-total // per), (total, per, length, k, room), room * 2 * (rows.itemsize + 4))


def _served(x: Array, axis: int) -> bool:
    return bool(x.size) and x.ndim > 0 and movable(x) and x.shape[axis] < _MOST and x.dtype.kind != "c"


def _run(target: Target, x: Array, axis: int, descending: bool, wanted: int | None, values: bool) -> Any:
    """(values or None, places) of the first ``wanted`` along an axis."""
    if not _served(x, axis):
        return None
    rows = np.ascontiguousarray(x.swapaxes(axis, -1))
    k = rows.shape[-1] if wanted is None else wanted
    if not k:
        return None
    shape = (*rows.shape[:-1], k)
    places, found = np.empty(shape, np.int64), np.empty(shape, x.dtype) if values else None
    work, most = _work(target, rows, k, descending, values), max(1, config.get("num_threads"))
    scratch = np.empty(most * work.scratch, np.uint8)
    work.job(
        work.chunks, address(rows), 0 if found is None else address(found), address(places), address(scratch),
        *work.values, most=most,
    )  # fmt: skip
    return [None if v is None else np.ascontiguousarray(v.swapaxes(axis, -1)) for v in (found, places)]


def _plan(target: Target, x: Array, axis: int, descending: bool, wanted: int | None, values: bool) -> bytes | None:
    """The plan of dense rows."""
    if not _served(x, axis) or not x.flags.c_contiguous or axis % x.ndim != x.ndim - 1 or wanted == 0:
        return None
    k = x.shape[-1] if wanted is None else wanted
    work, shape = _work(target, x, k, descending, values), (*x.shape[:-1], k)
    if work.chunks > 1 or work.scratch > SCRATCH:
        return None
    places = (shape, np.dtype(np.int64))
    results = [(shape, x.dtype), places] if values else [places]
    where = (OPERAND[0], RESULT[0] if values else 0, RESULT[len(results) - 1], WORK)
    return plan(work.job, (*where, *work.values), [x.dtype], *results)


def argsort(target: Target, x: Array, *, axis: int, descending: bool) -> Array | None:
    """The stable order along an axis."""
    found = _run(target, x, axis, descending, None, False)
    return None if found is None else found[1]


def sort(target: Target, x: Array, *, axis: int, descending: bool) -> tuple[Array, Array] | None:
    """The elements in order, and where they stood."""
    found = _run(target, x, axis, descending, None, True)
    return None if found is None else (found[0], found[1])


def topk(target: Target, x: Array, *, k: int, axis: int, largest: bool) -> tuple[Array, Array] | None:
    """The first ``k`` in descending (or ascending) order, the earlier of equal ones first, and where they stood."""
    found = _run(target, x, axis, largest, k, True)
    return None if found is None else (found[0], found[1])


def plan_argsort(target: Target, large: bool, x: Array, *, axis: int, descending: bool) -> bytes | None:
    return _plan(target, x, axis, descending, None, False)


def plan_sort(target: Target, large: bool, x: Array, *, axis: int, descending: bool) -> bytes | None:
    return _plan(target, x, axis, descending, None, True)


def plan_topk(target: Target, large: bool, x: Array, *, k: int, axis: int, largest: bool) -> bytes | None:
    return _plan(target, x, axis, largest, k, True)


KERNELS: Final = {"argsort": argsort, "sort": sort, "topk": topk}
PLANS: Final = {"argsort": plan_argsort, "sort": plan_sort, "topk": plan_topk}
