"""Random numbers: the same bits and uniforms on every device, normals within a tolerance, and any chunking."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as fb
from flambeau.core.random import random_words
from flambeau.plugins.conformance import kit


def test_bits_are_philox(target: str) -> None:
    fb.manual_seed(1234)
    found = kit.host(fb.randint(0, 1 << 16, (1001,), device=target))
    fb.manual_seed(1234)
    np.testing.assert_array_equal(found, kit.host(fb.randint(0, 1 << 16, (1001,))))
    assert len(random_words(1234, 0, 10)) == 10


@pytest.mark.parametrize("shape", [(1,), (5,), (1027,), (33, 65)])
def test_uniforms_equal_the_cpus_to_the_bit(target: str, shape: tuple[int, ...]) -> None:
    values = []
    for where in ("cpu", target):
        fb.manual_seed(7)
        values.append((kit.host(fb.rand(*shape, device=where)), kit.host(fb.rand(3, device=where))))
    for a, b in zip(*values, strict=True):
        np.testing.assert_array_equal(a, b)


def test_normals_are_close_and_integers_equal(target: str) -> None:
    values = []
    for where in ("cpu", target):
        fb.manual_seed(11)
        values.append([
            kit.host(fb.randn(513, device=where)), kit.host(fb.randperm(257, device=where)),
            kit.host(fb.bernoulli(fb.full((300,), 0.3, device=where))),
            kit.host(fb.nn.functional.dropout(fb.ones(400, device=where), 0.5)),
        ])  # fmt: skip
    normals, *exact = zip(*values, strict=True)
    np.testing.assert_allclose(normals[1], normals[0], rtol=1e-4, atol=1e-5)
    for a, b in exact:
        np.testing.assert_array_equal(a, b)
