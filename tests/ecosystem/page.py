"""The page of results, from reports of any packages and devices.

    python -m tests.ecosystem.page [REPORT ...]

A report is what ``python -m tests.ecosystem ENVIRONMENT --report REPORT`` writes, or ``python -m
tests.ecosystem.suites`` of packages' own tests. What it says of a job replaces what was known of that job on that
device, and what it says of a suite what was known of the suite; everything else is kept. docs/results/ecosystem.json
holds what is known, and docs/results/ecosystem.md shows it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
#: The columns, in this order; other devices come after them.
DEVICES = ("cpu", "opencl", "jax")
Known = dict[str, Any]  # Any: what JSON holds

HEAD = """\
# Packages written for PyTorch

These packages run on flambeau as they come from PyPI, under
[`flambeau.compat.torch`](../tutorials/from-pytorch.md). The scripts in `tests/ecosystem/scripts` are programs of
PyTorch: their jobs make models, train them, write and read them. What a job answers (outputs, losses, gradients) was
recorded from PyTorch 2.13 and is compared number by number.

    python -m tests.ecosystem ENVIRONMENT [PACKAGE ...] [--device opencl]

makes an environment with flambeau under the name torch, installs the packages, runs and compares; `--record` writes
PyTorch's answers. `--report FILE` keeps what was found, and `python -m tests.ecosystem.page FILE ...` enters it here.

A column is a backend, and says how many of the jobs agree there. An empty cell was not run.
"""
SUITES = """\

## Packages' own test suites

The tests of some packages, as their repositories have them, run unmodified on flambeau and on PyTorch 2.13, both on the
CPU, by `python -m tests.ecosystem.suites ENVIRONMENT SUITE`. Of what does not pass, "by chance" are the tests that
PyTorch fails too with other seeds; `ecosystem.json` beside this page names all of them.

| Suite | Version | pass on PyTorch | of these on flambeau | Share | by chance | What was run |
|---|---|--:|--:|--:|--:|---|
"""


def kept(report: Known) -> Known:
    """What stays of a report: no answers."""
    jobs = [*report["answers"], *(e for e in report["errors"] if e not in report["answers"])]
    found = {}
    for job in jobs:
        said = report["wrong"].get(job)
        wrong = {} if said is None else {"wrong": (said[0].strip().splitlines() or ["differs"])[-1][:200]}
        found[job] = {"commit": report.get("commit", "?"), **wrong}
    return found


def merge(known: Known, report: Known) -> None:
    """Enter a report; of another version of the package nothing is kept."""
    there = known.setdefault(report["package"], {"version": report.get("version", "?"), "checks": {}, "devices": {}})
    if "version" in report and report["version"] != there["version"]:
        there |= {"version": report["version"], "devices": {}}
    there["about"] = report.get("about") or there.get("about", "")
    there["checks"] |= report.get("checks", {})
    there["devices"].setdefault(report.get("device", "cpu"), {}).update(kept(report))


def merge_suite(known: Known, report: Known) -> None:
    """Enter a report of a suite as a whole."""
    if not report["whole"]:
        raise SystemExit(f"{report['suite']}: the report is of a part of the suite")
    there = known.setdefault(report["suite"], {"version": report["version"], "about": "", "checks": {}, "devices": {}})
    there["suite"] = {name: report[name] for name in report if name not in ("suite", "whole", "outcomes")}


def suites(known: Known) -> list[str]:
    """The lines of the table of suites."""
    lines = []
    for name in sorted((n for n in known if "suite" in known[n]), key=str.lower):
        said = known[name]["suite"]
        share = 100 * said["flambeau"] / max(said["torch"], 1)
        counts = f"{said['torch']:,} | {said['flambeau']:,} | {share:.2f}&nbsp;% | {len(said['chance'])}"
        lines.append(f"| {name} | {said['version']} | {counts} | {said['about']} |")
    return [*SUITES.splitlines(), *lines] if lines else []


def devices(known: Known) -> list[str]:
    """The columns."""
    ran = {d for package in known.values() for d in package["devices"]}
    return [*(d for d in DEVICES if d in ran), *sorted(ran - set(DEVICES))]


def summary(jobs: Known) -> str:
    """A cell of the first table."""
    if not jobs:
        return ""
    return f"{sum('wrong' not in j for j in jobs.values())}&nbsp;of&nbsp;{len(jobs)}"  # on one line, on a phone too


def groups(package: Known) -> list[tuple[str, list[str]]]:
    """The jobs that check the same, in the order of the script."""
    found: dict[str, list[str]] = {}
    ran = {job: None for jobs in package["devices"].values() for job in jobs}
    for job in ran:
        found.setdefault(package["checks"].get(job, ""), []).append(job)
    return list(found.items())


def verdict(jobs: Known, names: list[str]) -> str:
    """A cell of the second table: how many of these jobs agree, and which do not."""
    ran = [n for n in names if n in jobs]
    if not ran:
        return ""
    wrong = [n for n in ran if "wrong" in jobs[n]]
    if not wrong:
        return "agrees" if len(names) == 1 else f"{len(ran)} agree"
    return "differs" if len(names) == 1 else f"{len(ran) - len(wrong)} agree, not " + ", ".join(f"`{n}`" for n in wrong)


def shown(known: Known) -> str:
    """The page."""
    order = sorted((name for name in known if known[name]["devices"]), key=str.lower)
    columns = devices(known)
    lines = [
        HEAD,
        f"| Package | Version | {' | '.join(columns)} | What was run |",
        f"|---|---|{'--:|' * len(columns)}---|",
    ]
    for name in order:
        package = known[name]
        cells = [summary(package["devices"].get(d, {})) for d in columns]
        about = package["about"].partition(": ")[2] or package["about"]
        about = about[:1].upper() + about[1:]
        lines.append(f"| [{name}](#{anchor(name)}) | {package['version']} | {' | '.join(cells)} | {about} |")
    lines += suites(known)
    for name in order:
        package = known[name]
        ran = [d for d in columns if d in package["devices"]]
        lines += ["", f"({anchor(name)})=", f"## {name}", ""]
        lines += [f"| Job | {' | '.join(ran)} | What it checks |", f"|---|{'---|' * len(ran)}---|"]
        for checks, jobs in groups(package):
            cells = [verdict(package["devices"][d], jobs) for d in ran]
            lines.append(f"| {', '.join(f'`{j}`' for j in jobs)} | {' | '.join(cells)} | {checks} |")
        for device in ran:
            wrong = {n: j["wrong"] for n, j in package["devices"][device].items() if "wrong" in j}
            lines += ["", *(f"- `{n}` on {device}: {why}" for n, why in wrong.items())] if wrong else []
    commits = {j["commit"] for p in known.values() for jobs in p["devices"].values() for j in jobs.values()}
    commits |= {commit for p in known.values() for commit in p.get("suite", {}).get("commits", [])}
    return "\n".join([*lines, "", f"Commits: {', '.join(sorted(commits))}.", ""])


def anchor(name: str) -> str:
    """The name by which the first table refers to a section."""
    return "ecosystem-" + name.lower().replace("_", "-")


def main(paths: list[str]) -> None:
    """Enter the reports and write the page."""
    data = RESULTS / "ecosystem.json"
    known: Known = json.loads(data.read_text()) if data.exists() else {}
    for path in paths:
        for report in json.loads(Path(path).read_text()):
            (merge_suite if "suite" in report else merge)(known, report)
    data.write_text(json.dumps({name: known[name] for name in sorted(known)}, indent=1) + "\n")
    (RESULTS / "ecosystem.md").write_text(shown(known))


if __name__ == "__main__":
    main(sys.argv[1:])
