"""The CUDA backend's class: storage calls over :class:`Device`, streams, and the table of kernels.

CuPy is imported when somebody asks for a CUDA device, never before: it gives memory, streams, the compiler, and
the libraries cuBLAS, cuSOLVER and cuFFT. Arrays are :class:`~flambeau.backends.strided.StridedArray`, as OpenCL's
are, and the kernels of the C dialect are launched by the same code for both.
"""

from __future__ import annotations

import os
import threading
import weakref
from functools import partial
from math import prod
from typing import Any, ClassVar, Final

import numpy as np

from flambeau.backends import layout as lay
from flambeau.backends.base import BackendUnavailableError, DeviceProperties, Kernel, KernelTable, MemoryStats, Shape
from flambeau.backends.cuda import discovery, library, tables
from flambeau.backends.cuda.device import Device
from flambeau.backends.cuda.memory import Pinned
from flambeau.backends.generic import generic_table
from flambeau.backends.opencl import elementwise
from flambeau.backends.strided import StridedArray, StridedBackend
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, ExprError

HostArray = np.ndarray[Any, Any]

_FORKED: Final = "this process was forked after CUDA was used; start workers with spawn or forkserver"


class CudaBackend(StridedBackend):
    """NVIDIA GPUs through CuPy."""

    device_type: ClassVar[str] = "cuda"
    dlpack_kind = 2
    capabilities = frozenset({"has_fp64", "has_fp16", "has_streams", "can_pin", "distinct_memory", "linalg"})

    def __init__(self, cupy: Any = None) -> None:
        super().__init__()
        self._cupy: Any = cupy
        self._reason: str | None = None
        self._looked = False
        self._dead = False
        self._devices: dict[int, Device] = {}
        self._pinned: Pinned | None = None
        self._lock = threading.RLock()
        self.kernels = KernelTable("cuda", generic_table(self))
        tables.register(self)
        _alive.add(self)

    # -- CuPy, at first need -------------------------------------------------------------------
    def _look(self) -> None:
        """Find CuPy and the driver, once."""
        with self._lock:
            if not self._looked:
                if self._cupy is None:
                    self._cupy, self._reason = discovery.load()
                else:
                    self._reason = discovery.unusable(self._cupy)
                self._looked = True

    @property
    def cupy(self) -> Any:
        """The cupy module; BackendUnavailableError where it cannot be used."""
        reason = self.unavailable_reason()
        if reason is not None:
            raise BackendUnavailableError(f"cuda: {reason}")
        return self._cupy

    def unavailable_reason(self) -> str | None:
        if self._dead:
            return _FORKED
        if not self._looked:
            self._look()
        return self._reason

    def device_count(self) -> int:
        return int(self._cupy.cuda.runtime.getDeviceCount()) if self.is_available() else 0

    def accelerators(self) -> tuple[int, ...]:
        return tuple(range(self.device_count()))  # CUDA_DEVICE_ORDER puts the fastest first

    def notes(self) -> list[str]:
        return discovery.notes(self._cupy) if self.is_available() else []

    def properties(self, index: int = 0) -> DeviceProperties:
        runtime = self.cupy.cuda.runtime
        facts = runtime.getDeviceProperties(index)
        details = {
            "compute_capability": f"{facts['major']}.{facts['minor']}",
            "multiprocessors": facts["multiProcessorCount"],
            "driver": runtime.driverGetVersion(),
            "runtime": runtime.runtimeGetVersion(),
            "cupy": self.cupy.__version__,
        }
        return DeviceProperties(facts["name"].decode(), int(facts["totalGlobalMem"]), details)

    def device(self, index: int) -> Device:
        """The device ``cuda:index``, opened at first use."""
        found = self._devices.get(index)
        if found is None:
            with self._lock:
                found = self._devices.get(index) or self._open(index)
        return found

    def _open(self, index: int) -> Device:
        if not 0 <= index < self.device_count():
            why = self.unavailable_reason() or f"there are {self.device_count()} device(s)"
            raise BackendUnavailableError(f"cuda:{index} does not exist: {why}")
        made = self._devices[index] = Device(self.cupy, index)
        made.product = partial(library.product, self)
        return made

    # -- memory --------------------------------------------------------------------------------
    def memory_stats(self, index: int = 0) -> MemoryStats:
        return self.device(index).pool.stats()

    def set_memory_limit(self, limit: int | None, index: int = 0) -> None:
        self.device(index).pool.set_limit(limit)

    def reset_peak(self, index: int = 0) -> None:
        self.device(index).pool.ledger.reset_peak()

    def empty_cache(self) -> None:
        for device in self._devices.values():
            with device.current():
                device.pool.cupys.free_all_blocks()
        if self._pinned is not None:
            self._pinned.sweep()
            self.cupy.get_default_pinned_memory_pool().free_all_blocks()

    @property
    def pinning(self) -> Pinned:
        """The pinned memory of the host."""
        if self._pinned is None:
            self._pinned = Pinned(self.cupy)
        return self._pinned

    def pinned(self, shape: Shape, dtype: DType) -> HostArray:
        return self.pinning.empty(shape, dtype.numpy)

    def is_pinned(self, host: HostArray) -> bool:
        return self._pinned is not None and self._pinned.holds(host)

    # -- storage -------------------------------------------------------------------------------
    def empty(self, shape: Shape, dtype: DType, index: int = 0) -> StridedArray:
        device = self._devices.get(index) or self.device(index)
        block = device.pool.take(prod(shape) * dtype.itemsize)
        return StridedArray(block, 0, shape, lay.contiguous_strides(shape), dtype, index)

    def from_host(self, host: HostArray, dtype: DType, index: int = 0) -> StridedArray:
        return self.send(host, dtype, index, later=False)

    def send(self, host: HostArray, dtype: DType, index: int, later: bool) -> StridedArray:
        """A copy of a host array; ``later``, from pinned memory, does not wait until it has been read."""
        array = self.empty(host.shape, dtype, index)
        if host.size:
            values = np.ascontiguousarray(host, dtype.numpy)
            later = later and self.is_pinned(values)
            event = self.device(index).write(array.buffer, 0, values.reshape(-1).view(np.uint8), later)
            if later:
                self.pinning.keep(values, event)
        return array

    def to_host(self, array: StridedArray) -> HostArray:
        device = self.device(array.index)
        dense = self.dense(array)
        host = np.empty(array.shape, array.dtype.numpy)
        if host.size:
            raw = host.reshape(-1).view(np.uint8)
            device.read(dense.buffer, dense.offset * array.dtype.itemsize, raw)
        device.check()
        return host

    def to_dlpack(self, array: StridedArray, *, stream: Any, max_version: Any, copy: bool | None) -> Any:
        with self.device(array.index).current():
            found = library.exported(self, array)
            try:  # CuPy lets the consumer's stream wait for the current one
                return found.__dlpack__(stream=stream, max_version=max_version, copy=copy)
            except (TypeError, ValueError, RuntimeError) as error:
                raise BufferError(f"__dlpack__: {array.dtype.name} cannot be exported ({error})") from error

    def from_dlpack(self, x: Any, index: int, copy: bool | None) -> StridedArray:
        with self.device(index).current():
            return library.imported(self, self.cupy.from_dlpack(x, copy=copy), index)

    def move(self, array: StridedArray, index: int) -> StridedArray:
        """A copy on another device, from memory to memory: CUDA goes by way of the host where it must."""
        out = self.empty(array.shape, array.dtype, index)
        if array.index == index:
            elementwise.copy(self._launcher, out, array)
        elif array.size:
            dense = self.whole(array)
            self.device(index).receive(out.buffer, self.device(array.index), dense.buffer)
        return out

    def whole(self, array: StridedArray) -> StridedArray:
        """A contiguous array that fills its storage: the array itself or a copy."""
        if array.is_contiguous and not array.offset and array.buffer.nbytes == array.size * array.dtype.itemsize:
            return array
        out = self.empty(array.shape, array.dtype, array.index)
        elementwise.copy(self._launcher, out, array)
        return out

    def dense(self, array: StridedArray) -> StridedArray:
        """The array itself if it is contiguous, else a contiguous copy."""
        if array.is_contiguous:
            return array
        out = self.empty(array.shape, array.dtype, array.index)
        elementwise.copy(self._launcher, out, array)
        return out

    def storage_id(self, array: StridedArray) -> int:
        address: int = array.buffer.memory.ptr
        return address

    def copy(self, dst: StridedArray, src: StridedArray) -> None:
        elementwise.copy(self._launcher, dst, src)

    def constant(self, value: bool | int | float | complex, dtype: DType, index: int = 0) -> StridedArray:
        array = self.empty((), dtype, index)
        elementwise.fill(self._launcher, array, value)
        return array

    @property
    def _launcher(self) -> Any:
        return self  # what the launching code asks of OpenCL's backend, this one has too

    # -- kernels -------------------------------------------------------------------------------
    def elementwise(self, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Kernel | None:
        try:
            return elementwise.generated(self._launcher, name, expr, dtypes, out)
        except (ExprError, KeyError):  # an expression that has no meaning for these dtypes
            return None

    def linalg_errors(self) -> Any:
        """A context in which CuPy looks at cuSOLVER's verdicts and raises LinAlgError."""
        import cupyx

        return cupyx.errstate(linalg="raise")

    # -- time ----------------------------------------------------------------------------------
    def stream(self, index: int = 0, priority: int = 0) -> Any:
        device = self.device(index)
        with device.current():
            device.has_streams = True
            return device.cupy.cuda.Stream(non_blocking=True, priority=priority or None)

    def current_stream(self, index: int = 0) -> Any:
        device = self.device(index)
        with device.current():
            return device.stream()

    def set_stream(self, stream: Any, index: int = 0) -> None:
        with self.device(index).current():
            stream.use()

    def event(self, index: int = 0, timing: bool = False) -> Any:
        device = self.device(index)
        with device.current():
            return device.cupy.cuda.Event(disable_timing=not timing)

    def elapsed(self, start: Any, end: Any) -> float:
        return float(self.cupy.cuda.get_elapsed_time(start, end))

    def synchronize(self, index: int = 0) -> None:
        self.device(index).synchronize()
        if self._pinned is not None:
            self._pinned.sweep()

    def check(self, index: int = 0) -> None:
        found = self._devices.get(index)
        if found is not None:
            found.check()

    def after_fork(self) -> None:
        """CUDA does not survive a fork: refuse at once, where it had been started."""
        self._lock = threading.RLock()
        if self._looked and self._reason is None:
            self._dead = True
        for device in self._devices.values():
            device.dead = True


_alive: weakref.WeakSet[CudaBackend] = weakref.WeakSet()


def _bury_all() -> None:
    for backend in list(_alive):
        backend.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_bury_all)
