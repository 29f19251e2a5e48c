"""Run packages' own test suites, unmodified, on flambeau, and compare with the tests that pass on PyTorch.

    python -m tests.ecosystem.suites ENVIRONMENT [suite ...] [--source FOLDER] [--tests TEXT] [--processes 2]
                                     [--report FILE]

ENVIRONMENT is a folder as for ``python -m tests.ecosystem``, made where it is not there. A suite that its package
installs is run from there; of others FOLDER holds a checkout of the repository, which the error names. ``--record``
installs PyTorch instead and writes what passes to NAME.txt.gz beside this file; ``--seeds N`` runs on PyTorch again,
with N other seeds, what a report says to differ, and enters what then fails as a matter of chance. With ``--tests``
these alone are run, and a record or a report that is there keeps what it has of the others. ``python -m
tests.ecosystem.page FILE`` enters a report into the page of results.
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

from tests.ecosystem.__main__ import commit, make

HERE = Path(__file__).resolve().parent
#: What is installed besides the package that a suite is for.
TOOLS = (
    "pytest==9.2.0", "pytest-timeout==2.4.0", "pytest-xdist==3.8.0", "scipy", "graphviz", "parameterized",
    "typing-extensions",
)  # fmt: skip


@dataclass(frozen=True)
class Suite:
    """Where the tests of a package are, what they need, and how they are run."""

    package: str
    repository: str = ""  # where to get them; "" if the package installs them
    folder: str = "."  # in the repository, to run in
    tests: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)  # {folder} is one that the run alone uses
    needs: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()  # what would bring older packages than flambeau needs, and does without them
    about: str = "All."  # the page of results says what of the suite is run


#: The metrics of other packages that TorchMetrics' tests compare with, as its requirements/*_test.txt have them.
#: Left out: what loads weights or data (bert-score, DISTS, lpips, piq, torch-fidelity, transformers), what PyPI has no
#: wheel of (pesq, PyTDC, srmrpy).
_METRICS = (
    "cachier==4.1.0", "einops==0.8.2", "fairlearn==0.15.0", "fast-bss-eval==0.1.4", "faster-coco-eval==1.7.2",
    "jiwer==4.0.0", "kornia==0.9.0", "matplotlib", "mir-eval==0.8.2", "monai==1.6.1", "nltk==3.9.1", "numpy<2.4",
    "pandas==2.3.2", "permetrics==2.0.0", "properscoring==0.1", "psutil", "pycocotools==2.0.11", "pystoi==0.4.1",
    "pytorch-msssim==1.0.0", "rouge-score==0.1.2", "sacrebleu==2.5.1", "scikit-image==0.25.2", "scikit-learn==1.7.2",
    "scipy==1.16.*", "seaborn", "setuptools<82", "sewar==0.4.6", "statsmodels==0.14.6", "torch-complex==0.4.4",
    "torchvision==0.28.0", "vmaf-torch==1.1.0",
)  # fmt: skip
_PYRO = ("params", "poutine", "nn", "optim", "distributions", "infer")
SUITES = {
    "einops": Suite(
        "einops", tests=("--pyargs", "einops.tests"), variables={"EINOPS_TEST_BACKENDS": "numpy,torch"},
        about="All, with the backends for numpy and PyTorch.",
    ),
    "torchdiffeq": Suite(
        "torchdiffeq", "https://github.com/rtqichen/torchdiffeq (the commit of 2024-11-21)", "tests",
        ("api_tests.py", "event_tests.py", "gradient_tests.py", "norm_tests.py", "odeint_tests.py"),
    ),
    "pyro-ppl": Suite(
        "pyro-ppl", "https://github.com/pyro-ppl/pyro (without its folder pyro: the installed one is meant)",
        tests=tuple(f"tests/{name}" for name in _PYRO), options=("--stage", "unit"), variables={"CI": "1"},
        about=f"The unit tests of {', '.join(_PYRO)}. Of those that do not pass, 23 need a C++ extension, 32 files and "
              "traces of TorchScript, 28 functions that are looked up by a name in a file: flambeau has none of these.",
    ),
    "torchmetrics": Suite(
        "torchmetrics", "https://github.com/Lightning-AI/torchmetrics (v1.9.0)", tests=("tests/unittests",),
        options=("-o", "addopts=--strict-markers", "--continue-on-collection-errors",
                 "-k", "functional or differentiability", "-m", "not DDP"),
        variables={"PYTEST_REFERENCE_CACHE": "{folder}/references"},
        needs=_METRICS, bare=("aeon==1.3.0", "dython==0.7.9", "netcal==1.3.6"),
        about="All tests of functions and of derivatives, in one process, but those that load weights.",
    ),
}  # fmt: skip
#: The letters of the record: passes; passes, but not with every seed; does not pass.
PASSES, BY_CHANCE, OTHER = "p", "c", "-"


def install(python: Path, suite: Suite) -> None:
    """What the tests need besides the package."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    constraints = python.parents[1] / "constraints.txt"
    subprocess.run([*pip, "-c", str(constraints), *TOOLS, *suite.needs], check=True)
    if suite.bare:
        subprocess.run([*pip, "--no-deps", *suite.bare], check=True)


