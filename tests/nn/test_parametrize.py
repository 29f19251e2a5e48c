"""Parametrized tensors: registration, assignment, removal, copies, errors."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from flambeau.nn.utils import parametrizations, parametrize
from tests.errors import check_error


class Doubled(nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 2

    def right_inverse(self, value: Any) -> Any:
        return value / 2


class Shifted(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + 1


def test_a_parameter_becomes_computed() -> None:
    m = nn.Linear(2, 2)
    before = m.weight.detach().numpy().copy()
    assert parametrize.register_parametrization(m, "weight", Doubled()) is m
    assert parametrize.is_parametrized(m)
    assert parametrize.is_parametrized(m, "weight")
    assert not parametrize.is_parametrized(m, "bias")
    np.testing.assert_array_equal(m.weight.detach().numpy(), before)
    assert [n for n, _ in m.named_parameters()] == ["bias", "parametrizations.weight.original"]
    assert repr(m).startswith("ParametrizedLinear(")
    assert isinstance(m, nn.Linear)
    m(fb.ones(1, 2)).sum().backward()
    np.testing.assert_array_equal(m.parametrizations.weight.original.grad.numpy(), [[2.0, 2.0]] * 2)
    m.weight = fb.ones(2, 2)
    assert m.parametrizations.weight.original.tolist() == [[0.5, 0.5]] * 2
    assert m.weight.tolist() == [[1.0, 1.0]] * 2


def test_several_go_one_after_another() -> None:
    m = nn.Linear(1, 1)
    parametrize.register_parametrization(m, "weight", Doubled())
    parametrize.register_parametrization(m, "weight", Shifted())
    with fb.no_grad():
        m.parametrizations.weight.original.fill_(3.0)
    assert m.weight.item() == 7.0
    with pytest.raises(RuntimeError, match="Shifted has no right_inverse"):
        m.weight = fb.ones(1, 1)


@pytest.mark.parametrize(("leave", "value"), [(True, 6.0), (False, 3.0)])
def test_removal(leave: bool, value: float) -> None:
    m = parametrize.register_parametrization(nn.Linear(1, 1), "weight", Doubled())
    with fb.no_grad():
        m.parametrizations.weight.original.fill_(3.0)
    parametrize.remove_parametrizations(m, "weight", leave)
    assert type(m) is nn.Linear
    assert isinstance(m.weight, nn.Parameter)
    assert m.weight.item() == value
    assert not parametrize.is_parametrized(m)
    assert sorted(m.state_dict()) == ["bias", "weight"]


def test_copies_and_state() -> None:
    m = parametrizations.weight_norm(nn.Linear(3, 2))
    other = copy.deepcopy(m)
    with fb.no_grad():
        other.parametrizations.weight.original0.mul_(2)
    np.testing.assert_allclose(other.weight.detach().numpy(), 2 * m.weight.detach().numpy(), rtol=1e-6)
    other.load_state_dict(m.state_dict())
    np.testing.assert_array_equal(other.weight.detach().numpy(), m.weight.detach().numpy())
    before = m.weight.detach().numpy().copy()
    parametrize.remove_parametrizations(m, "weight")
    np.testing.assert_array_equal(m.weight.detach().numpy(), before)


def test_cached_values_are_computed_once() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, x: Any) -> Any:
            Counting.calls += 1
            return x

    m = parametrize.register_parametrization(nn.Linear(1, 1), "weight", Counting())
    start = Counting.calls
    with parametrize.cached():
        assert m.weight is m.weight
    assert Counting.calls == start + 1
    assert m.weight is not None
    assert Counting.calls == start + 2


def test_buffers_too() -> None:
    m = parametrize.register_parametrization(nn.BatchNorm1d(2), "running_mean", Doubled())
    assert "parametrizations.running_mean.original" in dict(m.named_buffers())


@pytest.mark.parametrize("make", [nn.Linear, nn.Conv2d])
def test_spectral_norm_makes_the_largest_singular_value_one(make: Any) -> None:
    fb.manual_seed(0)
    m = parametrizations.spectral_norm(make(4, 3, *([2] if make is nn.Conv2d else [])))
    for _ in range(40):
        weight = m.weight
    matrix = weight.detach().numpy().reshape(3, -1)
    np.testing.assert_allclose(np.linalg.svd(matrix)[1][0], 1, rtol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda m: parametrize.register_parametrization(m, "x", Doubled()), ValueError, ["Linear", "'x'"]),
        (lambda m: parametrize.remove_parametrizations(m, "weight"), ValueError, ["Linear", "'weight'"]),
        (lambda m: parametrize.register_parametrization(m, "weight", nn.Flatten(0)), RuntimeError,
         ["shape", "(4,)", "(2, 2)"]),
        (lambda m: parametrizations.spectral_norm(m, n_power_iterations=0), ValueError, ["n_power_iterations=0"]),
        (lambda m: parametrizations.spectral_norm(m, "x"), ValueError, ["'x'"]),
        (lambda m: parametrize.remove_parametrizations(parametrizations.weight_norm(m), "weight", False), ValueError,
         ["one original"]),
    ],
)  # fmt: skip
def test_errors(wrong: Any, error: type[Exception], words: list[str]) -> None:
    check_error(lambda: wrong(nn.Linear(2, 2)), error, words)
