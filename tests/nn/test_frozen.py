"""nn.functional and nn give PyTorch's numbers and gradients."""

from __future__ import annotations

import warnings

import pytest

import flambeau as fb
from tests import frozen

SETS = {name: frozen.load(f"tests.nn.{name}_cases") for name in ("functional", "loss", "module")}
#: PyTorch's kernel has the constant 1/6 in float32.
ROUNDED = {"hardsigmoid": 1e-7, "hardsigmoid wide": 1e-7}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, (cases, _) in SETS.items() for name in cases])
def test_as_in_pytorch(kind: str, name: str) -> None:
    cases, numbers = SETS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        frozen.check(fb, name, cases[name], numbers[name], ROUNDED.get(name, 1e-9))


@pytest.mark.parametrize("kind", SETS)
def test_no_number_is_left_over(kind: str) -> None:
    cases, numbers = SETS[kind]
    assert list(cases) == list(numbers)
