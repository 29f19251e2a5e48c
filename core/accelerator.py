"""The accelerator of this process, whichever backend it belongs to; no vendor has a module of its own."""

from __future__ import annotations

from types import TracebackType

from flambeau.backends.base import MemoryStats
from flambeau.core import registry
from flambeau.core.device import DeviceLike, current, device, located
from flambeau.core.dtype import ALL, DType
from flambeau.core.errors import DeviceError
from flambeau.core.keys import get_default_device, set_default_device

__all__ = [
    "current_accelerator", "current_device_idx", "current_device_index", "device_count", "device_index",
    "empty_cache", "empty_host_cache", "get_device_capability", "get_memory_info", "is_available", "mark_step",
    "max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved", "memory_stats",
    "reset_accumulated_memory_stats", "reset_peak_memory_stats", "set_device_idx", "set_device_index",
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


def current_index(kind: str) -> int:
    """The index of this thread's current device of a type: the default device's, else 0, unless it chose another."""
    chosen: int | None = current.__dict__.get(kind)
    if chosen is not None:
        return chosen
    default = get_default_device()
    return default.number if default.type == kind else 0


def set_current_index(kind: str, index: int) -> None:
    """Choose the current device of a type; where the default device is of that type, it becomes the default."""
    where = device(kind, index)
    registry.resolve(where)
    current.__dict__[kind] = index
    if get_default_device().type == kind:
        set_default_device(where)


def _required() -> device:
    found = current_accelerator()
    if found is None:
        raise RuntimeError("accelerator: there is none; flambeau.accelerator.is_available() says so")
    return found


def current_device_index() -> int:
    """The index of this thread's current device of the accelerator's type; RuntimeError without an accelerator.

    >>> with fb.device("strict"):
    ...     fb.accelerator.device_count() >= 0
    True
    """
    return current_index(_required().type)


def set_device_index(device: DeviceLike | int, /) -> None:
    """Make a device of the accelerator's type, or the one with this index, the current one; a negative one is ignored.

    >>> fb.accelerator.set_device_index(-1)
    """
    index = _index_of(device)
    if index >= 0:
        set_current_index(_required().type, index)


current_device_idx, set_device_idx = current_device_index, set_device_index


def _index_of(where: DeviceLike | int) -> int:
    if where is None:
        raise ValueError("accelerator: expected a device or its index, got None")
    if isinstance(where, int):
        return where
    found = device(where)
    if found.type != _required().type:
        raise RuntimeError(f"accelerator: expected a device of type {_required().type!r}, got {str(found)!r}")
    return found.number


class device_index:
    """Another current device of the accelerator's type inside a block; None changes nothing.

    >>> with fb.accelerator.device_index(None):
    ...     pass
    """

    def __init__(self, device: int | None, /):
        self.idx = device
        self.prev_idx: int | None = None

    def __enter__(self) -> None:
        if self.idx is not None:
            self.prev_idx = current_device_index()
            set_device_index(self.idx)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.prev_idx is not None:
            set_device_index(self.prev_idx)


def resolved(where: DeviceLike | int) -> device:
    """The device that is meant: by default the current accelerator, or the default device without any."""
    if isinstance(where, int):
        return located(_required().type, where)
    if where is not None:
        return located(where)
    found = current_accelerator()
    if found is None:
        return get_default_device()
    chosen = current.__dict__.get(found.type)
    return found if chosen is None else located(found.type, chosen)


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


def max_memory_reserved(where: DeviceLike = None) -> int:
    """The largest number of bytes that the device's pool is known to have held: now, or in live tensors.

    >>> fb.accelerator.max_memory_reserved("strict") >= 0
    True
    """
    stats = memory_stats(where)
    return max(stats.reserved, stats.peak)


def get_memory_info(where: DeviceLike = None) -> tuple[int, int]:
    """Bytes of a device that are not known to be taken, and all that it has; 0 where the driver does not tell.

    >>> free, total = fb.accelerator.get_memory_info("strict")
    >>> free <= total
    True
    """
    d = resolved(where)
    backend = registry.resolve(d)
    limit, total = backend.memory_stats(d.number).limit, backend.properties(d.number).total_memory
    if limit is not None:
        total = min(total, limit) if total else limit
    return untaken(d, total), total


def untaken(where: device, total: int) -> int:
    """Of ``total`` bytes of a device those that nobody is known to have taken, this process or others."""
    backend = registry.resolve(where)
    stats, free = backend.memory_stats(where.number), backend.free_memory(where.number)
    left = max(0, total - max(stats.reserved, stats.allocated))
    return left if free is None else min(left, free)


def get_device_capability(where: DeviceLike = None) -> dict[str, set[DType]]:
    """What a device can do: the dtypes that its tensors may have, under ``supported_dtypes``.

    >>> fb.float32 in fb.accelerator.get_device_capability("strict")["supported_dtypes"]
    True
    """
    d = resolved(where)
    backend = registry.resolve(d)
    return {"supported_dtypes": {t for t in ALL if backend.offers(t, d.number)}}


def reset_accumulated_memory_stats(where: DeviceLike = None) -> None:
    """Sums over time are not kept, so there is nothing to count anew; the device is looked up all the same.

    >>> fb.accelerator.reset_accumulated_memory_stats("strict")
    """
    registry.resolve(resolved(where))


def empty_host_cache() -> None:
    """Give unused pinned host memory back; none is kept.

    >>> fb.accelerator.empty_host_cache()
    """


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
