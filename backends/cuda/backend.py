"""The CUDA backend's class: storage calls over its devices, streams, and NVIDIA's libraries.

CuPy is imported when somebody asks for a CUDA device, never before: it gives memory, streams, the compiler, and
the libraries cuBLAS, cuSOLVER and cuFFT. The kernels of the C dialect are launched as on OpenCL, and above them stands
what the libraries do better.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import numpy as np

from flambeau.backends.base import (
    BackendUnavailableError,
    DeviceProperties,
    Event,
    HostArray,
    MemoryStats,
    Shape,
    Stream,
)
from flambeau.backends.communicator import Communicator
from flambeau.backends.cuda import discovery, library, nccl
from flambeau.backends.cuda.device import CudaDevice
from flambeau.backends.cuda.memory import Pinned
from flambeau.backends.launched.backend import LaunchedBackend
from flambeau.backends.launched.device import Raw
from flambeau.backends.strided import StridedArray
from flambeau.core.dtype import DType

_FORKED: Final = "this process was forked after CUDA was used; start workers with spawn or forkserver"


class CudaBackend(LaunchedBackend[CudaDevice]):
    """NVIDIA GPUs through CuPy."""

    device_type = "cuda"
    dlpack_kind = 2
    capabilities = frozenset(
        {"has_fp64", "has_fp16", "has_streams", "can_pin", "distinct_memory", "linalg", "collectives"}
    )

    def __init__(self, cupy: Raw = None) -> None:  # the module cupy
        super().__init__()
        self._cupy = cupy
        self._reason: str | None = None
        self._looked = False
        self._dead = False
        self._pinned: Pinned | None = None
        library.register(self)

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
    def cupy(self) -> Raw:
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
            "units": facts["multiProcessorCount"],
            "driver": runtime.driverGetVersion(),
            "runtime": runtime.runtimeGetVersion(),
            "cupy": self.cupy.__version__,
        }
        return DeviceProperties(facts["name"].decode(), int(facts["totalGlobalMem"]), details)

    def open(self, index: int) -> CudaDevice:
        if not 0 <= index < self.device_count():
            why = self.unavailable_reason() or f"there are {self.device_count()} device(s)"
            raise BackendUnavailableError(f"cuda:{index} does not exist: {why}")
        return CudaDevice(self.cupy, index)

    # -- memory --------------------------------------------------------------------------------
    def memory_stats(self, index: int = 0) -> MemoryStats:
        return self.device(index).pool.stats()

    def free_memory(self, index: int = 0) -> int:
        with self.device(index).current():
            return int(self.cupy.cuda.runtime.memGetInfo()[0])

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
    def from_host(self, host: HostArray, dtype: DType, index: int = 0) -> StridedArray:
        return self.send(host, dtype, index, later=False)

    def send(self, host: HostArray, dtype: DType, index: int, later: bool) -> StridedArray:
        """A copy of a host array; ``later``, from pinned memory, does not wait until it has been read."""
        array = self.empty(host.shape, dtype, index)
        if host.size:
            values = np.ascontiguousarray(host, dtype.numpy)
            later = later and self.is_pinned(values)
            event = self.device(index).write(array, values.reshape(-1).view(np.uint8), later)
            if later:
                self.pinning.keep(values, event)
        return array

    def to_dlpack(
        self, array: StridedArray, *, stream: object, max_version: tuple[int, int] | None, copy: bool | None
    ) -> object:
        with self.device(array.index).current():
            found = library.exported(self, array)
            try:  # CuPy lets the consumer's stream wait for the current one
                return found.__dlpack__(stream=stream, max_version=max_version, copy=copy)
            except (TypeError, ValueError, RuntimeError) as error:
                raise BufferError(f"__dlpack__: {array.dtype.name} cannot be exported ({error})") from error

    def from_dlpack(self, x: object, index: int, copy: bool | None) -> StridedArray:
        with self.device(index).current():
            return library.imported(self, self.cupy.from_dlpack(x, copy=copy), index)

    def move(self, array: StridedArray, index: int) -> StridedArray:
        """A copy on another device, from memory to memory: CUDA goes by way of the host where it must."""
        out = self.empty(array.shape, array.dtype, index)
        if array.index == index:
            self.copy(out, array)
        elif array.size:
            dense = self.whole(array)
            self.device(index).receive(out.buffer, self.device(array.index), dense.buffer)
        return out

    def whole(self, array: StridedArray) -> StridedArray:
        """A contiguous array that fills its storage: the array itself or a copy."""
        if array.is_contiguous and not array.offset and array.buffer.nbytes == array.size * array.dtype.itemsize:
            return array
        return self.copied(array)

    def storage_id(self, array: StridedArray) -> int:
        address: int = array.buffer.memory.ptr
        return address

    # -- other processes -------------------------------------------------------------------------
    def lacks_collectives(self) -> str | None:
        return self.unavailable_reason() or nccl.missing(self._cupy)

    def communicator(self, rank: int, size: int, share: Callable[[bytes], bytes], index: int = 0) -> Communicator:
        return nccl.Nccl(self, rank, size, share, index)

    # -- kernels -------------------------------------------------------------------------------
    def product(self, out: StridedArray, x: StridedArray, y: StridedArray) -> bool:
        return library.product(self, out, x, y)

    def linalg_errors(self) -> AbstractContextManager[Any]:
        """A context in which CuPy looks at cuSOLVER's verdicts and raises LinAlgError."""
        import cupyx  # of the package cupy, which is optional and slow to import

        found: AbstractContextManager[Any] = cupyx.errstate(linalg="raise")
        return found

    # -- time ----------------------------------------------------------------------------------
    def stream(self, index: int = 0, priority: int = 0) -> Stream:
        device = self.device(index)
        with device.current():
            device.has_streams = True
            made: Stream = device.cupy.cuda.Stream(non_blocking=True, priority=priority or None)
            return made

    def current_stream(self, index: int = 0) -> Stream:
        device = self.device(index)
        with device.current():
            found: Stream = device.stream()
            return found

    def default_stream(self, index: int = 0) -> Stream:
        found: Stream = self.device(index).null
        return found

    def set_stream(self, stream: Raw, index: int = 0) -> None:
        with self.device(index).current():
            stream.use()

    def event(self, index: int = 0, timing: bool = False) -> Event:
        device = self.device(index)
        with device.current():
            made: Event = device.cupy.cuda.Event(disable_timing=not timing)
            return made

    def elapsed(self, start: Event, end: Event) -> float:
        return float(self.cupy.cuda.get_elapsed_time(start, end))

    def synchronize(self, index: int = 0) -> None:
        super().synchronize(index)
        if self._pinned is not None:
            self._pinned.sweep()

    def after_fork(self) -> None:
        if self._looked and self._reason is None:  # CUDA had been started
            self._dead = True
        super().after_fork()
