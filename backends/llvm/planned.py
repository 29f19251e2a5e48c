"""Jobs of one chunk that are called with arrays alone: whatever else they take was written down once, in a plan.

What a kernel finds out about shapes and strides before it runs costs more than a small array takes. A plan has it all:
the job, its values, where addresses go among them, and what the results look like. The built-in that runs one looks
at the arrays (class, dtype, alignment), makes the results, and calls the job. Shapes and strides are the caller's to
know: a plan is found by them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from flambeau.backends.llvm import cpython
from flambeau.backends.llvm.calls import BuiltinFunction, builtins
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.jobs import Job
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import host
from flambeau.backends.llvm.types import I1, I8, I32, I64, PTR
from flambeau.core.dtype import from_numpy

#: Values, arrays, results and dimensions of a result that a plan has room for.
_VALUES: Final = 48
_ARRAYS: Final = 4
_RESULTS: Final = 2
_DIMENSIONS: Final = 8
#: Bytes that a job may use as it likes, and how many of results are written with the interpreter's lock held.
SCRATCH: Final = 1 << 14
_LOCKED: Final = 1 << 15
#: Where a bytes object has its bytes.
_BYTES_AT: Final = bytes.__basicsize__ - 1
#: What stands where in a plan, in words of 64 bits; of a result its dtype, the number of its dimensions, and these.
_JOB, _COUNT, _GIVEN, _MADE, _COPIED, _UNLOCKED, _DTYPES = range(7)
_RESULT: Final = _DTYPES + _ARRAYS
_EACH: Final = 2 + _DIMENSIONS
_BASES: Final = _RESULT + _RESULTS * _EACH


class At(NamedTuple):
    """A value of a job that is an address: so many bytes behind a base."""

    base: int
    offset: int = 0


#: The bases: nothing, the word that a job sets where an index is outside, the scratch, the operands, the results.
_NOTHING, _FLAG, _SCRATCH, _OPERANDS = range(4)
FLAG, WORK = At(_FLAG), At(_SCRATCH)
OPERAND: Final = tuple(At(_OPERANDS + i) for i in range(_ARRAYS))
RESULT: Final = tuple(At(_OPERANDS + _ARRAYS + i) for i in range(_RESULTS))

#: Shape and dtype.
Result: TypeAlias = tuple[tuple[int, ...], np.dtype[Any]]


def plan(
    job: Job, values: Sequence[At | int | float], operands: Sequence[np.dtype[Any]], *results: Result, copied: int = 0
) -> bytes | None:
    """The plan of a job's one chunk; None where it has no room, or a dtype is not the one object that is known.

    Args:
        values: what the job takes.
        operands: the dtypes of the arrays that the plan will be run with.
        results: shape and dtype of each, the rows dense.
        copied: how many bytes of the first operand the first result starts with.
    """
    if len(values) > _VALUES or any(len(shape) > _DIMENSIONS for shape, _ in results):
        return None
    if any(from_numpy(dtype).numpy is not dtype for dtype in (*operands, *(dtype for _, dtype in results))):
        return None  # an object that may go, and its address be another's
    bases = [v.base if isinstance(v, At) else _NOTHING for v in values]
    constants = job.pack(*(v.offset if isinstance(v, At) else v for v in values))
    size = sum(dtype.itemsize * int(np.prod(shape)) for shape, dtype in results)
    words = [job.address, len(values), len(operands), len(results), copied, size > _LOCKED]
    words += _filled([id(d) for d in operands], _ARRAYS)
    for shape, dtype in results:
        words += [id(dtype), len(shape), *_filled(shape, _DIMENSIONS)]
    words += [0] * (_BASES - len(words))
    return struct.pack(f"<{len(words) + len(bases)}q", *words, *bases) + constants


def _filled(numbers: Sequence[int], count: int) -> list[int]:
    return [*numbers, *[0] * (count - len(numbers))]


@cache
def runner() -> Callable[..., Any] | None:
    """``run(plan, *arrays)``: the result, or a tuple of them; None where the arrays are not served, or an index is
    outside. There is no such function where no built-ins can be made."""
    if cpython.unsuited() or cpython.new_array() is None:
        return None
    (made,) = builtins({write_run(Module(host())): _refuse})
    return made


def _refuse(plan: bytes, *arrays: object) -> None:
    """What the built-in does not serve."""


def write_run(module: Module) -> BuiltinFunction:
    """Make the results, put the addresses among a job's values, and run its one chunk."""
    f = BuiltinFunction(module, "run_planned", "(plan, /, *arrays)")
    f.require(f.count >= 1)
    given = f.load(PTR, f.arguments)
    f.require(f.load(PTR, given + cpython.TYPE).eq(f.outside("bytes", id(bytes))))
    words = given + _BYTES_AT
    f.require(f.count.eq(f.load(I64, words, _GIVEN) + 1))
    bases = f.buffer(8 * (_OPERANDS + _ARRAYS + _RESULTS), 8)
    flag = f.buffer(8, 8)
    f.store(f.constant(I64, 0), flag)
    f.store(f.constant(I64, 0), bases, _NOTHING)
    f.store(flag.address(), bases, _FLAG)
    f.store(f.buffer(SCRATCH).address(), bases, _SCRATCH)
    for i in f.range(0, f.count - 1):
        x = f.array_of(i + 1, f.load(PTR, words, i + _DTYPES), dense=False, written=False)
        f.store(x.data.address(), bases, i + _OPERANDS)
    made = f.buffer(8 * _RESULTS, 8)
    for i in f.range(0, f.load(I64, words, _MADE)):
        result = _result(f, words + (i * _EACH + _RESULT) * 8, made, i)
        f.store(result, made, i)
        f.store(f.data(result).address(), bases, i + (_OPERANDS + _ARRAYS))
    _copy(f, f.load(PTR, bases, OPERAND[0].base), f.load(PTR, bases, RESULT[0].base), f.load(I64, words, _COPIED))
    count = f.load(I64, words, _COUNT)
    packed = f.buffer(8 * _VALUES, 8)
    for i in f.range(0, count):
        base = f.load(I64, bases, f.load(I64, words, i + _BASES))
        f.store(base + f.load(I64, words, i + count + _BASES), packed, i)
    job, zero = f.load(PTR, words, _JOB), f.constant(I64, 0)
    unlocked = f.load(I64, words, _UNLOCKED).ne(0)
    with f.when(unlocked), f.unlocked():
        f.call(job, packed, zero, zero)
    with f.unless(unlocked):
        f.call(job, packed, zero, zero)
    _answer(f, made, f.load(I64, words, _MADE), f.load(I64, flag).ne(0))
    return f


