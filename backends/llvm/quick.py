"""Jobs called from Python by built-ins: they pack the values themselves, a fourth of what ctypes takes.

Two take the values of a job, of one chunk or of several. The other takes arrays alone: all that is the same for all
operands of a shape, the number of chunks too, was written down before.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final, Protocol

import numpy as np

from flambeau.backends.llvm import cpython, threads
from flambeau.backends.llvm.calls import BuiltinFunction, builtins
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import host
from flambeau.backends.llvm.types import F32, F64, I32, I64, PTR, Type

Array = np.ndarray[Any, Any]

#: Values that a job may take to be called so.
MOST: Final = 64
#: What a plan has: the job's address, how many values it takes, and of each the number of its type.
_JOB, _COUNT, _KINDS_AT = 0, 8, 16
_KINDS: Final = (I64, I32, F32, F64)
#: Arguments before the values of a job of several chunks.
_BEFORE: Final = 4
#: A call that is written down is a bytes object: the job's address, its chunks, how many arrays come first and how many
#: words there are in all; then those, of an array the bytes that are left out. Where it begins in the object, and where
#: the words do.
_BYTES: Final = bytes.__basicsize__ - 1
_WORDS_AT: Final = 32


def plan_of(address: int, params: Sequence[Type]) -> int:
    """The address of a job's plan, for the life of the process."""
    return cpython.words([address, len(params), *(_KINDS.index(I64 if t is PTR else t) for t in params)])


@cache
def run_once() -> Callable[..., None] | None:
    """``run(plan, *values)`` of one chunk; None where there is no built-in."""
    return None if cpython.unsuited() else _built()[0]


@cache
def run_all() -> Callable[..., None] | None:
    """``run(plan, spread, chunks, threads, *values)`` of all chunks; None where there is no built-in.

    ``spread`` is the address of the pool's ``parallel_for``.
    """
    return None if cpython.unsuited() else _built()[1]


@cache
def _built() -> list[Callable[..., None]]:
    module = Module(host())
    return builtins({write_run(module): _refuse, write_run_all(module): _refuse_all})


def _refuse(plan: int, *values: object) -> None:
    """What the built-in does not serve."""
    count = ctypes.c_int64.from_address(plan + _COUNT).value
    raise TypeError(f"the job takes {count} values, got {len(values)}")


def _refuse_all(plan: int, spread: int, chunks: int, threads: int, *values: object) -> None:
    """What the built-in does not serve."""
    _refuse(plan, *values)


def write_run(module: Module) -> BuiltinFunction:
    """Pack the values of a job and run its one chunk, without the interpreter's lock."""
    f = BuiltinFunction(module, "run_once", "(plan, /, *values)")
    job, packed = _packed(f, 1)
    with f.unlocked():
        f.call(job, packed, f.constant(I64, 0), f.constant(I64, 0))
    return _done(f)


def write_run_all(module: Module) -> BuiltinFunction:
    """Pack the values of a job and run its chunks with the threads, without the interpreter's lock."""
    f = BuiltinFunction(module, "run_all", "(plan, spread, chunks, threads, /, *values)")
    job, packed = _packed(f, _BEFORE)
    spread, chunks, threads = (_whole(f, f.load(PTR, f.arguments, i)) for i in range(1, _BEFORE))
    with f.unlocked():
        f.call(spread.pointer(), job, packed, chunks, threads)
    return _done(f)


def _packed(f: BuiltinFunction, before: int) -> tuple[Value, Value]:
    """The job of the plan, which is the first argument, and its values in memory: those behind so many arguments."""
    f.require(f.count >= before)
    plan = _whole(f, f.load(PTR, f.arguments)).pointer()
    count = f.load(I64, plan + _COUNT)
    f.require(f.count.eq(count + before))
    packed = f.buffer(8 * MOST, 8)
    for i in f.range(0, count):
        value, kind, place = f.load(PTR, f.arguments, i + before), f.load(I64, plan + _KINDS_AT, i), packed + i * 8
        for t in _KINDS:
            with f.when(kind.eq(_KINDS.index(t))):
                if t.kind == "float":
                    f.store(_real(f, value).convert("fptrunc", t), place)
                else:
                    f.store(_whole(f, value).trunc(t), place)
    return f.load(PTR, plan + _JOB), packed


