"""The page of results merges reports of several devices and packages."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from tests.ecosystem.page import merge, merge_suite, shown


def report(device: str, answers: list[str], version: str = "1.0", **wrong: str) -> dict[str, Any]:
    return {
        "package": "timm", "version": version, "device": device, "about": "timm: models.", "commit": "abc",
        "checks": dict.fromkeys(answers, "Outputs."), "answers": dict.fromkeys(answers), "errors": {},
        "wrong": {job: [text] for job, text in wrong.items()},
    }  # fmt: skip


def test_a_later_report_replaces_its_jobs_alone() -> None:
    known: dict[str, Any] = {}
    merge(known, report("cpu", ["resnet", "vit"], vit="[0]: 1 instead of 2"))
    merge(known, report("opencl", ["resnet"]))
    page = shown(known)
    assert "| [timm](#ecosystem-timm) | 1.0 | 1&nbsp;of&nbsp;2 | 1&nbsp;of&nbsp;1 | Models. |" in page
    assert "| `resnet`, `vit` | 1 agree, not `vit` | 1 agree | Outputs. |" in page
    assert "- `vit` on cpu: [0]: 1 instead of 2" in page
    merge(known, report("cpu", ["vit"]))
    assert "| 2&nbsp;of&nbsp;2 | 1&nbsp;of&nbsp;1 |" in shown(known)


def test_of_another_version_nothing_is_kept() -> None:
    known: dict[str, Any] = {}
    merge(known, report("opencl", ["resnet"]))
    merge(known, report("cpu", ["resnet"], version="2.0"))
    assert known["timm"]["devices"].keys() == {"cpu"}


def test_a_script_that_does_not_start_is_shown() -> None:
    known: dict[str, Any] = {}
    merge(known, {"package": "new", "device": "cpu", "answers": {}, "errors": {"import": "no"},
                  "wrong": {"import": ["Traceback\nImportError: no such name"]}})  # fmt: skip
    assert "- `import` on cpu: ImportError: no such name" in shown(known)


def test_suites_have_a_table_of_their_own() -> None:
    known: dict[str, Any] = {}
    assert "test suites" not in shown(known)
    merge(known, report("cpu", ["resnet"]))
    suite = {"suite": "timm", "version": "1.0", "about": "All.", "commits": ["def"], "whole": True, "torch": 2000,
             "flambeau": 1998, "differ": {"a": "failed", "b": "failed"}, "chance": ["b"], "outcomes": {}}  # fmt: skip
    merge_suite(known, suite)
    merge_suite(known, {**suite, "suite": "other", "flambeau": 2000, "differ": {}, "chance": []})
    page = shown(known)
    assert "| timm | 1.0 | 2,000 | 1,998 | 99.90&nbsp;% | 1 | All. |" in page
    assert "| other | 1.0 | 2,000 | 2,000 | 100.00&nbsp;% | 0 | All. |" in page
    assert "## other" not in page and "Commits: abc, def." in page
    assert known["timm"]["devices"].keys() == {"cpu"} and "outcomes" not in known["timm"]["suite"]
    with pytest.raises(SystemExit, match="part"):
        merge_suite(known, {**suite, "whole": False})


@pytest.mark.parametrize("script", sorted((Path(__file__).parent / "scripts").glob("*_jobs.py")), ids=lambda s: s.stem)
def test_each_job_says_what_it_checks(script: Path) -> None:
    tree = ast.parse(script.read_text())
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    jobs = [f for f in functions if any(isinstance(d, ast.Name) and d.id == "job" for d in f.decorator_list)]
    assert jobs
    assert [f.name for f in jobs if not ast.get_docstring(f)] == []
