"""The guide's code, run: its package is whole and right, and its example prints what the page says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import MINIMUM, Backend
from flambeau.backends.cpu.backend import CpuBackend
from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.nn import functional as F
from tests.docs.guide import blocks, write_files
from tests.plugins.minimum import check_minimum

PAGE = "writing-a-backend.md"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("guide")
    write_files(PAGE, folder)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("flambeau_toy", None)


@pytest.fixture(scope="module")
def backend(package: Path) -> Any:
    import flambeau_toy

    return flambeau_toy.flambeau_backends()


def test_it_has_the_minimum_and_nothing_else(backend: Any) -> None:
    assert set(backend.kernels.names()) - set(backend.kernels.parent.names()) == set(MINIMUM)


@pytest.mark.parametrize("name", MINIMUM)
def test_its_kernels_are_right(backend: Any, name: str) -> None:
    check_minimum(name, backend, CpuBackend())


def test_its_limitations_are_what_the_kit_reads() -> None:
    scope: dict[str, Any] = {}
    ((_, snippet),) = blocks(PAGE, "snippet")
    exec(snippet, scope)
    (limitation,) = scope["limitations"]
    assert limitation.covers("argsort", dt.int64) and not limitation.covers("argsort", dt.float32)
    assert isinstance(Backend.limitations, tuple)


def test_a_device_that_lacks_dtypes_is_a_class_with_fewer_of_them(package: Path) -> None:
    import flambeau_toy

    ((_, text),) = blocks(PAGE, "lacking")
    scope = dict(vars(flambeau_toy))
    exec(text, scope)
    registry.register_backend(scope["ShaderBackend"](), "tests")
    try:
        found, wanted = (_with_labels(d) for d in ("shader", "cpu"))
    finally:
        registry.unregister_backend("shader")
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def _with_labels(device: str) -> list[float]:
    x = fb.linspace(-1, 1, 12, device=device).reshape(3, 4).requires_grad_()
    y = fb.tensor([1, 0, 2], device=device)
    scores = F.dropout(F.embedding(y, x), 0.0) * x
    loss = F.cross_entropy(scores, y) + scores[scores > 0].sum() + (scores.argmax(1) == y).sum()
    loss.backward()
    assert x.grad is not None
    return [loss.item(), *x.grad.flatten().tolist(), *y.sort().indices.tolist()]


def test_its_example_prints_what_the_page_says(package: Path, run_python: Callable[..., Any]) -> None:
    (_, program), (_, expected) = blocks(PAGE, "run")[0], blocks(PAGE, "output")[0]
    ran = run_python(
        "-c", f"import sys; sys.path.insert(0, {str(package)!r})\n{program}", FLAMBEAU_PLUGINS="toy=flambeau_toy"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == expected
