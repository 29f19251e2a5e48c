"""The support matrix of a device, as markdown and JSON: who serves each op for each dtype, and whether it passed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flambeau
from flambeau.core import dtype as dt
from flambeau.core import opdb
from flambeau.core.device import device as Device
from flambeau.plugins.conformance import kit

#: (op, dtype) -> whether each test of the kit went as declared.
OUTCOMES: pytest.StashKey[dict[tuple[str, str], list[bool]]] = pytest.StashKey()

SIGNS = {
    "native": "●", "composite": "○", "fallback": "–", "missing": "", "limited": "△", "failed": "✗", "unsupported": "",
}  # fmt: skip


def matrix(target: str, outcomes: dict[tuple[str, str], list[bool]]) -> dict[str, dict[str, str]]:
    """For each op and dtype: native, composite, fallback, missing, limited (declared), or failed."""
    device, backend = Device(target), kit.backend_of(target)
    rows: dict[str, dict[str, str]] = {}
    for name in opdb.load():
        row = {}
        for dtype in dt.ALL:
            if not backend.supports(dtype, device.index):
                row[dtype.name] = "unsupported"
                continue
            served = kit.served(name, dtype, target)
            kind = "missing" if served is None else served.state
            if kit.limitation(name, dtype, backend):
                kind = "limited"
            if not all(outcomes.get((name, dtype.name), [True])):
                kind = "failed"
            row[dtype.name] = kind
        rows[name] = row
    return rows


def write(folder: Path, target: str, outcomes: dict[tuple[str, str], list[bool]]) -> None:
    """Write ``support-TYPE.md`` and ``support-TYPE.json``."""
    device, backend = Device(target), kit.backend_of(target)
    rows = matrix(target, outcomes)
    tested = sum(len(v) for v in outcomes.values())
    passed = sum(sum(v) for v in outcomes.values())
    facts = {
        "device": target,
        "name": backend.properties(device.index).name,
        "flambeau": flambeau.__version__,
        "tests": tested,
        "as_declared": passed,
        "limitations": [
            {"op": x.op, "dtypes": sorted(d.name for d in x.dtypes) if x.dtypes else "all", "reason": x.reason}
            for x in backend.limitations
        ],
    }
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"support-{device.type}"
    stem.with_suffix(".json").write_text(json.dumps(facts | {"ops": rows}, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(_markdown(facts, rows), encoding="utf-8")


def _markdown(facts: dict[str, object], rows: dict[str, dict[str, str]]) -> str:
    names = [d.name for d in dt.ALL]
    lines = [
        "---",
        "orphan: true",
        "---",
        "",
        f"# Support matrix: {facts['device']}",
        "",
        f"{facts['name']}; flambeau {facts['flambeau']}; {facts['as_declared']} of {facts['tests']} tests as declared.",
        "",
        "● native kernel, ○ composite of other ops, – host fallback by policy, △ limited (declared below), ✗ failed.",
        "",
        "| op | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    lines += [f"| {op} | " + " | ".join(SIGNS[row[n]] for n in names) + " |" for op, row in rows.items()]
    limitations = facts["limitations"]
    assert isinstance(limitations, list)
    if limitations:
        lines += ["", "Limitations:", ""]
        for x in limitations:
            dtypes = x["dtypes"] if isinstance(x["dtypes"], str) else ", ".join(x["dtypes"])
            lines.append(f"- `{x['op']}` ({dtypes}): {x['reason']}")
    return "\n".join(lines) + "\n"
