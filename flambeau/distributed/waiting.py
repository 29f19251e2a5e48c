"""Waiting for MPI without Python's lock and without taking a core.

MPI's own waiting spins. Asking from Python needs its lock each time, which a busy thread of the program gives away
every few milliseconds only, while a large message makes no step. A few lines of machine code ask and sleep in turn.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final

from flambeau.backends.llvm import compiler
from flambeau.backends.llvm import target as targets
from flambeau.backends.llvm.ir import Function
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.types import I32, I64
from flambeau.distributed.work import pause

_FIRST, _MOST = 30_000, 1_000_000  # nanoseconds of a sleep
_TOTAL: Final = 20_000_000  # nanoseconds after which Python looks at deadlines
_EAGER: Final = 50e-6  # seconds in which Python asks itself


def _define(module: Module) -> None:
    """Write ``wait_for``: 1 when a request is over, 2 when the test fails, 0 when ``total`` is slept away."""
    f = Function(module, "wait_for", [I64] * 6, I64)
    test, request, status, sleep, first, total = f.args
    flag, span = f.buffer(16), f.buffer(16)
    length, slept, answer = (f.variable(I64, start) for start in (first, 0, 0))
    f.store(f.value(I64, 0), span, 0)
    with f.loop() as leave:
        failed = f.call(test.pointer(), request.pointer(), flag, status.pointer(), result=I32)
        over = f.select(f.load(I32, flag).ne(0), f.value(I64, 1), f.value(I64, 0))
        answer.set(f.select(failed.ne(0), f.value(I64, 2), over))
        leave(answer.now.ne(0) | (slept.now >= total))
        f.store(length.now, span, 1)
        f.call(sleep.pointer(), span, f.value(I64, 0).pointer(), result=I32)
        slept.set(slept.now + length.now)
        length.set(f.minimum(length.now + (length.now >> 3), _MOST))
    f.ret(answer.now)


@cache
def _native() -> tuple[Callable[..., int], int, int] | None:
    """``wait_for``, and the addresses of MPI_Test and of the system's sleep; None where one is missing."""
    if sys.platform == "win32" or compiler.unavailable() is not None:
        return None
    from mpi4py import MPI  # initialised by whoever has a request

    module = Module(targets.named("host"))
    _define(module)
    address = compiler.load(module, ["wait_for"])["wait_for"]
    try:
        test, sleep = (
            ctypes.cast(getattr(library, name), ctypes.c_void_p).value
            for library, name in ((ctypes.CDLL(MPI.__file__), "MPI_Test"), (ctypes.CDLL(None), "nanosleep"))
        )
    except (AttributeError, OSError):  # an mpi4py that finds its library in another way
        return None
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * 6)(address), test or 0, sleep or 0


def linger(request: Any, waited: float) -> None:  # Any: mpi4py's, or another engine's
    """Leave the core to others until a request is over, for some milliseconds at most."""
    found = None if waited < _EAGER or type(request).__module__ != "mpi4py.MPI" else _native()
    if found is None:
        pause(waited)
        return
    from mpi4py import MPI  # lazy: the import starts MPI

    wait_for, test, sleep = found
    status = MPI.Status()
    first = min(max(int(waited * 1e9) >> 3, _FIRST), _MOST)
    wait_for(test, MPI._addressof(request), MPI._addressof(status), sleep, first, _TOTAL)
