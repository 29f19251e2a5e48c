"""The template package: small, exactly the minimum, and right where the CPU is the judge."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flambeau.backends.base import MINIMUM
from flambeau.backends.cpu.backend import CpuBackend
from flambeau.core import dtype as dt
from tests.environments import NewEnvironment
from tests.plugins.minimum import check_minimum

TEMPLATE = Path(__file__).resolve().parents[2] / "flambeau" / "plugins" / "template"


@pytest.fixture(scope="module")
def backend() -> Iterator[Any]:
    """The template's backend, as if the package were installed."""
    sys.path.insert(0, str(TEMPLATE))
    try:
        import flambeau_pylist

        yield flambeau_pylist.flambeau_backends()
    finally:
        sys.path.remove(str(TEMPLATE))


def test_the_package_has_at_most_150_lines() -> None:
    files = [f for f in TEMPLATE.iterdir() if f.suffix in (".py", ".toml", ".md")]
    assert sum(len(f.read_text().splitlines()) for f in files) <= 150


def test_it_has_the_minimum_and_nothing_else(backend: Any) -> None:
    assert set(backend.kernels.names()) - set(backend.kernels.parent.names()) == set(MINIMUM)


@pytest.mark.parametrize("name", MINIMUM)
def test_its_kernels_are_right(backend: Any, name: str) -> None:
    check_minimum(name, backend, CpuBackend())


@pytest.mark.parametrize("bad", [-1, 4])
def test_bad_indices(backend: Any, bad: int) -> None:
    x, index = backend.from_host(np.ones(4, np.float32), dt.float32), backend.from_host(np.array([bad]), dt.int64)
    for name, operands in (("gather", (x, index)), ("scatter", (x, index, x))):
        with pytest.raises(IndexError, match=f"{name}: index {bad} is out of bounds for dimension 0 with size 4"):
            backend.kernels.find(name, dt.float32)(*operands, axis=0)


@pytest.mark.slow
@pytest.mark.xdist_group("packages")
def test_its_conformance_run_passes_in_an_environment_of_its_own(
    distributions: tuple[Path, Path], new_environment: NewEnvironment
) -> None:
    environment = new_environment("template")
    environment.pip("install", str(distributions[0]), "pytest>=8.4")
    copy = shutil.copytree(
        TEMPLATE, environment.folder / "flambeau-pylist", ignore=shutil.ignore_patterns("__pycache__")
    )
    environment.pip("install", "--no-deps", "--no-build-isolation", str(copy))
    environment.run("-m", "pytest", "-q", str(copy / "test_conformance.py"), timeout=1200)
