"""Fills the place ``[names]`` of the page ``tutorials/from-pytorch`` with what flambeau has of PyTorch's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flambeau.compat.coverage import MODULES, compared, reasons

if TYPE_CHECKING:  # so that the tests need no Sphinx
    from sphinx.application import Sphinx

PAGE, PLACE = "tutorials/from-pytorch", "[names]"


def table() -> str:
    """A row a module: how many of its names are there, and which are not; then the reasons."""
    rows = ["| Module | Names | There | Missing |", "|---|--:|--:|---|"]
    for module in MODULES:
        there, missing = compared(module.strip("."))
        name = "torch" if module == "." else f"torch.{module}"
        rows.append(f"| `{name}` | {len(there) + len(missing)} | {len(there)} | {_few(missing)} |")
    return "\n".join([*rows, "", "Why the others are missing:", "", *_reasons()])


def _few(names: tuple[str, ...], most: int = 12) -> str:
    shown = " ".join(f"`{n}`" for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _reasons() -> Iterator[str]:
    for reason in reasons():
        held = [f"torch.{m}.{n}".replace("torch...", "torch.").replace("torch..", "torch.")
                for m in MODULES for n in compared(m.strip(".")).missing if reason.covers(m.strip("."), n)]  # fmt: skip
        yield f"* {reason.text} ({len(held)}: {_few(tuple(held), 8)})"


def fill(app: Sphinx, name: str, source: list[str]) -> None:
    """source-read: the one page."""
    if name == PAGE:
        source[0] = source[0].replace(PLACE, table())


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
