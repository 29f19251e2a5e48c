"""Tensors in page-locked host memory, from which copies to an accelerator need not wait."""

from __future__ import annotations

from functools import partial

from flambeau.backends.base import Backend, HostArray
from flambeau.core.accelerator import pinning_device
from flambeau.core.device import DeviceLike, located
from flambeau.core.device import device as Device
from flambeau.core.dispatch import kernel_call, tensor_of
from flambeau.core.dtype import DType
from flambeau.core.errors import DeviceError
from flambeau.core.public import public
from flambeau.core.record import OPS
from flambeau.core.registry import resolve
from flambeau.core.tensor import Tensor


def _pins(device: DeviceLike) -> Backend | None:
    """The backend that pins memory for a device (by default the accelerator); None where there is none."""
    where = pinning_device() if device is None else Device(device)
    backend = None if where is None else resolve(where)
    return backend if backend is not None and backend.has("can_pin") else None


@public(function=False)
def pin_memory(self: Tensor, device: DeviceLike = None) -> Tensor:
    """A copy in page-locked memory of the host, for a device (by default the accelerator); itself when it is there.

    ``pinned.to(device, non_blocking=True)`` then returns at once. The copy has no history. DeviceError for a tensor
    that is not in host memory, and where no accelerator has pinned memory.
    """
    if not self._key.backend.has("shares_host") or self._key.level is not None:
        raise DeviceError(f"pin_memory: only tensors in host memory can be pinned, got one on {str(self.device)!r}")
    backend = _pins(device)
    if backend is None:
        found = "no accelerator that has" if device is None else f"{str(located(device))!r} has none"
        raise DeviceError(f"pin_memory: no device here has pinned memory ({found}); `python -m flambeau doctor` tells")
    if backend.is_pinned(self._array):
        return self
    pinned = partial(_pinned, backend, self.dtype)
    return tensor_of(kernel_call(OPS["clone"], pinned, [self._array], {"order": "C"}, self._key), self._key)


def _pinned(backend: Backend, dtype: DType, array: HostArray, order: str) -> HostArray:
    """A copy in page-locked memory."""
    host = backend.pinned(tuple(array.shape), dtype)
    host[...] = array
    return host


@public(function=False)
def is_pinned(self: Tensor, device: DeviceLike = None) -> bool:
    """Whether the tensor is in page-locked memory of the host."""
    if not self._key.backend.has("shares_host") or self._key.level is not None:
        return False
    backend = _pins(device)
    return backend is not None and bool(backend.is_pinned(self._array))
