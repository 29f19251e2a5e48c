"""Initial values: distributions, identities, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau import nn
from flambeau.nn import init
from tests.errors import check_error


def drawn(fn: Any, *shape: int, **options: Any) -> Any:
    t = fb.empty(*shape, requires_grad=True)
    assert fn(t, generator=fb.Generator().manual_seed(1), **options) is t
    assert t.requires_grad and t.is_leaf
    return t.detach().numpy()


def even(values: Any, bound: float) -> None:
    """Evenly in ±bound."""
    assert np.abs(values).max() <= bound
    np.testing.assert_allclose(np.abs(values).max(), bound, rtol=0.01)
    np.testing.assert_allclose(values.std(), bound / math.sqrt(3), rtol=0.05)


def test_even_distributions() -> None:
    even(drawn(init.uniform_, 50, 80, a=-2.0, b=2.0), 2.0)
    even(drawn(init.xavier_uniform_, 50, 80, gain=2.0), 2 * math.sqrt(6 / 130))
    even(drawn(init.kaiming_uniform_, 50, 80), math.sqrt(6 / 80))
    even(drawn(init.kaiming_uniform_, 50, 80, a=math.sqrt(5)), 1 / math.sqrt(80))
    even(drawn(init.kaiming_uniform_, 50, 8, 3, 3, mode="fan_out", nonlinearity="relu"), math.sqrt(6 / 450))


def test_normal_distributions() -> None:
    np.testing.assert_allclose(drawn(init.normal_, 50, 80, mean=3.0, std=0.5).mean(), 3.0, rtol=0.01)
    np.testing.assert_allclose(drawn(init.xavier_normal_, 50, 80).std(), math.sqrt(2 / 130), rtol=0.05)
    np.testing.assert_allclose(drawn(init.kaiming_normal_, 50, 80).std(), math.sqrt(2 / 80), rtol=0.05)
    cut = drawn(init.trunc_normal_, 50, 80, std=2.0, a=-1.0, b=3.0)
    assert cut.min() >= -1
    assert cut.max() <= 3
    sparse = drawn(init.sparse_, 50, 20, sparsity=0.3)
    assert ((sparse == 0).sum(0) == 15).all()
    np.testing.assert_allclose(sparse[sparse != 0].std(), 0.01, rtol=0.1)


@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (6, 2, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    q = drawn(init.orthogonal_, *shape, gain=2.0).reshape(shape[0], -1)
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)


def test_constants() -> None:
    assert init.ones_(fb.empty(2)).tolist() == [1.0, 1.0]
    assert init.zeros_(fb.empty(2)).tolist() == [0.0, 0.0]
    assert init.constant_(fb.empty(2), 3.0).tolist() == [3.0, 3.0]
    np.testing.assert_array_equal(init.eye_(fb.empty(2, 3)).numpy(), np.eye(2, 3))


def test_dirac_keeps_channels() -> None:
    x = fb.arange(24.0).reshape(1, 4, 6)
    weight = init.dirac_(fb.empty(4, 2, 3), groups=2)
    np.testing.assert_array_equal(nn.functional.conv1d(x, weight, padding=1, groups=2).numpy(), x.numpy())


def test_gains() -> None:
    assert init.calculate_gain("linear") == 1
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("leaky_relu", 0.2) == math.sqrt(2 / 1.04)
    assert init.calculate_gain("selu") == 0.75


def test_defaults_of_layers() -> None:
    fb.manual_seed(0)
    linear = nn.Linear(400, 100)
    even(linear.weight.detach().numpy(), 1 / 20)
    assert linear.bias is not None
    assert np.abs(linear.bias.detach().numpy()).max() <= 1 / 20
    even(nn.Conv2d(16, 32, 5).weight.detach().numpy(), 1 / 20)
    even(nn.LSTM(16, 64).weight_hh_l0.detach().numpy(), 1 / 8)
    table = nn.Embedding(100, 50, padding_idx=3).weight.detach().numpy()
    np.testing.assert_allclose(table.std(), 1, rtol=0.05)
    assert not table[3].any()
    norm = nn.BatchNorm2d(3)
    assert (norm.weight.tolist(), norm.bias.tolist()) == ([1.0] * 3, [0.0] * 3)
    attention = nn.MultiheadAttention(32, 4)
    even(attention.in_proj_weight.detach().numpy(), math.sqrt(6 / (4 * 32)))
    assert not attention.out_proj.bias.detach().numpy().any()


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda: init.xavier_uniform_(fb.empty(3)), ValueError, ["2 dimensions", "(3,)"]),
        (lambda: init.eye_(fb.empty(3)), ValueError, ["2 dimensions", "(3,)"]),
        (lambda: init.dirac_(fb.empty(3, 3)), ValueError, ["3, 4, or 5", "(3, 3)"]),
        (lambda: init.dirac_(fb.empty(3, 1, 3), groups=2), ValueError, ["groups=2", "(3, 1, 3)"]),
        (lambda: init.sparse_(fb.empty(3), 0.1), ValueError, ["2 dimensions"]),
        (lambda: init.orthogonal_(fb.empty(3)), ValueError, ["2 or more"]),
        (lambda: init.kaiming_uniform_(fb.empty(3, 3), mode="out"), ValueError, ["Mode out", "fan_in"]),
        (lambda: init.calculate_gain("gelu"), ValueError, ["gelu"]),
        (lambda: init.calculate_gain("leaky_relu", "x"), ValueError, ["x"]),  # type: ignore[arg-type]
    ],
)
def test_errors(wrong: Any, error: type[Exception], words: list[str]) -> None:
    check_error(wrong, error, words)
