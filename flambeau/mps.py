"""The devices of type mps, or of the type that it is an alias of, under PyTorch's names; as :mod:`flambeau.cuda`."""

from __future__ import annotations

from flambeau.accelerator.of_type import DeviceModule, event_class

_here = DeviceModule("mps", needed=True)

device_count = _here.device_count
empty_cache = _here.empty_cache
get_rng_state = _here.get_rng_state
is_available = _here.is_available
manual_seed = _here.manual_seed
seed = _here.seed
set_rng_state = _here.set_rng_state
synchronize = _here.synchronize
current_allocated_memory = _here.memory_allocated
driver_allocated_memory = _here.memory_reserved
compile_shader = _here.absent("compile_shader", "register a kernel by flambeau.library instead")
load_metallib = _here.absent("load_metallib", "register a kernel by flambeau.library instead")
Event = event_class(_here, "flambeau.mps")


def recommended_max_memory() -> int:
    """Bytes of the device's memory."""
    return _here.mem_get_info()[1]


def set_per_process_memory_fraction(fraction: float) -> None:
    """Refuse allocations beyond a share of the device's memory, 0 to 2; 0 is no limit."""
    if isinstance(fraction, float) and not fraction:
        _here.backend().set_memory_limit(None, _here.current_device())
    else:
        _here.limit_memory(fraction, 2)


__all__ = [
    "Event", "compile_shader", "current_allocated_memory", "device_count", "driver_allocated_memory", "empty_cache",
    "get_rng_state", "is_available", "load_metallib", "manual_seed", "recommended_max_memory", "seed",
    "set_per_process_memory_fraction", "set_rng_state", "synchronize",
]  # fmt: skip
