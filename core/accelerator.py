"""The accelerator of this process, whichever backend it belongs to; no vendor has a module of its own."""

from __future__ import annotations

from flambeau.backends.base import MemoryStats
from flambeau.core import registry
from flambeau.core.device import DeviceLike, device, located
from flambeau.core.errors import DeviceError
from flambeau.core.keys import get_default_device

__all__ = [
    "current_accelerator", "device_count", "empty_cache", "is_available", "mark_step",
    "max_memory_allocated", "memory_allocated", "memory_reserved", "memory_stats", "reset_peak_memory_stats",
    "set_memory_limit", "synchronize",
]  # fmt: skip


def _accelerators(name: str) -> tuple[int, ...]:
    """The devices of a type that count without being asked for, the best first; a driver on the cpu does not."""
    try:
        backend = registry.get_backend(name)
        return tuple(backend.accelerators()) if backend.is_available() else ()
    except Exception:
        return ()


def current_accelerator(check_available: bool = True) -> device | None:
    """The default device unless it is the host's or a pretended one, else the best of the others; None without any.

    Without being the default, a driver that computes on the cpu is not an accelerator, as for ``FLAMBEAU_DEVICE=auto``.

    >>> fb.accelerator.current_accelerator() is None or fb.accelerator.is_available()
    True
    """
    chosen = get_default_device()
    backend = registry.resolve(chosen)
    if not any(map(backend.has, ("shares_host", "no_data", "pretend"))):
        return chosen
    return next((located(n, found[0]) for n in registry.known_types() if (found := _accelerators(n))), None)


def pinning_device() -> device | None:
    """The default device if its backend pins host memory, else the first available one that does; None without any."""
    chosen = get_default_device()
    if registry.resolve(chosen).has("can_pin"):
        return chosen
    return next((located(n) for n in registry.known_types() if _pins(n)), None)


def _pins(name: str) -> bool:
    try:
        backend = registry.get_backend(name)
    except Exception:
        return False
    return backend.has("can_pin") and backend.is_available()


def is_available() -> bool:
    """Whether any accelerator can be used.

    >>> isinstance(fb.accelerator.is_available(), bool)
    True
    """
    return current_accelerator() is not None


def _its_type() -> str:
    found = current_accelerator()
    if found is None:
        raise DeviceError("device: a number stands for a device of the accelerator, and none is available")
    return found.type


device.accelerator = staticmethod(_its_type)


def device_count() -> int:
    """How many devices of the current accelerator's type there are; 0 without one.

    >>> fb.accelerator.device_count() >= 0
    True
    """
    found = current_accelerator()
    return 0 if found is None else registry.get_backend(found.type).device_count()


def resolved(where: DeviceLike) -> device:
    """The device that is meant: by default the current accelerator, or the default device without any."""
    found = current_accelerator() if where is None else located(where)
    return get_default_device() if found is None else found


def synchronize(where: DeviceLike = None) -> None:
    """Wait until everything enqueued on the device is done, and raise what went wrong late.

    >>> fb.accelerator.synchronize("strict")
    """
    d = resolved(where)
    backend = registry.resolve(d)
    backend.synchronize(d.number)
    backend.check(d.number)


def mark_step(where: DeviceLike = None) -> None:
    """A step ended: a device that notes ops and runs them later runs what it has noted so far, as one program.

    Optimizers say so after each step, and whatever reads values makes the device run: this is for loops that do
    neither. Every other device does nothing. It does not wait; :func:`synchronize` does.

    >>> x = fb.ones(2)
    >>> for _ in range(100):
    ...     x = x * 0.5
    ...     fb.accelerator.mark_step()
    """
    d = resolved(where)
    registry.resolve(d).mark_step(d.number)


def memory_stats(where: DeviceLike = None) -> MemoryStats:
    """Bytes allocated, reserved and at peak, and the limit, of a device.

    >>> fb.accelerator.memory_stats("strict").limit
    """
    d = resolved(where)
    return registry.resolve(d).memory_stats(d.number)


def memory_allocated(where: DeviceLike = None) -> int:
    """Bytes in live tensors of a device.

    >>> x = fb.zeros(1000, device="strict")
    >>> fb.accelerator.memory_allocated("strict") >= 4000
    True
    """
    return memory_stats(where).allocated


def max_memory_allocated(where: DeviceLike = None) -> int:
    """The largest number of bytes in live tensors so far.

    >>> x = fb.zeros(1000, device="strict")
    >>> fb.accelerator.max_memory_allocated("strict") >= 4000
    True
    """
    return memory_stats(where).peak


def memory_reserved(where: DeviceLike = None) -> int:
    """Bytes that the device's pool holds, in use or not.

    >>> fb.accelerator.memory_reserved("strict") >= 0
    True
    """
    return memory_stats(where).reserved


def reset_peak_memory_stats(where: DeviceLike = None) -> None:
    """Count the peak of a device's memory anew, from what is allocated now."""
    d = resolved(where)
    registry.resolve(d).reset_peak(d.number)


def set_memory_limit(limit: int | None, where: DeviceLike = None) -> None:
    """Refuse allocations beyond ``limit`` bytes in all on a device (None: no limit)."""
    d = resolved(where)
    registry.resolve(d).set_memory_limit(limit, d.number)


def empty_cache(where: DeviceLike = None) -> None:
    """Give the pool's unused memory back to the driver.

    >>> fb.accelerator.empty_cache()
    """
    registry.resolve(resolved(where)).empty_cache()
