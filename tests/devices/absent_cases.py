"""What PyTorch answers about types of devices of which there is none, and what it refuses."""

from __future__ import annotations

from typing import Any

from tests.devices.places import place
from tests.recorded import Case


def entered(block: Any) -> Any:
    with block as found:
        return found


def host_untouched(T: Any, call: Any) -> list[Any]:
    """What a call gives, and whether the host's generator is where it was."""
    before = T.get_rng_state()
    found = call(T.Generator().manual_seed(99).get_state())
    return [found, T.equal(before, T.get_rng_state())]


def halved(T: Any, M: Any) -> list[Any]:
    """A function whose two directions are marked for mixed precision, and its gradient."""

    class Halved(T.autograd.Function):
        @staticmethod
        @M.amp.custom_fwd(cast_inputs=T.float16)
        def forward(ctx: Any, x: Any) -> Any:
            return x / 2

        @staticmethod
        @M.amp.custom_bwd
        def backward(ctx: Any, g: Any) -> Any:
            return g / 2

    x = T.ones(2, requires_grad=True)
    y = Halved.apply(x)
    return [y, *T.autograd.grad(y.sum(), x)]


#: Of types whose modules are much the same; M is the module.
SHARED: dict[str, Any] = {
    # -- refused without a device
    "get_device_properties": lambda T, M: M.get_device_properties(),
    "current_device": lambda T, M: M.current_device(),
    "can_device_access_peer": lambda T, M: M.can_device_access_peer(0, 1),
    "mem_get_info": lambda T, M: M.mem_get_info(),
    "memory.mem_get_info": lambda T, M: M.memory.mem_get_info(0),
    "get_per_process_memory_fraction": lambda T, M: M.get_per_process_memory_fraction(),
    "set_per_process_memory_fraction": lambda T, M: M.set_per_process_memory_fraction(0.5),
    "set_per_process_memory_fraction of a text": lambda T, M: M.set_per_process_memory_fraction("half"),
    "get_stream_from_external": lambda T, M: M.get_stream_from_external(1),
    "use_mem_pool": lambda T, M: entered(M.use_mem_pool(None)),
    "graph_pool_handle": lambda T, M: M.graph_pool_handle(),
    "make_graphed_callables": lambda T, M: M.make_graphed_callables(T.nn.Linear(1, 1), (T.ones(1),)),
    "Stream": lambda T, M: M.Stream(),
    "synchronize": lambda T, M: M.synchronize(),
    "initial_seed": lambda T, M: M.initial_seed(),
    "get_rng_state": lambda T, M: M.get_rng_state(),
    "manual_seed_all of a text": lambda T, M: M.manual_seed_all("seven"),
    "clock_rate": lambda T, M: M.clock_rate(),
    "memory_usage": lambda T, M: M.memory_usage(),
    "power_draw": lambda T, M: M.power_draw(),
    "temperature": lambda T, M: M.temperature(),
    "utilization": lambda T, M: M.utilization(),
    # -- answered all the same
    "is_bf16_supported": lambda T, M: [M.is_bf16_supported(), M.is_bf16_supported(False)],
    "is_tf32_supported": lambda T, M: M.is_tf32_supported(),
    "get_arch_list": lambda T, M: [M.get_arch_list(), M.get_gencode_flags()],
    "manual_seed_all": lambda T, M: host_untouched(T, lambda state: M.manual_seed_all(3)),
    "seed_all": lambda T, M: host_untouched(T, lambda state: M.seed_all()),
    "set_rng_state_all": lambda T, M: host_untouched(T, lambda state: M.set_rng_state_all([state])),
    "set_rng_state_all of none": lambda T, M: M.random.set_rng_state_all([]),
    "memory_stats": lambda T, M: [M.memory_stats(), M.memory_stats(0), M.memory_stats_as_nested_dict(0)],
    "memory_allocated": lambda T, M: [M.memory_allocated(0), M.memory_reserved(0)],
    "max_memory_allocated": lambda T, M: [M.max_memory_allocated(0), M.max_memory_reserved(0)],
    "empty_cache": lambda T, M: M.empty_cache(),
    "set_stream": lambda T, M: M.set_stream(None),
    "StreamContext": lambda T, M: entered(M.StreamContext(None)),
    "stream": lambda T, M: entered(M.stream(None)),
}
CUDA: dict[str, Any] = {
    "default_stream": lambda T, M: M.default_stream(),
    "ipc_collect": lambda T, M: M.ipc_collect(),
    "get_sync_debug_mode": lambda T, M: M.get_sync_debug_mode(),
    "set_sync_debug_mode": lambda T, M: M.set_sync_debug_mode(0),
    "device_of": lambda T, M: [(block := M.device_of(T.ones(1))).idx, entered(block) in (None, block)],
    "set_device": lambda T, M: M.set_device(-1),
    "set_device of nothing": lambda T, M: M.set_device(None),
    "cudart": lambda T, M: M.cudart(),
    "current_blas_handle": lambda T, M: M.current_blas_handle(),
    "caching_allocator_alloc": lambda T, M: M.memory.caching_allocator_alloc(4),
    "caching_allocator_enable": lambda T, M: [M.memory.caching_allocator_enable(v) for v in (False, True)],
    "memory_cached": lambda T, M: [M.memory.memory_cached(), M.memory.max_memory_cached()],
    "CUDAGraph": lambda T, M: M.graphs.CUDAGraph(),
    "AcceleratorError": lambda T, M: issubclass(M.AcceleratorError, RuntimeError),
    "amp.custom_fwd": halved,
}
XPU: dict[str, Any] = {
    "memory_snapshot": lambda T, M: M.memory.memory_snapshot(),
    "XPUGraph": lambda T, M: M.graphs.XPUGraph(),
}
MPS: dict[str, Any] = {
    "current_allocated_memory": lambda T, M: M.current_allocated_memory(),
    "driver_allocated_memory": lambda T, M: M.driver_allocated_memory(),
    "recommended_max_memory": lambda T, M: M.recommended_max_memory(),
    "set_per_process_memory_fraction": lambda T, M: M.set_per_process_memory_fraction(0.5),
    "compile_shader": lambda T, M: M.compile_shader("kernel void f() {}"),
    "empty_cache": lambda T, M: M.empty_cache(),
    "seed": lambda T, M: M.seed(),
    "manual_seed": lambda T, M: M.manual_seed(3),
    "synchronize": lambda T, M: M.synchronize(),
}
ACCELERATOR: dict[str, Any] = {
    "current_device_index": lambda T, M: M.current_device_index(),
    "current_device_idx": lambda T, M: M.current_device_idx(),
    "set_device_index": lambda T, M: M.set_device_index(0),
    "set_device_index by name": lambda T, M: M.set_device_index("cpu"),
    "set_device_index of nothing": lambda T, M: M.set_device_index(None),
    "set_device_idx": lambda T, M: M.set_device_idx(0),
    "set_device_idx below 0": lambda T, M: M.set_device_idx(-1),
    "device_index": lambda T, M: entered(M.device_index(0)),
    "device_index of nothing": lambda T, M: entered(M.device_index(None)),
    "set_stream": lambda T, M: M.set_stream(None),
    "Graph": lambda T, M: M.Graph(),
}
CPU: dict[str, Any] = {
    "StreamContext": lambda T, M: [entered(M.StreamContext(s)) for s in (None, M.Stream())],
    "stream": lambda T, M: isinstance(M.stream(M.Stream()), M.StreamContext),
}


def of(kind: str, cases: dict[str, Any]) -> dict[str, Case]:
    """The cases of a module by ``MODULE.NAME``."""
    return {f"{kind}.{name}": lambda T, fn=fn: fn(T, place(T, kind)) for name, fn in cases.items()}


CASES: dict[str, Case] = {
    **of("cuda", SHARED | CUDA), **of("xpu", SHARED | XPU), **of("mps", MPS), **of("accelerator", ACCELERATOR),
    **of("cpu", CPU),
}  # fmt: skip
