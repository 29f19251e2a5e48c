"""Parametrises the kit's tests over (op, dtype) and applies declared limitations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flambeau.backends.base import Backend
from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.core.record import Op
from flambeau.plugins.conformance import kit, opdb, report, sample
from flambeau.plugins.conformance.opdb.run import dtypes_of


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
def backend(target: str) -> Backend:
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
    index = Device(target).number
    found.synchronize(index)
    found.check(index)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with arguments (name, dtype) runs for each op and each dtype that the backend claims.

    Of what a backend declares that it cannot do, `test_values` must fail, and no other test runs.
    """
    if {"name", "dtype"} <= set(metafunc.fixturenames):
        target = _target(metafunc.config)
        few = metafunc.config.getoption("--flambeau-dtypes") == "few"
        cases = [case for op in opdb.load().values() for case in _cases(metafunc.function, op, target, few)]
        metafunc.parametrize(("name", "dtype"), cases)
    elif "failing" in metafunc.fixturenames:
        metafunc.parametrize("failing", kit.with_errors(_target(metafunc.config)))


def _cases(test: Any, op: Op, target: str, few: bool) -> Iterator[Any]:
    """The parameters of one test for one op."""
    if op.samples is None:
        return
    wanted = getattr(test, "covers", lambda op, dtype, target: True)
    quick = getattr(test, "few", kit.FEW)
    found, index = kit.backend_of(target), Device(target).number
    every = [d for d in dt.ALL if found.offers(d, index)] if hasattr(test, "every_dtype") else dtypes_of(op, target)
    for dtype in kit.chosen(every, few):
        declared = kit.limitation(op.name, dtype, found)
        if declared is not None:
            if test.__name__ == "test_values":
                marks = [pytest.mark.xfail(strict=True, reason=declared.reason)]
                yield pytest.param(op.name, dtype, marks=marks, id=f"{op.name}-{dtype.name}")
        elif (not few or dtype in quick) and kit.is_claimed(op, dtype, target) and wanted(op, dtype, target):
            yield pytest.param(op.name, dtype, id=f"{op.name}-{dtype.name}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the sample that was asked for, of what ``-k`` and its like have left."""
    wanted = config.getoption("--flambeau-sample")
    if not wanted:
        return
    try:
        count, seed = sample.parse(wanted)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    own = [item for item in items if item.path.parent == Path(__file__).parent]
    taken = {id(own[i]) for i in sample.spread([_facts(item) for item in own], count, seed)}
    dropped = [item for item in own if id(item) not in taken]
    items[:] = [item for item in items if item not in set(dropped)]
    config.hook.pytest_deselected(items=dropped)


def _facts(item: pytest.Item) -> sample.Facts:
    subject, test = _subject(item), str(getattr(item, "originalname", item.name))
    op, dtype = (test, "") if subject is None else (subject[0], subject[1].name)
    return sample.Facts(op, test, dtype, item.name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tell the recorder what the test is about."""
    subject = _subject(item)
    if subject is not None:
        item.user_properties.append((report.SUBJECT, [subject[0], subject[1].name]))


def _subject(item: pytest.Item) -> tuple[str, DType] | None:
    """The op and the dtype that a test checks; None for a test of something else."""
    callspec: Any = getattr(item, "callspec", None)
    params: dict[str, Any] = callspec.params if callspec is not None else {}
    if {"name", "dtype"} <= params.keys():
        return params["name"], params["dtype"]
    subject = getattr(getattr(item, "function", None), "subject", None)
    return None if subject is None else subject(params)
