"""What users install: wheel, sdist and editable, each in a fresh environment, used from outside the checkout."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

import pytest

import flambeau
from tests.environments import ROOT, Environment, NewEnvironment

pytestmark = pytest.mark.slow

HOUSES = ("core", "backends", "plugins", "nn", "optim", "utils")

#: Trains a line through points, and says where each subpackage came from.
SCRIPT = """
import importlib, json
import flambeau as fb
from flambeau import nn, optim

fb.manual_seed(0)
x = fb.linspace(-1, 1, 32).reshape(32, 1)
model = nn.Linear(1, 1)
step = optim.SGD(model.parameters(), lr=0.5)
for _ in range(60):
    loss = nn.functional.mse_loss(model(x), 3 * x - 1)
    step.zero_grad(); loss.backward(); step.step()
assert loss.item() < 1e-6, loss.item()

houses = ("core", "backends", "plugins", "nn", "optim", "utils")
places = {h: importlib.import_module("flambeau." + h).__file__ for h in houses}
print(json.dumps({"flambeau": fb.__file__, "version": fb.__version__} | places))
"""


def use(environment: Environment, cwd: Path | None = None) -> dict[str, Path]:
    """Run the script; where each subpackage was found."""
    found = json.loads(environment.run("-c", SCRIPT, cwd=cwd).splitlines()[-1])
    assert found.pop("version") == flambeau.__version__
    return {name: Path(place).resolve() for name, place in found.items()}


def python_files(folder: Path) -> set[str]:
    return {
        str(Path("flambeau", house, path.relative_to(folder / house)))
        for house in HOUSES
        for path in (folder / house).rglob("*.py")
        if "template" not in path.parts
    } | {f"flambeau/{path.name}" for path in (folder / "flambeau").glob("*.py")}


def test_the_wheel_has_every_module_and_nothing_at_the_top_level(
    distributions: tuple[Path, Path], checkout: Path
) -> None:
    wheel, _ = distributions
    assert wheel.name == f"flambeau-{flambeau.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    info = f"flambeau-{flambeau.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"flambeau", info}
    assert {n for n in names if n.endswith(".py")} == python_files(checkout)
    for needed in (
        "flambeau/py.typed",
        "flambeau/__init__.pyi",
        "flambeau/core/tensor_methods.pyi",
        "flambeau/plugins/conformance/kit.py",
        "flambeau/data/digits.npz",
        "flambeau/data/SOURCE.txt",
        f"{info}/licenses/LICENSE",
        f"{info}/licenses/flambeau/data/SOURCE.txt",
    ):
        assert needed in names
    assert not [n for n in names if "__pycache__" in n or "tests/" in n]


def test_the_sdist_has_the_tests_and_the_documentation(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[1]) as archive:
        names = {n.partition("/")[2] for n in archive.getnames()}
    for needed in (
        "pyproject.toml",
        "setup.py",
        "README.md",
        "LICENSE",
        "core/dtype.py",
        "tests/conftest.py",
        "docs/configuration.md",
        "docs/_static/flambeau.css",
        "examples/train_mlp.py",
        "benchmarks/overhead.py",
        "plugins/template/pyproject.toml",
        "flambeau/__init__.pyi",
    ):
        assert needed in names


def test_a_wheel_installs_with_its_dependencies(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    environment = Environment(tmp_path / "wheel")
    environment.pip("install", str(distributions[0]))
    environment.pip("check")
    places = use(environment)
    assert all(environment.folder.resolve() in place.parents for place in places.values())
    environment.run("-c", "import flambeau.core as c\nassert c.__name__ == 'flambeau.core'")
    for name in ("core", "nn", "tests", "plugins"):
        with pytest.raises(pytest.fail.Exception, match="ModuleNotFoundError"):
            environment.run("-c", f"import {name}")


def test_the_commands_of_an_installed_wheel(distributions: tuple[Path, Path], new_environment: NewEnvironment) -> None:
    environment = new_environment("commands")
    environment.pip("install", str(distributions[0]))
    assert environment.run("-m", "flambeau", "--version").strip() == f"flambeau {flambeau.__version__}"
    found = json.loads(environment.run("-m", "flambeau", "doctor", "--json"))
    states = {p["name"]: p["state"] for p in found["plugins"]}
    assert states["cpu"] == states["meta"] == states["strict"] == "available"
    reasons = {p["name"]: p.get("reason", "") for p in found["plugins"]}
    assert states["opencl"] != "available" and "flambeau[opencl]" in reasons["opencl"]
    assert states["cuda"] != "available" and "flambeau[cuda12]" in reasons["cuda"]
    said = environment.run("-m", "flambeau", "demo", "--epochs", "1")
    assert "device" in said and "accuracy" in said


def test_an_installed_wheel_and_a_checkout_as_the_working_folder(
    distributions: tuple[Path, Path], new_environment: NewEnvironment, checkout: Path
) -> None:
    environment = new_environment("shadow")
    environment.pip("install", str(distributions[0]))
    places = use(environment, cwd=checkout)
    assert all(checkout.resolve() in place.parents for place in places.values())


def test_an_sdist_installs(distributions: tuple[Path, Path], new_environment: NewEnvironment) -> None:
    environment = new_environment("sdist")
    environment.pip("install", "--no-build-isolation", str(distributions[1]))
    assert all(environment.folder.resolve() in place.parents for place in use(environment).values())


def test_an_editable_install_follows_the_checkout(new_environment: NewEnvironment, checkout: Path) -> None:
    environment = new_environment("editable")
    environment.pip("install", "--no-build-isolation", "--editable", str(checkout))
    places = use(environment)
    assert places["core"] == (checkout / "core" / "__init__.py").resolve()
    assert all(checkout.resolve() in place.parents for place in places.values())
    added = checkout / "utils" / "added_later.py"
    added.write_text("VALUE = 42\n")
    try:
        said = environment.run("-c", "from flambeau.utils.added_later import VALUE; print(VALUE)")
    finally:
        added.unlink()
    assert said.strip() == "42"


def test_a_checkout_works_without_an_install(new_environment: NewEnvironment) -> None:
    environment = new_environment("plain")
    places = use(environment, cwd=ROOT)
    assert places["core"] == (ROOT / "core" / "__init__.py").resolve()
