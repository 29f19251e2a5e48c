"""What no backend has says so by its own name, on a device too; and the small answers of the device modules."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flambeau as fb
from flambeau.accelerator.of_type import NoDeviceError
from flambeau.compat import names, namespace
from flambeau.compat.torch.backends import cpu as cpu_backend
from flambeau.core import registry
from tests.backends.cuda.conftest import pretend
from tests.devices.places import Ours

cuda, xpu, mps = fb.cuda, fb.xpu, fb.mps


@pytest.fixture(scope="module")
def pretended() -> Iterator[Any]:
    with pretend() as machine:
        yield machine


# -- one object under two names -------------------------------------------------------------------------------
@pytest.mark.parametrize("module", ["cuda.memory", "cuda.random", "cuda.graphs", "cuda.streams",
                                    "xpu.memory", "xpu.random", "xpu.graphs", "xpu.streams"])  # fmt: skip
def test_a_part_has_what_the_whole_has(module: str) -> None:
    whole = module.partition(".")[0]
    both = {n.partition(".")[0] for n in names.documented()[module]} & set(names.entries(whole))
    assert both
    for name in both:
        assert namespace.look_up(module, name) == namespace.look_up(whole, name), name


# -- graphs of recorded work ----------------------------------------------------------------------------------
@pytest.mark.parametrize("cls", [fb.accelerator.Graph, cuda.CUDAGraph, xpu.XPUGraph], ids=lambda c: c.__name__)
@pytest.mark.parametrize("name", ["capture_begin", "capture_end", "debug_dump", "enable_debug_mode", "instantiate"])
def test_graphs_have_their_methods_and_refuse_them(cls: type, name: str) -> None:
    with pytest.raises(RuntimeError, match=rf"{cls.__name__}\.{name}: there are no graphs of recorded work"):
        getattr(cls, name)(object())


def test_nothing_is_written_down() -> None:
    assert not any(m.is_current_stream_capturing() for m in (cuda, cuda.graphs, xpu, Ours("xpu.graphs")))


# -- with a device the reason is the part that lacks ----------------------------------------------------------
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "cudart": (cuda.cudart, "the runtime is not exposed"),
    "current_blas_handle": (cuda.current_blas_handle, "handle is not exposed"),
    "get_stream_from_external": (lambda: cuda.get_stream_from_external(1), "streams of other libraries"),
    "ExternalStream": (lambda: cuda.ExternalStream(1), "streams of other libraries"),
    "graph_pool_handle": (cuda.graph_pool_handle, "no graphs"),
    "make_graphed_callables": (lambda: cuda.make_graphed_callables(len, ()), "no graphs"),
    "CUDAPluggableAllocator": (lambda: cuda.memory.CUDAPluggableAllocator("a.so", "take", "give"), "one pool"),
    "change_current_allocator": (lambda: cuda.memory.change_current_allocator(None), "one pool"),
    "caching_allocator_alloc": (lambda: cuda.memory.caching_allocator_alloc(4), "one pool"),
    "caching_allocator_delete": (lambda: cuda.memory.caching_allocator_delete(4), "one pool"),
    "use_mem_pool": (lambda: cuda.use_mem_pool(None), "one pool"),
    "_create_jit_fn": (lambda: cuda.jiterator._create_jit_fn("code"), "flambeau.library"),
    "_create_multi_output_jit_fn": (lambda: cuda.jiterator._create_multi_output_jit_fn("code", 2), "flambeau.library"),
    "set_sync_debug_mode": (lambda: cuda.set_sync_debug_mode("warn"), "are not watched"),
}


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_there_on_a_device(name: str) -> None:
    call, why = REFUSED[name]
    with pytest.raises(RuntimeError, match=rf"{name}: .*{why}") as caught:
        call()
    assert not isinstance(caught.value, NoDeviceError)


@pytest.mark.skipif(xpu.is_available(), reason="there is such a device")
def test_what_is_not_there_without_a_device() -> None:
    for call in (lambda: xpu.XPUPluggableAllocator("a.so", "take", "give"), lambda: Ours("xpu.graphs").XPUGraph()):
        with pytest.raises(RuntimeError, match=r"flambeau\.xpu\.XPU\w+: there "):
            call()
    for call in (
        lambda: xpu.change_current_allocator(None),
        xpu.reset_accumulated_memory_stats,
        xpu.device_memory_used,
    ):
        with pytest.raises(NoDeviceError, match=r"flambeau\.xpu: "):
            call()


@pytest.mark.parametrize("name", ["clock_rate", "memory_usage", "power_draw", "temperature", "utilization"])
def test_sensors_are_not_read(name: str) -> None:
    """PyTorch raises ModuleNotFoundError without the library for them, RuntimeError without a driver."""
    for module in (cuda, xpu):
        for error in (ModuleNotFoundError, RuntimeError):
            with pytest.raises(error, match=rf"{name}: the driver's own library of sensors is not used"):
                getattr(module, name)(0)


# -- small answers --------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("pretended")
def test_old_names_of_memory() -> None:
    x = fb.zeros(3000, device="cuda")
    memory = cuda.memory
    assert memory.memory_cached() == memory.memory_reserved() >= x.nbytes
    assert memory.max_memory_cached() == memory.max_memory_reserved() >= memory.memory_cached()
    y = x + 1
    peak = memory.max_memory_allocated()
    del y
    memory.reset_max_memory_allocated()
    assert memory.max_memory_allocated() <= peak - 12000
    y = x + 1
    del y
    memory.reset_max_memory_cached(0)
    assert memory.max_memory_allocated() == memory.memory_allocated()
    assert f"this process uses {memory.memory_allocated() / 2**20:.1f} MiB" in memory.list_gpu_processes()
    memory.caching_allocator_enable(True)
    reserved = memory.memory_reserved()
    memory.caching_allocator_enable(False)
    assert memory.memory_reserved() < reserved and memory.get_allocator_backend() == "native"
    memory.reset_peak_host_memory_stats()
    memory.reset_accumulated_host_memory_stats()
    assert memory.host_memory_stats() == {}


@pytest.mark.usefixtures("pretended")
def test_the_rest_on_a_device() -> None:
    cuda.ipc_collect()
    cuda.set_sync_debug_mode("default")
    assert cuda.get_sync_debug_mode() == 0
    with cuda.device_of(fb.ones(1, device="cuda:1")):
        assert cuda.current_device() == 1
    assert cuda.current_device() == 0 and len(cuda.default_generators) == 2


def test_decorators_of_mixed_precision_keep_the_name() -> None:
    def fn() -> None: ...

    for amp in (cuda.amp, Ours("cuda.amp")):
        assert amp.custom_bwd(fn).__wrapped__ is fn and amp.custom_fwd(fn).__name__ == "fn"
        assert amp.custom_fwd(cast_inputs=fb.float16)(fn).__wrapped__ is fn


def test_which_backends_are_built() -> None:
    assert Ours("backends.cuda").is_built() is ("cuda" in registry.known_types())
    assert Ours("backends.mps").is_built() is ("mps" in registry.known_types())


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the processor's flags are read there")
def test_the_processors_widest_instructions() -> None:
    flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0]))
    wanted = "AVX512" if "avx512vl" in flags else "AVX2" if "avx2" in flags else "DEFAULT"
    if sys.platform == "linux" and flags:
        assert cpu_backend.get_cpu_capability() == wanted


def test_blocks_on_the_hosts_stream() -> None:
    stream = fb.cpu.Stream()
    with fb.cpu.StreamContext(stream) as block, fb.cpu.StreamContext(None):
        assert block is None and fb.cpu.current_stream() == stream
    assert isinstance(fb.cpu.stream(stream), fb.cpu.StreamContext)


# -- other types, by alias ------------------------------------------------------------------------------------
PROGRAM = """
import flambeau as fb
from flambeau import cuda, mps, xpu
x = fb.ones(1 << 18, device="mps")
mps.synchronize()
print(x.device, fb.ones(1).cuda().device)
print(mps.current_allocated_memory() >= x.nbytes, mps.driver_allocated_memory() >= x.nbytes)
total = mps.recommended_max_memory()
print(total == cuda.get_device_properties().total_memory == cuda.mem_get_info()[1])
mps.set_per_process_memory_fraction(1.5)
print(round(cuda.get_per_process_memory_fraction(), 6))
mps.set_per_process_memory_fraction(0.0)
print(cuda.get_per_process_memory_fraction() < 1.5)
for fraction in (2.5, 1):
    try:
        mps.set_per_process_memory_fraction(fraction)
    except (TypeError, ValueError) as error:
        print(error)