def _done(f: BuiltinFunction) -> BuiltinFunction:
    none = f.outside("none", id(None))
    f.take(none)
    f.ret(none)
    return f


def _whole(f: BuiltinFunction, value: Value) -> Value:
    """A Python number as 64 bits; leaves with the error where it is none."""
    found = f.call(f.api("PyLong_AsLongLong"), value, result=I64)
    with f.when(found.eq(-1), likely=False):
        _leave_with_error(f)
    return found


def _real(f: BuiltinFunction, value: Value) -> Value:
    found = f.call(f.api("PyFloat_AsDouble"), value, result=F64)
    with f.when(found.eq(-1.0), likely=False):
        _leave_with_error(f)
    return found


def _leave_with_error(f: BuiltinFunction) -> None:
    with f.when(f.call(f.api("PyErr_Occurred"), result=PTR).ne(0)):
        f.ret(0)


# -- calls that are written down -------------------------------------------------------------------
class Job(Protocol):
    """What is needed of a :class:`flambeau.backends.llvm.jobs.Job`, which is built upon this module."""

    address: int
    pack: Callable[..., bytes]

    def __call__(self, chunks: int, *values: int | float) -> None:
        """Run so many chunks."""


def bound(job: Job, chunks: int, arrays: int, *rest: int | float, skip: int = 0) -> Callable[..., None]:
    """``call(*arrays)``: the job on the addresses of so many arrays, or None for 0, and the other values given here.

    ``skip`` is how many bytes of the first one are left out. Whoever calls sees to what the job reads and
    writes; arrays of another class, or misaligned, raise TypeError.
    """
    run = run_bound()
    if run is None or arrays + len(rest) > MOST:
        return partial(_run_slowly, job, chunks, skip, rest)
    words = job.pack(skip, *(0,) * (arrays - 1), *rest)
    head = (ctypes.c_int64 * 4)(job.address, chunks, arrays, len(words) // 8)
    return partial(run, bytes(head) + words)


@cache
def run_bound() -> Callable[..., None] | None:
    """``run(plan, *arrays)``; None where there is no built-in."""
    if cpython.unsuited():
        return None
    module = Module(host())
    (made,) = builtins({write_run_bound(module): _refuse_arrays})
    return made


def _run_slowly(job: Job, chunks: int, skip: int, rest: Sequence[int | float], *arrays: Array | None) -> None:
    first, *others = (0 if x is None else x.__array_interface__["data"][0] for x in arrays)
    job(chunks, first + skip, *others, *rest)


def _refuse_arrays(plan: object, *arrays: object) -> None:
    """What the built-in does not serve."""
    raise TypeError(f"the job takes aligned arrays, got {[type(x).__name__ for x in arrays]}")


def write_run_bound(module: Module) -> BuiltinFunction:
    """Pack the addresses of arrays and what is written down, and run the chunks, without the interpreter's lock."""
    f = BuiltinFunction(module, "run_bound", "(plan, /, *arrays)")
    f.require(f.count >= 1)
    given = f.load(PTR, f.arguments)
    f.require(f.load(PTR, given + cpython.TYPE).eq(f.outside("bytes", id(bytes))))
    plan = given + _BYTES
    job, chunks, arrays, words = (f.load(t, plan, i) for i, t in enumerate((PTR, I64, I64, I64)))
    f.require(f.count.eq(arrays + 1))
    none = f.outside("none", id(None))
    packed = f.buffer(8 * MOST, 8)
    for i in f.range(0, arrays):
        x, place = f.load(PTR, f.arguments, i + 1), f.variable(I64, 0)
        with f.when(x.ne(none)):
            f.require(f.load(PTR, x + cpython.TYPE).eq(f.ndarray()))
            f.require((f.load(I32, x + cpython.FLAGS) & cpython.ALIGNED).ne(0))
            place.set(f.data(x).address() + f.load(I64, plan + _WORDS_AT, i))
        f.store(place.now, packed, i)
    for i in f.range(arrays, words):
        f.store(f.load(I64, plan + _WORDS_AT, i), packed, i)
    with f.when(chunks.eq(1)), f.unlocked():
        f.call(job, packed, f.constant(I64, 0), f.constant(I64, 0))
    with f.when(chunks > 1):
        count = threads.wanted(f, chunks)
        with f.unlocked():
            threads.parallel(f, job, packed, chunks, count)
    f.take(none)
    f.ret(none)
    return f
