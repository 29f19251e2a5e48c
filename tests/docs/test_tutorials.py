"""The tutorials and the first page are programs: each runs from top to bottom and prints what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.docs.guide import DOCS, run_page, steps

_RUN = """
from pathlib import Path
from tests.docs.guide import run_page, write_files
write_files({0!r}, Path())
run_page({0!r})
"""
PAGES = ["index.md", *sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / "tutorials").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_page(page: str, run_python: Callable[..., Any]) -> None:
    assert list(steps(page))
    ran = run_python("-W", "error", "-c", _RUN.format(page))
    assert ran.returncode == 0, ran.stderr


def test_a_page_that_prints_something_else_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.guide.DOCS", tmp_path)
    (tmp_path / "page.md").write_text("```python\nx = 1\n```\n\n```python\nprint(x)\n```\n\n```text\n2\n```\n")
    with pytest.raises(AssertionError, match="line 6 prints\n1"):
        run_page("page.md")
