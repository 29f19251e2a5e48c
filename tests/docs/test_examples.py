"""The programs in examples/ run and do what they say."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

import flambeau
from tests.docs.guide import DOCS

EXAMPLES = DOCS.parent / "examples"


@pytest.fixture
def example(request: pytest.FixtureRequest) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{request.param}.py"))


@pytest.mark.parametrize("example", ["train_mlp"], indirect=True)
@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_an_mlp_learns_the_sine(example: dict[str, Any], device: str) -> None:
    assert example["main"](device) < 0.05


@pytest.mark.parametrize("example", ["per_sample_gradients"], indirect=True)
def test_gradients_of_each_example(example: dict[str, Any]) -> None:
    assert example["main"](4) < 1e-6


def test_a_custom_op(run_python: Any) -> None:
    ran = run_python(str(EXAMPLES / "custom_op.py"))  # its op's name can be taken once in a process
    assert ran.returncode == 0, ran.stderr
    cpu, strict, batched, meta, checks = ran.stdout.splitlines()
    assert cpu.split("tensor")[1].split(" gradient")[0] == strict.split("tensor")[1]
    assert "2.7727, 2.7727" in batched and "[4, 5]" in meta and checks.count("SUCCESS") == 3


@pytest.mark.parametrize("example", ["either_framework"], indirect=True)
def test_one_program_on_either_framework(example: dict[str, Any]) -> None:
    losses = example["main"](flambeau)
    assert losses[0] == pytest.approx(0.9329, abs=1e-4) and losses[-1] == pytest.approx(0.1832, abs=1e-4)  # PyTorch's


def test_no_example_is_left_out() -> None:
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {
        "custom_op",
        "either_framework",
        "per_sample_gradients",
        "train_mlp",
    }
