"""A plugin of pytest for suites of other packages: it writes each test's outcome to a file, and moves the seeds.

``OUTCOMES`` names the file, a line for each test as soon as it has ended; ``SEEDS`` is added to every seed that a test
sets, so that tests of random numbers can be told from those that hold for all of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_worst: dict[str, str] = {}
_RANKS = ("passed", "xfailed", "skipped", "failed")
#: The last phase of a test; of one that ended its process pytest-xdist reports the other.
_LAST = ("teardown", "???")


def pytest_configure(config: pytest.Config) -> None:
    if by := int(os.environ.get("SEEDS", "0")):
        import torch  # type: ignore[import-not-found, unused-ignore]

        seed = torch.manual_seed
        seed(by)  # where a test sets none
        for module in (torch, torch.random):
            module.manual_seed = lambda number: seed(int(number) + by)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcome = "xfailed" if report.outcome == "skipped" and hasattr(report, "wasxfail") else report.outcome
    worst = max(outcome, _worst.get(report.nodeid, "passed"), key=_RANKS.index)
    _worst[report.nodeid] = worst
    if report.when in _LAST and "PYTEST_XDIST_WORKER" not in os.environ:  # the process above them writes it
        with Path(os.environ["OUTCOMES"]).open("a") as file:
            file.write(f"{worst} {report.nodeid}\n")
