"""Where processes of one run of pytest leave each other what their jobs gave."""

from __future__ import annotations

import os

import pytest

from tests.distributed import jobs


@pytest.fixture(scope="session", autouse=True)
def _shared(tmp_path_factory: pytest.TempPathFactory) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        jobs.shared = tmp_path_factory.getbasetemp().parent
