"""The accelerator of this process, device-generic."""

# isort: off
from flambeau.core.accelerator import (
    current_accelerator, device_count, empty_cache, is_available, mark_step, max_memory_allocated,
    memory_allocated, memory_reserved, memory_stats, reset_peak_memory_stats, set_memory_limit, synchronize,
)  # fmt: skip
from flambeau.core.streams import Event, Stream, current_stream, set_stream

__all__ = [
    "Event", "Stream", "current_accelerator", "current_stream", "device_count", "empty_cache", "is_available",
    "mark_step", "max_memory_allocated", "memory_allocated", "memory_reserved", "memory_stats",
    "reset_peak_memory_stats", "set_memory_limit", "set_stream", "synchronize",
]  # fmt: skip
