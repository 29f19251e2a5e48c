"""The package for JAX: what is its own beside the conformance kit, which its ``test_conformance.py`` runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn, optim
from flambeau.core import dtype as dt
from flambeau.core import registry
from tests.environments import NewEnvironment
from tests.plugins.test_third_party import TRAIN

PACKAGE = Path(__file__).resolve().parents[2] / "flambeau" / "plugins" / "jax"
DEVICES = ("jax", "jaxlazy")


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, Any]]:
    """Both backends, registered as if the package were installed."""
    pytest.importorskip("jax")
    sys.path.insert(0, str(PACKAGE))
    try:
        import flambeau_jax
        import flambeau_jax.lazy

        found = {"jax": flambeau_jax.flambeau_backends(), "jaxlazy": flambeau_jax.lazy.flambeau_backends()}
        fresh = [name for name in found if name not in registry.backends]
        for name in fresh:
            registry.register_backend(found[name], "tests")
        yield {name: registry.backends[name] for name in found}
        for name in fresh:
            registry.unregister_backend(name)
    finally:
        sys.path.remove(str(PACKAGE))


@pytest.fixture
def lazy(backends: dict[str, Any]) -> Any:
    """The lazy backend, with nothing to do."""
    backends["jaxlazy"].synchronize()
    return backends["jaxlazy"]


# -- cells -------------------------------------------------------------------------------------------
VIEWS: dict[str, Callable[[Any], Any]] = {
    "whole": lambda x: x, "rows": lambda x: x[1:3], "column": lambda x: x[:, 2], "steps": lambda x: x[::2, 1::2],
    "transposed": lambda x: x.T, "part of it": lambda x: x.T[1:4, 2:], "element": lambda x: x[2:3, 3:4],
    "diagonal": lambda x: x.reshape(-1)[::7], "crooked": lambda x: x.reshape(-1)[1:21].reshape(4, 5),
    "other shape": lambda x: x.reshape(3, 2, 4), "none": lambda x: x[2:2], "tail": lambda x: x.reshape(-1)[-5:],
}  # fmt: skip


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", VIEWS)
def test_views_read_and_write_what_numpys_do(backends: dict[str, Any], device: str, name: str) -> None:
    host = np.arange(24, dtype=np.float32).reshape(4, 6)
    x, view = fb.tensor(host, device=device), VIEWS[name]
    np.testing.assert_array_equal(view(x).cpu().numpy(), view(host))
    view(x).mul_(10)
    there = view(host)
    there *= 10
    view(x)[:0].add_(1)  # writes nothing
    np.testing.assert_array_equal(x.cpu().numpy(), host)


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_read_is_read_before_it_is_written(backends: dict[str, Any], device: str) -> None:
    """Chains of writes to parts of a memory that are read in the same program; XLA must not do them in place."""
    host = np.arange(600, dtype=np.float32).reshape(20, 30) % 97
    x, flat = fb.tensor(host, device=device), lambda x: x.reshape(-1)[1:581].reshape(20, 29)
    x[1:] = x[1:] + x[:-1]
    x.T[3:] = x.T[3:] + x.T[:-3]
    flat(x)[1:] = flat(x)[1:] + flat(x)[:-1]
    host[1:] += host[:-1].copy()
    host.T[3:] += host.T[:-3].copy()
    flat(host)[1:] += flat(host)[:-1].copy()
    np.testing.assert_array_equal(x.cpu().numpy(), host)


@pytest.mark.parametrize("device", DEVICES)
def test_views_that_overlap_themselves_are_read(backends: dict[str, Any], device: str) -> None:
    x = fb.arange(10, device=device)
    assert x.unfold(0, 4, 3).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert x[:3].expand(2, 3).tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_bytes_are_kept_as_every_dtype(backends: dict[str, Any], device: str, dtype: dt.DType) -> None:
    size = dtype.itemsize
    raw = np.arange(5 * size, dtype=np.uint8) % 2 if dtype is dt.bool_ else np.arange(5 * size, dtype=np.uint8)
    host = raw.view(dtype.numpy)
    x = fb.tensor(host, device=device)
    np.testing.assert_array_equal(x.view(fb.uint8).cpu().numpy(), raw)
    back = fb.tensor(raw, device=device).view(dtype)
    np.testing.assert_array_equal(back.cpu().numpy().view(np.uint8), raw)
    x.view(fb.uint8)[:size] = 1
    assert x.view(fb.uint8)[:size].tolist() == [1] * size and x[1:].cpu().numpy().tobytes() == raw[size:].tobytes()


def test_a_loop_over_slices_compiles_once(backends: dict[str, Any]) -> None:
    from flambeau_jax.backend import compiled
    from flambeau_jax.cells import read_box

    x = fb.arange(600.0, device="jax").reshape(100, 6)
    x[3:5].cpu()
    before = compiled.cache_info().misses
    for i in range(4, 90, 7):
        assert x[i : i + 2].tolist() == [[*map(float, range(6 * j, 6 * j + 6))] for j in (i, i + 1)]
    assert compiled.cache_info().misses == before and read_box.__module__ == "flambeau_jax.cells"


@pytest.mark.parametrize("device", ["jax", "jaxlazy"])
def test_matrices_that_have_no_decomposition(backends: dict[str, Any], device: str) -> None:
    """XLA answers with nan; the error says which matrix."""
    x = fb.stack([fb.eye(2, device=device), fb.zeros(2, 2, device=device)])
    for fn, word in ((fb.linalg.inv, "singular"), (fb.linalg.cholesky, "positive definite")):
        with pytest.raises(fb.linalg.LinAlgError, match=rf"matrix 1 of the batch of shape \(2, 2, 2\) is .*{word}"):
            fn(x)
    assert fb.linalg.det(x).tolist() == [1, 0] and fb.linalg.solve(x[0], x[1]).tolist() == [[0, 0], [0, 0]]


# -- the graph ---------------------------------------------------------------------------------------
def test_nothing_runs_until_a_value_is_read(lazy: Any) -> None:
    x = fb.ones(3, device="jaxlazy")
    y = (x * 2 + 1).exp().sum()
    assert lazy.graph.held and y.item() == pytest.approx(3 * np.exp(3)) and not lazy.graph.held


def test_what_no_tensor_holds_is_not_kept(lazy: Any) -> None:
    x = fb.ones(3, device="jaxlazy")
    lazy.synchronize()
    held = len(lazy.graph.held)
    y = x
    for _ in range(10):
        y = y * 2 + 1
    assert len(lazy.graph.held) == held + 1  # y alone: the others are temporaries
    del y
    assert len(lazy.graph.held) == held


def train(device: str, steps: int, read: bool) -> tuple[nn.Module, list[float]]:
    cpu = fb.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    with fb.no_grad():
        for p in model.parameters():
            p.copy_(fb.randn(*p.shape, generator=cpu) / 4)
    x, target = fb.randn(20, 6, generator=cpu).to(device), (fb.arange(20) % 3).to(device)
    model = model.to(device)
    step, losses = optim.Adam(model.parameters(), lr=0.01), []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), target)
        step.zero_grad()
        loss.backward()
        step.step()
        losses += [loss.item()] if read else []
    return model, losses


def test_a_training_step_is_one_program_compiled_once(lazy: Any) -> None:
    before = len(lazy.graph._programs)
    model, losses = train("jaxlazy", 12, read=True)
    wanted = train("cpu", 12, read=True)
    np.testing.assert_allclose(losses, wanted[1], rtol=1e-5)
    assert len(lazy.graph._programs) - before <= 4  # the first steps make the optimizer's state
    for p, q in zip(model.parameters(), wanted[0].parameters(), strict=True):
        np.testing.assert_allclose(p.detach().cpu().numpy(), q.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_a_read_after_a_step_runs_nothing(lazy: Any) -> None:
    """The step computed the loss, and what tells whether the indices were sound."""
    before = lazy.graph.runs
    train("jaxlazy", 6, read=True)
    assert lazy.graph.runs - before == 6


def test_steps_end_without_a_read(lazy: Any) -> None:
    model, _ = train("jaxlazy", 5, read=False)
    assert not lazy.graph.held and not lazy.graph.made and len(list(model.parameters())) == 4


def test_a_loop_without_optimizer_says_where_steps_end(lazy: Any) -> None:
    x = fb.ones(3, device="jaxlazy")
    for _ in range(5):
        x = x * 0.5
        assert lazy.graph.held
        fb.accelerator.mark_step("jaxlazy")
        assert not lazy.graph.held
    assert x.tolist() == [0.5**5] * 3


def test_a_graph_that_grows_runs_by_itself(lazy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(lazy.graph), "LIMIT", 50)
    x = fb.zeros(2, device="jaxlazy")
    for _ in range(200):
        x = x + 1
        assert lazy.graph.made <= 60
    assert x.tolist() == [200, 200]


@pytest.mark.parametrize("device", DEVICES)
def test_a_bad_index_raises_at_the_read_and_names_the_op(backends: dict[str, Any], device: str) -> None:
    x, index = fb.arange(6.0, device=device).reshape(2, 3), fb.tensor([[0, 7]], device=device)
    found = x.gather(1, index)
    with pytest.raises(IndexError, match="gather: index 7 is out of bounds for dimension 1 with size 3"):
        found.tolist()
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]  # said once
    fb.nn.functional.embedding(index, x)
    with pytest.raises(IndexError, match="embedding: index 7 is out of bounds for dimension 0 with size 2"):
        fb.accelerator.synchronize(device)


@pytest.mark.parametrize("device", DEVICES)
def test_a_seed_means_the_same_as_on_the_cpu(backends: dict[str, Any], device: str) -> None:
    draws = []
    for where in (device, "cpu"):
        generator = fb.Generator(where).manual_seed(7)
        draws.append([
            fb.randn(31, generator=generator, device=where).cpu().numpy(),
            fb.randint(0, 99, (17,), generator=generator, device=where).cpu().numpy(),
            fb.randperm(23, generator=generator, device=where).cpu().numpy(),
        ])  # fmt: skip
    for found, wanted in zip(*draws, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=3e-7)  # cosines near 0 are absolutely exact


# -- the package -------------------------------------------------------------------------------------
@pytest.mark.slow
def test_it_installs_and_trains_in_an_environment_of_its_own(
    distributions: tuple[Path, Path], new_environment: NewEnvironment
) -> None:
    environment = new_environment("jax")
    environment.pip("install", str(distributions[0]), "jax[cpu]>=0.7")
    copy = shutil.copytree(PACKAGE, environment.folder / "flambeau-jax", ignore=shutil.ignore_patterns("__pycache__"))
    environment.pip("install", "--no-deps", "--no-build-isolation", str(copy))
    environment.run(
        "-c",
        TRAIN
        + """
import sys
reference = train("cpu")
assert "jax" not in sys.modules
for device in ("jax", "jaxlazy"):
    assert same(train(device), reference), (device, train(device), reference)
""",
    )
    listed = environment.run("-m", "flambeau", "doctor")
    assert "flambeau-jax 0.1.0" in listed and "jaxlazy:0" in listed
