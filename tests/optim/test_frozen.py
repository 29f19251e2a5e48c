"""Optimizers and schedules give PyTorch's numbers."""

from __future__ import annotations

import pytest

import flambeau as fb
from tests import frozen

#: PyTorch keeps these optimizers' factors in float32.
ROUNDED = {"NAdam": 1e-6, "ASGD": 1e-6}
CASES, NUMBERS = frozen.load("tests.optim.cases")


@pytest.mark.parametrize("name", CASES)
def test_as_in_pytorch(name: str) -> None:
    frozen.check(fb, name, CASES[name], NUMBERS[name], ROUNDED.get(name.partition(" ")[0], 1e-9))


def test_no_number_is_left_over() -> None:
    assert list(CASES) == list(NUMBERS)
