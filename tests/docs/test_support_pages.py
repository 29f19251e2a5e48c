"""The build of the documentation makes the support matrices; none is kept."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.docs.guide import DOCS

Fill = Callable[[str], str]


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Fill]:
    """Fill the page of a device as the build does, with reports from tmp_path/reports, into tmp_path/html."""
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    pages = importlib.import_module("support_pages")
    config = SimpleNamespace(support_reports=str(tmp_path / "reports"))
    app = SimpleNamespace(config=config, builder=SimpleNamespace(name="html"), outdir=str(tmp_path / "html"))
    (tmp_path / "html").mkdir()

    def run(device: str) -> str:
        source = [(DOCS / "results" / f"support-{device}.md").read_text()]
        pages.fill(app, f"results/support-{device}", source)
        return source[0]

    yield run
    sys.modules.pop("support_pages")


def test_without_a_report_the_tables_speak(fill: Fill, tmp_path: Path) -> None:
    text = fill("cpu")
    assert "the conformance kit was not run" in text and "\n| `exp` |" in text and "(●)" not in text
    facts = json.loads((tmp_path / "html" / "results" / "support-cpu.json").read_text())
    assert facts["ops"]["exp"]["float32"] == "native" and facts["tests"] == 0


def test_a_report_goes_before_the_tables(fill: Fill, tmp_path: Path) -> None:
    fill("cpu")
    facts = json.loads((tmp_path / "html" / "results" / "support-cpu.json").read_text())
    facts["ops"]["exp"]["float32"], facts["tests"], facts["as_declared"] = "failed", 5, 4
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "support-cpu.json").write_text(json.dumps(facts))
    text = fill("cpu")
    assert "The conformance kit ran 5 tests of ops, 4 of which went as declared." in text and "| ✗ |" in text


def test_of_a_device_that_is_not_there_the_page_says_why(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(device: str) -> None:
        raise RuntimeError(f"device {device!r} is not here")

    monkeypatch.setattr("support_pages.facts_of", nowhere)
    assert fill("cuda").endswith("no such device:\n\n```text\ndevice 'cuda' is not here\n```\n")


def test_nothing_generated_is_kept() -> None:
    assert not list((DOCS / "results").glob("support-*.json"))
    assert max(len(p.read_text()) for p in (DOCS / "results").glob("support-*.md")) < 1000
