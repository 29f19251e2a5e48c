"""Each way to have flambeau, in a fresh environment: everything is there once, runs, and is known to an editor."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import flambeau
from tests.environments import ROOT, Environment, NewEnvironment

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("install")]

HOUSES = ("core", "backends", "plugins", "nn", "optim")
PROGRAM = Path(__file__).with_name("program.py").read_text()
PLACES = """
import importlib, json
names = ["flambeau", *(f"flambeau.{n}" for n in ("core", "backends", "plugins", "nn", "optim", "utils"))]
print(json.dumps([importlib.import_module(name).__file__ for name in names]))
"""


class Way(NamedTuple):
    """A way to have flambeau: an environment, the folder that it comes from, and where programs run."""

    environment: Environment
    source: Path
    cwd: Path


@pytest.fixture(scope="module")
def unpacked(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(distributions[1]) as archive:
        safe: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # since Python 3.11.4
        archive.extractall(folder, **safe)
    return next(folder.iterdir())


@pytest.fixture(scope="module", params=["wheel", "sdist", "editable", "editable sdist", "checkout"])
def way(
    request: pytest.FixtureRequest, distributions: tuple[Path, Path], unpacked: Path, checkout: Path,
    new_environment: NewEnvironment,
) -> Way:  # fmt: skip
    environment = new_environment(request.param.replace(" ", "-"))
    source = {"wheel": distributions[0], "sdist": unpacked, "editable sdist": unpacked}.get(request.param, checkout)
    if request.param == "checkout":
        return Way(environment, checkout, checkout)
    editable = request.param.startswith("editable")
    environment.pip("install", "--no-build-isolation", *["--editable"] * editable, str(source))
    return Way(environment, source if editable else environment.folder, environment.elsewhere)


@pytest.fixture
def program(way: Way) -> Iterator[Path]:
    """The program of a user, in the folder where this way's programs run."""
    path = way.cwd / "a_program.py"
    path.write_text(PROGRAM)
    yield path
    path.unlink()


def test_a_program_runs(way: Way, program: Path) -> None:
    assert "Size([32, 8])" in way.environment.run(program.name, cwd=way.cwd)


def test_every_subpackage_is_there_once(way: Way) -> None:
    places = json.loads(way.environment.run("-c", PLACES, cwd=way.cwd))
    assert all(Path(place).is_relative_to(way.source) for place in places)
    missing = "try: import {0}\nexcept ModuleNotFoundError: print('no {0}')"
    for name in ("flambeau.flambeau", "flambeau.tests", "flambeau.core.core"):
        assert "no" in way.environment.run("-c", missing.format(name), cwd=way.cwd)
    if way.source == way.environment.folder:
        for name in (*HOUSES, "utils", "tests", "docs"):
            assert "no" in way.environment.run("-c", missing.format(name))


def pyright(way: Way, *files: Path) -> list[list[str]]:
    """What pyright says of each file, with the Python of an environment and the files' folder as its project."""
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", str(way.environment.python),
         *map(str, files)],
        cwd=way.cwd, stdout=subprocess.PIPE, text=True, timeout=600,
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] == len(files)
    found = said["generalDiagnostics"]
    assert {Path(each["file"]).name for each in found} <= {file.name for file in files}
    return [[each["message"] for each in found if Path(each["file"]).name == file.name] for file in files]


def test_pyright_resolves_every_name(way: Way, program: Path) -> None:
    names = ("fb.softmin_", "F.relo", "optim.Adan", "solution.shap")
    mistaken = program.with_name("a_mistaken_program.py")
    mistaken.write_text("\n".join([PROGRAM, *(f"print({name})" for name in names)]))
    right, wrong = pyright(way, program, mistaken)
    mistaken.unlink()
    assert right == []
    unknown = [said for said in wrong if "attribute" in said]
    assert [said.split('"')[1] for said in unknown] == [name.partition(".")[2] for name in names]


def test_an_editable_install_follows_its_source(way: Way) -> None:
    if way.source == way.environment.folder:
        pytest.skip("it is a copy")
    for folder in (way.source / "flambeau" / "utils", way.source / "flambeau" / "nn"):
        added = folder / "added_later.py"
        added.write_text("VALUE = 42\n")
        said = way.environment.run(
            "-c", f"from flambeau.{folder.name}.added_later import VALUE; print(VALUE)", cwd=way.cwd
        )
        added.unlink()
        assert said.strip() == "42"


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


def test_a_wheel_brings_its_dependencies(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    environment = Environment(tmp_path / "wheel")
    environment.pip("install", str(distributions[0]))
    environment.pip("check")
    environment.run("-c", PROGRAM)


def test_an_unpacked_sdist_passes_its_own_tests(unpacked: Path, new_environment: NewEnvironment) -> None:
    environment = new_environment("own-tests")
    copy = shutil.copytree(unpacked, environment.folder / "flambeau")
    environment.pip("install", "--no-build-isolation", "--editable", str(copy), "pytest>=8.4")
    chosen = ("tests/core/test_stubs.py", "tests/docs/test_re*.py", "tests/packaging", "tests/plugins/test_template.py")
    paths = [str(path) for pattern in chosen for path in copy.glob(pattern)]
    environment.run("-m", "pytest", "-q", *paths, cwd=copy)


def files(folder: Path, *below: str) -> dict[str, bytes]:
    """The files below these folders, links followed, by their names in ``folder``."""
    found: dict[str, bytes] = {}
    for name in below:
        for path in (folder / name).iterdir():
            where = path.relative_to(folder).as_posix()
            if path.is_dir():
                found |= files(folder, where)
            else:
                found[where] = path.read_bytes()
    return {name: text for name, text in found.items() if "__pycache__" not in name}


def test_the_wheel_has_every_module_and_nothing_at_the_top_level(
    distributions: tuple[Path, Path], checkout: Path
) -> None:
    wheel, _ = distributions
    assert wheel.name == f"flambeau-{flambeau.__version__}-py3-none-any.whl"
    archive, info = zipfile.ZipFile(wheel), f"flambeau-{flambeau.__version__}.dist-info/"
    packed = {name: archive.read(name) for name in archive.namelist() if not name.startswith(info)}
    others = tuple(f"flambeau/plugins/{name}/" for name in ("jax", "mlx", "template", "webgpu"))
    assert packed == {n: text for n, text in files(checkout, "flambeau").items() if not n.startswith(others)}
    for needed in ("py.typed", "__init__.pyi", "core/tensor_methods.pyi", "data/digits.npz", "utils/data/loader.py"):
        assert f"flambeau/{needed}" in packed
    for text in ("LICENSE", "flambeau/data/SOURCE.txt"):
        assert archive.read(f"{info}licenses/{text}") == (checkout / text).read_bytes()


def test_the_sdist_has_every_file_once(unpacked: Path, checkout: Path) -> None:
    below = ("flambeau", "tests", "docs", "benchmarks", "examples", ".ci", ".github")
    assert files(unpacked, *below) == files(checkout, *below)
    assert {path.name for path in unpacked.iterdir()} == {
        *below, "pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "PKG-INFO", ".gitignore",
        ".pre-commit-config.yaml",
    }  # fmt: skip


def test_the_links_are_the_whole_mapping() -> None:
    links = {path.name: path.readlink() for path in (ROOT / "flambeau").iterdir() if path.is_symlink()}
    assert links in ({house: Path("..", house) for house in HOUSES}, {})  # an unpacked sdist has the folders themselves
    assert not (ROOT / "setup.py").exists() and shutil.which("pyright")
