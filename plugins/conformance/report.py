"""Collects the results of a run of the kit, and writes the device's support matrix as markdown and JSON."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.plugins.conformance import kit
from flambeau.plugins.support import facts_of, page

#: The name of the property of a test that says which op and dtype it checks.
SUBJECT = "flambeau: op and dtype"


class Recorder:
    """Collects the results of a run, with pytest-xdist in the one process that sees all of them."""

    def __init__(self, config: pytest.Config):
        self.config = config
        self.outcomes: dict[tuple[str, str], list[bool]] = defaultdict(list)
        self.written: list[Path] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        subject: Any = next((v for k, v in report.user_properties if k == SUBJECT), None)
        expected = report.outcome == "passed" or hasattr(report, "wasxfail")
        if subject is not None and (report.failed or (report.when == "call" and expected)):
            self.outcomes[subject[0], subject[1]].append(not report.failed)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.config.getoption("--flambeau-report") and self.outcomes:
            self.write(Path(self.config.getoption("--flambeau-report")), self.config.getoption("--flambeau-device"))

    def write(self, folder: Path, target: str) -> None:
        """Write ``support-TYPE.md`` and ``support-TYPE.json``."""
        checked = kit.chosen(dt.ALL, few=self.config.getoption("--flambeau-dtypes") == "few")
        facts = facts_of(target, self.outcomes, checked, self.selection())
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in {".json": json.dumps(facts, indent=1, default=str) + "\n", ".md": page(facts)}.items():
            self.written.append(folder / f"support-{Device(target).type}{suffix}")
            self.written[-1].write_text(text, encoding="utf-8")

    def selection(self) -> str:
        """The options that made this run a part of the kit."""
        keyword, sample = self.config.getoption("keyword", ""), self.config.getoption("--flambeau-sample")
        return " ".join([f'-k "{keyword}"'] * bool(keyword) + [f"--flambeau-sample={sample}"] * bool(sample))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.outcomes:
            sound = sum(all(v) for v in self.outcomes.values())
            device = self.config.getoption("--flambeau-device")
            terminalreporter.write_line(f"{device}: {sound} of {len(self.outcomes)} pairs of op and dtype conform")
        for path in self.written:
            terminalreporter.write_line(f"wrote {path}")
