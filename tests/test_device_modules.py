"""The modules that are named after device types answer for whatever serves the type, and for its absence."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

import flambeau as fb
from flambeau.accelerator.of_type import DeviceModule, NoDeviceError, current_device_of, event_class, stream_class

ABSENT = [name for name in ("cuda", "xpu", "mps", "mtia") if not DeviceModule(name).is_available()]


@pytest.mark.parametrize("name", ABSENT)
def test_without_a_device(name: str) -> None:
    module: Any = importlib.import_module(f"flambeau.{name}")
    assert not module.is_available() and module.device_count() == 0
    state = fb.get_rng_state()
    module.manual_seed(5)
    assert fb.equal(state, fb.get_rng_state())  # PyTorch's host generator is another one
    if name != "mps":
        module.empty_cache()
    with pytest.raises(NoDeviceError, match=f"flambeau.{name}: "):
        module.synchronize()
    with pytest.raises(AssertionError):
        module.Event()
    for function in ("memory_allocated", "max_memory_allocated", "memory_reserved"):
        assert getattr(module, function, lambda: 0)() == 0
    assert getattr(module, "memory_stats", dict)() == {} and getattr(module, "default_generators", ()) == ()


def test_with_a_device() -> None:
    of = DeviceModule("strict")
    assert of.is_available() and of.device_count() >= 1 and of.current_device() == 0
    before = of.memory_allocated()
    x = fb.zeros(1000, device="strict")
    assert of.memory_allocated() >= before + 4000 == of.memory_stats()["allocated_bytes.all.current"] or x is not None
    assert of.memory_stats_as_nested_dict()["allocated_bytes"]["all"]["current"] == of.memory_allocated()
    assert "allocated_bytes.all.peak" in of.memory_summary() and of.get_device_name() == "pretend accelerator"
    of.manual_seed(7)
    state = of.get_rng_state()
    a = fb.rand(3, device="strict")
    of.set_rng_state(state)
    assert fb.equal(a, fb.rand(3, device="strict")) and of.initial_seed() == 7
    assert len(of.get_rng_state_all()) == of.device_count() == len(of.default_generators)
    with pytest.raises(NoDeviceError, match="invalid device 99"):
        of.at(99)
    with pytest.raises(ValueError, match="expected a device of type 'strict'"):
        of.synchronize("cpu")


def test_streams_and_blocks_of_a_type() -> None:
    of = DeviceModule("strict")
    stream = stream_class(of, "here")()
    event = event_class(of, "here")(enable_timing=True)
    with stream:
        fb.ones(2, device="strict")
        event.record(stream)
    assert stream.query() and event.query() and stream.device.type == "strict"

    class device(current_device_of):
        pass

    device.of = of
    with device(0) as block, device(None), device(-1):
        assert of.current_device() == 0 and block.idx == 0


def test_the_host() -> None:
    assert fb.cpu.is_available() and fb.cpu.device_count() == 1 and fb.cpu.current_device() == "cpu"
    with fb.cpu.stream(fb.cpu.Stream()):
        event = fb.cpu.current_stream().record_event()
    event.synchronize()
    assert event.query()


def test_switched_off_mixed_precision() -> None:
    scaler = fb.cuda.amp.GradScaler(enabled=False)
    w = fb.ones(1, requires_grad=True)
    optimizer = fb.optim.SGD([w], lr=0.5)
    with fb.cuda.amp.autocast(enabled=False):
        scaler.scale((w * 2).sum()).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert w.item() == 0 and scaler.get_scale() == 1 and scaler.state_dict() == {}
    if "cuda" in ABSENT:
        with pytest.warns(UserWarning, match="Disabling"):
            fb.cuda.amp.autocast()


def test_the_rest_of_the_accelerator() -> None:
    with fb.device("strict"):
        free, total = fb.accelerator.get_memory_info("strict")
        assert 0 <= free <= total
        assert fb.float32 in fb.accelerator.get_device_capability("strict")["supported_dtypes"]
        assert fb.accelerator.max_memory_reserved("strict") >= fb.accelerator.memory_reserved("strict")
        with fb.accelerator.device_index(None):
            pass
    assert fb.accelerator.memory.memory_allocated("strict") >= 0
