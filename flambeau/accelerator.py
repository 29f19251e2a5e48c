"""The accelerator of this process, device-generic."""

from flambeau.core.accelerator import (
    current_accelerator,
    device_count,
    empty_cache,
    is_available,
    max_memory_allocated,
    memory_allocated,
    memory_reserved,
    memory_stats,
    set_memory_limit,
    synchronize,
)

__all__ = [
    "current_accelerator", "device_count", "empty_cache", "is_available", "max_memory_allocated", "memory_allocated",
    "memory_reserved", "memory_stats", "set_memory_limit", "synchronize",
]  # fmt: skip
