"""The support matrix of a device, as facts and as a page: who serves each op for each dtype, and whether it passed.

The facts are values that JSON can hold. With the outcomes of a run of the conformance kit they tell what was
checked, without them what the device's tables say (as the pages of the documentation do for devices that no
run was about).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

import flambeau
from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.core.device import located
from flambeau.core.dtype import DType
from flambeau.core.record import Op
from flambeau.plugins.conformance import opdb
from flambeau.plugins.conformance.opdb.run import dtypes_of
from flambeau.plugins.coverage import Cover, cover, short

#: (op, dtype) -> whether each test of the kit went as declared.
Outcomes = Mapping[tuple[str, str], list[bool]]

SIGNS = {
    "native": "●", "composite": "○", "partial": "◐", "fallback": "→", "missing": "–", "limited": "△", "failed": "✗",
    "undefined": "", "unsupported": "",
}  # fmt: skip
CLAIMS = ("native", "composite", "partial")
LEGEND = (
    "● kernel of the device, ○ composed of other ops, ◐ composed for some arguments alone, → by the cpu as the "
    "setting `fallback` allows, – missing, △ declared limitation{checked}; empty: the op does not take the dtype."
)
CHECKED = ", ✗ failed; in parentheses: not checked in this run"
SECTIONS = {
    "nn": "Neural networks",
    "linalg": "Linear algebra",
    "index": "Indexing and searching",
    "shape": "Shape and storage",
    "reduce": "Reductions, scans and sorting",
    "random": "Random numbers",
    "elementwise": "Elementwise",
}


@cache
def served(name: str, dtype: DType, target: str) -> Cover | None:
    """How the device serves an op, its body looked into with the op's samples; None where it has not the dtype."""
    device, op = located(target), opdb.load()[name]
    backend = registry.resolve(device)
    if not all(backend.offers(d, device.number) for d in (dtype, op.dtype.compute(dtype))):
        return None
    return cover(op, dtype, device)


# -- the facts ---------------------------------------------------------------------------------------------
def facts_of(
    target: str, outcomes: Outcomes | None = None, checked: Collection[DType] = (), chosen: str = ""
) -> dict[str, Any]:
    """Everything that the matrix tells; ``checked`` are the dtypes of the run, ``chosen`` what it was restricted to."""
    device, results = located(target), outcomes or {}
    backend = registry.resolve(device)
    properties = backend.properties(device.number)
    held = [d for d in dt.ALL if backend.offers(d, device.number)]
    ops = {
        name: {d.name: _state(op, d, target, results.get((name, d.name), [])) for d in dt.ALL}
        for name, op in opdb.load().items()
    }
    return {
        "device": target, "name": properties.name, "details": properties.details,
        "flambeau": flambeau.__version__,
        "checked": [d.name for d in held if d in checked],
        "not_checked": [d.name for d in held if d not in checked],
        "absent": [d.name for d in dt.ALL if d not in held],
        "selection": chosen,
        "tests": sum(map(len, results.values())), "as_declared": sum(map(sum, results.values())),
        "limitations": [
            {"op": x.op, "dtypes": sorted(d.name for d in x.dtypes) if x.dtypes else "all", "reason": x.reason}
            for x in backend.limitations
        ],
        "sections": _sections(), "ops": ops,
        "unchecked": _unchecked(ops, results) if results else {}, "lacks": _lacks(target, ops),
    }  # fmt: skip


def _state(op: Op, dtype: DType, target: str, results: list[bool]) -> str:
    """One of the names in SIGNS."""
    device = located(target)
    backend = registry.resolve(device)
    if not backend.offers(dtype, device.number):
        return "unsupported"
    found = served(op.name, dtype, target)
    if found is None:
        return "unsupported" if dtype in dtypes_of(op, target) else "undefined"
    declared = any(x.covers(op.name, dtype) for x in backend.limitations)
    if found.state == "missing" and not declared:
        return "missing"
    if not all(results):
        return "failed"
    return "limited" if declared else found.state


def _sections() -> dict[str, list[str]]:
    """The ops under the headings of the page."""
    found: dict[str, list[str]] = {}
    for name, op in opdb.load().items():
        family = op.samples.__module__.rpartition(".")[2] if op.samples is not None else "none"
        found.setdefault(SECTIONS.get(family, "Optimizers"), []).append(name)
    return found


