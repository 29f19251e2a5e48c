"""The package for WebGPU: what is its own beside the conformance kit, which its ``test_conformance.py`` runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.backends.base import DeviceLostError, OutOfMemoryError
from flambeau.core import registry

PACKAGE = Path(__file__).resolve().parents[2] / "flambeau" / "plugins" / "webgpu"
#: The device as it is, and what it is where the driver has neither integers of 64 bits nor immediates.
DEVICES = {"webgpu": frozenset[str](), "webgpupoor": frozenset({"shader-int64", "immediates"})}


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, Any]]:
    """The backend, registered as if the package were installed, and one that leaves features unused."""
    pytest.importorskip("wgpu")
    sys.path.insert(0, str(PACKAGE))
    try:
        from flambeau_webgpu.backend import WebGPUBackend

        found: dict[str, Any] = {}
        for name, without in DEVICES.items():
            found[name] = type(name, (WebGPUBackend,), {"device_type": name, "without": without})()
        reason = found["webgpu"].unavailable_reason()
        if reason is not None:
            pytest.skip(reason)
        fresh = [name for name in found if name not in registry.backends]
        for name in fresh:
            registry.register_backend(found[name], "tests")
        yield {name: registry.backends[name] for name in found}
        for name in fresh:
            registry.unregister_backend(name)
    finally:
        sys.path.remove(str(PACKAGE))


@pytest.fixture(params=list(DEVICES))
def device(request: pytest.FixtureRequest, backends: dict[str, Any]) -> str:
    name: str = request.param
    return name


def train(device: str, steps: int) -> list[float]:
    """The losses of a small network with an embedding, a convolution, a norm and dropout's random numbers left out."""
    cpu = fb.Generator().manual_seed(3)
    model = nn.Sequential(
        nn.Embedding(11, 8), nn.Conv1d(6, 5, 3), nn.LayerNorm(6), nn.ReLU(), nn.Flatten(), nn.Linear(30, 4)
    )
    with fb.no_grad():
        for p in model.parameters():
            p.copy_(fb.randn(*p.shape, generator=cpu) / 4)
    x, target = fb.randint(0, 11, (9, 6), generator=cpu).to(device), (fb.arange(9) % 4).to(device)
    model = model.to(device)
    step, losses = optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), target)
        step.zero_grad()
        loss.backward()
        step.step()
        losses.append(loss.item())
    return losses


def test_training_gives_the_losses_of_the_cpu(device: str) -> None:
    np.testing.assert_allclose(train(device, 6), train("cpu", 6), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "float16", "bfloat16"])
def test_elements_that_share_a_word_are_written_alone(device: str, dtype: str) -> None:
    kind = getattr(fb, dtype)
    host = fb.arange(23).remainder(2).to(kind)
    x = fb.zeros(23, dtype=kind, device=device)
    x[1::2] = host[1::2].to(device)
    x[4:9] = host[4:9].to(device)
    wanted = fb.zeros(23, dtype=kind)
    wanted[1::2] = host[1::2]
    wanted[4:9] = host[4:9]
    assert x.cpu().tolist() == wanted.tolist()


def test_half_precision_survives_the_words(device: str) -> None:
    host = np.array([0, -0.0, 6e-8, 6.1e-5, 1 / 3, 65504, np.inf, -np.inf, np.nan], np.float16)
    back = (fb.tensor(host, device=device) * 1).cpu().numpy()
    np.testing.assert_array_equal(back.view(np.uint16)[:-1], host.view(np.uint16)[:-1])
    assert np.isnan(back[-1])


