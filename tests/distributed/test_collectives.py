"""Collectives, groups and meshes on three ranks of one job."""

from __future__ import annotations

import pytest

from tests.distributed.jobs import Cases, case_names, run_cases

pytest.importorskip("mpi4py", reason="processes communicate through mpi4py, of the extra 'distributed'")
PROGRAMS = "tests.distributed.collective_programs"


@pytest.fixture(scope="module")
def cases() -> Cases:
    return run_cases(3, PROGRAMS)


@pytest.mark.parametrize("name", case_names(PROGRAMS))
def test_case(cases: Cases, name: str) -> None:
    cases.check(name)
