"""Fixtures that tests of several folders share, and the marker `device`."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from flambeau.core import config
from tests.environments import ROOT, checkout, dependencies, distributions, new_environment

__all__ = ["checkout", "dependencies", "distributions", "new_environment"]  # fixtures

# A driver's compiler takes most of the time of OpenCL's tests, half of it to optimise kernels that run once. The
# conformance kit, which does not see this, runs optimised ones; PYOPENCL_BUILD_OPTIONS="" does so here.
os.environ.setdefault("PYOPENCL_BUILD_OPTIONS", "-cl-opt-disable")
if sys.dont_write_bytecode:  # compiled files are to stay out of the checkout, but hundreds of processes need them
    _compiled = tempfile.mkdtemp(prefix="flambeau-pycache-")
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = _compiled
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-device",
        action="append",
        default=[],
        metavar="TYPE",
        help="fail, instead of skipping, the tests marked device(TYPE) where there is no such device; "
        "fail the run if no test of it ran",
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What stands when the tests begin stays: the collector need not look through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("device"):
        reason = _why_not(mark.args[0])
        if reason is not None:
            if mark.args[0] in item.config.getoption("--require-device"):
                pytest.fail(f"device {mark.args[0]!r} is required by --require-device: {reason}")
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    report.devices = [mark.args[0] for mark in item.iter_markers("device")]  # type: ignore[attr-defined]
    return report


_ran: set[str] = set()  # the device types of which a test passed; under xdist the controller hears of them all


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        _ran.update(getattr(report, "devices", ()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    missed = set(session.config.getoption("--require-device")) - _ran
    if missed and not hasattr(session.config, "workerinput"):
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line(f"\nno test passed of the required devices: {', '.join(sorted(missed))}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


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


@pytest.fixture
def settled() -> None:
    """What small calls make once they are frequent is made, and not while a test counts objects."""
    import flambeau as fb
    from flambeau.backends.cpu import helpers, small

    for dtype in small.SOURCES:
        x = fb.ones(2, dtype=dtype)
        for _ in range(small.CALLS):
            x == x  # noqa: B015
    layer, x = fb.nn.Linear(2, 2), fb.ones(2, 2)
    for _ in range(helpers.CALLS):
        layer(x)
