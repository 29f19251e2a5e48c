"""One model over the backends of four packages in one process: each layer trains on a device of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.core import registry

PLUGINS = Path(__file__).resolve().parents[2] / "flambeau" / "plugins"
#: The devices of packages that stand in this repository, and what each package needs.
PACKAGES = {"jax": "jax", "mlx": "mlx.core", "webgpu": "wgpu"}


@pytest.fixture(scope="module")
def devices() -> Iterator[tuple[str, ...]]:
    """The CPU and the device of each package, registered as if the packages were installed."""
    for needed in PACKAGES.values():
        pytest.importorskip(needed)
    paths = [str(PLUGINS / name) for name in PACKAGES]
    sys.path[:0] = paths
    fresh = [name for name in PACKAGES if name not in registry.backends]
    try:
        for name in fresh:
            registry.register_backend(import_module(f"flambeau_{name}").flambeau_backends(), "tests")
        for name in PACKAGES:
            reason = registry.backends[name].unavailable_reason()
            if reason is not None:
                pytest.skip(f"{name}: {reason}")
        yield "cpu", *PACKAGES
    finally:
        for name in fresh:
            if name in registry.backends:
                registry.unregister_backend(name)
        for path in paths:
            sys.path.remove(path)


class Split(nn.Module):
    """Layers one behind another, each on its device; what goes from one to the next moves there."""

    def __init__(self, devices: tuple[str, ...]):
        super().__init__()
        sizes = (16, *(24,) * (len(devices) - 1), 4)
        layers = [nn.Linear(i, o) for i, o in pairwise(sizes)]  # on the CPU: the same numbers everywhere
        self.layers = nn.ModuleList([layer.to(where) for layer, where in zip(layers, devices, strict=True)])
        self.devices = devices

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        for i, (layer, where) in enumerate(zip(self.layers, self.devices, strict=True)):
            x = layer(x.to(where))
            x = x if i == len(self.devices) - 1 else nn.functional.gelu(x)
        return x


def losses(devices: tuple[str, ...], steps: int = 12) -> list[float]:
    fb.manual_seed(0)
    model = Split(devices)
    x, y = fb.randn(32, 16), fb.randint(4, (32,))
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y.to(devices[-1]))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("first", range(4))
def test_a_model_split_over_four_backends_trains_to_the_losses_of_one(devices: tuple[str, ...], first: int) -> None:
    """Whichever backend is first: tensors move between any two of them, forwards and, as gradients, back."""
    order = (*devices[first:], *devices[:first])
    split, whole = losses(order), losses(("cpu",) * 4)
    assert split == pytest.approx(whole, rel=1e-5) and split[-1] < 0.8 * split[0]


def test_gradients_stay_on_the_devices_of_their_parameters(devices: tuple[str, ...]) -> None:
    model = Split(devices)
    model(fb.ones(3, 16)).sum().backward()
    for layer, where in zip(model.layers, devices, strict=True):
        for p in layer.parameters():
            assert p.grad is not None and p.grad.device.type == p.device.type == where


def test_tensors_of_two_packages_do_not_mix_unasked(devices: tuple[str, ...]) -> None:
    for one in devices:
        for other in devices:
            if one != other:
                with pytest.raises(RuntimeError, match=one):
                    fb.ones(2, device=one) + fb.ones(2, device=other)
