"""DistributedDataParallel and SyncBatchNorm on several ranks are what one rank with the whole batch is."""

from __future__ import annotations

import pytest

from tests.distributed.jobs import Cases, Job, case_names, run_cases, run_ranks

PROGRAMS = "tests.distributed.ddp_programs"


@pytest.fixture(scope="module")
def two() -> Cases:
    return run_cases(2, PROGRAMS)


@pytest.fixture(scope="module")
def four() -> Cases:
    return run_cases(4, PROGRAMS, timeout=240)


@pytest.fixture(scope="module")
def mixed() -> Job:
    return run_ranks(3, "tests.distributed.ddp_devices:losses").check()


@pytest.mark.parametrize("name", case_names(PROGRAMS))
def test_on_two_ranks(two: Cases, name: str) -> None:
    two.check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", case_names(PROGRAMS))
def test_on_four_ranks(four: Cases, name: str) -> None:
    four.check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt", "lenet", "lstm"])
def test_ranks_on_different_backends_train_one_model(mixed: Job, name: str) -> None:
    assert mixed.returned[0]["devices"][0] == "cpu" and len(set(mixed.returned[0]["devices"])) > 1
    for found in mixed.returned:
        assert found[name]["mixed"] == pytest.approx(found[name]["whole"], rel=1e-6, abs=1e-6)
