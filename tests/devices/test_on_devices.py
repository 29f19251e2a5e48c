"""What the modules of device types answer where there is a device: OpenCL, the pretend accelerator and CUDA machine."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import flambeau as fb
from flambeau.accelerator.of_type import DeviceModule, NoDeviceError, current_device_of, current_device_of_tensor
from flambeau.backends.base import OutOfMemoryError
from tests.backends.cuda.conftest import pretend

KINDS = ["strict", "cuda", pytest.param("opencl", marks=pytest.mark.device("opencl"))]
TWO = ["strict", "cuda"]


@pytest.fixture(scope="module")
def pretended() -> Iterator[Any]:
    with pretend() as machine:
        yield machine


@pytest.fixture
def of(request: pytest.FixtureRequest) -> Iterator[DeviceModule]:
    """The functions of a type: those of ``flambeau.cuda`` on the pretend CUDA machine, which has two devices."""
    if request.param == "cuda":
        request.getfixturevalue("pretended")
    found = DeviceModule(request.param)
    yield found
    found.set_device(0)


on = pytest.mark.parametrize


# -- which device ---------------------------------------------------------------------------------------------
@on("of", TWO, indirect=True)
def test_the_current_device_is_where_the_type_alone_stands_for(of: DeviceModule) -> None:
    of.set_device(1)
    assert of.current_device() == 1 and of.current_stream().device.index == 1
    assert str(fb.ones(1, device=of.kind).device) == f"{of.kind}:1" == str(fb.ones(1).to(of.kind).device)
    with ThreadPoolExecutor(1) as other:
        assert str(other.submit(lambda: fb.ones(1, device=of.kind)).result().device) == f"{of.kind}:0"
    of.set_device(-1)
    assert of.current_device() == 1
    of.set_device(f"{of.kind}:0")
    assert of.current_device() == 0 and str(fb.ones(1, device=of.kind).device) == f"{of.kind}:0"
    with pytest.raises(ValueError, match=r"set_device: expected a device or its index, got None"):
        of.set_device(None)
    with pytest.raises(NoDeviceError, match="invalid device 2; there are 2"):
        of.set_device(2)


@on("of", TWO, indirect=True)
def test_blocks_choose_the_current_device(of: DeviceModule) -> None:
    class device(current_device_of):
        pass

    class device_of(current_device_of_tensor):
        pass

    device.of = device_of.of = of
    there = fb.ones(1, device=f"{of.kind}:1")
    with device(1):
        assert str(fb.ones(1, device=of.kind).device) == f"{of.kind}:1"
    with device_of(there) as block:
        assert of.current_device() == 1 == block.idx
        with device_of(fb.ones(1)):  # a tensor of the host changes nothing
            assert of.current_device() == 1
    assert of.current_device() == 0 and not of.can_device_access_peer(0, 1)
    with pytest.raises(NoDeviceError, match="invalid device 7"):
        of.can_device_access_peer(0, 7)


@pytest.mark.usefixtures("pretended")
def test_the_current_device_of_the_accelerator() -> None:
    accelerator = fb.accelerator
    accelerator.set_device_index(1)
    assert accelerator.current_device_index() == 1 == accelerator.current_device_idx() == fb.cuda.current_device()
    accelerator.set_device_idx("cuda:0")
    assert accelerator.current_device_index() == 0
    with accelerator.device_index(1):
        assert accelerator.current_device_idx() == 1 and str(fb.ones(1, device="cuda").device) == "cuda:1"
    assert accelerator.current_device_idx() == 0
    with pytest.raises(RuntimeError, match="expected a device of type 'cuda', got 'strict'"):
        accelerator.set_device_index("strict")
    accelerator.memory.reset_accumulated_memory_stats()
    with pytest.raises(RuntimeError, match="'strict:9' does not exist"):
        accelerator.memory.reset_accumulated_memory_stats("strict:9")


@on("of", KINDS, indirect=True)
def test_properties(of: DeviceModule) -> None:
    found, backend = of.get_device_properties(), of.backend().properties(0)
    assert (found.name, found.total_memory) == (
        backend.name,
        backend.total_memory,
    ) and found.name == of.get_device_name()
    assert of.get_device_properties(f"{of.kind}:0") == found
    if of.kind != "strict":
        assert found.multi_processor_count >= 1 and found.total_memory > 2**20
    if of.kind == "cuda":
        assert (found.major, found.minor, found.multi_processor_count) == (9, 0, 2)
        assert of.get_device_capability(1) == (9, 0)


@on("of", KINDS, indirect=True)
def test_what_a_device_can_do(of: DeviceModule) -> None:
    x = fb.ones(2, dtype=fb.bfloat16, device=of.kind)
    assert of.is_bf16_supported() and x.dtype is fb.bfloat16
    assert not of.is_tf32_supported() and not of.is_current_stream_capturing()
    assert of.get_arch_list() == [] and of.get_gencode_flags() == ""


# -- memory ---------------------------------------------------------------------------------------------------
@on("of", KINDS, indirect=True)
def test_memory_is_counted_from_when_one_says(of: DeviceModule) -> None:
    gc.collect()
    before = of.memory_allocated()
    x = fb.zeros(5000, device=of.kind)
    y = fb.zeros(5000, device=of.kind)
    of.synchronize()
    assert of.memory_allocated() >= before + 40000 <= of.max_memory_allocated()
    assert of.memory_reserved() >= 40000 <= of.max_memory_reserved()
    del y
    gc.collect()
    peak = of.max_memory_allocated()
    of.reset_accumulated_memory_stats()
    assert of.max_memory_allocated() == peak
    of.reset_peak_memory_stats()
    assert of.max_memory_allocated() == of.memory_allocated() <= peak - 20000 and x.numel() == 5000
    assert of.memory_snapshot() == [] and of.memory_stats()["allocated_bytes.all.peak"] == of.max_memory_allocated()


@on("of", KINDS[1:], indirect=True)
def test_memory_of_the_device(of: DeviceModule) -> None:
    free, total = of.mem_get_info()
    assert total == of.get_device_properties().total_memory and 0 < free <= total
    used = of.device_memory_used()
    x = fb.zeros(1 << 20, device=of.kind)
    of.synchronize()
    assert of.device_memory_used() >= used + (1 << 22) - (1 << 16) and x.nbytes == 1 << 22
    assert of.mem_get_info(0)[0] == total - of.device_memory_used()
    assert fb.accelerator.get_memory_info(of.kind)[0] <= of.mem_get_info()[0]


def test_memory_of_other_processes_is_not_free(pretended: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    total = fb.cuda.get_device_properties().total_memory
    monkeypatch.setattr(pretended.backend.cupy.cuda.runtime, "memGetInfo", lambda: (total // 4, total))
    assert fb.cuda.mem_get_info() == (total // 4, total) == fb.accelerator.get_memory_info("cuda")
    assert fb.cuda.device_memory_used() == total - total // 4


@on("of", KINDS[1:], indirect=True)
def test_a_share_of_the_memory(of: DeviceModule) -> None:
    gc.collect()
    of.empty_cache()
    total, before = of.get_device_properties().total_memory, of.backend().memory_stats(0).limit
    try:
        of.set_per_process_memory_fraction(0.25)
        assert of.get_per_process_memory_fraction() == pytest.approx(0.25, abs=1e-6)
        of.set_per_process_memory_fraction((of.memory_reserved() + 4096) / total, 0)
        with pytest.raises(OutOfMemoryError, match="limit"):
            fb.zeros(1 << 20, device=of.kind)
    finally:
        of.backend().set_memory_limit(before, 0)
    assert fb.zeros(1 << 20, device=of.kind).numel() == 1 << 20
    with pytest.raises(TypeError, match="must be a float, got 1"):
        of.set_per_process_memory_fraction(1)
    with pytest.raises(ValueError, match=r"must be in \[0, 1\], got 1\.5"):
        of.set_per_process_memory_fraction(1.5)


# -- streams --------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("pretended")
def test_the_default_stream_stays_what_it_is() -> None:
    side, default = fb.cuda.Stream(), fb.cuda.default_stream()
    assert default == fb.cuda.current_stream() != side
    with fb.cuda.StreamContext(side):
        assert fb.cuda.current_stream() == side and fb.cuda.default_stream() == default
        with fb.cuda.StreamContext(None):
            assert fb.cuda.current_stream() == side
    with fb.cuda.stream(side):
        assert fb.cuda.current_stream() == side
    fb.cuda.set_stream(side)
    assert fb.cuda.current_stream() == side
    fb.accelerator.set_stream(default)
    assert fb.cuda.current_stream() == default != side
    fb.cuda.set_stream(None)
    assert fb.cuda.current_stream() == default
    for set_stream in (fb.cuda.set_stream, fb.accelerator.set_stream):
        with pytest.raises(TypeError, match="set_stream: expected a Stream, got 3"):
            set_stream(3)


@pytest.mark.usefixtures("pretended")
def test_work_on_streams_waits_for_events() -> None:
    side = fb.cuda.Stream()
    start, end = fb.cuda.Event(enable_timing=True), fb.cuda.Event(enable_timing=True)
    x = fb.ones(4, device="cuda")
    with fb.cuda.stream(side):
        start.record()
        y = x * 3
        end.record()
    fb.cuda.default_stream().wait_event(end)
    assert (y + 1).cpu().tolist() == [4.0] * 4 and start.elapsed_time(end) >= 0


@on("of", ["strict", KINDS[2]], indirect=True)
def test_without_streams_the_one_is_the_default(of: DeviceModule) -> None:
    assert of.default_stream() == of.current_stream() and of.default_stream().query()


# -- random numbers -------------------------------------------------------------------------------------------
@on("of", KINDS, indirect=True)
def test_seeds_of_all_devices(of: DeviceModule) -> None:
    def drawn() -> list[list[float]]:
        return [fb.rand(3, device=f"{of.kind}:{i}").cpu().tolist() for i in range(of.device_count())]

    of.manual_seed_all(11)
    first, states = drawn(), of.get_rng_state_all()
    assert of.initial_seed() == 11 and len(states) == of.device_count()
    second = drawn()
    of.set_rng_state_all(states)
    assert drawn() == second != first
    of.manual_seed_all(11.0)  # type: ignore[arg-type]  # what int() takes is taken
    assert drawn() == first
    of.seed_all()
    assert of.initial_seed() != 11 and drawn() != first
    with pytest.raises(ValueError, match="seven"):
        of.manual_seed_all("seven")  # type: ignore[arg-type]
