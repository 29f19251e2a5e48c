"""Memory of the devices of type cuda."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from flambeau.accelerator.absent import ONE_POOL, POOL, absent, absent_class
from flambeau.accelerator.of_type import Where
from flambeau.cuda._here import here as _here

empty_cache = _here.empty_cache
max_memory_allocated = _here.max_memory_allocated
max_memory_reserved = _here.max_memory_reserved
mem_get_info = _here.mem_get_info
memory_allocated = _here.memory_allocated
memory_reserved = _here.memory_reserved
memory_snapshot = _here.memory_snapshot
memory_stats = _here.memory_stats
memory_stats_as_nested_dict = _here.memory_stats_as_nested_dict
memory_summary = _here.memory_summary
reset_accumulated_memory_stats = _here.reset_accumulated_memory_stats
reset_peak_memory_stats = _here.reset_peak_memory_stats
set_per_process_memory_fraction = _here.set_per_process_memory_fraction
get_per_process_memory_fraction = _here.get_per_process_memory_fraction
MemPool = absent_class("flambeau.cuda.memory.MemPool", ONE_POOL, POOL)
CUDAPluggableAllocator = absent_class("flambeau.cuda.memory.CUDAPluggableAllocator", ONE_POOL)
change_current_allocator = _here.absent("memory.change_current_allocator", ONE_POOL)
use_mem_pool = _here.absent("memory.use_mem_pool", ONE_POOL)
caching_allocator_alloc = _here.absent("memory.caching_allocator_alloc", ONE_POOL)
caching_allocator_delete = _here.absent("memory.caching_allocator_delete", ONE_POOL)


def _snapshot(device: Where = None, augment_with_fx_traces: bool = False) -> dict[str, Any]:
    """The pool's blocks and what was done with them; neither is told."""
    return {"segments": memory_snapshot(), "device_traces": []}


def _record_memory_history(enabled: str | None = "all", *args: object, **kwargs: object) -> None:
    """RuntimeError where it is to be switched on."""
    if enabled is not None:
        raise RuntimeError("flambeau.cuda.memory._record_memory_history: a backend's pool keeps no history")


_dump_snapshot = absent("flambeau.cuda.memory._dump_snapshot", "nothing is pickled, and the pool tells no blocks")


def memory_cached(device: Where = None) -> int:
    """The old name of memory_reserved."""
    return _here.memory_reserved(device)


def max_memory_cached(device: Where = None) -> int:
    """The old name of max_memory_reserved."""
    return _here.max_memory_reserved(device)


def reset_max_memory_allocated(device: Where = None) -> None:
    """The old name of reset_peak_memory_stats."""
    _here.reset_peak_memory_stats(device)


reset_max_memory_cached = reset_max_memory_allocated


def host_memory_stats() -> OrderedDict[str, Any]:
    """Statistics of pinned host memory; none are kept.

    >>> fb.cuda.host_memory_stats()
    OrderedDict()
    """
    return OrderedDict()


def host_memory_stats_as_nested_dict() -> dict[str, Any]:
    """The same, as dicts in dicts.

    >>> fb.cuda.memory.host_memory_stats_as_nested_dict()
    {}
    """
    return {}


def reset_peak_host_memory_stats() -> None:
    """There is nothing to count anew."""


reset_accumulated_host_memory_stats = reset_peak_host_memory_stats


def get_allocator_backend() -> str:
    """What allocates: the pool of the backend."""
    return "native"


def list_gpu_processes(device: Where = None) -> str:
    """Who uses the device; without the driver's library of sensors that is this process alone."""
    used = _here.memory_allocated(device)
    return f"{_here.kind}: this process uses {used / 2**20:.1f} MiB in live tensors; others are not seen"


def caching_allocator_enable(value: bool = True) -> None:
    """Whether freed memory is kept for reuse; a backend decides that itself, so False gives back what is kept now."""
    if not value:
        _here.empty_cache()


@contextlib.contextmanager
def caching_allocator_disabled() -> Iterator[None]:
    """A block after which freed memory is given back."""
    try:
        yield
    finally:
        _here.empty_cache()


__all__ = [
    "CUDAPluggableAllocator", "MemPool", "caching_allocator_alloc", "caching_allocator_delete",
    "caching_allocator_disabled", "caching_allocator_enable", "change_current_allocator", "empty_cache",
    "get_allocator_backend", "get_per_process_memory_fraction", "host_memory_stats",
    "host_memory_stats_as_nested_dict", "list_gpu_processes", "max_memory_allocated", "max_memory_cached",
    "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_cached", "memory_reserved", "memory_snapshot",
    "memory_stats", "memory_stats_as_nested_dict", "memory_summary", "reset_accumulated_host_memory_stats",
    "reset_accumulated_memory_stats", "reset_max_memory_allocated", "reset_max_memory_cached",
    "reset_peak_host_memory_stats", "reset_peak_memory_stats", "set_per_process_memory_fraction", "use_mem_pool",
]  # fmt: skip