def _result(f: BuiltinFunction, told: Value, made: Value, number: Value) -> Value:
    """A new array as a plan tells; leaves with the error, and without the one before, if there is none."""
    descriptor = f.load(PTR, told)
    new = cpython.new_array()
    assert new is not None
    f.take(descriptor)  # which numpy keeps
    null, dense = f.constant(PTR, 0), f.constant(I32, 0)
    ndim = f.load(I64, told, 1).trunc(I32)
    passed = (f.ndarray(), descriptor, ndim, told + 16, null, null, dense, null)
    result = f.call(f.outside("PyArray_NewFromDescr", new), *passed, result=PTR)
    with f.when(result.eq(0), likely=False):
        with f.when(number.ne(0)):
            f.drop(f.load(PTR, made))
        f.ret(result)
    return result


def _copy(f: BuiltinFunction, source: Value, to: Value, count: Value) -> None:
    """Bytes that stand next to each other."""
    line = I64.vector(8)
    lines, words = count & ~63, count & ~7
    for i in f.range(0, lines, 64):
        f.store(f.load(line, source + i), to + i)
    for i in f.range(lines, words, 8):
        f.store(f.load(I64, source + i), to + i)
    for i in f.range(words, count):
        f.store(f.load(I8, source + i), to + i)


def _answer(f: BuiltinFunction, made: Value, count: Value, outside: Value) -> None:
    """The result, or both as a tuple; None where an index was outside."""
    first, second = f.load(PTR, made), f.load(PTR, made, 1)
    two = f.variable(I1, count.eq(2))
    with f.when(outside, likely=False):
        f.drop(first)
        with f.when(two.now):
            f.drop(second)
        none = f.outside("none", id(None))
        f.take(none)
        f.ret(none)
    with f.when(two.now):
        pair = f.call(f.api("PyTuple_New"), f.constant(I64, 2), result=PTR)
        with f.when(pair.eq(0), likely=False):
            f.drop(first)
            f.drop(second)
            f.ret(pair)
        f.store(first, pair, cpython.ITEMS // 8)
        f.store(second, pair, cpython.ITEMS // 8 + 1)
        f.ret(pair)
    f.ret(first)
