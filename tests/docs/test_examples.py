"""The programs in examples/ run and do what they say."""

from __future__ import annotations

import json
import runpy
from typing import Any

import pytest

import flambeau
from tests.docs.example_losses import LOSSES, PROGRAMS, quick_losses
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


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_has_the_losses_that_pytorch_gives_it(program: str) -> None:
    recorded = json.loads(LOSSES.read_text())[program]
    assert len(set(recorded)) > 1 or len(recorded) == 1
    assert quick_losses(program) == pytest.approx(recorded, rel=2e-3, abs=1e-5)


@pytest.mark.slow
@pytest.mark.device("opencl")
@pytest.mark.parametrize("program", ["char_rnn", "gpt"])
def test_a_program_gives_on_another_device_what_it_gives_here(program: str) -> None:
    assert quick_losses(program, device="opencl") == pytest.approx(json.loads(LOSSES.read_text())[program], rel=2e-3)


def test_no_example_is_left_out() -> None:
    others = {"custom_op", "either_framework", "per_sample_gradients", "tools", "train_mlp"}
    assert {p.stem for p in EXAMPLES.glob("*.py")} == {*others, *PROGRAMS}
