"""The devices of type mtia, or of the type that it is an alias of, under PyTorch's names; as :mod:`flambeau.cuda`."""

from __future__ import annotations

from flambeau.accelerator.absent import NO_GRAPHS, absent_class
from flambeau.accelerator.of_type import (
    DeviceModule,
    StreamContext,
    current_device_of,
    current_device_of_tensor,
    event_class,
    stream_class,
)  # fmt: skip

_here = DeviceModule("mtia")

current_device = _here.current_device
current_stream = _here.current_stream
default_stream = _here.default_stream
device_count = _here.device_count
empty_cache = _here.empty_cache
get_device_capability = _here.get_device_capability
get_device_properties = _here.get_device_properties
get_rng_state = _here.get_rng_state
get_rng_state_all = _here.get_rng_state_all
init = _here.init
initial_seed = _here.initial_seed
is_available = _here.is_available
is_bf16_supported = _here.is_bf16_supported
is_initialized = _here.is_initialized
manual_seed = _here.manual_seed
manual_seed_all = _here.manual_seed_all
max_memory_allocated = _here.max_memory_allocated
memory_allocated = _here.memory_allocated
memory_stats = _here.memory_stats
reset_peak_memory_stats = _here.reset_peak_memory_stats
seed = _here.seed
seed_all = _here.seed_all
set_device = _here.set_device
set_rng_state = _here.set_rng_state
set_rng_state_all = _here.set_rng_state_all
set_stream = _here.set_stream
stream = _here.stream
synchronize = _here.synchronize
MTIAGraph = absent_class("flambeau.mtia.MTIAGraph", NO_GRAPHS)
graph = absent_class("flambeau.mtia.graph", NO_GRAPHS)
graph_pool_handle = _here.absent("graph_pool_handle", NO_GRAPHS)
attach_out_of_memory_observer = _here.absent("attach_out_of_memory_observer", "nothing observes that")
record_memory_history = _here.absent("record_memory_history", "no history is kept")
snapshot = _here.absent("snapshot", "no history is kept")
Stream = stream_class(_here, "flambeau.mtia")
Event = event_class(_here, "flambeau.mtia")
__getattr__ = _here.late(__name__)


class device(current_device_of):
    """Another current device of type mtia inside a block; None and negative indices change nothing."""

    of = _here


class device_of(current_device_of_tensor):
    """The device of a tensor as the current one inside a block; one of another type changes nothing."""

    of = _here


__all__ = [
    "Event", "MTIAGraph", "Stream", "StreamContext", "attach_out_of_memory_observer", "current_device",
    "current_stream", "default_stream", "device", "device_count", "device_of", "empty_cache", "get_device_capability",
    "get_device_properties", "get_rng_state", "get_rng_state_all", "graph", "graph_pool_handle", "init",
    "initial_seed", "is_available", "is_bf16_supported", "is_initialized", "manual_seed", "manual_seed_all",
    "max_memory_allocated", "memory_allocated", "memory_stats", "record_memory_history", "reset_peak_memory_stats",
    "seed", "seed_all", "set_device", "set_rng_state", "set_rng_state_all", "set_stream", "snapshot", "stream",
    "synchronize",
]  # fmt: skip
