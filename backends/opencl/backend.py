"""The OpenCL backend: storage calls over :class:`Device`, and the table of kernels."""

from __future__ import annotations

import os
import threading
import weakref
from math import prod
from typing import Any

import numpy as np

from flambeau.backends import layout as lay
from flambeau.backends.base import BackendUnavailableError, DeviceProperties, Kernel, KernelTable, MemoryStats, Shape
from flambeau.backends.generic import generic_table
from flambeau.backends.opencl import (
    conv,
    discovery,
    elementwise,
    index,
    linalg,
    nn,
    norm,
    optim,
    parts,
    pool,
    random,
    recurrent,
    reduce,
    scan,
)
from flambeau.backends.opencl.device import Device
from flambeau.backends.strided import StridedArray, StridedBackend
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, ExprError

HostArray = np.ndarray[Any, Any]
_WIDE = (dt.float64, dt.complex128)
#: The kernels of the C dialect by family, which CUDA launches too.
FAMILIES = (elementwise, reduce, linalg, index, scan, nn, random, conv, pool, norm, optim, recurrent, parts)


class OpenCLBackend(StridedBackend):
    """Every usable OpenCL device; kernels are generated, built at first use and cached by the driver."""

    device_type = "opencl"
    capabilities = frozenset({"distinct_memory"})

    def __init__(self) -> None:
        super().__init__()
        self._found: list[discovery.Found] | None = None
        self._reason: str | None = None
        self._devices: dict[int, Device] = {}
        self._contexts: dict[int, Any] = {}
        self._lock = threading.RLock()
        self.kernels = KernelTable("opencl", generic_table(self))
        for family in FAMILIES:
            family.register(self)
        _alive.add(self)

    # -- devices -------------------------------------------------------------------------------
    def devices(self) -> list[discovery.Found]:
        """Every device of every driver, the usable ones first, in the order of their numbers."""
        if self._found is None:
            with self._lock:
                if self._found is None:
                    self._found, self._reason = discovery.discover()
        return self._found

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

    def device(self, index: int) -> Device:
        """The device ``opencl:index``, opened at first use; one context serves a platform."""
        found = self._devices.get(index)
        if found is None:
            with self._lock:
                found = self._devices.get(index) or self._open(index)
        return found

    def _open(self, index: int) -> Device:
        usable = [f for f in self.devices() if f.reason is None]
        if not 0 <= index < len(usable):
            raise BackendUnavailableError(
                f"opencl:{index} does not exist: {self._reason or f'there are {len(usable)} usable device(s)'}"
            )
        import pyopencl as cl

        chosen = usable[index]
        if chosen.platform not in self._contexts:
            together = [f.device for f in usable if f.platform == chosen.platform]
            self._contexts[chosen.platform] = cl.Context(together)
        made = self._devices[index] = Device(chosen.device, self._contexts[chosen.platform], index)
        return made

    def properties(self, index: int = 0) -> DeviceProperties:
        raw = self.device(index).raw
        details = {
            "platform": raw.platform.name.strip(), "driver": raw.driver_version, "version": raw.version.strip(),
            "units": raw.max_compute_units, "fp64": self.device(index).target.fp64,
        }  # fmt: skip
        return DeviceProperties(raw.name.strip(), int(raw.global_mem_size), details)

    def supports(self, dtype: DType, index: int = 0) -> bool:
        return dtype not in _WIDE or self.device(index).target.fp64

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
        device.pool.limit = int(device.raw.global_mem_size * 0.9) if limit is None else limit

    def reset_peak(self, index: int = 0) -> None:
        self.device(index).pool.reset_peak()

    def empty_cache(self) -> None:
        for device in self._devices.values():
            device.pool.trim()

    # -- storage -------------------------------------------------------------------------------
    def empty(self, shape: Shape, dtype: DType, index: int = 0) -> StridedArray:
        device = self._devices.get(index) or self.device(index)
        if dtype in _WIDE and not device.target.fp64:
            raise TypeError(f"{device.label} has no float64; use float32, or another device for {dtype}")
        block = device.allocate(prod(shape) * dtype.itemsize)
        return StridedArray(block, 0, shape, lay.contiguous_strides(shape), dtype, index)

    def from_host(self, host: HostArray, dtype: DType, index: int = 0) -> StridedArray:
        array = self.empty(host.shape, dtype, index)
        values = np.ascontiguousarray(host, dtype.numpy).reshape(-1).view(np.uint8)
        if host.size == 1:  # as a kernel's parameter it needs no wait
            elementwise.fill_bytes(self, array, values.tobytes())
        elif host.size:
            self.device(index).write(array.buffer, 0, values)
        return array

    def to_host(self, array: StridedArray) -> HostArray:
        device = self.device(array.index)
        dense = array if array.is_contiguous else self.dense(array)
        host = np.empty(array.shape, array.dtype.numpy)
        if host.size:
            raw = host.reshape(-1).view(np.uint8)
            device.check((dense.buffer, dense.offset * array.dtype.itemsize, raw))
        else:
            device.check()
        return host

    def dense(self, array: StridedArray) -> StridedArray:
        """The array itself if it is contiguous, else a contiguous copy."""
        if array.is_contiguous:
            return array
        out = self.empty(array.shape, array.dtype, array.index)
        elementwise.copy(self, out, array)
        return out

    def copy(self, dst: StridedArray, src: StridedArray) -> None:
        elementwise.copy(self, dst, src)

    def constant(self, value: bool | int | float | complex, dtype: DType, index: int = 0) -> StridedArray:
        array = self.empty((), dtype, index)
        elementwise.fill(self, array, value)
        return array

    # -- kernels -------------------------------------------------------------------------------
    def elementwise(self, name: str, expr: Expr, dtypes: tuple[DType, ...], out: DType) -> Kernel | None:
        try:
            return elementwise.generated(self, name, expr, dtypes, out)
        except (ExprError, KeyError):  # an expression that has no meaning for these dtypes
            return None

    # -- time ----------------------------------------------------------------------------------
    def synchronize(self, index: int = 0) -> None:
        self.device(index).synchronize()

    def check(self, index: int = 0) -> None:
        found = self._devices.get(index)
        if found is not None:
            found.check()

    def after_fork(self) -> None:
        """OpenCL hangs in a forked child, whatever context it uses: refuse at once."""
        self._lock = threading.RLock()
        for device in self._devices.values():
            device.bury()


_alive: weakref.WeakSet[OpenCLBackend] = weakref.WeakSet()


def _bury_all() -> None:
    for backend in list(_alive):
        backend.after_fork()


os.register_at_fork(after_in_child=_bury_all)
