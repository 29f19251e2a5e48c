"""The page of results from reports: ``python -m tests.ecosystem.page REPORT ... >docs/results/ecosystem.md``.

A report is what ``python -m tests.ecosystem ENVIRONMENT --report REPORT`` writes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HEAD = """\
# Packages written for PyTorch

These packages run on flambeau as they come from PyPI, under
[`flambeau.compat.torch`](../tutorials/from-pytorch.md). The scripts in `tests/ecosystem/scripts` are programs of
PyTorch: their jobs make models, train them, write and read them. What a job answers (outputs, losses, gradients) was
recorded from PyTorch 2.13 and is compared number by number.

    python -m tests.ecosystem ENVIRONMENT [PACKAGE ...] [--device opencl]

makes an environment with flambeau under the name torch, installs the packages, runs and compares; `--record` writes
PyTorch's answers. Commit {commit}; seconds are those of all jobs of a package, on a virtual machine of 2 cores.

| Package | Version | Device | Jobs that agree | Seconds | Jobs |
|---|---|---|--:|--:|---|
"""


def row(report: dict[str, Any]) -> str:
    """A line of the table."""
    jobs = [*report["answers"], *(e for e in report["errors"] if e not in report["answers"])]
    right = [j for j in jobs if j not in report["wrong"]]
    shown = ", ".join(j if j in right else f"~~{j}~~" for j in jobs[:14]) + (", ..." if len(jobs) > 14 else "")
    seconds = sum(report["seconds"].values())
    cells = (report["package"], report.get("version", "?"), report.get("device", "?"), f"{len(right)} of {len(jobs)}")
    return f"| {' | '.join(cells)} | {seconds:.0f} | {shown} |"


def main(paths: list[str]) -> None:
    """Print the page."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    reports = [r for path in paths for r in json.loads(Path(path).read_text())]
    reports.sort(key=lambda r: (r["package"].lower(), r.get("device", "")))
    print(HEAD.format(commit=commit) + "\n".join(map(row, reports)))


if __name__ == "__main__":
    main(sys.argv[1:])
