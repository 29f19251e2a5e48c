"""Parametrises the kit's tests over (op, dtype), applies declared limitations, and writes the support matrix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flambeau.core import opdb
from flambeau.core.device import device as Device
from flambeau.plugins.conformance import kit, report


def _target(config: pytest.Config) -> str:
    chosen = config.getoption("--flambeau-device", default=None)
    if not chosen:
        raise pytest.UsageError("the conformance kit needs --flambeau-device=TYPE[:N], for example opencl:0")
    return str(chosen)


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> str:
    """The device under test."""
    return _target(request.config)


@pytest.fixture(scope="session")
def backend(target: str) -> Any:
    return kit.backend_of(target)


@pytest.fixture(autouse=True)
def settled(target: str) -> Iterator[None]:
    """Late errors belong to the test that caused them."""
    yield
    found = kit.backend_of(target)
    index = Device(target).index
    found.synchronize(index)
    found.check(index)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with arguments (name, dtype) runs for each op and each dtype that the backend claims."""
    if not {"name", "dtype"} <= set(metafunc.fixturenames):
        return
    target = _target(metafunc.config)
    found = kit.backend_of(target)
    few = metafunc.config.getoption("--flambeau-dtypes") == "few"
    wanted = getattr(metafunc.module, "covers", lambda op, dtype: True)
    cases = []
    for name, op in opdb.load().items():
        if op.samples is None:
            continue
        for dtype in kit.claimed(op, target, few):
            if not wanted(op, dtype):
                continue
            declared = kit.limitation(name, dtype, found)
            marks = [pytest.mark.xfail(strict=True, reason=declared.reason)] if declared else []
            cases.append(pytest.param(name, dtype, marks=marks, id=f"{name}-{dtype.name}"))
    metafunc.parametrize(("name", "dtype"), cases)


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    if call.when == "call" and hasattr(item, "callspec") and {"name", "dtype"} <= item.callspec.params.keys():
        kinds = item.config.stash.setdefault(report.OUTCOMES, {})
        key = (item.callspec.params["name"], item.callspec.params["dtype"].name)
        xfail = item.get_closest_marker("xfail") is not None
        ok = call.excinfo is None
        kinds.setdefault(key, []).append(ok != xfail)


def pytest_sessionfinish(session: pytest.Session) -> None:
    folder = session.config.getoption("--flambeau-report", default=None)
    if folder and session.config.getoption("--flambeau-device"):
        report.write(Path(folder), _target(session.config), session.config.stash.get(report.OUTCOMES, {}))
