"""The cases of behaviour answer on flambeau as they do on PyTorch."""

from __future__ import annotations

import pytest

import flambeau as fb
from tests import behaviour

LOADED = {module: behaviour.load(module) for module in behaviour.SETS}


@pytest.mark.parametrize(("module", "name"), [(m, name) for m, (cases, _) in LOADED.items() for name in cases])
def test_as_in_pytorch(module: str, name: str) -> None:
    cases, answers = LOADED[module]
    found = behaviour.answer(fb, cases[name])
    assert behaviour.agrees(found, answers[name]), f"{found}, and PyTorch {answers[name]}"


@pytest.mark.parametrize("module", behaviour.SETS)
def test_no_answer_is_left_over(module: str) -> None:
    cases, answers = LOADED[module]
    assert list(cases) == list(answers)
