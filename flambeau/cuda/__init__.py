"""The devices of type cuda, or of the type that it is an alias of, under PyTorch's names.

Everything is asked of the device-generic layer (:mod:`flambeau.accelerator`). Without such a device
:func:`is_available` is False, what counts is 0, and what needs one raises an error that says why there is none.
"""

from __future__ import annotations

from flambeau.accelerator.absent import NOT_TAKEN_OVER, absent_class
from flambeau.accelerator.of_type import StreamContext, current_device_of, current_device_of_tensor
from flambeau.backends.base import OutOfMemoryError
from flambeau.core import typed as _typed
from flambeau.cuda import amp as amp
from flambeau.cuda import graphs as graphs
from flambeau.cuda import jiterator as jiterator
from flambeau.cuda import memory as memory
from flambeau.cuda import nccl as nccl
from flambeau.cuda import nvtx as nvtx
from flambeau.cuda import profiler as profiler
from flambeau.cuda import random as random
from flambeau.cuda import sparse as sparse
from flambeau.cuda import streams as streams
from flambeau.cuda import tunable as tunable
from flambeau.cuda._here import here as _here
from flambeau.cuda.graphs import (
    CUDAGraph,
    graph,
    graph_pool_handle,
    is_current_stream_capturing,
    make_graphed_callables,
)
from flambeau.cuda.memory import (
    CUDAPluggableAllocator,
    MemPool,
    caching_allocator_alloc,
    caching_allocator_delete,
    caching_allocator_disabled,
    caching_allocator_enable,
    change_current_allocator,
    empty_cache,
    get_allocator_backend,
    get_per_process_memory_fraction,
    host_memory_stats,
    host_memory_stats_as_nested_dict,
    list_gpu_processes,
    max_memory_allocated,
    max_memory_cached,
    max_memory_reserved,
    mem_get_info,
    memory_allocated,
    memory_cached,
    memory_reserved,
    memory_snapshot,
    memory_stats,
    memory_stats_as_nested_dict,
    memory_summary,
    reset_accumulated_host_memory_stats,
    reset_accumulated_memory_stats,
    reset_max_memory_allocated,
    reset_max_memory_cached,
    reset_peak_host_memory_stats,
    reset_peak_memory_stats,
    set_per_process_memory_fraction,
    use_mem_pool,
)  # fmt: skip
from flambeau.cuda.random import (
    get_rng_state,
    get_rng_state_all,
    initial_seed,
    manual_seed,
    manual_seed_all,
    seed,
    seed_all,
    set_rng_state,
    set_rng_state_all,
)  # fmt: skip
from flambeau.cuda.streams import Event, ExternalStream, Stream

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
device_memory_used = _here.device_memory_used
default_stream = _here.default_stream
stream = _here.stream
GreenContext = absent_class(
    "flambeau.cuda.GreenContext", "contexts are the driver's",
    "Stream create max_workqueue_concurrency pop_context set_context",
)  # fmt: skip
cudart = _here.absent("cudart", "the runtime is not exposed")
check_error = _here.absent("check_error", "the runtime is not exposed")
current_blas_handle = _here.absent("current_blas_handle", "the library's handle is not exposed")
current_solver_handle = _here.absent("current_solver_handle", "the library's handle is not exposed")
get_stream_from_external = _here.absent("get_stream_from_external", NOT_TAKEN_OVER)
utilization = _here.sensor("utilization")
temperature = _here.sensor("temperature")
power_draw = _here.sensor("power_draw")
clock_rate = _here.sensor("clock_rate")
memory_usage = _here.sensor("memory_usage")
has_half = True
has_magma = False


class DeferredCudaCallError(Exception):
    """A call that waited for the driver failed; nothing waits here."""


class CudaError(RuntimeError):
    """The driver gave this error code."""

    def __init__(self, code: int):
        super().__init__(f"error {code} of the driver")


class cudaStatus:
    """Codes of the runtime."""

    SUCCESS = 0
    ERROR_NOT_READY = 34


def ipc_collect() -> None:
    """Free what other processes no longer read; memory of a device stays in its process."""
    _here.backend()


def get_sync_debug_mode() -> int:
    """What is said of a wait for the device; nothing, 0."""
    _here.backend()
    return 0


def set_sync_debug_mode(debug_mode: int | str) -> None:
    """Choose what is said; 0 or "default" alone is there."""
    _here.backend()
    if debug_mode not in (0, "default"):
        raise RuntimeError(f"set_sync_debug_mode: waits for the device are not watched, got {debug_mode!r}")


globals().update(_typed.tensor_types("cuda"))  # FloatTensor and the others
__getattr__ = _here.late(__name__)


class device(current_device_of):
    """Another current device of type cuda inside a block; None and negative indices change nothing."""

    of = _here


class device_of(current_device_of_tensor):
    """The device of a tensor as the current one inside a block; one of another type changes nothing."""

    of = _here


__all__ = [
    "CUDAGraph", "CUDAPluggableAllocator", "CudaError", "DeferredCudaCallError", "Event", "ExternalStream",
    "GreenContext", "MemPool", "OutOfMemoryError", "Stream", "StreamContext", "caching_allocator_alloc",
    "caching_allocator_delete", "caching_allocator_disabled", "caching_allocator_enable", "can_device_access_peer",
    "change_current_allocator", "check_error", "clock_rate", "cudaStatus", "cudart", "current_blas_handle",
    "current_device", "current_solver_handle", "current_stream", "default_stream", "device", "device_count",
    "device_memory_used", "device_of", "empty_cache", "get_allocator_backend", "get_arch_list",
    "get_device_capability", "get_device_name", "get_device_properties", "get_gencode_flags",
    "get_per_process_memory_fraction", "get_rng_state", "get_rng_state_all", "get_stream_from_external",
    "get_sync_debug_mode", "graph", "graph_pool_handle", "has_half", "has_magma", "host_memory_stats",
    "host_memory_stats_as_nested_dict", "init", "initial_seed", "ipc_collect", "is_available", "is_bf16_supported",
    "is_current_stream_capturing", "is_initialized", "is_tf32_supported", "list_gpu_processes",
    "make_graphed_callables", "manual_seed", "manual_seed_all", "max_memory_allocated", "max_memory_cached",
    "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_cached", "memory_reserved", "memory_snapshot",
    "memory_stats", "memory_stats_as_nested_dict", "memory_summary", "memory_usage", "power_draw",
    "reset_accumulated_host_memory_stats", "reset_accumulated_memory_stats", "reset_max_memory_allocated",
    "reset_max_memory_cached", "reset_peak_host_memory_stats", "reset_peak_memory_stats", "seed", "seed_all",
    "set_device", "set_per_process_memory_fraction", "set_rng_state", "set_rng_state_all", "set_stream",
    "set_sync_debug_mode", "stream", "synchronize", "temperature", "use_mem_pool", "utilization",
]  # fmt: skip
