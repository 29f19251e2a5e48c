"""Who imports whom in flambeau, read from the source: ``python -m tests.packaging.imports FOLDER`` counts.

Every import counts: at the top, in a function, and for types alone. ``from package import module`` is an import of the
module.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Import(NamedTuple):
    """That a module imports another, and where."""

    by: str
    of: str
    line: int
    lazy: bool  #: in a function
    explained: bool  #: with a comment on its line or on the one above


def modules(root: Path = ROOT) -> dict[str, Path]:
    """The files of the package below ``root``, by module; packages of their own, such as the template, are not its."""
    found = {}
    for folder, below, files in os.walk(root / "flambeau", followlinks=True):
        if "__init__.py" not in files:
            below.clear()
            continue
        for path in (Path(folder, file) for file in files if file.endswith(".py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return dict(sorted(found.items()))


def imports(files: dict[str, Path]) -> Iterator[Import]:
    """Every import of one of these modules by another of them."""
    for by, path in files.items():
        text = path.read_text()
        lines = text.splitlines()
        tree = ast.parse(text)
        lazy = {
            id(node) for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) for node in ast.walk(function)
        }  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level and node.module, f"{path}:{node.lineno}: imports are absolute"
                whole = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in files else node.module for name in whole]
            else:
                continue
            above = lines[node.lineno - 2].strip() if node.lineno > 1 else ""
            explained = "#" in lines[node.lineno - 1] or above.startswith("#")
            for name in sorted(set(names) & files.keys()):
                yield Import(by, name, node.lineno, id(node) in lazy, explained)


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """The groups in which each module reaches each other (Tarjan, 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in edges.get(name, ()):
            if other not in number:
                visit(other)
            if other in stack:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == number[name]:
            at = stack.index(name)
            group = set(stack[at:])
            del stack[at:]
            if len(group) > 1 or name in edges.get(name, ()):
                found.append(group)

    for name in edges:
        if name not in number:
            visit(name)
    return found
