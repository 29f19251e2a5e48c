"""Run packages' own test suites, unmodified, on flambeau, and compare with the tests that pass on PyTorch.

    python -m tests.ecosystem.suites ENVIRONMENT [suite ...] [--source FOLDER] [--tests TEXT] [--report FILE]

ENVIRONMENT is a folder as for ``python -m tests.ecosystem``, made where it is not there. A suite that its package
installs is run from there; of others FOLDER holds a checkout of the repository, which the error names. ``--record``
installs PyTorch instead and writes what passes to NAME.txt.gz beside this file; ``--seeds N`` runs on PyTorch again,
with N other seeds, what a report says to differ, and enters what then fails as a matter of chance.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ecosystem.__main__ import make

HERE = Path(__file__).resolve().parent
#: What is installed besides the package that a suite is for.
TOOLS = ("pytest==9.2.0", "pytest-timeout==2.4.0", "scipy", "graphviz", "parameterized", "typing-extensions")


@dataclass(frozen=True)
class Suite:
    """Where the tests of a package are, and how they are run."""

    package: str
    repository: str = ""  # where to get them; "" if the package installs them
    folder: str = "."  # in the repository, to run in
    tests: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)


_PYRO = ("params", "poutine", "nn", "optim", "distributions", "infer")
SUITES = {
    "einops": Suite("einops", tests=("--pyargs", "einops.tests"), variables={"EINOPS_TEST_BACKENDS": "numpy,torch"}),
    "torchdiffeq": Suite(
        "torchdiffeq", "https://github.com/rtqichen/torchdiffeq (the commit of 2024-11-21)", "tests",
        ("api_tests.py", "event_tests.py", "gradient_tests.py", "norm_tests.py", "odeint_tests.py"),
    ),
    "pyro-ppl": Suite(
        "pyro-ppl", "https://github.com/pyro-ppl/pyro (without its folder pyro: the installed one is meant)",
        tests=tuple(f"tests/{name}" for name in _PYRO), options=("--stage", "unit"), variables={"CI": "1"},
    ),
}  # fmt: skip
#: The letters of the record: passes; passes, but not with every seed; does not pass.
PASSES, BY_CHANCE, OTHER = "p", "c", "-"


def run(python: Path, suite: Suite, source: Path, tests: tuple[str, ...], seeds: int = 0) -> dict[str, str]:
    """The outcome of each test by its id."""
    hidden = ("FLAMBEAU_", "PYTHON", "VIRTUAL_ENV")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder, "outcomes")
        variables = {"PYTHONPATH": str(HERE / "plugin"), "OUTCOMES": str(outcomes), "SEEDS": str(seeds)}
        command = [str(python), "-m", "pytest", "-q", "--tb=no", "-p", "outcomes", "-p", "no:cacheprovider", "-rN",
                   "--timeout=900", *suite.options, *tests]  # fmt: skip
        where = source / suite.folder if suite.repository else Path(folder)
        done = subprocess.run(command, cwd=where, env={**clean, **suite.variables, **variables})
        if not outcomes.exists():
            raise SystemExit(f"no test was run: pytest ended with {done.returncode}")
        lines = [line.split(" ", 1) for line in outcomes.read_text().splitlines()]
    return {name: outcome for outcome, name in lines}


def record_of(name: str) -> dict[str, str]:
    """The letter of each test on PyTorch, by its id."""
    text = gzip.decompress((HERE / f"{name}.txt.gz").read_bytes()).decode()
    return {line[2:]: line[0] for line in text.splitlines()}


def write_record(name: str, letters: dict[str, str]) -> None:
    """Write them, the same bytes for the same letters."""
    text = "".join(f"{letter} {test}\n" for test, letter in sorted(letters.items()))
    (HERE / f"{name}.txt.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def compare(recorded: dict[str, str], found: dict[str, str], whole: bool) -> dict[str, Any]:
    """What passes of that which passes on PyTorch; where not the ``whole`` suite was run, of that which was."""
    wanted = {test: letter for test, letter in recorded.items() if letter != OTHER and (whole or test in found)}
    differ = {test: found.get(test, "not there") for test in sorted(wanted) if found.get(test) != "passed"}
    chance = [test for test in differ if wanted[test] == BY_CHANCE]
    return {"torch": len(wanted), "flambeau": len(wanted) - len(differ), "differ": differ, "chance": chance}


def row(report: dict[str, Any]) -> str:
    """A line of a table: suite, version, tests that pass on PyTorch, and on flambeau."""
    share = 100 * report["flambeau"] / max(report["torch"], 1)
    chance = f", {len(report['chance'])} of the others by chance" if report["chance"] else ""
    return (
        f"| {report['suite']} | {report['version']} | {report['torch']} | {report['flambeau']} "
        f"({share:.2f} %{chance}) |"
    )


def _marked(letters: dict[str, str], python: Path, name: str, source: Path, report: dict[str, Any], seeds: int) -> None:
    """Enter as chance what differs in a report and fails on PyTorch too with one of some other seeds."""
    tests = tuple(report["differ"])
    for number in range(1, seeds + 1):
        for test, outcome in run(python, SUITES[name], source, tests, 1000 * number).items():
            if outcome == "failed" and letters.get(test) == PASSES:
                letters[test] = BY_CHANCE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.ecosystem.suites", description=__doc__.split("\n")[0])
    parser.add_argument("environment", type=Path)
    parser.add_argument("suites", nargs="*", default=[])
    parser.add_argument("--source", type=Path, help="a checkout of the suite's repository")
    parser.add_argument("--tests", action="append", default=[], help="run these alone, as pytest names them")
    parser.add_argument("--record", action="store_true", help="install PyTorch and write down what passes")
    parser.add_argument("--seeds", type=int, default=0, help="run on PyTorch what differs in --report with other seeds")
    parser.add_argument("--report", type=Path)
    asked = parser.parse_args()
    failed, reports = False, []
    for name in asked.suites or list(SUITES):
        suite = SUITES[name]
        if suite.repository and asked.source is None:
            parser.error(f"{name}: --source must be a checkout of {suite.repository}")
        source = asked.source or Path()
        python = make(asked.environment, [suite.package], asked.record or asked.seeds > 0)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, *TOOLS], check=True)
        if asked.seeds:
            letters = record_of(name)
            (report,) = (r for r in json.loads(asked.report.read_text()) if r["suite"] == name)
            _marked(letters, python, name, source, report, asked.seeds)
            write_record(name, letters)
            continue
        found = run(python, suite, source, tuple(asked.tests) or suite.tests)
        if asked.record:
            write_record(name, {test: PASSES if what == "passed" else OTHER for test, what in found.items()})
            continue
        show = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
        version = subprocess.check_output([str(python), "-c", show, suite.package], text=True).strip()
        report = {"suite": name, "version": version, **compare(record_of(name), found, not asked.tests)}
        reports.append(report)
        failed |= report["flambeau"] < 0.99 * report["torch"]
        print(row(report))
        for test, what in report["differ"].items():
            print(f"    {what}{' (chance)' if test in report['chance'] else ''}: {test}")
    if asked.report and reports:
        asked.report.write_text(json.dumps(reports, indent=1) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
