"""Choosing devices and moving between them: constructors, models split over several, checkpoints, exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from tests.conftest import RunPython

OPENCL = pytest.mark.device("opencl")
OTHERS = ["strict", "narrow", pytest.param("opencl", marks=OPENCL)]


# -- choosing --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", OTHERS)
def test_every_form_of_to(name: str) -> None:
    x, d = fb.arange(6).reshape(2, 3), fb.device(name, 0)
    for there in (x.to(name), x.to(d), x.to(f"{name}:0"), x.to(device=d), x.to(fb.ones(1, device=d).long())):
        assert there.device is d and there.dtype is fb.int64 and there.cpu().tolist() == x.tolist()
    y = x.to(d, fb.float32)
    assert y.device is d and y.dtype is fb.float32
    assert x.to(fb.ones(1, device=d)).dtype is fb.float32, "like another tensor: its device and dtype"
    assert y.to(d) is y and y.to(d, copy=True) is not y
    assert y.to("cpu", non_blocking=True).tolist() == x.tolist()
    assert x.to(d, non_blocking=True).cpu().tolist() == x.tolist()


@pytest.mark.parametrize("name", OTHERS)
def test_with_a_device_constructors_put_tensors_there(name: str) -> None:
    d = fb.device(name, 0)
    with d:
        made = [fb.ones(2), fb.tensor([1.0]), fb.arange(3), fb.rand(2), fb.full((2,), 1.0), fb.eye(2), fb.zeros(1)]
        layer = nn.Linear(2, 2)
        with fb.device("cpu"):
            assert fb.ones(1).device.type == "cpu"
        assert fb.ones(1, device="cpu").device.type == "cpu", "the argument beats the context"
        assert fb.ones_like(fb.ones(1, device="cpu")).device.type == "cpu"
    assert all(t.device is d for t in made) and all(p.device is d for p in layer.parameters())
    assert fb.ones(1).device is fb.get_default_device()


def test_set_default_device() -> None:
    before = fb.get_default_device()
    try:
        fb.set_default_device("strict:1")
        assert str(fb.ones(1).device) == "strict:1" == str(fb.get_default_device())
        with fb.device("cpu"):
            assert fb.ones(1).device.type == "cpu"
        with pytest.raises(RuntimeError, match="device 'strict:9' does not exist: strict has 2"):
            fb.set_default_device("strict:9")
        assert str(fb.get_default_device()) == "strict:1"
    finally:
        fb.set_default_device(before)


SHOW = "import flambeau as fb; print(fb.ones(1).device, fb.nn.Linear(1, 1).weight.device)"


@pytest.mark.parametrize(
    ("choice", "found"), [("cpu", "cpu"), ("strict", "strict:0"), ("strict:1", "strict:1"), ("strict:7,cpu", "cpu")]
)
def test_the_environment_chooses(run_python: RunPython, choice: str, found: str) -> None:
    done = run_python("-c", SHOW, FLAMBEAU_DEVICE=choice)
    assert done.stdout.split() == [found, found], done.stderr


def test_an_explicit_device_that_is_not_there_is_an_error(run_python: RunPython) -> None:
    done = run_python("-c", SHOW, FLAMBEAU_DEVICE="strict:7")
    assert done.returncode != 0 and "strict:7" in done.stderr.splitlines()[-1]


@OPENCL
def test_the_environment_chooses_opencl(run_python: RunPython) -> None:
    assert run_python("-c", SHOW, FLAMBEAU_DEVICE="opencl,cpu").stdout.split() == ["opencl:0"] * 2


# -- training --------------------------------------------------------------------------------------------
class Split(nn.Module):
    """Layers, each on a device of its own; activations move between them."""

    def __init__(self, devices: list[str]) -> None:
        super().__init__()
        sizes = [(6, 16), (16, 12), (12, 3)]
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in sizes])
        for layer, d in zip(self.layers, devices, strict=True):
            layer.to(d)

    def forward(self, x: fb.Tensor) -> fb.Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x.to(layer.weight.device))
            x = x.tanh() if i < len(self.layers) - 1 else x
        return x


def losses(devices: list[str], steps: int = 6) -> list[float]:
    fb.manual_seed(3)
    with fb.device("cpu"):
        x, target = fb.randn(32, 6), fb.randint(0, 3, (32,))
        model = Split(devices)
    optimizer = fb.optim.Adam(model.parameters(), lr=0.05)
    found = []
    for _ in range(steps):
        optimizer.zero_grad()
        out = model(x)
        loss = nn.functional.cross_entropy(out, target.to(out.device))
        loss.backward()
        for p in model.parameters():
            assert p.grad is not None and p.grad.device is p.device
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize(
    "devices",
    [
        ["strict", "cpu", "strict:1"],
        pytest.param(["opencl", "opencl", "opencl"], marks=OPENCL),
        pytest.param(["cpu", "strict", "opencl"], marks=OPENCL),
        pytest.param(["opencl", "cpu", "strict:1"], marks=OPENCL),
    ],
    ids="-".join,
)
def test_a_model_over_several_devices_trains_as_on_the_cpu(devices: list[str]) -> None:
    expected = losses(["cpu"] * 3)
    assert expected[-1] < expected[0] - 0.1
    assert losses(devices) == pytest.approx(expected, abs=1e-4)


@OPENCL
def test_a_convolution_trains_on_opencl_as_on_the_cpu() -> None:
    def run(d: str) -> list[float]:
        fb.manual_seed(1)
        with fb.device("cpu"):
            x, target = fb.randn(8, 1, 8, 8), fb.randint(0, 4, (8,))
            model = nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.LayerNorm(64),
                nn.Linear(64, 4),
            )
        model.to(d)
        optimizer = fb.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        found = []
        for _ in range(4):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x.to(d)), target.to(d))
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    expected = run("cpu")
    assert expected[-1] < expected[0]
    assert run("opencl") == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_gradients_cross_devices_and_come_back(name: str) -> None:
    x = fb.tensor([1.0, 2.0], requires_grad=True)
    w = fb.tensor([3.0, 4.0], device=name, requires_grad=True)
    ((x.to(name) * w).sum().cpu() * x.sum()).backward()
    assert x.grad is not None and x.grad.device.type == "cpu" and x.grad.tolist() == [20.0, 23.0]
    assert w.grad is not None and w.grad.device is w.device and w.grad.cpu().tolist() == [3.0, 6.0]


def test_a_gradient_of_another_device_cannot_be_set() -> None:
    w = fb.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="strict"):
        w.grad = fb.ones(2, device="strict")


# -- checkpoints -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", OTHERS)
def test_a_state_dict_loads_into_a_model_of_another_device(name: str) -> None:
    there, here = nn.Linear(3, 2, device=name), nn.Linear(3, 2, device="cpu")
    state = there.state_dict()
    assert {v.device for v in state.values()} == {fb.device(name, 0)}
    here.load_state_dict(state)
    assert here.weight.device.type == "cpu" and here.weight.tolist() == there.weight.detach().cpu().tolist()
    with fb.no_grad():
        here.weight.mul_(2)
    there.load_state_dict(here.state_dict())
    assert there.weight.device is fb.device(name, 0)
    assert there.weight.detach().cpu().tolist() == here.weight.tolist()


@pytest.mark.parametrize("name", OTHERS)
def test_saved_tensors_return_to_their_device_or_where_map_location_says(name: str, tmp_path: Path) -> None:
    path, x = tmp_path / "x.fb", fb.tensor([[1.0, 2.0], [3.0, 4.0]], device=name)
    fb.save({"x": x, "step": 3}, path)
    back = fb.load(path)
    assert back["step"] == 3 and back["x"].device is x.device and back["x"].cpu().tolist() == x.cpu().tolist()
    places: list[tuple[Any, str]] = [("cpu", "cpu"), (fb.device("strict:1"), "strict:1"), ({f"{name}:0": "cpu"}, "cpu")]
    for where, expected in places:
        moved = fb.load(path, map_location=where)["x"]
        assert str(moved.device) == expected and moved.cpu().tolist() == x.cpu().tolist()


def test_an_optimizer_goes_on_elsewhere(tmp_path: Path) -> None:
    def step(model: nn.Module, optimizer: Any) -> None:
        optimizer.zero_grad()
        model(fb.ones(4, 3, device=next(model.parameters()).device)).square().sum().backward()
        optimizer.step()

    first = nn.Linear(3, 2)
    adam = fb.optim.Adam(first.parameters(), lr=0.1)
    step(first, adam)
    fb.save({"model": first.state_dict(), "optimizer": adam.state_dict()}, tmp_path / "c.fb")
    saved = fb.load(tmp_path / "c.fb", map_location="strict")
    second = nn.Linear(3, 2, device="strict")
    second.load_state_dict(saved["model"])
    other = fb.optim.Adam(second.parameters(), lr=0.1)
    other.load_state_dict(saved["optimizer"])
    step(first, adam)
    step(second, other)
    assert second.weight.device.type == "strict"
    assert np.allclose(second.weight.detach().cpu().numpy(), first.weight.detach().numpy(), atol=1e-6)


# -- exchange --------------------------------------------------------------------------------------------
def test_dlpack_shares_memory_with_numpy() -> None:
    a = np.arange(4, dtype=np.float32)
    x = fb.from_dlpack(a)
    x[0] = 9
    assert a[0] == 9
    shared = np.from_dlpack(fb.arange(3))
    assert shared.tolist() == [0, 1, 2]


def test_dlpack_does_not_pretend_to_share_what_it_cannot() -> None:
    x = fb.ones(2, device="strict")
    with pytest.raises((BufferError, TypeError, RuntimeError), match="strict"):
        np.from_dlpack(x)


# -- host numbers and counters ---------------------------------------------------------------------------
@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("default", ["cpu", "other"])
def test_averages_are_where_the_parameters_are(name: str, default: str) -> None:
    """Whatever the default device is, where n_averaged is born."""
    utils = fb.optim.swa_utils
    choices: list[dict[str, Any]] = [
        {}, {"avg_fn": utils.get_ema_avg_fn(0.5)}, {"multi_avg_fn": utils.get_swa_multi_avg_fn()},
        {"multi_avg_fn": utils.get_ema_multi_avg_fn(0.5), "use_buffers": True}, {"use_buffers": True},
        {"avg_fn": lambda a, p, n: a + (p - a) / (n + 1)},
    ]  # fmt: skip
    with fb.device("cpu" if default == "cpu" else name):
        for options in choices:
            model = nn.Sequential(nn.Linear(2, 2, device=name), nn.BatchNorm1d(2, device="cpu"))
            average = utils.AveragedModel(model, **options)
            for value in (1.0, 2.0, 3.0):
                for p in model.parameters():
                    nn.init.constant_(p, value)
                average.update_parameters(model)
            middle = 2.25 if any(f in options for f in ("avg_fn", "multi_avg_fn")) else 2.0
            found = {n: (p.device.type, set(p.cpu().flatten().tolist())) for n, p in average.named_parameters()}
            for n, (where, values) in found.items():
                assert where == (fb.device(name).type if n.startswith("module.0") else "cpu")
                assert values <= {2.0, middle}, (options, n)


def test_averages_of_what_is_not_float() -> None:
    model = nn.Linear(1, 1)
    model.register_buffer("count", fb.tensor(0))
    model.register_buffer("phase", fb.tensor(0j))
    model.register_buffer("on", fb.tensor(False))
    average = fb.optim.swa_utils.AveragedModel(model, use_buffers=True)
    for value in (2, 4, 9):
        model.count.fill_(value)
        model.phase.fill_(value * 1j)
        model.on.fill_(value == 9)
        average.update_parameters(model)
    assert (average.module.count.item(), average.module.phase.item(), average.module.on.item()) == (5, 5j, True)


@pytest.mark.parametrize("name", OTHERS)
def test_optimizers_keep_counters_and_rates_on_the_host(name: str) -> None:
    """Parameters on two devices, the rate a tensor of either; state goes out and in whatever the default device is."""
    with fb.device(name):
        for chosen in ("SGD", "Adam", "NAdam", "ASGD", "RAdam", "Rprop"):
            for where in (name, "cpu"):
                ps = [nn.Parameter(fb.ones(2, device=d)) for d in (name, "cpu")]
                optimizer = getattr(fb.optim, chosen)(ps, lr=fb.tensor(0.1, device=where))
                for _ in range(2):
                    for p in ps:
                        p.grad = fb.ones_like(p)
                    optimizer.step()
                    optimizer.load_state_dict(optimizer.state_dict())
                steps = [s["step"] for s in optimizer.state_dict()["state"].values() if "step" in s]
                assert all(s.device.type == "cpu" for s in steps)
                assert ps[0].tolist() == pytest.approx(ps[1].tolist())


@pytest.mark.parametrize("name", OTHERS)
def test_norms_and_statistics_over_several_devices(name: str) -> None:
    ps = [nn.Parameter(fb.full((2,), 3.0, device=d)) for d in (name, "cpu")]
    for p in ps:
        p.grad = fb.full_like(p, 2.0)
    assert nn.utils.clip_grad_norm_(ps, 2.0).item() == pytest.approx(4.0)
    assert all(p.grad.tolist() == pytest.approx([1.0, 1.0]) for p in ps)
    model = nn.BatchNorm1d(2, momentum=None, device=name)
    fb.optim.swa_utils.update_bn([fb.ones(3, 2), fb.zeros(3, 2)], model, device=name)
    assert model.running_mean.tolist() == [0.5, 0.5] and model.num_batches_tracked.device.type == fb.device(name).type


@pytest.mark.parametrize("name", OTHERS)
def test_numbers_of_the_host_go_along(name: str) -> None:
    """0-d tensors of the host, of any dtype, and indices and masks."""
    x = fb.tensor([1.0, 2.0, 3.0], device=name)
    for dtype in (fb.float32, fb.float64, fb.int64, fb.bool, fb.float16):
        z = fb.tensor(1, dtype=dtype)
        for made in (x + z, z + x, x.clone().mul_(z), fb.where(x > 1, x, z.to(x.dtype)), x.clone().fill_(z)):
            assert made.device is x.device and made.dtype is fb.float32
        assert (x == z).tolist() == (z == x).tolist() == [True, False, False]
    places, mask = fb.tensor([2, 0]), fb.tensor([True, False, True])
    assert x[places].tolist() == [3.0, 1.0] and x[mask].tolist() == [1.0, 3.0]
    assert x[places.to(fb.int32)].device is x.device
    square = x.reshape(3, 1).expand(3, 3)
    assert square[places, places.to(name)].tolist() == [3.0, 1.0]
    assert square[:, mask].shape == (3, 2)
    for index, wanted in ((places, [0.0, 2.0, 0.0]), (mask, [0.0, 2.0, 0.0])):
        for value in (0.0, fb.tensor(0.0), fb.zeros(2, device=name)):
            y = x.clone()
            y[index] = value
            assert y.tolist() == wanted
    assert x.index_put((places,), fb.tensor(0.0)).tolist() == [0.0, 2.0, 0.0]
    with pytest.raises(RuntimeError, match="same device"):
        fb.tensor([1.0, 2.0])[fb.tensor([0], device=name)]


def test_pinned_memory_that_nothing_has_is_an_error() -> None:
    """Not a tensor in other memory, without a word."""
    if fb.core.accelerator.pinning_device() is not None:  # type: ignore[attr-defined]
        pytest.skip("a device here has pinned memory")
    x = fb.ones(2)
    for make in (x.new_zeros, x.new_ones, x.new_empty, lambda size, **options: x.new_full(size, 1.0, **options)):
        assert make((2,), pin_memory=False).shape == (2,)
        with pytest.raises(RuntimeError, match="no device here has pinned memory"):
            make((2,), pin_memory=True)
