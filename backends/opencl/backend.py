"""The OpenCL backend: storage calls over its devices."""

from __future__ import annotations

import numpy as np

from flambeau.backends.base import BackendUnavailableError, DeviceLostError, DeviceProperties, HostArray, MemoryStats
from flambeau.backends.launched import elementwise
from flambeau.backends.launched.backend import WIDE, LaunchedBackend
from flambeau.backends.launched.device import Raw, forked
from flambeau.backends.opencl import discovery
from flambeau.backends.opencl.device import OpenCLDevice
from flambeau.backends.strided import StridedArray
from flambeau.core.dtype import DType


class OpenCLBackend(LaunchedBackend[OpenCLDevice]):
    """Every usable OpenCL device; kernels are generated, built at first use and cached by the driver."""

    device_type = "opencl"
    capabilities = frozenset({"distinct_memory"})

    def __init__(self) -> None:
        super().__init__()
        self._cl: Raw = None  # the module pyopencl
        self._found: list[discovery.Found] | None = None
        self._reason: str | None = None
        self._started = self._forked = False  # whether the driver was; whether that was before a fork
        self._contexts: dict[int, Raw] = {}

    # -- devices -------------------------------------------------------------------------------
    def devices(self) -> list[discovery.Found]:
        """Every device of every driver, the usable ones first, in the order of their numbers."""
        if self._found is None:
            with self._lock:
                if self._found is None:
                    self._started = True
                    self._cl, found, self._reason = discovery.discover()
                    self._found = found  # last: who sees it reads the others
        return self._found

    def after_fork(self) -> None:
        super().after_fork()
        if self._started:  # to ask a driver for its devices is enough: its threads stayed with the parent
            self._forked, self._found, self._reason = True, [], forked("opencl", "OpenCL")

    def unavailable_reason(self) -> str | None:
        self.devices()
        return self._reason

    def device_count(self) -> int:
        return sum(f.reason is None for f in self.devices())

    def accelerators(self) -> tuple[int, ...]:
        usable = [f for f in self.devices() if f.reason is None]
        return tuple(i for i, f in enumerate(usable) if f.is_accelerator)

    def notes(self) -> list[str]:
        return [f"{f.label} does not count: {f.reason}" for f in self.devices() if f.reason is not None]

    def open(self, index: int) -> OpenCLDevice:
        if self._forked:
            raise DeviceLostError(self._reason)
        usable = [f for f in self.devices() if f.reason is None]
        if not 0 <= index < len(usable):
            raise BackendUnavailableError(
                f"opencl:{index} does not exist: {self._reason or f'there are {len(usable)} usable device(s)'}"
            )
        chosen = usable[index]
        if chosen.platform not in self._contexts:  # one serves a platform
            together = [f.device for f in usable if f.platform == chosen.platform]
            self._contexts[chosen.platform] = self._cl.Context(together)
        return OpenCLDevice(self._cl, chosen.device, self._contexts[chosen.platform], index)

    def properties(self, index: int = 0) -> DeviceProperties:
        raw = self.device(index).raw
        details = {
            "platform": raw.platform.name.strip(), "driver": raw.driver_version, "version": raw.version.strip(),
            "units": raw.max_compute_units, "fp64": self.device(index).target.fp64,
        }  # fmt: skip
        return DeviceProperties(raw.name.strip(), int(raw.global_mem_size), details)

    def supports(self, dtype: DType, index: int = 0) -> bool:
        return dtype not in WIDE or self.device(index).target.fp64

    def has(self, capability: str) -> bool:
        if capability == "has_fp64":
            return self.is_available() and self.device(0).target.fp64
        return super().has(capability)

    # -- memory --------------------------------------------------------------------------------
    def memory_stats(self, index: int = 0) -> MemoryStats:
        return self.device(index).pool.stats()

    def set_memory_limit(self, limit: int | None, index: int = 0) -> None:
        if limit is not None and limit < 0:
            raise ValueError(f"opencl:{index}: the memory limit must not be negative, got {limit}")
        device = self.device(index)
        device.pool.limit = device.default_limit if limit is None else limit

    def reset_peak(self, index: int = 0) -> None:
        self.device(index).pool.reset_peak()

    def empty_cache(self) -> None:
        for device in self._devices.values():
            device.pool.trim()

    # -- storage -------------------------------------------------------------------------------
    def from_host(self, host: HostArray, dtype: DType, index: int = 0) -> StridedArray:
        array = self.empty(host.shape, dtype, index)
        values = np.ascontiguousarray(host, dtype.numpy).reshape(-1).view(np.uint8)
        if host.size == 1:  # as a kernel's parameter it needs no wait
            elementwise.fill_bytes(self, array, values.tobytes())
        elif host.size:
            self.device(index).write(array, values)
        return array
