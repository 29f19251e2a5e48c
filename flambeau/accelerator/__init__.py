"""The accelerator of this process, device-generic."""

# isort: off
from flambeau.core.accelerator import (
    current_accelerator, current_device_idx, current_device_index, device_count, device_index, empty_cache,
    empty_host_cache, get_device_capability, get_memory_info, is_available, mark_step, max_memory_allocated,
    max_memory_reserved, memory_allocated, memory_reserved, memory_stats, reset_accumulated_memory_stats,
    reset_peak_memory_stats, set_device_idx, set_device_index, set_memory_limit, synchronize,
)  # fmt: skip
from flambeau.core.streams import Event, Stream, current_stream, set_stream
from flambeau.accelerator import memory as memory
from flambeau.accelerator.absent import GRAPH, NO_GRAPHS, absent_class

Graph = absent_class("flambeau.accelerator.Graph", NO_GRAPHS, GRAPH)

__all__ = [
    "Event", "Graph", "Stream", "current_accelerator", "current_device_idx", "current_device_index", "current_stream",
    "device_count", "device_index", "empty_cache", "empty_host_cache", "get_device_capability", "get_memory_info",
    "is_available", "mark_step", "max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved",
    "memory_stats", "reset_accumulated_memory_stats", "reset_peak_memory_stats", "set_device_idx", "set_device_index",
    "set_memory_limit", "set_stream", "synchronize",
]  # fmt: skip