@pytest.mark.parametrize("m, k, n", [(1, 7, 9), (33, 65, 17), (70, 130, 66), (257, 31, 129)])
@pytest.mark.parametrize("turned", ["nn", "tn", "nt"])
def test_products_of_all_layouts(device: str, m: int, k: int, n: int, turned: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((k, m) if turned[0] == "t" else (m, k)).astype(np.float32)
    y = rng.standard_normal((n, k) if turned[1] == "t" else (k, n)).astype(np.float32)
    a, b = (fb.tensor(v, device=device) for v in (x, y))
    a, x = (a.T, x.T) if turned[0] == "t" else (a, x)
    b, y = (b.T, y.T) if turned[1] == "t" else (b, y)
    np.testing.assert_allclose((a @ b).cpu().numpy(), x.astype(np.float64) @ y, rtol=1e-4, atol=1e-4)


def test_the_tiled_product_for_gpus(backends: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver on the processor would never run it."""
    found = backends["webgpu"].device(0)
    monkeypatch.setattr(found, "processor", False)
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 3, 37, 50)).astype(np.float32), rng.standard_normal((3, 50, 41)).astype(np.float32)
    device = "webgpu"
    got = fb.tensor(x, device=device) @ fb.tensor(y, device=device)
    np.testing.assert_allclose(got.cpu().numpy(), x.astype(np.float64) @ y, rtol=1e-4, atol=1e-4)
    rows = fb.tensor(x, device=device)
    np.testing.assert_allclose(rows.softmax(-1).cpu().numpy(), fb.tensor(x).softmax(-1).numpy(), rtol=1e-5, atol=1e-7)
    norm = nn.functional.layer_norm(rows, (50,))
    np.testing.assert_allclose(norm.cpu().numpy(), nn.functional.layer_norm(fb.tensor(x), (50,)).numpy(), atol=1e-5)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("n", [1, 31, 33, 64, 65, 1000])
def test_sorting_is_stable_and_knows_nan(device: str, n: int, descending: bool) -> None:
    host = np.random.default_rng(n).integers(0, 7, (3, n)).astype(np.float32)
    host[:, ::5] = np.nan
    x, y = fb.tensor(host, device=device), fb.tensor(host)
    found = fb.argsort(x, dim=1, descending=descending, stable=True)
    assert found.tolist() == fb.argsort(y, dim=1, descending=descending, stable=True).tolist()


@pytest.mark.parametrize("n", [1, 255, 256, 257, 70001])
def test_scans_cross_their_pieces(device: str, n: int) -> None:
    host = np.random.default_rng(n).integers(-3, 4, (2, n), dtype=np.int32)
    assert (fb.tensor(host, device=device).cumsum(1).cpu().numpy() == host.cumsum(1)).all()


# -- commands ----------------------------------------------------------------------------------------
def test_commands_wait_in_one_pass_until_somebody_reads(backends: dict[str, Any]) -> None:
    found = backends["webgpu"].device(0)
    x = fb.ones(3, device="webgpu")
    found.flush()
    for _ in range(5):
        x = x + 1
    assert found.waiting >= 5
    assert x.tolist() == [6, 6, 6] and found.waiting == 0


def test_a_long_wait_is_cut(backends: dict[str, Any]) -> None:
    from flambeau_webgpu.device import BATCH

    found = backends["webgpu"].device(0)
    x = fb.zeros(2, device="webgpu")
    for _ in range(3 * BATCH):
        x = x + 1
        assert found.waiting < BATCH
    assert x.tolist() == [3 * BATCH] * 2


def test_buffers_and_bind_groups_come_back(backends: dict[str, Any]) -> None:
    found = backends["webgpu"].device(0)
    x = fb.ones(1000, device="webgpu")

    def work() -> None:
        for _ in range(10):
            (x * 2 + 1).sum().item()

    work()
    before = len(found._owned), len(found._groups), len(found._pipelines)
    work()
    assert (len(found._owned), len(found._groups), len(found._pipelines)) == before


def test_the_cache_is_given_back(backends: dict[str, Any]) -> None:
    found = backends["webgpu"].device(0)
    x = fb.ones(100_000, device="webgpu")
    del x
    assert any(found.shelves.values())
    backends["webgpu"].empty_cache()
    assert not any(found.shelves.values())
    assert fb.ones(3, device="webgpu").tolist() == [1, 1, 1]


def test_threads_share_a_device(device: str) -> None:
    found: dict[int, list[float]] = {}

    def work(k: int) -> None:
        x = fb.full((500,), float(k), device=device)
        for _ in range(20):
            x = x + k
        found[k] = x.tolist()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(found[k] == [21.0 * k] * 500 for k in range(4))


# -- errors ------------------------------------------------------------------------------------------
def test_a_bad_index_raises_at_the_read_once(device: str) -> None:
    x, index = fb.arange(6.0, device=device).reshape(2, 3), fb.tensor([[0, 7]], device=device)
    found = x.gather(1, index)
    with pytest.raises(IndexError, match="gather: index 7 is out of bounds for dimension 1 with size 3"):
        found.tolist()
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]
    y = fb.zeros(3, device=device).scatter_add(0, fb.tensor([-4], device=device), fb.ones(1, device=device))
    with pytest.raises(IndexError, match="scatter: index -4 is out of bounds for dimension 0 with size 3"):
        y.tolist()


def test_an_array_beyond_the_largest_binding_is_refused(backends: dict[str, Any]) -> None:
    most = backends["webgpu"].largest_array()
    with pytest.raises(
        OutOfMemoryError, match=f"an array can have {most} bytes at most, {most // 4 * 4 + 4} are asked for"
    ):
        fb.empty(most // 4 + 1, device="webgpu")
    assert fb.ones(2, device="webgpu").tolist() == [1, 1]


def test_a_lost_device_raises_as_such(backends: dict[str, Any]) -> None:
    lost = type(backends["webgpu"])()
    x = lost.empty((3,), fb.float32)
    lost.after_fork()
    with pytest.raises(DeviceLostError, match="the process before the fork"):
        lost.to_host(x)
    with pytest.raises(DeviceLostError, match="the process before the fork"):
        lost.empty((3,), fb.float32)


def test_processors_are_no_accelerators(backends: dict[str, Any]) -> None:
    from flambeau_webgpu.device import adapters, kind_of

    chosen = backends["webgpu"].accelerators()
    assert all(kind_of(adapters()[i]) in ("DiscreteGPU", "IntegratedGPU") for i in chosen)
    assert chosen == tuple(range(len(chosen)))  # the best come first


# -- numerics ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name, low, high, ulps", [
    ("exp", -87, 88, 2), ("log", 1e-30, 1e30, 2), ("sin", -3000, 3000, 4), ("cos", -3000, 3000, 4), ("tanh", -5, 5, 4),
])  # fmt: skip
def test_functions_are_right_to_the_last_digits(device: str, name: str, low: float, high: float, ulps: float) -> None:
    x = np.linspace(low, high, 20001).astype(np.float32)
    if name == "log":
        x = np.exp(np.linspace(np.log(low), np.log(high), 20001)).astype(np.float32)
    wanted = getattr(np, name)(x.astype(np.float64))
    found = getattr(fb, name)(fb.tensor(x, device=device)).cpu().numpy()
    size = np.spacing(np.maximum(np.abs(wanted), 2**-4 if name in ("sin", "cos") else 1e-37).astype(np.float32))
    assert (np.abs(found - wanted) / size).max() <= ulps


def test_nan_and_infinity_are_kept(device: str) -> None:
    x = fb.tensor([float("nan"), float("inf"), -float("inf"), -0.0], device=device)
    assert (x != x).tolist() == [True, False, False, False]
    assert str(x.relu().tolist()) == "[nan, inf, 0.0, 0.0]" and str(x.clamp(min=0).tolist()[0]) == "nan"
    assert str(x.max().item()) == "nan" and str((x + 1 - 1).tolist()) == "[nan, inf, -inf, 0.0]"
    assert ((fb.tensor([1e8], device=device) + 1) - 1e8).item() == 0  # not reassociated
