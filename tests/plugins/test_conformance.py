"""The conformance kit finds what is planted, passes what is sound, and writes a matrix that tells the truth."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import flambeau
from flambeau.plugins.conformance.sample import Facts, parse, spread
from tests.conftest import RunPython

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kit")]

ROOT = Path(__file__).resolve().parents[2]
KIT = Path(flambeau.__file__).parent / "plugins" / "conformance"
PLANTED = {"FLAMBEAU_PLUGINS": "planted=tests.plugins.planted", "PYTHONPATH": str(ROOT)}


class Run(NamedTuple):
    """How the kit fared on a backend."""

    status: int
    output: str
    failed: list[str]
    facts: dict[str, Any]
    page: str


def run_kit(faults: str, chosen: str, *arguments: str, report: Path | None = None) -> Run:
    """Run the kit's tests ``chosen`` on the planted backend with these faults."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib",
               "-p", "flambeau.plugins.conformance.options", str(KIT), "--flambeau-dtypes=few", "-k", chosen,
               *arguments]  # fmt: skip
    if report is not None:
        command.append(f"--flambeau-report={report}")
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | PLANTED | {"PLANTED_FAULTS": faults}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    failed = [line.partition("::")[2] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    written = report is not None and (report / "support-planted.json").exists()
    facts = json.loads((report / "support-planted.json").read_text()) if report is not None and written else {}
    page = (report / "support-planted.md").read_text() if report is not None and written else ""
    return Run(done.returncode, done.stdout, failed, facts, page)


#: By fault: the test that must find it.
FAULTS = {
    "wrong_kernel": "test_special_values[maximum]",
    "layout": "test_layouts[neg-float32]",
    "missing_kernel": "test_required[floor]",
    "wrong_claim": "test_integers_are_exact[mul]",
    "undeclared_pass": "test_values[sin-float32]",
    "writes_input": "test_inputs_are_left_alone[cos-float32]",
    "writes_beside": "test_in_place[abs-float32]",
    "unchecked_index": "test_bad_indices_raise[gather-5]",
    "copied_view": "test_views_share_memory[diagonal-float32]",
    "leak": "test_memory_is_given_back[exp-float32]",
}
TESTS = (
    "test_special_values or (test_layouts and neg-float32) or test_required or test_integers or test_limitations "
    "or (test_values and (sin-float32 or maximum-float32)) or (test_inputs and cos-float32) "
    "or (test_in_place and abs-float32) or (test_bad_indices and gather-5) or (test_views_share and diagonal) "
    "or (test_memory and exp-float32) or test_memory_returns"
)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The kit on a backend with every fault at once."""
    return run_kit(" ".join(FAULTS), TESTS, "--flambeau-device=planted", report=tmp_path_factory.mktemp("faulty"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same tests and some more on the backend without faults, by two processes."""
    chosen = f"{TESTS} or test_storage or test_random or test_optimizer or exp-float32 or tanh-float32"
    return run_kit(
        "", chosen, "--flambeau-device=planted", "-p", "xdist", "-n", "2", report=tmp_path_factory.mktemp("sound")
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_found(faulty: Run, fault: str) -> None:
    assert faulty.status == 1, faulty.output[-2000:]
    assert any(line.startswith(FAULTS[fault]) for line in faulty.failed), faulty.failed


def test_a_leak_is_found_by_the_training_too(faulty: Run) -> None:
    assert any(line.startswith("test_memory_returns_to_where_it_was") for line in faulty.failed)


def test_a_limitation_of_nothing_is_found(faulty: Run) -> None:
    assert any(line.startswith("test_limitations_name_ops") for line in faulty.failed)
    assert "names 'sine', which is no op" in faulty.output


def test_the_matrix_shows_what_failed(faulty: Run) -> None:
    ops = faulty.facts["ops"]
    failed = {(op, d) for op, row in ops.items() for d, state in row.items() if state == "failed"}
    assert failed >= {("maximum", "float32"), ("neg", "float32"), ("mul", "int64"), ("cos", "float32")}
    assert ("add", "float32") not in failed and ops["floor"]["float32"] == "missing"
    assert faulty.facts["as_declared"] < faulty.facts["tests"]
    assert "| `maximum` |" in faulty.page and "✗" in faulty.page
    assert {"op": "sin", "dtypes": ["float32"], "reason": "declared, but it works"} in faulty.facts["limitations"]


def test_the_same_tests_pass_on_a_sound_backend(sound: Run) -> None:
    assert sound.status == 0, sound.output[-3000:]
    assert sound.facts["device"] == "planted" and sound.facts["tests"] == sound.facts["as_declared"] > 100
    assert "pairs of op and dtype conform" in sound.output


def test_the_matrix_tells_what_was_checked(sound: Run) -> None:
    facts = sound.facts
    assert facts["checked"] == ["bool", "int64", "float32", "float64"] and "uint8" in facts["not_checked"]
    assert facts["absent"] == [] and facts["selection"].startswith('-k "test_special_values')
    assert facts["ops"]["exp"]["float32"] == "native" and facts["ops"]["tanh"]["float32"] == "composite"
    assert facts["ops"]["neg"]["bool"] == "undefined"
    assert facts["ops"]["cholesky"]["float32"] == "missing" and "svd" in facts["lacks"]["pinv"]
    assert "float32" not in facts["unchecked"]["exp"] and "float32" in facts["unchecked"]["ceil"]
    for words in ("Checked dtypes: bool, int64, float32, float64.", "This was a part of the kit", "| `exp` | (●) |",
                  "`pinv` (for want of `eigh`, `svd`)"):  # fmt: skip
        assert words in sound.page


def test_coverage_and_doctor_name_the_missing_kernel(run_python: RunPython) -> None:
    missing = PLANTED | {"PLANTED_FAULTS": "missing_kernel"}
    ops = json.loads(run_python("-m", "flambeau", "coverage", "--device", "planted", "--json", **missing).stdout)["ops"]
    assert ops["floor"]["float32"] == {"state": "missing", "lacks": [["floor", "float32"]]}
    assert ops["round_half_even"]["float32"]["state"] == "missing" and ops["exp"]["float32"]["state"] == "native"
    done = run_python("-m", "flambeau", "doctor", **missing)
    assert done.returncode == 1 and "plugin planted: no kernel for floor, which every backend must have" in done.stdout


def collected(*arguments: str) -> list[str]:
    """The tests that the kit would run, by name."""
    found = run_kit("", "test_values or test_layouts or test_storage", "--flambeau-device=planted", *arguments)
    return [line.partition("::")[2] for line in found.output.splitlines() if "::" in line]


@pytest.mark.slow
def test_a_sample_is_the_same_in_every_run_and_another_with_another_seed() -> None:
    """And it is spread: each op at most once, each kind of test and each dtype about as often as the others."""
    first, second = (collected("--collect-only", "--flambeau-sample=60") for _ in range(2))
    other = collected("--collect-only", "--flambeau-sample=60:1")
    assert len(first) == len(other) == 60 and first == second and set(first) != set(other)
    ops = [name.partition("[")[2].partition("-")[0] or name for name in first]
    assert len(set(ops)) == len(ops)
    of_ops = [name for name in first if re.search(r"-(float|int|bool)\d*\]", name) and "bits" not in name]
    kinds = Counter(name.partition("[")[0] for name in of_ops)
    assert len(of_ops) > 40 and len(kinds) > 4 and max(kinds.values()) - min(kinds.values()) <= 1, kinds
    dtypes = Counter(name.rpartition("-")[2].rstrip("]") for name in of_ops)
    assert set(dtypes) == {"float32", "int64", "bool", "float64"} and min(dtypes.values()) > 4, dtypes


@pytest.mark.slow
def test_a_sample_runs_in_several_processes_and_the_matrix_says_so(tmp_path: Path) -> None:
    found = run_kit(
        "", "test_values and float32", "--flambeau-device=planted", "--flambeau-sample=12:3", "-p", "xdist", "-n", "2",
        report=tmp_path,
    )  # fmt: skip
    assert found.status == 0, found.output[-2000:]
    assert found.facts["tests"] == 12 and found.facts["selection"].endswith("--flambeau-sample=12:3")
    assert "--flambeau-sample=12:3`." in found.page


@pytest.mark.parametrize("wrong", ["0", "many", "-3", "5:x", "1.5", "", "5:"])
def test_a_sample_of_nothing_is_no_sample(wrong: str) -> None:
    with pytest.raises(ValueError, match=f"takes N or N:SEED, N a number of tests from 1, got '{wrong}'"):
        parse(wrong)


def test_a_sample_of_nothing_is_refused() -> None:
    found = run_kit("", "test_required", "--flambeau-device=planted", "--flambeau-sample=many", "--collect-only")
    assert found.status != 0 and "--flambeau-sample takes N or N:SEED" in found.output


def test_a_sample_larger_than_the_kit_is_all_of_it() -> None:
    tests = [Facts(f"op{i % 7}", "test_values", "float32", f"test_values[{i}]") for i in range(20)]
    assert spread(tests, 99, 0) == set(range(20))


@pytest.mark.parametrize("count", [7, 21, 40])
def test_a_sample_takes_all_ops_before_one_comes_again(count: int) -> None:
    tests = [
        Facts(f"op{op}", test, dtype, f"{test}[op{op}-{dtype}]")
        for op in range(7) for test in ("test_values", "test_layouts", "test_grad") for dtype in ("int64", "float32")
    ]  # fmt: skip
    taken = [tests[i] for i in spread(tests, count, 5)]
    for field in ("op", "test", "dtype"):
        counts = Counter(getattr(t, field) for t in taken)
        assert max(counts.values()) - min(counts.values()) <= (1 if field == "op" else 2), (field, counts)


def test_the_device_must_be_named() -> None:
    found = run_kit("", "test_values")
    assert found.status != 0 and "--flambeau-device" in found.output
