"""The support matrix of a device, as markdown and JSON: who serves each op for each dtype, and whether it passed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import flambeau
from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.core.record import Op
from flambeau.plugins.conformance import kit, opdb
from flambeau.plugins.conformance.opdb.run import dtypes_of
from flambeau.plugins.coverage import short

#: The name of the property of a test that says which op and dtype it checks.
SUBJECT = "flambeau: op and dtype"

#: (op, dtype) -> whether each test of the kit went as declared.
Outcomes = dict[tuple[str, str], list[bool]]

SIGNS = {
    "native": "●", "composite": "○", "partial": "◐", "fallback": "→", "missing": "–", "limited": "△", "failed": "✗",
    "undefined": "", "unsupported": "",
}  # fmt: skip
CLAIMS = ("native", "composite", "partial")
LEGEND = (
    "● kernel of the device, ○ composed of other ops, ◐ composed for some arguments alone, → by the cpu as the "
    "setting `fallback` allows, – missing, △ declared limitation, ✗ failed; in parentheses: not checked in this run; "
    "empty: the op does not take the dtype."
)
SECTIONS = {
    "nn": "Neural networks",
    "linalg": "Linear algebra",
    "index": "Indexing and searching",
    "shape": "Shape and storage",
    "reduce": "Reductions, scans and sorting",
    "random": "Random numbers",
    "elementwise": "Elementwise",
}


class Recorder:
    """Collects the results of a run, with pytest-xdist in the one process that sees all of them."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.outcomes: Outcomes = defaultdict(list)
        self.written: list[Path] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        subject: Any = next((v for k, v in report.user_properties if k == SUBJECT), None)
        expected = report.outcome == "passed" or hasattr(report, "wasxfail")
        if subject is not None and (report.failed or (report.when == "call" and expected)):
            self.outcomes[subject[0], subject[1]].append(not report.failed)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        folder = self.config.getoption("--flambeau-report")
        if folder and self.outcomes:
            few = self.config.getoption("--flambeau-dtypes") == "few"
            chosen = str(self.config.getoption("keyword", "") or "")
            self.written = write(Path(folder), str(self.config.getoption("--flambeau-device")), self.outcomes,
                                 few=few, chosen=chosen)  # fmt: skip

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.outcomes:
            sound = sum(all(v) for v in self.outcomes.values())
            device = self.config.getoption("--flambeau-device")
            terminalreporter.write_line(f"{device}: {sound} of {len(self.outcomes)} pairs of op and dtype conform")
        for path in self.written:
            terminalreporter.write_line(f"wrote {path}")


# -- the facts ---------------------------------------------------------------------------------------------
def facts_of(target: str, outcomes: Outcomes, few: bool = False, chosen: str = "") -> dict[str, Any]:
    """Everything that the matrix tells, as values that JSON can hold."""
    device, backend = Device(target), kit.backend_of(target)
    properties = backend.properties(device.index)
    held = [d for d in dt.ALL if backend.supports(d, device.index)]
    ops = matrix(target, outcomes)
    facts = {
        "device": target, "name": properties.name, "details": properties.details,
        "flambeau": flambeau.__version__,
        "checked": [d.name for d in kit.chosen(held, few)],
        "not_checked": [d.name for d in held if d not in kit.chosen(held, few)],
        "absent": [d.name for d in dt.ALL if d not in held],
        "selection": chosen,
        "tests": sum(map(len, outcomes.values())), "as_declared": sum(map(sum, outcomes.values())),
        "limitations": [
            {"op": x.op, "dtypes": sorted(d.name for d in x.dtypes) if x.dtypes else "all", "reason": x.reason}
            for x in backend.limitations
        ],
    }  # fmt: skip
    return facts | {"ops": ops, "unchecked": _unchecked(ops, outcomes), "lacks": _lacks(target, ops)}


def matrix(target: str, outcomes: Outcomes) -> dict[str, dict[str, str]]:
    """For each op and dtype one of the names in SIGNS."""
    return {
        name: {d.name: _state(op, d, target, outcomes.get((name, d.name), [])) for d in dt.ALL}
        for name, op in opdb.load().items()
    }


