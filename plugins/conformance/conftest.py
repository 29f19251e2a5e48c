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


@pytest.fixture(scope="session")
def small(request: pytest.FixtureRequest) -> bool:
    """Whether to keep to small tensors and the first samples."""
    return bool(request.config.getoption("--flambeau-sizes") == "small")


@pytest.fixture(autouse=True)
def settled(target: str) -> Iterator[None]:
    """Late errors belong to the test that caused them."""
    yield
    found = kit.backend_of(target)
    index = Device(target).index
    found.synchronize(index)
    found.check(index)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with arguments (name, dtype) runs for each op and each dtype that the backend claims.

    Of what a backend declares that it cannot do, `test_values` must fail, and no other test runs.
    """
    if not {"name", "dtype"} <= set(metafunc.fixturenames):
        return
    target = _target(metafunc.config)
    found = kit.backend_of(target)
    few = metafunc.config.getoption("--flambeau-dtypes") == "few"
    wanted = getattr(metafunc.function, "covers", lambda op, dtype: True)
    cases = []
    for name, op in opdb.load().items():
        for dtype in kit.claimed(op, target, few) if op.samples is not None else ():
            declared = kit.limitation(name, dtype, found)
            if not wanted(op, dtype) or declared and metafunc.function.__name__ != "test_values":
                continue
            marks = [pytest.mark.xfail(strict=True, reason=declared.reason)] if declared else []
            cases.append(pytest.param(name, dtype, marks=marks, id=f"{name}-{dtype.name}"))
    metafunc.parametrize(("name", "dtype"), cases)


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> None:
    if call.when != "call" or not hasattr(item, "callspec") or not {"name", "dtype"} <= item.callspec.params.keys():
        return
    if call.excinfo is not None and call.excinfo.errisinstance(pytest.skip.Exception):
        return
    outcomes = item.config.stash.setdefault(report.OUTCOMES, {})
    key = (item.callspec.params["name"], item.callspec.params["dtype"].name)
    must_fail = item.get_closest_marker("xfail") is not None
    outcomes.setdefault(key, []).append((call.excinfo is None) != must_fail)


def pytest_sessionfinish(session: pytest.Session) -> None:
    folder = session.config.getoption("--flambeau-report", default=None)
    if folder and session.config.getoption("--flambeau-device"):
        report.write(Path(folder), _target(session.config), session.config.stash.get(report.OUTCOMES, {}))
