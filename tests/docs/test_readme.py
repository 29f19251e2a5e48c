"""The README's program runs, its figures are the measured ones, and its links lead somewhere."""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

import pytest

from flambeau.backends.base import MINIMUM
from tests.docs.guide import DOCS, steps

ROOT = DOCS.parent
README = (ROOT / "README.md").read_text()


def test_the_first_program_learns() -> None:
    ((_, program, _),) = steps("../README.md")
    scope: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(program, scope)
    assert float(printed.getvalue()) < 1e-2


def test_the_figures_are_those_of_the_results() -> None:
    results = (DOCS / "performance.md").read_text()
    table = README.split("## How fast")[1]
    rows = re.findall(r"^\|(?: [^|]+ \|)+$", table, re.M)
    figures = [figure for row in rows for figure in re.findall(r"\b\d\.\d\d\b", row.partition("|")[2])]
    assert len(figures) == 6 * 4 + 7 + 3
    for figure in figures:
        assert re.search(rf"\| {re.escape(figure)} \(", results), f"{figure} of README.md is not in docs/performance.md"
    (commit,) = re.findall(r"commit (\w{7})", table)
    assert f"commit {commit}" in results


def test_the_minimum_is_as_large_as_it_says() -> None:
    assert f"{len(MINIMUM)} kernels are enough" in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", README))))
def test_links(target: str) -> None:
    assert (ROOT / target).exists() or (ROOT / "flambeau" / target).exists()  # the latter in an sdist
