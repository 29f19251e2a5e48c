"""The code of a page: files in pieces, and programs with what they print."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"<!-- (\w+)(?:: (\S+))? -->\n```\w*\n(.*?)```", re.S)


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
