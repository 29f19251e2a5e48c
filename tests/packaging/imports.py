"""Who imports whom in flambeau, read from the source: ``python -m tests.packaging.imports [FOLDER]`` counts.

Every import counts: at the top, in a function, and for types alone. ``from package import module`` is an import of the
module.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Import(NamedTuple):
    """That a module imports another, of flambeau or not."""

    by: str
    of: str
    line: int
    lazy: bool  #: in a function
    explained: bool  #: a comment stands on its line, or above the imports that it is one of


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
    """Every import in these modules."""
    for by, path in files.items():
        lines = path.read_text().splitlines()
        tree = ast.parse("\n".join(lines))
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        lazy = {node for function in functions for node in ast.walk(function)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                names = {name if name in files else str(node.module) for name in whole}
            else:
                continue
            for name in sorted(names):
                yield Import(by, name, node.lineno, node in lazy, _explained(lines, node.lineno - 1))


def _explained(lines: list[str], at: int) -> bool:
    if re.search(r"# (?!noqa|type:)", lines[at]):
        return True
    above = next((line.strip() for line in reversed(lines[:at]) if line.strip()), "")
    return above.startswith("# ") or (above.startswith(("import ", "from ")) and _explained(lines, at - 1))


def edges(files: dict[str, Path]) -> dict[str, set[str]]:
    """The modules of flambeau that each of them imports."""
    found: dict[str, set[str]] = {name: set() for name in files}
    for one in imports(files):
        if one.of in found:
            found[one.by].add(one.of)
    return found


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The groups in which each module reaches each other."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        left = [start]
        while left:
            new = graph[left.pop()] - seen
            seen |= new
            left += new
        return seen

    reached = {name: reach(name) for name in graph}
    groups = {frozenset(o for o in reached[name] if name in reached[o]) for name in graph}
    return [set(group) for group in groups if group]


def floors() -> dict[str, tuple[str, int]]:
    """For each module that import-linter's contracts name: whose floor it has, and which, counted from the top."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    return {
        f"{package}.{name}": (package, number)
        for contract in contracts if contract["type"] == "layers" for package in contract["containers"]
        for number, layer in enumerate(contract["layers"]) for name in re.split(r"[ |:]+", layer)
    }  # fmt: skip


def upward(graph: dict[str, set[str]]) -> int:
    """How many imports lead to a higher floor."""
    on = floors()

    def places(name: str) -> dict[str, int]:
        parts = name.split(".")
        return dict(on[part] for n in range(len(parts)) if (part := ".".join(parts[: n + 1])) in on)

    return sum(
        any(places(other).get(package, floor) < floor for package, floor in places(name).items())
        for name, others in graph.items() for other in others
    )  # fmt: skip


if __name__ == "__main__":
    files = modules(Path(*sys.argv[1:2]))
    graph, own = edges(files), [i for i in imports(files) if i.of in files]
    print(f"{len(files)} modules, {len(own)} imports: {upward(graph)} upward, {sum(i.lazy for i in own)} in functions")
    print("circles of", sorted(map(len, circles(graph)), reverse=True) or "no modules")