def _unchecked(ops: Mapping[str, Mapping[str, str]], outcomes: Outcomes) -> dict[str, list[str]]:
    """What the device claims and no test of this run looked at."""
    rows = {op: [d for d, s in row.items() if s in CLAIMS and (op, d) not in outcomes] for op, row in ops.items()}
    return {op: dtypes for op, dtypes in rows.items() if dtypes}


def _lacks(target: str, ops: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """By op: the other ops for want of which it is missing or partial."""
    found: dict[str, list[str]] = {}
    for op, row in ops.items():
        covers = (served(op, dt.dtype_named(d), target) for d, s in row.items() if s in ("missing", "partial"))
        wanting = sorted({name for c in covers if c is not None for name, _ in c.lacks if name != op})
        if wanting:
            found[op] = wanting
    return found


# -- the page ----------------------------------------------------------------------------------------------
def page(facts: Mapping[str, Any]) -> str:
    """The facts as markdown."""
    return "\n".join(_lines(facts)) + "\n"


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"# Support matrix: {facts['device']}", "")
    about = "".join(f", {name} {value}" for name, value in facts["details"].items() if isinstance(value, (str, int)))
    yield f"{facts['name']}{about}; flambeau {facts['flambeau']}."
    if facts["tests"]:
        told = f"ran {facts['tests']} tests of ops, {facts['as_declared']} of which went as declared"
        yield f"The conformance kit {told}."
    else:
        yield "This is what the device's tables say; the conformance kit was not run."
    if facts["selection"]:
        yield f"This was a part of the kit: `{facts['selection']}`."
    yield ""
    if facts["checked"]:
        yield f"Checked dtypes: {', '.join(facts['checked'])}."
    if facts["checked"] and facts["not_checked"]:
        yield f"Not checked in this run: {', '.join(facts['not_checked'])}."
    if facts["absent"]:
        yield f"The device has no {', '.join(facts['absent'])}."
    yield from ("", LEGEND.format(checked=CHECKED if facts["tests"] else ""), "")
    columns = [d.name for d in dt.ALL if d.name not in facts["absent"]]
    for title, names in facts["sections"].items():
        yield from _section(title, {name: facts["ops"][name] for name in names}, columns, facts["unchecked"])
    yield from _remarks(facts)


def _section(
    title: str, ops: Mapping[str, Mapping[str, str]], columns: list[str], unchecked: Mapping[str, list[str]]
) -> Iterator[str]:
    counts = Counter(s for row in ops.values() for s in row.values())
    states = ", ".join(f"{counts[s]} {s}" for s in SIGNS if counts[s] and SIGNS[s])
    yield from (f"## {title}", "", f"{len(ops)} ops; pairs of op and dtype: {states}.", "")
    yield f"| op | {' | '.join(map(short, columns))} |"
    yield "|:--" + "|:-:" * len(columns) + "|"
    for op, row in ops.items():
        cells = (f"({SIGNS[row[d]]})" if d in unchecked.get(op, ()) else SIGNS[row[d]] for d in columns)
        yield f"| `{op}` | " + " | ".join(cells) + " |"
    yield ""


def _remarks(facts: Mapping[str, Any]) -> Iterator[str]:
    missing = [op for op, row in facts["ops"].items() if {"missing", "partial"} & set(row.values())]
    if missing:
        lacks = {op: f" (for want of {', '.join(map(_code, facts['lacks'][op]))})" for op in facts["lacks"]}
        yield from ("## What is missing", "")
        yield f"{', '.join(_code(op) + lacks.get(op, '') for op in missing)}. These obey the setting `fallback`."
        yield ""
    if facts["limitations"]:
        yield from ("## Declared limitations", "")
        for x in facts["limitations"]:
            dtypes = x["dtypes"] if isinstance(x["dtypes"], str) else ", ".join(x["dtypes"])
            yield f"- {_code(x['op'])} ({dtypes}): {x['reason']}"
        yield ""


def _code(name: str) -> str:
    return f"`{name}`"
