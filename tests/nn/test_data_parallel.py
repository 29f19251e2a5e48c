"""A module over the devices of one process, of different backends too, trains as on one device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

import flambeau as fb
from benchmarks.workloads import WORKLOADS, Training
from flambeau import nn
from flambeau.core.registry import get_backend

SIZES = {
    "gpt": dict(batch=6, vocabulary=11, length=6, width=8, layers=1, heads=2),
    "lenet": dict(width=2, side=10, hidden=8),
    "lstm": dict(features=3, length=4, hidden=4),
}


def losses(name: str, wrap: Callable[[Any], Any]) -> list[float]:
    training = Training(fb, WORKLOADS[name], SIZES[name])
    training.model = wrap(training.model)
    return [training.step() for _ in range(3)]


def devices() -> list[str]:
    return ["cpu", *(["opencl:0"] if get_backend("opencl").unavailable_reason() is None else []), "strict"]


@pytest.mark.parametrize("name", SIZES)
def test_over_different_backends(name: str) -> None:
    found = losses(name, lambda model: nn.DataParallel(model, device_ids=devices()))
    assert found == pytest.approx(losses(name, lambda model: model), rel=1e-6)


class Where(nn.Module):
    """Says on which devices it ran, and keeps a count in a buffer."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen, self.scale = seen, nn.Parameter(fb.ones(1))
        self.register_buffer("calls", fb.zeros(1))

    def forward(self, x: dict[str, Any], factor: float = 1.0) -> tuple[Any, Any]:
        self.seen.append(x["x"].device.type)
        self.calls.add_(1)
        return x["x"] * self.scale * factor, x["x"].sum()


def made(seen: list[str], ids: Sequence[str]) -> Any:
    return nn.DataParallel(Where(seen), device_ids=ids)


def test_parts_run_on_their_devices_and_results_come_together() -> None:
    seen: list[str] = []
    model = made(seen, ["cpu", "strict"])
    out, sums = model({"x": fb.arange(6.0).reshape(3, 2)}, factor=2.0)
    assert seen == ["cpu", "strict"] and str(out.device) == "cpu"
    assert out.tolist() == [[0.0, 2.0], [4.0, 6.0], [8.0, 10.0]] and sums.tolist() == [6.0, 9.0]
    out.sum().backward()
    assert model.module.scale.grad.tolist() == [30.0]
    assert model.module.calls.tolist() == [1.0]  # that of the first device is the module's own
    assert [d.type for d in model.device_ids] == ["cpu", "strict"]


def test_a_small_batch_uses_fewer_devices() -> None:
    seen: list[str] = []
    made(seen, ["cpu", "strict"])({"x": fb.ones(1, 2)})
    assert seen == ["cpu"]


def test_a_module_elsewhere_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"on device strict.* \(device_ids\[0\]\) but found .*cpu \(scale\)"):
        made([], ["strict", "cpu"])({"x": fb.ones(4, 2)})


def test_an_error_names_its_replica() -> None:
    class Failing(nn.Linear):
        def forward(self, x: Any) -> Any:
            if x.device.type == "strict":
                raise ValueError("no")
            return super().forward(x)

    with pytest.raises(ValueError, match="no") as caught:
        nn.DataParallel(Failing(2, 2), device_ids=["cpu", "strict"])(fb.ones(2, 2))
    assert any("in replica 1 on device strict" in note for note in caught.value.__notes__)
