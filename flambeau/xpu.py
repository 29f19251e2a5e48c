"""The devices of type xpu, or of the type that it is an alias of, under PyTorch's names; as :mod:`flambeau.cuda`."""

from __future__ import annotations

from typing import Any

from flambeau.accelerator.of_type import (
    GRAPH,
    DeviceModule,
    absent,
    absent_class,
    current_device_of,
    event_class,
    index_of_tensor,
    stream_block,
    stream_class,
)  # fmt: skip
from flambeau.core import streams

_here = DeviceModule("xpu")

is_available = _here.is_available
device_count = _here.device_count
is_initialized = _here.is_initialized
init = _here.init
current_device = _here.current_device
set_device = _here.set_device
get_device_properties = _here.get_device_properties
get_device_name = _here.get_device_name
get_device_capability = _here.get_device_capability
is_bf16_supported = _here.is_bf16_supported
is_tf32_supported = _here.is_tf32_supported
can_device_access_peer = _here.can_device_access_peer
get_arch_list = _here.get_arch_list
get_gencode_flags = _here.get_gencode_flags
synchronize = _here.synchronize
current_stream = _here.current_stream
set_stream = _here.set_stream
is_current_stream_capturing = _here.is_current_stream_capturing
empty_cache = _here.empty_cache
memory_allocated = _here.memory_allocated
max_memory_allocated = _here.max_memory_allocated
memory_reserved = _here.memory_reserved
max_memory_reserved = _here.max_memory_reserved
memory_stats = _here.memory_stats
memory_stats_as_nested_dict = _here.memory_stats_as_nested_dict
memory_snapshot = _here.memory_snapshot
mem_get_info = _here.mem_get_info
device_memory_used = _here.device_memory_used
reset_peak_memory_stats = _here.reset_peak_memory_stats
reset_accumulated_memory_stats = _here.reset_accumulated_memory_stats
set_per_process_memory_fraction = _here.set_per_process_memory_fraction
get_per_process_memory_fraction = _here.get_per_process_memory_fraction
get_rng_state = _here.get_rng_state
get_rng_state_all = _here.get_rng_state_all
set_rng_state = _here.set_rng_state
set_rng_state_all = _here.set_rng_state_all
manual_seed = _here.manual_seed
manual_seed_all = _here.manual_seed_all
seed = _here.seed
seed_all = _here.seed_all
initial_seed = _here.initial_seed
XPUGraph = absent_class(
    "flambeau.xpu.XPUGraph", "there are no graphs of recorded work", f"{GRAPH} raw_xpu_graph raw_xpu_graph_exec"
)
graph = absent_class("flambeau.xpu.graph", "there are no graphs of recorded work")
make_graphed_callables = absent("flambeau.xpu.make_graphed_callables", "there are no graphs of recorded work")
graph_pool_handle = absent("flambeau.xpu.graph_pool_handle", "there are no graphs of recorded work")
MemPool = absent_class(
    "flambeau.xpu.MemPool", "there is one pool, the backend's own", "allocator id snapshot use_count"
)
XPUPluggableAllocator = absent_class("flambeau.xpu.XPUPluggableAllocator", "there is one pool, the backend's own")
change_current_allocator = absent("flambeau.xpu.change_current_allocator", "there is one pool, the backend's own")
use_mem_pool = absent("flambeau.xpu.use_mem_pool", "there is one pool, the backend's own")
get_stream_from_external = absent(
    "flambeau.xpu.get_stream_from_external", "streams of other libraries are not taken over"
)
utilization = absent("flambeau.xpu.utilization", "the driver's own library of sensors is not used")
temperature = absent("flambeau.xpu.temperature", "the driver's own library of sensors is not used")
power_draw = absent("flambeau.xpu.power_draw", "the driver's own library of sensors is not used")
clock_rate = absent("flambeau.xpu.clock_rate", "the driver's own library of sensors is not used")
memory_usage = absent("flambeau.xpu.memory_usage", "the driver's own library of sensors is not used")
Stream = stream_class(_here, "flambeau.xpu")
Event = event_class(_here, "flambeau.xpu")


class device(current_device_of):
    """Another current device of type xpu inside a block; None and negative indices change nothing."""

    of = _here


class device_of(device):
    """The device of a tensor as the current one inside a block; one of another type changes nothing."""

    def __init__(self, obj: Any):  # Any: a tensor or storage
        super().__init__(index_of_tensor(_here, obj))


class StreamContext(stream_block):
    """The thread's work on a stream inside a block; None changes nothing."""


def stream(stream: streams.Stream | None) -> StreamContext:
    """The thread's work on a stream inside a block; None changes nothing."""
    return StreamContext(stream)


def __getattr__(name: str) -> Any:
    """The generators are as many as there are devices, which is only then looked at."""
    if name == "default_generators":
        return _here.default_generators
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Event", "MemPool", "Stream", "StreamContext", "XPUGraph", "XPUPluggableAllocator", "can_device_access_peer",
    "change_current_allocator", "clock_rate", "current_device", "current_stream", "device", "device_count",
    "device_memory_used", "device_of", "empty_cache", "get_arch_list", "get_device_capability", "get_device_name",
    "get_device_properties", "get_gencode_flags", "get_per_process_memory_fraction", "get_rng_state",
    "get_rng_state_all", "get_stream_from_external", "graph", "graph_pool_handle", "init", "initial_seed",
    "is_available", "is_bf16_supported", "is_current_stream_capturing", "is_initialized", "is_tf32_supported",
    "make_graphed_callables", "manual_seed", "manual_seed_all", "max_memory_allocated", "max_memory_reserved",
    "mem_get_info", "memory_allocated", "memory_reserved", "memory_snapshot", "memory_stats",
    "memory_stats_as_nested_dict", "memory_usage", "power_draw", "reset_accumulated_memory_stats",
    "reset_peak_memory_stats", "seed", "seed_all", "set_device", "set_per_process_memory_fraction", "set_rng_state",
    "set_rng_state_all", "set_stream", "stream", "synchronize", "temperature", "use_mem_pool", "utilization",
]  # fmt: skip
