"""``python -m flambeau``: the commands as a user runs them."""

from __future__ import annotations

import json
import re

import pytest

import flambeau
from flambeau.__main__ import main
from tests.conftest import RunPython


def test_version(run_python: RunPython) -> None:
    done = run_python("-m", "flambeau", "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"flambeau {flambeau.__version__}")


def test_no_command_shows_the_commands(run_python: RunPython) -> None:
    done = run_python("-m", "flambeau")
    assert done.returncode == 2 and done.stdout == ""
    for command in ("demo", "doctor", "coverage", "explain"):
        assert f"\n    {command} " in done.stderr
    assert run_python("-m", "flambeau", "--help").stdout == done.stderr


def test_doctor_as_text_and_as_json(run_python: RunPython) -> None:
    done = run_python("-m", "flambeau", "doctor", FLAMBEAU_NUM_THREADS="1")
    assert f"flambeau {flambeau.__version__}, plugin API 1" in done.stdout
    assert re.search(r"FLAMBEAU_NUM_THREADS +1  \(environment\)", done.stdout)
    done = run_python("-m", "flambeau", "doctor", "--json")
    found = json.loads(done.stdout)
    assert {"cpu", "meta", "strict", "opencl", "cuda"} <= {p["name"] for p in found["plugins"]}
    assert found["threads"]["num_threads"] >= 1


def test_a_device_that_is_not_there_is_told_without_a_traceback(run_python: RunPython) -> None:
    done = run_python("-m", "flambeau", "coverage", "--device", "nosuch")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("flambeau: unknown device type 'nosuch'")
    assert "Traceback" not in done.stderr


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--epochs", "0"])
    assert "must be a whole number of at least 1, got '0'" in capsys.readouterr().err


def test_explain_names_the_kernel_and_the_generated_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "add", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    for words in ("add(x: Tensor, y: Tensor) -> Tensor", "def add(", "cpu"):
        assert words in said


def test_explain_of_an_unknown_op_gives_close_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "ad"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "there is no op 'ad'" in said.err and "add" in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--epochs", "x"], "must be a whole number of at least 1, got 'x'"),
        (["demo", "--device", "cpu:x"], "argument --device: device: invalid device string 'cpu:x'"),
    ],
)
def test_arguments_that_are_no_values(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "--device", "meta"], "demo: device 'meta' has shapes and no data"),
        (["coverage", "--device", "cpu:4"], "device 'cpu:4' does not exist: cpu has 1 device(s)"),
        (["explain", "add", "--device", "quantum"], "unknown device type 'quantum'"),
    ],
)
def test_a_device_that_cannot_serve(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("flambeau: ") and words in said.err
