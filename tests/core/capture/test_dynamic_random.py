"""Chains of ops put together at random, called at random sizes, equal to eager to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau.nn import functional as F
from tests.core.capture.harness import numbers
from tests.core.capture.test_dynamic import of_sizes

Op = Callable[[fb.Tensor], fb.Tensor]

#: From an (n, m) tensor to another, whose sizes depend on n and m.
OPS: list[Op] = [
    lambda x: x * 2 + 1,
    lambda x: x.T,
    lambda x: x - x.mean(0),
    lambda x: x / x.shape[0],
    lambda x: x.softmax(1),
    lambda x: fb.cat([x, x[:1]]),
    lambda x: x[: x.shape[0] // 2 + 1],
    lambda x: x.reshape(-1, 1).expand(-1, 2),
    lambda x: F.pad(x, (1, 0)),
    lambda x: x @ x.T * 0.1,
    lambda x: x + fb.arange(x.shape[1]),
    lambda x: x * math.sqrt(x.shape[1]),
    lambda x: x if x.shape[0] > 6 else x.tanh(),
    lambda x: x * (3.0 if x.shape[1] % 3 == 0 else 1.0),
    lambda x: x.sort(0)[0],
    lambda x: F.dropout(x, 0.25),
    lambda x: x.cumsum(1),
    lambda x: x.clone().mul_(x.shape[0]),
    lambda x: fb.stack([row * i for i, row in enumerate(x)]),
    lambda x: x.flip(0)[:, :8],
    lambda x: fb.where(x > 0, x, fb.zeros_like(x)),
    lambda x: x.masked_fill(fb.ones(x.shape[0], x.shape[1], dtype=fb.bool).tril(), 0.5),
]


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.sampled_from(range(len(OPS))), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), min_size=2, max_size=5, unique=True),
    st.lists(st.integers(0, 4), min_size=10, max_size=30),
    st.booleans(),
)
def test_chains_of_ops(ops: list[int], known: list[tuple[int, int]], order: list[int], train: bool) -> None:
    def step(x: fb.Tensor) -> Any:
        y = x
        for i in ops:
            y = OPS[i](y)
        if not train:
            return y
        return y, (y * y).mean()

    sizes = [known[0]] * 4 + [known[i % len(known)] for i in order]
    report = of_sizes(lambda: step, lambda i, n: numbers(i, *n).requires_grad_(train), sizes)
    assert not report.differences, (ops, sizes, str(report))
