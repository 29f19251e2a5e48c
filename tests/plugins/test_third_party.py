"""Backends of third parties: built as wheels, installed beside flambeau, found by entry point, used together."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.environments import Environment, NewEnvironment

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("packages")]

PACKAGES = Path(__file__).parent / "packages"

#: A small network's losses on one device, from weights that are the same everywhere.
TRAIN = """
import flambeau as fb
from flambeau import nn, optim

def train(device, steps=8):
    cpu = fb.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    with fb.no_grad():
        for p in model.parameters():
            p.copy_(fb.randn(*p.shape, generator=cpu) / 4)
    x, target = fb.randn(20, 6, generator=cpu).to(device), (fb.arange(20) % 3).to(device)
    model = model.to(device)
    step = optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    losses = []
    for _ in range(steps):
        loss = nn.functional.cross_entropy(model(x), target)
        step.zero_grad(); loss.backward(); step.step()
        losses.append(loss.item())
    assert all(str(p.device) in (device, f"{device}:0") and p.device == p.grad.device for p in model.parameters())
    return losses

def same(a, b):
    return all(abs(x - y) <= 1e-5 * abs(y) for x, y in zip(a, b, strict=True))
"""

BROKEN = """
import sys

reference = train("cpu")
said = {}
for name in ("crash", "newer", "nosuch"):
    try:
        fb.ones(2, device=name)
    except RuntimeError as error:
        cause = error.__cause__
        said[name] = [type(error).__name__, str(error), type(cause).__name__]

import vanish
kept = fb.ones(3, device="vanish")
before = train("vanish")
vanish.unplug()
uses = {
    "new": lambda: fb.ones(2, device="vanish"), "old": lambda: kept + 1, "read": lambda: kept.tolist(),
    "another": lambda: fb.ones(2, device="vanish:1"),
}
for name, use in uses.items():
    try:
        use()
    except RuntimeError as error:
        said[name] = [type(error).__name__, str(error), None]

assert same(before, reference) and same(train("acme"), reference) and train("cpu") == reference
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def installed(distributions: tuple[Path, Path], new_environment: NewEnvironment) -> Environment:
    """flambeau's wheel and those of all packages, installed."""
    environment = new_environment("third-party")
    environment.pip("install", str(distributions[0]))
    wheels = environment.folder / "wheels"
    copies = shutil.copytree(PACKAGES, environment.folder / "packages")  # building leaves files beside the sources
    sources = [str(project.parent) for project in copies.glob("*/pyproject.toml")]
    environment.pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), *sources)
    environment.pip("install", "--no-deps", *map(str, wheels.glob("*.whl")))
    return environment


def test_a_model_trains_on_two_third_party_backends_and_the_cpu_in_one_process(installed: Environment) -> None:
    installed.run(
        "-c",
        TRAIN
        + """
import sys
assert "acme" not in sys.modules and "bolt" not in sys.modules and "pluggy" not in sys.modules
reference = train("cpu")
assert reference[-1] < 0.8 * reference[0], reference
assert "acme" not in sys.modules and "bolt" not in sys.modules
for device in ("acme", "bolt", "acme:1"):
    assert same(train(device), reference), (device, train(device), reference)
assert not {"crash", "newer", "vanish"} & sys.modules.keys()

a, b, c = (fb.ones(2, device=d) for d in ("acme", "bolt", "cpu"))
assert (a + a).device == fb.device("acme:0") and (b * 3).tolist() == [3, 3]
assert (a.to("bolt") + b).to("cpu").tolist() == (c + c).tolist()
try:
    a + b
except RuntimeError as error:
    assert "acme" in str(error) and "bolt" in str(error) and "add" in str(error), error
else:
    raise AssertionError("tensors of two devices were added")
""",
    )


def test_the_environment_chooses_a_third_party_backend(installed: Environment) -> None:
    show = "import flambeau as fb; print(fb.ones(1).device)"
    assert installed.run("-c", show, FLAMBEAU_DEVICE="acme:1").strip() == "acme:1"
    assert installed.run("-c", show, FLAMBEAU_DEVICE="nosuch,crash,bolt").strip() == "bolt:0"
    assert installed.run("-c", show, FLAMBEAU_DEVICE="auto").strip() == "cpu"


def test_broken_plugins_are_reported_and_hurt_nothing_else(installed: Environment) -> None:
    said = json.loads(installed.run("-c", "import json\n" + TRAIN + BROKEN).splitlines()[-1])
    kind, text, cause = said["crash"]
    assert (kind, cause) == ("BackendUnavailableError", "OSError")
    assert "flambeau-crash 1.0.0" in text and "libcrash.so.3" in text
    kind, text, _ = said["newer"]
    assert kind == "BackendUnavailableError" and "flambeau-newer 9.0.0" in text
    assert "plugin API 99" in text and "plugin API 1" in text and "upgrade flambeau" in text
    assert "known: acme, bolt, cpu, crash" in said["nosuch"][1]
    for use in ("new", "old", "read"):
        assert said[use][0] == "DeviceLostError" and "vanish:0 stopped answering" in said[use][1]
    assert "plug it in again" in said["another"][1]


def test_doctor_reports_them_from_outside(installed: Environment) -> None:
    done = subprocess.run(
        [str(installed.python), "-m", "flambeau", "doctor", "--json"],
        cwd=installed.elsewhere, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    found = json.loads(done.stdout)
    rows = {p["name"]: p for p in found["plugins"]}
    assert done.returncode == 1  # crash and newer are broken
    assert [d["device"] for d in rows["acme"]["devices"]] == ["acme:0", "acme:1"]
    assert rows["acme"]["source"] == "flambeau-acme 1.2.0" and not rows["acme"]["builtin"]
    assert rows["bolt"]["state"] == rows["vanish"]["state"] == "available"
    assert rows["crash"]["state"] == "failed" and "libcrash.so.3" in rows["crash"]["traceback"]
    assert rows["newer"]["state"] == "failed" and "plugin API 99" in rows["newer"]["reason"]
    assert "crash" not in str(found["default_device"])


def test_coverage_of_a_backend_with_the_minimum_alone(installed: Environment) -> None:
    found = json.loads(installed.run("-m", "flambeau", "coverage", "--device", "acme", "--json"))
    ops = found["ops"]
    assert ops["add"]["float32"]["state"] == "native" and ops["softmax"]["float32"]["state"] == "composite"
    assert "float16" not in ops["add"]
