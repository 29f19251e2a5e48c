"""Collectives of CUDA's devices, by NCCL, which CuPy loads.

NCCL has no bools, complex numbers nor integers of 16 bits: what only travels goes as bytes, sums of complex numbers go
as sums of their parts, and truth values as bytes of which the largest is "or", the smallest "and".
NCCL's functions: https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/api.html
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final, Protocol

from flambeau.backends.base import BackendUnavailableError
from flambeau.backends.communicator import Fold
from flambeau.backends.cuda.device import CudaDevice
from flambeau.backends.launched.device import Raw
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

REMEDY: Final = "CuPy does not find NCCL; pip install 'flambeau[nccl]'"
_NAMES: Final = {
    dt.int8: "NCCL_INT8", dt.uint8: "NCCL_UINT8", dt.int32: "NCCL_INT32", dt.uint32: "NCCL_UINT32",
    dt.int64: "NCCL_INT64", dt.uint64: "NCCL_UINT64", dt.float16: "NCCL_FLOAT16", dt.bfloat16: "NCCL_BFLOAT16",
    dt.float32: "NCCL_FLOAT32", dt.float64: "NCCL_FLOAT64",
}  # fmt: skip
_FOLDS: Final[dict[Fold, str]] = {"sum": "NCCL_SUM", "prod": "NCCL_PROD", "min": "NCCL_MIN", "max": "NCCL_MAX"}
_OF_TRUTH: Final[dict[Fold, Fold]] = {"sum": "max", "max": "max", "prod": "min", "min": "min"}


class Host(Protocol):
    """The backend that has CuPy."""

    @property
    def cupy(self) -> Raw:
        """The module; BackendUnavailableError where it cannot be used."""

    def device(self, index: int) -> CudaDevice:
        """The device ``cuda:index``."""


def library(cupy: Raw) -> Raw:
    """CuPy's module of NCCL's functions; None where it does not find the library."""
    found = getattr(cupy.cuda, "nccl", None)
    if found is None and isinstance(cupy, ModuleType):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # CuPy warns where it does not find the library
            found = importlib.import_module("cupy.cuda.nccl")
    return found if hasattr(found, "NcclCommunicator") else None


def missing(cupy: Raw) -> str | None:
    """Why NCCL cannot be used; None where it can."""
    return REMEDY if library(cupy) is None else None


class Nccl:
    """A communicator of NCCL."""

    def __init__(self, backend: Host, rank: int, size: int, share: Callable[[bytes], bytes], index: int):
        why = missing(backend.cupy)
        if why is not None:
            raise BackendUnavailableError(f"cuda: {why}")
        self._nccl, self._device = library(backend.cupy), backend.device(index)
        mine = self._nccl.get_unique_id() if rank == 0 else b""
        with self._device.current():
            self._comm = self._nccl.NcclCommunicator(size, share(mine), rank)

    def folds(self, op: Fold, dtype: DType) -> bool:
        return dtype is dt.bool_ or (dtype.is_complex and op == "sum") or dtype in _NAMES

    # -- calls ----------------------------------------------------------------------------------
    def all_reduce(self, array: StridedArray, op: Fold) -> None:
        with self._at(array) as stream:
            pointer = _pointer(array)
            self._comm.allReduce(pointer, pointer, *self._folded(array, op), stream)

    def reduce(self, array: StridedArray, op: Fold, root: int) -> None:
        with self._at(array) as stream:
            pointer = _pointer(array)
            self._comm.reduce(pointer, pointer, *self._folded(array, op), root, stream)

    def reduce_scatter(self, array: StridedArray, out: StridedArray, op: Fold) -> None:
        with self._at(array, out) as stream:
            self._comm.reduceScatter(_pointer(array), _pointer(out), *self._folded(out, op), stream)

    def broadcast(self, array: StridedArray, root: int) -> None:
        with self._at(array) as stream:
            self._comm.bcast(_pointer(array), *self._bytes(array), root, stream)

    def all_gather(self, array: StridedArray, out: StridedArray) -> None:
        with self._at(array, out) as stream:
            self._comm.allGather(_pointer(array), _pointer(out), *self._bytes(array), stream)

    def send(self, array: StridedArray, to: int) -> None:
        with self._at(array) as stream:
            self._comm.send(_pointer(array), *self._bytes(array), to, stream)

    def recv(self, array: StridedArray, source: int) -> None:
        with self._at(array) as stream:
            self._comm.recv(_pointer(array), *self._bytes(array), source, stream)

    @contextmanager
    def together(self) -> Iterator[None]:
        self._nccl.groupStart()
        try:
            yield
        finally:
            self._nccl.groupEnd()

    def abort(self) -> None:
        self._comm.abort()

    def close(self) -> None:
        self._comm.destroy()

    # -- arrays as NCCL takes them ----------------------------------------------------------------
    @contextmanager
    def _at(self, *arrays: StridedArray) -> Iterator[int]:
        """The device is current inside; the stream, which uses the arrays' memory from now on."""
        with self._device.current():
            self._device.note([a.buffer for a in arrays])
            yield self._device.stream().ptr

    def _folded(self, array: StridedArray, op: Fold) -> tuple[int, int, int]:
        """How many numbers of which type, and the op."""
        dtype, count = array.dtype, array.size
        if dtype is dt.bool_:
            dtype, op = dt.uint8, _OF_TRUTH[op]
        elif dtype.is_complex:
            dtype, count = dtype.to_real(), 2 * count
        return count, getattr(self._nccl, _NAMES[dtype]), getattr(self._nccl, _FOLDS[op])

    def _bytes(self, array: StridedArray) -> tuple[int, int]:
        return array.size * array.dtype.itemsize, self._nccl.NCCL_UINT8


def _pointer(array: StridedArray) -> int:
    address: int = array.buffer.memory.ptr + array.offset * array.dtype.itemsize
    return address
