"""A backend for the tests of the adapter: memory is a bytearray, kernels are numpy's on views of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.backends.adapter import StridedTable
from flambeau.backends.base import Kernel
from flambeau.backends.strided import StridedArray, StridedBackend


def seen(x: StridedArray) -> np.ndarray[Any, Any]:
    """A numpy view of the memory of an array; writes go through."""
    flat = np.frombuffer(x.buffer.memory, np.uint8, x.buffer.nbytes).view(x.dtype.numpy)
    strides = [s * x.dtype.itemsize for s in x.strides]
    return np.lib.stride_tricks.as_strided(flat[x.offset :], x.shape, strides, writeable=True)


class FlatBackend(StridedBackend):
    """Two devices; every allocation, read and write is counted."""

    device_type = "flat"

    def __init__(self) -> None:
        super().__init__()
        self.kernels = StridedTable("flat", self)
        self.reads = self.writes = 0

    def device_count(self) -> int:
        return 2

    def allocate(self, nbytes: int, index: int) -> bytearray:
        return bytearray(b"\xa5" * nbytes)  # what is not written shows

    def read(self, memory: bytearray, start: int, nbytes: int) -> bytes:
        self.reads += 1
        assert 0 <= start <= start + nbytes <= len(memory)
        return bytes(memory[start : start + nbytes])

    def write(self, memory: bytearray, start: int, data: memoryview) -> None:
        self.writes += 1
        assert 0 <= start <= start + len(data) <= len(memory)
        memory[start : start + len(data)] = data


def on_views(fn: Kernel) -> Kernel:
    """A plain kernel from a function of numpy arrays."""

    def kernel(out: StridedArray, *ins: Any, **params: Any) -> None:
        seen(out)[...] = fn(*[seen(x) if isinstance(x, StridedArray) else x for x in ins], **params)

    return kernel
