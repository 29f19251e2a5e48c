"""Fills the place ``[names]`` of the page ``tutorials/from-pytorch`` with what flambeau has of PyTorch's names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flambeau.compat.coverage import LATER, NAMESPACES, documented, reasons, undocumented

if TYPE_CHECKING:  # so that the tests need no Sphinx
    from sphinx.application import Sphinx

PAGE, PLACE = "tutorials/from-pytorch", "[names]"


def table() -> str:
    """A row a namespace: how many of its names are there, and which are not; then the reasons, and what comes later."""
    rows = ["| Namespace | Documented | There | Missing | Others there |", "|---|--:|--:|---|--:|"]
    for place in NAMESPACES:
        found, others = documented(place), undocumented(place)
        if found.total or others.total:
            more = f"{len(others.there)} of {others.total}" if others.total else ""
            rows.append(f"| `{_full(place)}` | {found.total} | {len(found.there)} | {_few(found.missing)} | {more} |")
    found, there = _sums()
    rows.append(f"| together | {found} | {there} | {(found - there) / found:.1%} | |")
    coming = [(place, documented(place)) for place in LATER if documented(place).total]
    later = ", ".join(f"`torch.{place}` ({len(f.there)} of {f.total})" for place, f in coming)
    text = ["", "Why the others are missing:", "", *_reasons(), "", f"Not counted, as capabilities to come: {later}."]
    return "\n".join([*rows, *text])


def _full(place: str) -> str:
    return "torch" if place == "." else f"torch.{place}"


def _sums() -> tuple[int, int]:
    """How many names there are, and how many of them are there."""
    found = [documented(place) for place in NAMESPACES]
    return sum(f.total for f in found), sum(len(f.there) for f in found)


def _few(names: tuple[str, ...], most: int = 12) -> str:
    shown = " ".join(f"`{n}`" for n in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _reasons() -> Iterator[str]:
    missing = [name for place in NAMESPACES for name in documented(place).missing]
    for reason in reasons():
        held = tuple(f"torch.{name}" for name in missing if reason.covers(name))
        yield f"* {reason.text} ({len(held)}: {_few(held, 8)})"


def fill(app: Sphinx, name: str, source: list[str]) -> None:
    """source-read: the one page."""
    if name == PAGE:
        source[0] = source[0].replace(PLACE, table())


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
