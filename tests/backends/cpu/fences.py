"""Arrays that end, or begin, where a page does whose neighbour may not be touched; jobs in other orders, or as text."""

from __future__ import annotations

import ctypes
import mmap
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from flambeau.backends.llvm.jobs import Job

Array = Any

needs_pages = pytest.mark.skipif(sys.platform == "win32", reason="pages are protected through POSIX's mprotect")


class Fences:
    """Makes such arrays, and stands in for ``numpy.empty`` and ``numpy.zeros`` while it is entered."""

    def __init__(self, at_end: bool):
        self.at_end = at_end
        self._blocks: list[mmap.mmap] = []

    def zeros(self, shape: Any, dtype: Any = np.float64) -> Array:
        """Zeros."""
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        dtype, page = np.dtype(dtype), mmap.PAGESIZE
        bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        inner = -(-bytes // page) * page
        block = mmap.mmap(-1, inner + 2 * page)
        self._blocks.append(block)
        start = ctypes.addressof(ctypes.c_char.from_buffer(block))
        protect = ctypes.CDLL(None).mprotect
        for fence in (start, start + page + inner):
            assert protect(ctypes.c_void_p(fence), ctypes.c_size_t(page), 0) == 0
        offset = page + (inner - bytes) // dtype.itemsize * dtype.itemsize * self.at_end
        return np.frombuffer(block, np.uint8, bytes, offset).view(dtype).reshape(shape)

    def of(self, x: Array) -> Array:
        """A copy of an array."""
        made = self.zeros(x.shape, x.dtype)
        made[...] = x
        return made

    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What kernels allocate is fenced too."""
        monkeypatch.setattr(np, "empty", self.zeros)
        monkeypatch.setattr(np, "zeros", self.zeros)


def by_two_threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Jobs run in two threads, the last chunks first; returns a list that gets the number of chunks of each."""
    counts: list[int] = []

    def call(self: Job, chunks: int, *values: int | float) -> None:
        packed = self.pack(*values)
        one = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64)(self.address)

        def some(thread: int) -> None:
            for chunk in reversed(range(thread, chunks, 2)):
                one(packed, chunk, thread)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(some, range(2)))
        counts.append(chunks)

    monkeypatch.setattr(Job, "__call__", call)
    return counts


def written_only(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> list[str]:
    """Have modules write their jobs and not load them: for a processor that is not here. The texts, as they come."""
    texts: list[str] = []

    def compiled(*functions: Any) -> list[Any]:
        texts.append(functions[0].module.text())
        return [None] * len(functions)

    for module in modules:
        monkeypatch.setattr(module, "jobs", compiled)
    return texts
