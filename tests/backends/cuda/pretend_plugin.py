"""A pytest plugin that makes ``cuda`` the pretend machine for a whole run, as for the conformance kit."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

_machine = ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    from tests.backends.cuda.conftest import pretend

    _machine.enter_context(pretend())


def pytest_unconfigure(config: pytest.Config) -> None:
    _machine.close()