try:
    mps.compile_shader("kernel void f() {}")
except RuntimeError as error:
    print(error)
mps.manual_seed(5); a = fb.rand(2, device="mps").tolist()
cuda.random.manual_seed_all(5); print(fb.rand(2, device="cuda").tolist() == a)
mps.seed(); mps.empty_cache()
print(xpu.device_count(), xpu.get_device_properties().name, xpu.is_bf16_supported(), xpu.can_device_access_peer(0, 1))
xpu.set_device(1)
print(fb.ones(1, device="xpu").device, fb.ones(1, device="xpu:0").device)
with xpu.device_of(fb.ones(1, device="xpu:0")), xpu.StreamContext(xpu.Stream()):
    print(xpu.current_device(), xpu.current_stream().device)
xpu.reset_accumulated_memory_stats(); xpu.set_stream(xpu.current_stream())
xpu.seed_all(); states = xpu.get_rng_state_all(); b = fb.rand(2, device="xpu").tolist()
xpu.set_rng_state_all(states); print(fb.rand(2, device="xpu").tolist() == b)
for call in (xpu.use_mem_pool, xpu.graph_pool_handle, xpu.make_graphed_callables, xpu.get_stream_from_external):
    try:
        call(None)
    except RuntimeError as error:
        print(error)
"""


@pytest.mark.device("opencl")
def test_types_that_stand_for_others(run_python: Callable[..., Any]) -> None:
    done = run_python("-c", PROGRAM, FLAMBEAU_DEVICE_ALIAS="cuda=opencl,mps=opencl,xpu=strict")
    assert done.stdout.splitlines() == [
        "opencl:0 opencl:0",
        "True True",
        "True",
        "1.5",
        "True",
        "set_per_process_memory_fraction: fraction must be in [0, 2], got 2.5",
        "set_per_process_memory_fraction: fraction must be a float, got 1",
        "flambeau.mps.compile_shader: register a kernel by flambeau.library instead",
        "True",
        "2 pretend accelerator True False",
        "strict:1 strict:0",
        "0 strict:0",
        "True",
        "flambeau.xpu.use_mem_pool: there is one pool, the backend's own",
        "flambeau.xpu.graph_pool_handle: there are no graphs of recorded work",
        "flambeau.xpu.make_graphed_callables: there are no graphs of recorded work",
        "flambeau.xpu.get_stream_from_external: streams of other libraries are not taken over",
    ], done.stderr
