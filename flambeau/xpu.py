"""The devices of type xpu, or of the type that it is an alias of, under PyTorch's names; as :mod:`flambeau.cuda`."""

from __future__ import annotations

from flambeau.accelerator.absent import (
    GRAPH,
    NO_GRAPHS,
    NOT_TAKEN_OVER,
    ONE_POOL,
    POOL,
    absent_class,
)  # fmt: skip
from flambeau.accelerator.of_type import (
    DeviceModule,
    StreamContext,
    current_device_of,
    current_device_of_tensor,
    event_class,
    stream_class,
)  # fmt: skip

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
stream = _here.stream
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
XPUGraph = absent_class("flambeau.xpu.XPUGraph", NO_GRAPHS, f"{GRAPH} raw_xpu_graph raw_xpu_graph_exec")
graph = absent_class("flambeau.xpu.graph", NO_GRAPHS)
make_graphed_callables = _here.absent("make_graphed_callables", NO_GRAPHS)
graph_pool_handle = _here.absent("graph_pool_handle", NO_GRAPHS)
MemPool = absent_class("flambeau.xpu.MemPool", ONE_POOL, POOL)
XPUPluggableAllocator = absent_class("flambeau.xpu.XPUPluggableAllocator", ONE_POOL)
change_current_allocator = _here.absent("change_current_allocator", ONE_POOL)
use_mem_pool = _here.absent("use_mem_pool", ONE_POOL)
get_stream_from_external = _here.absent("get_stream_from_external", NOT_TAKEN_OVER)
utilization = _here.sensor("utilization")
temperature = _here.sensor("temperature")
power_draw = _here.sensor("power_draw")
clock_rate = _here.sensor("clock_rate")
memory_usage = _here.sensor("memory_usage")
Stream = stream_class(_here, "flambeau.xpu")
Event = event_class(_here, "flambeau.xpu")
__getattr__ = _here.late(__name__)


class device(current_device_of):
    """Another current device of type xpu inside a block; None and negative indices change nothing."""

    of = _here


class device_of(current_device_of_tensor):
    """The device of a tensor as the current one inside a block; one of another type changes nothing."""

    of = _here


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
