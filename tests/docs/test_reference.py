"""The reference leaves no public name out, and the pages quote what is there."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import flambeau as fb
from flambeau.core.explain import explain
from flambeau.core.methods import FUNCTIONS
from tests.docs.guide import DOCS

REFERENCE = {path.stem: path.read_text() for path in (DOCS / "reference").glob("*.rst")}
PAGES = "\n".join(REFERENCE.values())


@pytest.fixture
def homes(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    yield importlib.import_module("ops_by_module").homes()
    sys.modules.pop("ops_by_module")


def test_every_op_is_on_one_page(homes: dict[str, str]) -> None:
    assert set(homes) == set(FUNCTIONS)
    shown = [stem for line in re.findall(r"^\.\. ops:: (.+)$", PAGES, re.M) for stem in line.split()]
    assert sorted(shown) == sorted(set(homes.values()))
    assert homes["add"] == "elementwise" and homes["softmax"] == "nn" and homes["matmul"] == "linalg"


def test_every_other_public_name_is_there() -> None:
    others = {n: v for n, v in vars(fb).items() if not n.startswith("_") and n not in FUNCTIONS | {"annotations": 0}}
    dtypes = {n for n, v in others.items() if isinstance(v, fb.dtype)}
    words = set(re.findall(r"\w+", REFERENCE["namespace"].split("\nDtypes\n")[1].split(".. auto")[0]))
    entries = set(re.findall(r"^\.\. auto\w+:: flambeau\.(\w+)$", PAGES, re.M))
    assert dtypes and dtypes <= words
    assert {n for n, v in others.items() if not inspect.ismodule(v)} - dtypes - {"Any", *fb._ELSEWHERE} <= entries


def test_every_module_with_a_list_of_names_has_a_page() -> None:
    folder = Path(fb.__file__).parent
    listed = {p.stem for p in folder.glob("[a-z]*.py") if "__all__" in p.read_text()} | {"nn", "optim"}
    without = {name for name in listed if f".. names:: flambeau.{name}\n" not in PAGES}
    assert not without, "give each a page docs/reference/NAME.rst with `.. names:: flambeau.NAME`"


def test_the_architecture_page_quotes_explain() -> None:
    said = "\n".join(line.rstrip() for line in explain("add", "cpu").splitlines())
    quotes = re.findall(r"^```text explain\n(.*?)^```", (DOCS / "architecture.md").read_text(), re.S | re.M)
    assert len(quotes) == 4
    for quote in quotes[:2] + quotes[3:]:
        assert quote.rstrip() in said
    assert all(line in said.splitlines() for line in quotes[2].splitlines())


def test_the_architecture_page_quotes_the_record() -> None:
    (quote,) = re.findall(r"^```text\n(.*?)^```", (DOCS / "architecture.md").read_text(), re.S | re.M)
    assert quote in (Path(DOCS).parent / "core" / "ops" / "elementwise.py").read_text()


def test_the_folders_on_the_architecture_page_exist() -> None:
    table = re.findall(r"^\| (`.*?) \|", (DOCS / "architecture.md").read_text(), re.M)
    assert len(table) > 5
    for row in table:
        folder = ""
        for name in re.findall(r"`([^`]+)`", row):
            folder = name.rpartition("/")[0] if "/" in name else folder
            path = name if "/" in name else f"{folder}/{name}"
            assert (DOCS.parent / path).exists() or (DOCS.parent / "core" / name).exists(), path
