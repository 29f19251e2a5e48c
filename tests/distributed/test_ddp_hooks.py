"""Uneven inputs, communication hooks, averaged models and SyncBatchNorm on several ranks."""

from __future__ import annotations

import pytest

from tests.distributed.jobs import Cases, case_names, run_cases

PROGRAMS = "tests.distributed.ddp_hook_programs"


@pytest.fixture(scope="module")
def two() -> Cases:
    return run_cases(2, PROGRAMS)


@pytest.fixture(scope="module")
def four() -> Cases:
    return run_cases(4, PROGRAMS, timeout=240)


@pytest.mark.parametrize("name", case_names(PROGRAMS))
def test_on_two_ranks(two: Cases, name: str) -> None:
    two.check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", case_names(PROGRAMS))
def test_on_four_ranks(four: Cases, name: str) -> None:
    four.check(name)
