"""Pipelines of two and of four stages."""

from __future__ import annotations

import pytest

from tests.distributed.jobs import Cases, case_names, run_cases

PROGRAMS = "tests.distributed.pipeline_programs"


@pytest.fixture(scope="module", params=[pytest.param(2, marks=pytest.mark.slow), 4])
def cases(request: pytest.FixtureRequest) -> Cases:
    return run_cases(request.param, PROGRAMS)


@pytest.mark.parametrize("name", case_names(PROGRAMS))
def test_case(cases: Cases, name: str) -> None:
    cases.check(name)
