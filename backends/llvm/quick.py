"""Jobs of one chunk, called from Python by a built-in: it packs the values itself, a fourth of what ctypes takes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from flambeau.backends.llvm import cpython
from flambeau.backends.llvm.calls import BuiltinFunction, builtins
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import host
from flambeau.backends.llvm.types import F32, F64, I32, I64, PTR, Type

#: Values that a job may take to be called so.
MOST: Final = 64
#: What a plan has: the job's address, how many values it takes, and of each the number of its type.
_JOB, _COUNT, _KINDS_AT = 0, 8, 16
_KINDS: Final = (I64, I32, F32, F64)


def plan_of(address: int, params: Sequence[Type]) -> int:
    """The address of a job's plan, for the life of the process."""
    return cpython.words([address, len(params), *(_KINDS.index(I64 if t is PTR else t) for t in params)])


@cache
def run_once() -> Callable[..., None] | None:
    """``run(plan, *values)``; None where there is no built-in."""
    if cpython.unsuited():
        return None
    module = Module(host())
    (made,) = builtins({write_run(module): _refuse})
    return made


def _refuse(plan: int, *values: object) -> None:
    """What the built-in does not serve."""
    count = ctypes.c_int64.from_address(plan + _COUNT).value
    raise TypeError(f"the job takes {count} values, got {len(values)}")


def write_run(module: Module) -> BuiltinFunction:
    """Pack the values of a job and run its one chunk, without the interpreter's lock."""
    f = BuiltinFunction(module, "run_once", "(plan, /, *values)")
    f.require(f.count >= 1)
    plan = _whole(f, f.load(PTR, f.arguments)).pointer()
    count = f.load(I64, plan + _COUNT)
    f.require(f.count.eq(count + 1))
    packed = f.buffer(8 * MOST, 8)
    for i in f.range(0, count):
        value, kind, place = f.load(PTR, f.arguments, i + 1), f.load(I64, plan + _KINDS_AT, i), packed + i * 8
        for t in _KINDS:
            with f.when(kind.eq(_KINDS.index(t))):
                if t.kind == "float":
                    f.store(_real(f, value).convert("fptrunc", t), place)
                else:
                    f.store(_whole(f, value).trunc(t), place)
    job = f.load(PTR, plan + _JOB)
    with f.unlocked():
        f.call(job, packed, f.constant(I64, 0), f.constant(I64, 0))
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
