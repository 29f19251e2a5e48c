"""Work in chunks: a function of generated code that does one, and what runs it over all of them.

A job is written once, for chunk number ``chunk``; how large a chunk is depends on the operands alone, never on the
number of threads, so that results are the same for any number of them.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Final

from flambeau.backends.llvm.chunk import JobFunction as JobFunction  # with the jobs, for those who write them
from flambeau.backends.llvm.compiler import load
from flambeau.backends.llvm.threads import pool
from flambeau.backends.llvm.types import F32, F64, I32, I64, PTR, Type

_CODES: Final = {PTR: "Q", I64: "q", I32: "i", F32: "f", F64: "d"}


class Job:
    """A job in memory: call it with the number of chunks and the values of its parameters, pointers as integers.

    Several chunks are spread over the threads of :mod:`~flambeau.backends.llvm.threads`. The interpreter's lock is
    given up meanwhile; the caller keeps the arrays alive and unchanged.
    """

    def __init__(self, address: int, params: Sequence[Type]):
        self.address = address
        self._call = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64)(address)
        self.pack = struct.Struct("<" + "".join(_CODES[t] + "x" * (8 - t.bytes) for t in params)).pack
        from flambeau.backends.llvm import quick  # it is a built-in, which is made of what may call jobs

        few = len(params) <= quick.MOST
        self._once, self._all = (quick.run_once(), quick.run_all()) if few else (None, None)
        self._plan = quick.plan_of(address, params)

    def __call__(self, chunks: int, *values: int | float, most: int = 1 << 32) -> None:
        """``most`` is how many threads there is memory for: another thread may raise ``num_threads`` meanwhile."""
        if chunks == 1 and self._once is not None:
            self._once(self._plan, *values)
            return
        if chunks > 1 and self._all is not None:
            threads = pool()
            self._all(self._plan, threads.spread, chunks, min(threads.ready(), most), *values)
            return
        packed = self.pack(*values)
        if chunks == 1:
            self._call(packed, 0, 0)
        elif chunks > 1:
            pool().run(self.address, packed, chunks, most)


def jobs(*functions: JobFunction) -> list[Job]:
    """Compile the module of some jobs, and load them."""
    (module,) = {f.module for f in functions}
    found = load(module, [f.symbol for f in functions])
    return [Job(found[f.symbol], f.params) for f in functions]
