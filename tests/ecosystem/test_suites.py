"""The runs of packages' own tests: outcomes by the plugin, records and reports that parts are entered into."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ecosystem.suites import __main__ as suites

TESTS = """
import os, pytest

@pytest.mark.parametrize("x", range(3))
def test_all(x):
    assert x != 1

@pytest.fixture
def bad_end():
    yield
    raise ValueError

def test_end(bad_end):
    pass

@pytest.mark.xfail
def test_known():
    assert False

def test_skipped():
    pytest.skip()
"""
CRASH = """
def test_crash():
    os._exit(1)
"""
WANTED = [
    "failed test_it.py::test_all[1]", "failed test_it.py::test_end", "passed test_it.py::test_all[0]",
    "passed test_it.py::test_all[2]", "skipped test_it.py::test_skipped", "xfailed test_it.py::test_known",
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "tests", "wanted"),
    [
        ((), "", WANTED),
        (("-p", "xdist.plugin", "-n", "1"), CRASH, [*WANTED, "failed test_it.py::test_crash"]),
    ],
)
def test_each_outcome_is_written_once(tmp_path: Path, options: tuple[str, ...], tests: str, wanted: list[str]) -> None:
    (tmp_path / "test_it.py").write_text(TESTS + tests)
    file = tmp_path / "outcomes"
    there = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "outcomes", *options, "test_it.py"], cwd=tmp_path, stdout=-3,
        env={**there, "PYTHONPATH": str(suites.HERE / "plugin"), "OUTCOMES": str(file),
             "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert sorted(file.read_text().splitlines()) == sorted(wanted)


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "HERE", tmp_path)
    suites.write_record("einops", {"a": "p", "b": "c", "c": "-", "d": "p"})


@pytest.mark.usefixtures("record")
def test_a_part_is_entered_into_the_record() -> None:
    found = {"b": "passed", "c": "passed", "d": "failed", "e": "skipped"}
    assert suites.lettered("einops", found, whole=False) == {"a": "p", "b": "c", "c": "p", "d": "-", "e": "-"}
    assert suites.lettered("einops", found, whole=True) == {"b": "c", "c": "p", "d": "-", "e": "-"}
    assert suites.lettered("new", {"a": "passed"}, whole=False) == {"a": "p"}


@pytest.mark.usefixtures("record")
def test_a_report_goes_on_from_an_earlier_one() -> None:
    first = suites.reported("einops", "1.0", "one", {"a": "failed", "b": "failed", "c": "failed"}, True, None)
    assert (first["torch"], first["flambeau"], first["chance"]) == (3, 0, ["b"])
    assert first["differ"] == {"a": "failed", "b": "failed", "d": "not there"}
    again = suites.reported("einops", "1.0", "two", {"a": "passed"}, False, first)
    assert (again["torch"], again["flambeau"], again["commits"]) == (3, 1, ["one", "two"])
    assert again["differ"] == {"b": "failed", "d": "not there"}
    other = suites.reported("einops", "2.0", "two", {"a": "passed"}, False, first)
    assert (other["torch"], other["flambeau"], other["whole"]) == (1, 1, False)


def test_other_seeds_tell_chance_from_what_holds() -> None:
    letters = {"a": "p", "b": "p", "c": "-"}
    suites.marked(letters, {"a": "passed", "b": "failed", "c": "failed"})
    assert letters == {"a": "p", "b": "c", "c": "-"}
