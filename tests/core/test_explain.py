"""``explain`` and the accelerator module: who serves an op, and which device computes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import flambeau as fb
from flambeau.backends.base import OutOfMemoryError
from flambeau.core import registry
from flambeau.core.keys import find_kernel, key_for
from flambeau.core.record import OPS
from flambeau.explain import explain, serves


def line(name: str, device: str, dtype: str = "float32") -> str:
    """What ``explain`` says of one dtype of a device."""
    (found,) = [ln for ln in explain(name, device).splitlines() if ln.split()[1:2] == [dtype] and device in ln]
    return found.split(None, 2)[2]


@pytest.fixture
def overlay() -> Iterator[None]:
    fb.library.register_kernel("exp", "strict", lambda below: below, dtypes=[fb.float16], priority=3, source="a plugin")
    yield
    registry.unregister_overlays("a plugin")


def test_the_record_its_code_and_its_rules() -> None:
    text = explain("mul", "cpu")
    assert text.startswith("mul(x: Tensor, y: Tensor) -> Tensor\n")
    assert "family: elementwise" in text
    assert "gradient: x reads g, y" in text
    assert "under vmap:" in text and "in forward mode:" in text
    assert "def mul(input" in text and "def record_mul(" in text and "def backward_mul(" in text
    assert "declared not differentiable" in explain("floor_divide", "cpu") + explain("argmax", "cpu")
    assert "expression:" in explain("hypot", "cpu")


@pytest.mark.parametrize(
    ("name", "device", "expected"),
    [
        ("add", "cpu", "native: kernel"),
        ("softmax", "strict", "composite: no kernel registered; its body runs as other ops"),
        ("hypot", "strict", "composite: no kernel registered; its expression runs as other ops"),
        ("cholesky", "strict", "fallback: no kernel and no body: the fallback policy decides"),
        ("permute", "strict", "native: kernel"),
        ("empty", "cpu", "native: the backend's storage call"),
        ("add", "meta", "native: generated from the expression"),
        ("cholesky", "meta", "native: shapes by the op's rule"),
    ],
)
def test_who_serves(name: str, device: str, expected: str) -> None:
    assert line(name, device).startswith(expected)


def test_dtypes_that_are_cast_refused_or_not_there() -> None:
    assert line("exp", "cpu", "int64") == "native: after a cast to float32"
    assert line("bitwise_and", "cpu") == "missing: the op does not take float32"
    assert line("add", "strict", "float64").startswith("unavailable: device 'strict:0' does not support")


def test_overlays_are_named_for_their_dtypes(overlay: None) -> None:
    assert line("exp", "strict", "float16") == "native: overlay of a plugin, priority 3"
    assert line("exp", "strict").startswith("native: kernel")


def test_what_is_said_is_what_the_dispatcher_does() -> None:
    for where in ("cpu", "strict", "meta"):
        key = key_for(fb.device(where), fb.float32)
        for op in list(OPS.values()):
            if op.accepts(fb.float32):
                assert (serves(key, op)[0] == "native") is (find_kernel(key, op) is not None), (where, op.name)


def test_every_op_has_an_explanation() -> None:
    for name in OPS:
        assert explain(name, "cpu").startswith(f"{name}(")


def test_without_a_device_every_backend_that_is_loaded_is_listed() -> None:
    fb.ones(1, device="strict")
    text = explain("add")
    assert "  cpu float32" in text and "  strict:0 float32" in text


def test_an_unknown_op_gets_close_names() -> None:
    with pytest.raises(KeyError, match=r"no op 'softmx'; close names: .*softmax"):
        explain("softmx")
    with pytest.raises(KeyError, match="close names: none"):
        explain("qqqqqq")


# -- accelerator ---------------------------------------------------------------------------------------
def test_devices_for_tests_are_no_accelerators() -> None:
    found = fb.accelerator.current_accelerator()
    assert found is None or found.type not in ("cpu", "meta", "strict")
    assert fb.accelerator.is_available() is (found is not None)
    assert (fb.accelerator.device_count() > 0) is (found is not None)
    with fb.device("strict"):
        assert fb.accelerator.current_accelerator() is found


def test_without_an_accelerator_the_default_device_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    from flambeau.core import accelerator

    monkeypatch.setattr(accelerator, "_accelerators", lambda name: ())
    assert accelerator.current_accelerator() is None
    assert not accelerator.is_available() and accelerator.device_count() == 0
    with fb.device("strict:1"):
        before = accelerator.memory_allocated()
        x = fb.ones(1000)
        assert accelerator.memory_allocated() - before >= x.nbytes


def test_memory_is_counted_and_limited() -> None:
    acc, where = fb.accelerator, "strict:1"
    before = acc.memory_allocated(where)
    x = fb.ones(1024, device=where)
    assert acc.memory_allocated(where) - before >= 4096
    stats = acc.memory_stats(where)
    assert stats.allocated <= stats.peak == acc.max_memory_allocated(where)
    assert acc.memory_reserved(where) >= stats.allocated
    acc.set_memory_limit(acc.memory_allocated(where) + (1 << 18), where)
    try:
        with pytest.raises(OutOfMemoryError, match="strict:1: out of memory: 4194304 bytes asked for"):
            fb.ones(1 << 20, device=where)
        assert (x + x).sum().item() == 2048, "the device stays usable"
    finally:
        acc.set_memory_limit(None, where)
    del x
    acc.empty_cache(where)
    assert acc.memory_allocated(where) == before


def test_synchronize_raises_what_went_wrong_late() -> None:
    x = fb.ones(3, device="strict")
    x.gather(0, fb.tensor([5], device="strict"))
    with pytest.raises(IndexError, match="index 5 is out of bounds for dimension 0 with size 3"):
        fb.accelerator.synchronize("strict")
    fb.accelerator.synchronize("strict")
    fb.accelerator.synchronize("cpu")


@pytest.mark.device("opencl")
def test_opencl_is_an_accelerator_where_it_is_the_default() -> None:
    with fb.device("opencl"):
        found = fb.accelerator.current_accelerator()
        assert fb.accelerator.is_available() and fb.accelerator.device_count() >= 1
    assert found is fb.device("opencl:0")
    before = fb.accelerator.memory_allocated("opencl")
    x = fb.ones(1000, device="opencl")
    fb.accelerator.synchronize("opencl")
    assert fb.accelerator.memory_allocated("opencl") - before >= x.nbytes
