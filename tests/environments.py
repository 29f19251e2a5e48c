"""Fresh virtual environments for tests of what users install; the fixtures are those of the whole session."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


class Environment:
    """A virtual environment without anything of this process: no checkout on its path, no settings."""

    def __init__(self, folder: Path, with_pip: bool = True):
        """Without a pip of its own, it is this process's that installs: making one takes seconds."""
        self.folder, self.with_pip = folder, with_pip
        venv.create(folder, with_pip=with_pip, clear=True)
        scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = scripts / "python"
        self.elsewhere = folder / "elsewhere"  # where scripts run: nothing is importable from here
        self.elsewhere.mkdir()

    def run(self, *arguments: str, cwd: Path | None = None, timeout: float = 600, **variables: str) -> str:
        """What ``python ...`` prints; the test fails with all of its output when it fails."""
        return self._said_by(str(self.python), *arguments, cwd=cwd, timeout=timeout, **variables)

    def _said_by(
        self, python: str, *arguments: str, cwd: Path | None = None, timeout: float = 600, **variables: str
    ) -> str:
        hidden = ("FLAMBEAU_", "PYTHON", "VIRTUAL_ENV")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
        done = subprocess.run(
            [python, *arguments],
            cwd=cwd or self.elsewhere,
            env={**clean, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        if done.returncode:
            pytest.fail(f"python {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}", pytrace=False)
        return done.stdout

    def pip(self, *arguments: str) -> str:
        if arguments[0] == "install":
            arguments = ("install", "--no-compile", *arguments[1:])  # each program compiles the little that it imports
        options = ("-m", "pip", "--disable-pip-version-check", "--quiet")
        if self.with_pip:
            return self.run(*options, *arguments)
        return self._said_by(sys.executable, *options, "--python", str(self.python), *arguments)

    def sees(self, folder: Path) -> None:
        """Make the packages of a folder importable, before the environment's own, and installed as pip sees it."""
        where = self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        Path(where, "shared.pth").write_text(f"import sys; sys.path.insert(0, {str(folder)!r})\n")


NewEnvironment = Callable[[str], Environment]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files of this checkout, to build from without leaving anything in it."""
    target = tmp_path_factory.mktemp("source") / "flambeau"
    ignored = shutil.ignore_patterns(
        "__pycache__", "*.egg-info", ".*_cache", "build", "dist", "_build", ".venv", ".git"
    )
    shutil.copytree(ROOT, target, symlinks=True, ignore=ignored)
    return target


@pytest.fixture(scope="session")
def dependencies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with flambeau's dependencies and what builds packages, which several environments share to save time."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    folder = tmp_path_factory.mktemp("dependencies")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-compile",
           "--target", str(folder)]  # fmt: skip
    subprocess.run([*pip, *project["dependencies"], "hatchling>=1.27", "setuptools>=77"], check=True, timeout=600)
    return folder


@pytest.fixture(scope="session")
def new_environment(tmp_path_factory: pytest.TempPathFactory, dependencies: Path) -> NewEnvironment:
    """Makes an environment that has flambeau's dependencies, but not flambeau."""

    def make(name: str) -> Environment:
        made = Environment(tmp_path_factory.mktemp(name), with_pip=False)
        made.sees(dependencies)
        return made

    return make


@pytest.fixture(scope="session")
def distributions(
    checkout: Path, new_environment: NewEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The wheel and the sdist of this checkout; the wheel is built from the sdist, as on an index."""
    folder = tmp_path_factory.mktemp("dist")
    builder = new_environment("builder")
    build = "import hatchling.build as b, sys; print(b.build_sdist(sys.argv[1]))"
    builder.run("-c", build, str(folder), cwd=checkout)
    (sdist,) = folder.glob("*.tar.gz")
    builder.pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(sdist))
    (wheel,) = folder.glob("*.whl")
    return wheel, sdist
