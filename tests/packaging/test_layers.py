"""Imports lead to no circle, and those in functions say why (import-linter holds the floors)."""

from __future__ import annotations

from pathlib import Path

from tests.packaging.imports import circles, edges, imports, modules

FILES = modules()


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert [sorted(circle) for circle in circles(edges(FILES))] == []


def test_circles_are_found(tmp_path: Path) -> None:
    package = tmp_path / "flambeau"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("def f():\n    from flambeau import b  # lazy\n")
    (package / "b.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import flambeau.c\n")
    (package / "c.py").write_text("from flambeau.a import f\n")
    found = modules(tmp_path)
    assert circles(edges(found)) == [{"flambeau.a", "flambeau.b", "flambeau.c"}]
    assert [(i.by, i.explained) for i in imports(found) if i.lazy] == [("flambeau.a", True)]


def test_an_import_in_a_function_says_why_it_is_there() -> None:
    silent = [f"{FILES[i.by]}:{i.line}: {i.of}" for i in imports(FILES) if i.lazy and not i.explained]
    assert silent == []
