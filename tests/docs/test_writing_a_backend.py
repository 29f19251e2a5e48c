"""The guide's code, run: its package is whole and right, and its example prints what the page says."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import MINIMUM, MINIMUM_ELEMENTWISE, Backend
from flambeau.backends.cpu.backend import CpuBackend
from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.core.device import device
from flambeau.core.expr import PRIMITIVES
from flambeau.core.keys import Key, expression, native_kernel
from flambeau.core.record import ELEMENTWISE, OPS
from flambeau.nn import functional as F
from tests.docs.guide import DOCS, blocks, primitives, primitives_of, write_files
from tests.plugins.minimum import check_minimum

PAGE = "writing-a-backend.md"
KIT = DOCS.parent / "flambeau" / "plugins" / "conformance"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("guide")
    write_files(PAGE, folder)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    for module in ("flambeau_toy", "flambeau_toygen"):
        sys.modules.pop(module, None)


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


# -- the section for compilers -------------------------------------------------------------------------
def test_its_primitives_are_those_of_the_language() -> None:
    """``python -m tests.docs.guide`` writes the table anew."""
    assert primitives_of(PAGE) == primitives() and all(f"| `{name}` |" in primitives() for name in PRIMITIVES)


def test_the_expression_that_it_quotes_is_the_records() -> None:
    assert OPS["softplus"].expr == "where(x * beta > threshold, x, log1p(exp(x * beta)) / beta)"
    assert f"`{OPS['softplus'].expr}`" in (DOCS / PAGE).read_text()


@pytest.fixture(scope="module")
def generated(package: Path) -> Any:
    import flambeau_toygen

    return flambeau_toygen.flambeau_backends()


def test_it_has_no_elementwise_kernel_of_its_own(generated: Any) -> None:
    own = set(generated.kernels.names()) - set(generated.kernels.parent.names())
    assert own == set(MINIMUM) - set(MINIMUM_ELEMENTWISE)


@pytest.mark.parametrize("name", MINIMUM_ELEMENTWISE)
def test_its_generated_kernels_are_right(generated: Any, name: str) -> None:
    check_minimum(name, Generated(generated), CpuBackend())


class Generated:
    """A backend whose elementwise kernels are found as the dispatcher finds them."""

    def __init__(self, backend: Any):
        self.backend, self.kernels = backend, self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def find(self, name: str, dtype: dt.DType) -> Any:
        op = OPS[name]
        kinds = tuple({"bool": dt.bool_}.get(op.kind_of(a), dtype) for a in op.schema.operands)
        return self.backend.elementwise(name, expression(op), kinds, op.dtype.out(0, dtype, {}))


def test_every_elementwise_op_has_its_kernel(generated: Any) -> None:
    for name, op in OPS.items():
        if op.expr is not None and op.family is ELEMENTWISE and op.accepts(dt.float32):
            key = Key(None, device("cpu"), dt.float32, generated)
            assert native_kernel(key, op) is not None, name


@pytest.mark.slow
def test_the_kit_passes_a_sample_of_it(package: Path, run_python: Callable[..., Any]) -> None:
    ran = run_python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib", "-p",
        "flambeau.plugins.conformance.options", str(KIT), "--flambeau-device=toygen", "--flambeau-dtypes=few",
        "--flambeau-sizes=small", "--flambeau-sample=60", "-k", "test_values or test_in_place or test_layouts",
        timeout=600, FLAMBEAU_PLUGINS="toygen=flambeau_toygen",
        PYTHONPATH=os.pathsep.join([str(package), str(DOCS.parent)]),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:]
