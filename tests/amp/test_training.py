"""A small network learns under autocast as it does in float32, on every device that is here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core import registry

#: What CI has: the host, a pretend accelerator, and OpenCL where a driver is installed.
DEVICES = ("cpu", "strict", "opencl")


def losses(device: str, dtype: Any, scaled: bool, attention: bool) -> list[float]:
    """Those of some steps, from the same numbers each time."""
    fb.manual_seed(0)
    rng = np.random.default_rng(0)
    x = fb.tensor(rng.standard_normal((16, 4, 8)).astype(np.float32), device=device)
    y = fb.tensor(rng.integers(0, 3, 16), device=device)
    middle = fb.nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True) if attention else fb.nn.Tanh()
    net = fb.nn.Sequential(
        fb.nn.Linear(8, 16), fb.nn.LayerNorm(16), middle, fb.nn.Flatten(), fb.nn.Linear(64, 16), fb.nn.BatchNorm1d(16),
        fb.nn.ReLU(), fb.nn.Linear(16, 3),
    ).to(device)  # fmt: skip
    optimizer = fb.optim.Adam(net.parameters(), lr=0.01)
    scaler = fb.amp.GradScaler(device, init_scale=2.0**10, enabled=scaled)
    found = []
    for _ in range(12):
        optimizer.zero_grad()
        with fb.autocast(device, dtype, enabled=dtype is not None):
            loss = fb.nn.functional.cross_entropy(net(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        found.append(loss.item())
    assert all(p.dtype is fb.float32 and p.grad is not None and p.grad.dtype is fb.float32 for p in net.parameters())
    return found


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("device", ["cpu", "strict", pytest.param("opencl", marks=pytest.mark.slow)])
def test_losses_are_those_of_float32(device: str, attention: bool) -> None:
    if device == "opencl" and (reason := registry.get_backend(device).unavailable_reason()):
        pytest.skip(reason)
    exact = losses(device, None, False, attention)
    assert exact[-1] < 0.7 * exact[0]
    for dtype, scaled, tolerance in ((fb.bfloat16, False, 0.1), (fb.float16, True, 0.02)):
        found = losses(device, dtype, scaled, attention)
        assert found != exact
        np.testing.assert_allclose(found, exact, atol=tolerance)


def test_small_gradients_survive_in_float16_with_a_scale() -> None:
    def gradient(scaled: bool) -> float:
        w = fb.full((1, 1), 1.0, requires_grad=True)
        scaler = fb.amp.GradScaler("cpu", enabled=scaled)
        with fb.autocast("cpu", fb.float16):
            loss = (w @ fb.full((1, 1), 1e-3)).float().sum() * 1e-6
        scaler.scale(loss).backward()
        scaler.unscale_(fb.optim.SGD([w], lr=1.0))
        assert w.grad is not None
        return float(w.grad.item())

    assert gradient(False) == 0.0
    np.testing.assert_allclose(gradient(True), 1e-9, rtol=1e-2)
