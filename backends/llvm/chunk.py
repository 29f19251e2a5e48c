"""The function of generated code that does one chunk of a job (:mod:`~flambeau.backends.llvm.jobs`)."""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.types import I64, PTR, Type


class JobFunction(Function):
    """A job being written: ``values`` are what the caller passes, ``chunk`` the number of the chunk.

    ``thread`` is the number of the thread that does it, from 0 and below the setting ``num_threads``, for memory that
    is each thread's own within one call: two callers at once both have a thread 0.
    """

    def __init__(self, module: Module, name: str, params: Sequence[Type]):
        super().__init__(module, name, [PTR, I64, I64])
        packed, self.chunk, self.thread = self.args
        self.params = tuple(params)
        self.values: list[Value] = [self.load(t, packed + 8 * i) for i, t in enumerate(params)]
