"""Fixtures that tests of several folders share, and the marker `device`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flambeau.core import config

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-device",
        action="append",
        default=[],
        metavar="TYPE",
        help="fail, instead of skipping, the tests marked device(TYPE) where there is no such device; "
        "fail the run if no test of it ran",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("device"):
        reason = _why_not(mark.args[0])
        if reason is not None:
            if mark.args[0] in item.config.getoption("--require-device"):
                pytest.fail(f"device {mark.args[0]!r} is required by --require-device: {reason}")
            pytest.skip(reason)


def _why_not(name: str) -> str | None:
    from flambeau.core import registry
    from flambeau.core.device import device

    try:
        registry.resolve(device(name))
    except RuntimeError as error:
        return str(error)
    return None


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No setting comes from outside; those that the test sets in the environment end with it."""
    for name in [n for n in os.environ if n.startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    config.reset()
    yield monkeypatch
    monkeypatch.undo()
    config.reset()


RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    """Run ``run_python("-c", code, VARIABLE="value")`` in a new process that sees the checkout."""

    def run(*arguments: str, timeout: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(config.PREFIX)}
        path = os.pathsep.join([str(ROOT), *filter(None, [clean.get("PYTHONPATH")])])
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**clean, "PYTHONPATH": path, **variables},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run
