"""DistributedDataParallel and SyncBatchNorm on several ranks are what one rank with the whole batch is."""

from __future__ import annotations

import pytest

from tests.distributed.jobs import Cases, case_names, run_cases

PROGRAMS = "tests.distributed.ddp_programs"


@pytest.fixture(scope="module")
def two() -> Cases:
    return run_cases(2, PROGRAMS)


@pytest.mark.parametrize("name", case_names(PROGRAMS))
def test_on_two_ranks(two: Cases, name: str) -> None:
    two.check(name)
