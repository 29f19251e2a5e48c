"""The code of a page: files in pieces, programs with what they print, and pages that are one program."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flambeau.core.expr import MEANINGS, PRIMITIVES
from flambeau.core.record import OPS

DOCS = Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"<!-- (\w+)(?:: (\S+))? -->\n```\w*\n(.*?)```", re.S)
_STEP = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", re.S | re.M)


def blocks(page: str, kind: str) -> list[tuple[str, str]]:
    """The marked blocks of one kind in order: (argument of the marker, text)."""
    text = (DOCS / page).read_text()
    return [(m[2] or "", m[3]) for m in _BLOCK.finditer(text) if m[1] == kind]


def write_files(page: str, folder: Path) -> None:
    """Write the files whose pieces a page shows."""
    pieces: dict[str, list[str]] = {}
    for name, text in blocks(page, "file"):
        pieces.setdefault(name, []).append(text)
    for name, parts in pieces.items():
        (folder / name).write_text("\n\n".join(parts))


def steps(page: str) -> Iterator[tuple[int, str, str]]:
    """The python blocks of a page: (the line of the first statement, program, the text block right after it or "")."""
    text = (DOCS / page).read_text()
    for m in _STEP.finditer(text):
        yield text.count("\n", 0, m.start(1)) + 1, m[1], m[2] or ""


_PRIMITIVES = re.compile(r"(?<=<!-- primitives -->\n)(.*?)(?=<!-- end of primitives)", re.S)


def primitives() -> str:
    """The table of the expression language's primitives, from the one that the language itself has."""
    rows = (f"| `{name}` | {count} | {MEANINGS.get(name) or OPS[name].doc} |" for name, count in PRIMITIVES.items())
    return "\n".join(["", "| primitive | operands | |", "|---|---|---|", *rows, "", ""]).replace("``", "`")


def primitives_of(page: str) -> str:
    """The table as the page has it."""
    found = _PRIMITIVES.search((DOCS / page).read_text())
    assert found is not None, f"{page} has no table of primitives"
    return found[1]


def run_page(page: str) -> None:
    """Run a page's python blocks in order, in one namespace; AssertionError where one prints something else."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    for line, program, expected in steps(page):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (line - 1) + program, str(DOCS / page), "exec"), scope)
        if printed.getvalue() != expected:
            raise AssertionError(f"{page}, line {line} prints\n{printed.getvalue()}but the page says\n{expected}")


if __name__ == "__main__":
    path = DOCS / "writing-a-backend.md"
    path.write_text(_PRIMITIVES.sub(lambda m: primitives(), path.read_text()))
