"""A sample of the wrong calls, and that the fuzzer knows what it sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import flambeau as fb
from tests.fuzz.calls import Drawn, draw
from tests.fuzz.catalogue import Target, targets
from tests.fuzz.run import ROOT, one, run

CALLS = 1500


def test_a_sample_of_wrong_calls_ends_in_results_and_clear_errors() -> None:
    rows = list(run(seed=7, calls=CALLS))
    counts = Counter(row["verdict"] for row in rows)
    faults = [f"{r['verdict']}: {r['call']} -> {r['what']}" for r in rows if r["verdict"] not in ("returned", "clear")]
    assert len(rows) == CALLS and counts["clear"] > CALLS / 2 and counts["returned"] > CALLS / 20
    assert not [f for f in faults if not f.startswith("raw")], faults  # none hangs, none ends its process
    assert len(faults) <= CALLS / 200, "\n".join(faults)


def test_calls_are_the_same_in_every_run() -> None:
    assert [str(draw(3, i)) for i in range(50)] == [str(draw(3, i)) for i in range(50)]
    assert len(targets()) > 1500 and len({t.path for t in targets()}) == len(targets())


def _raises(error: BaseException) -> Drawn:
    def fn() -> None:
        raise error

    return Drawn(Target("fb.fn", fn), (), {}, "")


@pytest.mark.parametrize(
    ("drawn", "verdict"),
    [
        (Drawn(Target("fb.sum", fb.sum), (fb.ones(2),), {}, ""), "returned"),
        (Drawn(Target("fb.sum", fb.sum), ("a",), {}, ""), "clear"),
        (Drawn(Target("fb.sum", fb.sum), (), {"dim": 3}, ""), "clear"),
        (Drawn(Target("fb.sin", fb.sin), (1, 2, 3), {}, ""), "clear"),
        (Drawn(Target("fb.sin", lambda x: x._array), (1,), {}, ""), "raw"),
        (Drawn(Target("fb.sin", lambda x: np.ones(2) + np.ones(3)), (1,), {}, ""), "raw"),
        (_raises(RecursionError()), "raw"),
        (_raises(MemoryError()), "raw"),
    ],
)  # fmt: skip
def test_verdicts(drawn: Drawn, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.run.LIMIT", 60.0)
    assert one(drawn)["verdict"] == verdict


def test_a_call_that_takes_too_long_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    from tests.fuzz import run as module

    monkeypatch.setattr(module, "LIMIT", 0.2)
    before = signal.signal(signal.SIGALRM, module._stop)
    try:
        endless = Drawn(Target("fb.fn", lambda: [None for _ in iter(int, 1)]), (), {}, "")
        assert one(endless)["verdict"] == "slow"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_the_command_counts(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    command = [sys.executable, "-m", "tests.fuzz", "--calls", "20", "--only", "fb.cos", "--rows", str(rows)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0 and "clear" in done.stdout, done.stdout + done.stderr
    assert all("fb.cos" in json.loads(line)["call"] for line in rows.read_text().splitlines())
