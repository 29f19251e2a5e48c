"""The devices of type mps, or of the type that it is an alias of, under PyTorch's names; as :mod:`flambeau.cuda`."""

from __future__ import annotations

from flambeau.accelerator.of_type import DeviceModule, absent, event_class

_here = DeviceModule("mps")

device_count = _here.device_count
empty_cache = _here.empty_cache
get_rng_state = _here.get_rng_state
is_available = _here.is_available
manual_seed = _here.manual_seed
seed = _here.seed
set_per_process_memory_fraction = _here.set_per_process_memory_fraction
set_rng_state = _here.set_rng_state
synchronize = _here.synchronize
current_allocated_memory = _here.memory_allocated
driver_allocated_memory = _here.memory_reserved
compile_shader = absent("flambeau.mps.compile_shader", "register a kernel by flambeau.library instead")
load_metallib = absent("flambeau.mps.load_metallib", "register a kernel by flambeau.library instead")
Event = event_class(_here, "flambeau.mps")


def recommended_max_memory() -> int:
    """Bytes of the device's memory."""
    return _here.mem_get_info()[1]


__all__ = [
    "Event", "compile_shader", "current_allocated_memory", "device_count", "driver_allocated_memory", "empty_cache",
    "get_rng_state", "is_available", "load_metallib", "manual_seed", "recommended_max_memory", "seed",
    "set_per_process_memory_fraction", "set_rng_state", "synchronize",
]  # fmt: skip