def run(
    python: Path, suite: Suite, source: Path, tests: tuple[str, ...], seeds: int = 0, processes: int = 1
) -> dict[str, str]:
    """The outcome of each test by its id."""
    hidden = ("FLAMBEAU_", "PYTHON", "VIRTUAL_ENV")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    clean["PATH"] = os.pathsep.join([str(python.parent), clean.get("PATH", "")])  # for tests that start Python
    with tempfile.TemporaryDirectory() as folder:
        outcomes = Path(folder, "outcomes")
        variables = {"PYTHONPATH": str(HERE / "plugin"), "OUTCOMES": str(outcomes), "SEEDS": str(seeds)}
        command = [str(python), "-m", "pytest", "-q", "--tb=no", "-p", "outcomes", "-p", "no:cacheprovider", "-rN",
                   "--timeout=900", *suite.options, *tests]  # fmt: skip
        if suite.repository:
            command += ["--rootdir", "."]  # ids do not follow from what files of settings a checkout has
        if processes > 1:
            command += ["-n", str(processes), "--dist", "worksteal"]
        own = {name: value.format(folder=folder) for name, value in suite.variables.items()}
        where = source / suite.folder if suite.repository else Path(folder)
        done = subprocess.run(command, cwd=where, env={**clean, **own, **variables})
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


def lettered(name: str, found: dict[str, str], whole: bool) -> dict[str, str]:
    """The record of what was found on PyTorch; where not the ``whole`` suite was run, with what it has of the rest."""
    there = record_of(name) if (HERE / f"{name}.txt.gz").exists() else {}
    letters = {} if whole else dict(there)
    for test, outcome in found.items():
        passed = BY_CHANCE if there.get(test) == BY_CHANCE else PASSES
        letters[test] = passed if outcome == "passed" else OTHER
    return letters


def compare(recorded: dict[str, str], found: dict[str, str], whole: bool) -> dict[str, Any]:
    """What passes of that which passes on PyTorch; where not the ``whole`` suite was run, of that which was."""
    wanted = {test: letter for test, letter in recorded.items() if letter != OTHER and (whole or test in found)}
    differ = {test: found.get(test, "not there") for test in sorted(wanted) if found.get(test) != "passed"}
    chance = [test for test in differ if wanted[test] == BY_CHANCE]
    return {"torch": len(wanted), "flambeau": len(wanted) - len(differ), "differ": differ, "chance": chance}


def reported(
    name: str, version: str, at: str, found: dict[str, str], whole: bool, earlier: dict[str, Any] | None
) -> dict[str, Any]:
    """The report ``at`` a commit; of a part of the suite it goes on from an ``earlier`` one of the same version."""
    commits = [at]
    if not whole and earlier is not None and earlier["version"] == version:
        found, whole = {**earlier["outcomes"], **found}, earlier["whole"]
        commits = list(dict.fromkeys([*earlier["commits"], at]))
    known = {"suite": name, "about": SUITES[name].about, "version": version, "commits": commits, "whole": whole}
    return {**known, **compare(record_of(name), found, whole), "outcomes": found}


def row(report: dict[str, Any]) -> str:
    """A line of a table: suite, version, tests that pass on PyTorch, and on flambeau."""
    share = 100 * report["flambeau"] / max(report["torch"], 1)
    chance = f", {len(report['chance'])} of the others by chance" if report["chance"] else ""
    return (
        f"| {report['suite']} | {report['version']} | {report['torch']} | {report['flambeau']} "
        f"({share:.2f} %{chance}) |"
    )


def marked(letters: dict[str, str], again: dict[str, str]) -> None:
    """Enter as chance what fails on PyTorch too, with other seeds."""
    for test, outcome in again.items():
        if outcome == "failed" and letters.get(test) == PASSES:
            letters[test] = BY_CHANCE


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.ecosystem.suites", description=__doc__.split("\n")[0])
    parser.add_argument("environment", type=Path)
    parser.add_argument("suites", nargs="*", default=[])
    parser.add_argument("--source", type=Path, help="a checkout of the suite's repository")
    parser.add_argument("--tests", action="append", default=[], help="run these alone, as pytest names them")
    parser.add_argument("--processes", type=int, default=1, help="how many run a suite's tests at once")
    parser.add_argument("--record", action="store_true", help="install PyTorch and write down what passes")
    parser.add_argument("--seeds", type=int, default=0, help="run on PyTorch what differs in --report with other seeds")
    parser.add_argument("--report", type=Path)
    asked = parser.parse_args()
    asked.suites = asked.suites or list(SUITES)
    for name in asked.suites:
        if SUITES[name].repository and asked.source is None:
            parser.error(f"{name}: --source must be a checkout of {SUITES[name].repository}")
    return asked


def main() -> int:
    asked = _arguments()
    there = json.loads(asked.report.read_text()) if asked.report and asked.report.exists() else []
    reports: dict[str, dict[str, Any]] = {report["suite"]: report for report in there}
    source, at, failed = asked.source or Path(), commit(), False
    for name in asked.suites:
        suite, whole = SUITES[name], not asked.tests
        python = make(asked.environment, [suite.package], asked.record or asked.seeds > 0)
        install(python, suite)
        if asked.seeds:
            letters, tests = record_of(name), tuple(reports[name]["differ"])
            for number in range(1, asked.seeds + 1):
                marked(letters, run(python, suite, source, tests, 1000 * number, asked.processes))
            write_record(name, letters)
            continue
        found = run(python, suite, source, tuple(asked.tests) or suite.tests, processes=asked.processes)
        if asked.record:
            write_record(name, lettered(name, found, whole))
            continue
        show = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
        version = subprocess.check_output([str(python), "-c", show, suite.package], text=True).strip()
        report = reports[name] = reported(name, version, at, found, whole, reports.get(name))
        failed |= report["flambeau"] < 0.99 * report["torch"]
        print(row(report))
        for test, what in report["differ"].items():
            print(f"    {what}{' (chance)' if test in report['chance'] else ''}: {test}")
    if asked.report and not (asked.record or asked.seeds):
        asked.report.write_text(json.dumps(list(reports.values()), indent=1) + "\n")
    return failed


if __name__ == "__main__":
    sys.exit(main())
