"""Tensor parallelism on two and on four ranks."""

from __future__ import annotations

import pytest

from tests.distributed.jobs import Cases, case_names, run_cases

PROGRAMS = "tests.distributed.tensor_parallel_programs"


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)])
def cases(request: pytest.FixtureRequest) -> Cases:
    return run_cases(request.param, PROGRAMS)


@pytest.mark.parametrize("name", case_names(PROGRAMS))
def test_case(cases: Cases, name: str) -> None:
    cases.check(name)
