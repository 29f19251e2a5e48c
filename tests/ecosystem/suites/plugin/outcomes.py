"""A plugin of pytest for suites of other packages: it writes each test's outcome to a file, and moves the seeds.

``OUTCOMES`` names the file, a line for each test as soon as it has ended; ``SEEDS`` is added to every seed that a test
sets, so that tests of random numbers can be told from those that hold for all of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch  # type: ignore[import-not-found, unused-ignore]

_worst: dict[str, str] = {}
_RANKS = ("passed", "xfailed", "skipped", "failed")


def pytest_configure(config: pytest.Config) -> None:
    by, seed = int(os.environ.get("SEEDS", "0")), torch.manual_seed
    if by:
        seed(by)  # where a test sets none
        for module in (torch, torch.random):
            module.manual_seed = lambda number: seed(int(number) + by)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    outcome = "xfailed" if report.outcome == "skipped" and hasattr(report, "wasxfail") else report.outcome
    worst = max(outcome, _worst.get(report.nodeid, "passed"), key=_RANKS.index)
    _worst[report.nodeid] = worst
    if report.when == "teardown":
        with Path(os.environ["OUTCOMES"]).open("a") as file:
            file.write(f"{worst} {report.nodeid}\n")
