"""The conformance kit finds what is planted, passes what is sound, and writes a matrix that tells the truth."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import flambeau

ROOT = Path(__file__).resolve().parents[2]
KIT = Path(flambeau.__file__).parent.parent / "plugins" / "conformance"


def run_kit(fault: str, *arguments: str, device: str = "planted") -> tuple[int, str]:
    """The exit status and output of the kit on the planted backend."""
    environment = os.environ | {
        "FLAMBEAU_PLANTED": fault,
        "FLAMBEAU_PLUGINS": "planted=tests.plugins.planted",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib",
               "-p", "flambeau.plugins.conformance.options", str(KIT), f"--flambeau-device={device}",
               "--flambeau-dtypes=few", *arguments]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


FAULTS = {
    "wrong_kernel": ("test_special_values[maximum]", "test_special_values and maximum"),
    "layout": ("test_layouts[neg-float32-transposed]", "test_layouts and neg and float32"),
    "missing_kernel": ("floor", "test_required and floor"),
    "wrong_claim": ("test_integers_are_exact[mul]", "test_integers and mul"),
    "undeclared_pass": ("test_values[exp-float32]", "test_values and exp-float32"),
    "writes_input": ("test_inputs_are_left_alone[exp-float32]", "test_inputs and exp-float32"),
    "leak": ("test_memory_returns", "test_memory_returns"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(fault: str) -> None:
    named, chosen = FAULTS[fault]
    status, output = run_kit(fault, "-k", chosen)
    assert status == 1, output[-2000:]
    assert any(named in line for line in output.splitlines() if line.startswith("FAILED")), output[-2000:]


def test_the_same_tests_pass_on_a_sound_backend(tmp_path: Path) -> None:
    chosen = (
        "test_required or maximum or neg-float32 or floor or exp-float32 or mul-int64 or test_storage or test_random"
    )
    status, output = run_kit("none", "-k", chosen, f"--flambeau-report={tmp_path}")
    assert status == 0, output[-3000:]
    facts = json.loads((tmp_path / "support-planted.json").read_text())
    assert facts["device"] == "planted" and facts["tests"] == facts["as_declared"] > 10
    assert facts["ops"]["exp"]["float32"] == "native" and facts["ops"]["tanh"]["float32"] == "composite"
    assert "| exp |" in (tmp_path / "support-planted.md").read_text()


def test_the_device_must_be_named() -> None:
    status, output = run_kit("none", device="")
    assert status != 0 and "--flambeau-device" in output