def _state(op: Op, dtype: dt.DType, target: str, results: list[bool]) -> str:
    backend = kit.backend_of(target)
    if not backend.supports(dtype, Device(target).index):
        return "unsupported"
    served = kit.served(op.name, dtype, target)
    if served is None:
        return "unsupported" if dtype in dtypes_of(op, target) else "undefined"
    declared = kit.limitation(op.name, dtype, backend) is not None
    if served.state == "missing" and not declared:
        return "missing"
    if not all(results):
        return "failed"
    return "limited" if declared else served.state


def _unchecked(ops: Mapping[str, Mapping[str, str]], outcomes: Outcomes) -> dict[str, list[str]]:
    """What the device claims and no test of this run looked at."""
    rows = {op: [d for d, s in row.items() if s in CLAIMS and (op, d) not in outcomes] for op, row in ops.items()}
    return {op: dtypes for op, dtypes in rows.items() if dtypes}


def _lacks(target: str, ops: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """By op: the other ops for want of which it is missing or partial."""
    found: dict[str, list[str]] = {}
    for op, row in ops.items():
        covers = (kit.served(op, dt.dtype_named(d), target) for d, s in row.items() if s in ("missing", "partial"))
        wanting = sorted({name for c in covers if c is not None for name, _ in c.lacks if name != op})
        if wanting:
            found[op] = wanting
    return found


# -- files -------------------------------------------------------------------------------------------------
def write(folder: Path, target: str, outcomes: Outcomes, few: bool = False, chosen: str = "") -> list[Path]:
    """Write ``support-TYPE.md`` and ``support-TYPE.json``."""
    facts = facts_of(target, outcomes, few, chosen)
    folder.mkdir(parents=True, exist_ok=True)
    pages = {".json": json.dumps(facts, indent=1, default=str) + "\n", ".md": "\n".join(_markdown(facts)) + "\n"}
    paths = []
    for suffix, text in pages.items():
        paths.append(folder / f"support-{Device(target).type}{suffix}")
        paths[-1].write_text(text, encoding="utf-8")
    return paths


def _markdown(facts: Mapping[str, Any]) -> Iterator[str]:
    yield from ("---", "orphan: true", "---", "", f"# Support matrix: {facts['device']}", "")
    about = "".join(f", {name} {value}" for name, value in facts["details"].items() if isinstance(value, (str, int)))
    yield f"{facts['name']}{about}; flambeau {facts['flambeau']}."
    yield f"The conformance kit ran {facts['tests']} tests of ops, {facts['as_declared']} of which went as declared."
    if facts["selection"]:
        yield f'This was a part of the kit: `-k "{facts["selection"]}"`.'
    yield from ("", f"Checked dtypes: {', '.join(facts['checked'])}.")
    if facts["not_checked"]:
        yield f"Not checked in this run: {', '.join(facts['not_checked'])}."
    if facts["absent"]:
        yield f"The device has no {', '.join(facts['absent'])}."
    yield from ("", LEGEND, "")
    columns = [d for d in dt.ALL if d.name not in facts["absent"]]
    for title, ops in _sections(facts["ops"]).items():
        yield from _section(title, ops, columns, facts["unchecked"])
    yield from _remarks(facts)


def _sections(ops: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The ops under the headings of the page."""
    found: dict[str, dict[str, Any]] = {}
    for name, row in ops.items():
        samples = opdb.load()[name].samples
        family = samples.__module__.rpartition(".")[2] if samples is not None else "none"
        title = SECTIONS.get(family, "Optimizers")
        found.setdefault(title, {})[name] = row
    return found


def _section(
    title: str, ops: Mapping[str, Mapping[str, str]], columns: list[dt.DType], unchecked: Mapping[str, list[str]]
) -> Iterator[str]:
    counts = Counter(s for row in ops.values() for s in row.values())
    told = ", ".join(f"{counts[s]} {s}" for s in SIGNS if counts[s] and SIGNS[s])
    yield from (f"## {title}", "", f"{len(ops)} ops; pairs of op and dtype: {told}.", "")
    yield "| op | " + " | ".join(short(d.name) for d in columns) + " |"
    yield "|:--" + "|:-:" * len(columns) + "|"
    for op, row in ops.items():
        cells = (f"({SIGNS[row[d.name]]})" if d.name in unchecked.get(op, ()) else SIGNS[row[d.name]] for d in columns)
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
