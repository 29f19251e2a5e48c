"""Fills the pages ``results/support-TYPE`` and writes their facts beside them as JSON.

The facts come from ``support-TYPE.json`` in the folder ``support_reports`` (what the conformance kit writes with
``--flambeau-report``), else from the tables of the device. Where there is neither, the page says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flambeau.plugins.support import facts_of, page

if TYPE_CHECKING:  # so that the tests need no Sphinx
    from sphinx.application import Sphinx

PREFIX = "results/support-"


def outdated(app: Sphinx, env: Any, added: Any, changed: Any, removed: Any) -> Iterable[str]:
    """env-get-outdated: what these pages tell does not stand in their sources."""
    return [name for name in env.found_docs if name.startswith(PREFIX)]


def fill(app: Sphinx, name: str, source: list[str]) -> None:
    """source-read: the page of a device."""
    if not name.startswith(PREFIX):
        return
    try:
        facts = facts_for(name.removeprefix(PREFIX), app.config.support_reports)
    except RuntimeError as reason:
        source[0] += f"\nThere was no report, and the machine has no such device:\n\n```text\n{reason}\n```\n"
        return
    source[0] = page(facts)
    if app.builder.name == "html":
        path = Path(app.outdir, f"{name}.json")
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(facts, indent=1, default=str) + "\n", encoding="utf-8")
        source[0] += f'\n<a href="{path.name}">The same as JSON.</a>\n'


def facts_for(device: str, reports: str) -> dict[str, Any]:
    """From the report, else from the tables; RuntimeError where there is neither."""
    path = Path(reports, f"support-{device}.json")
    if reports and path.exists():
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return facts
    return facts_of(device)


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("support_reports", "", "env", str)
    app.connect("env-get-outdated", outdated)
    app.connect("source-read", fill)
    return {"parallel_read_safe": True}
