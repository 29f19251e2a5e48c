"""Random numbers: the same bits and uniforms on every device, normals within a tolerance, and any chunking."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import Backend
from flambeau.core import dtype as dt
from flambeau.core.device import device as Device
from flambeau.core.keys import key_for
from flambeau.core.random import random_words
from flambeau.plugins.conformance import kit

WORDS = ((1234, 0, 1001), (2**63 + 5, 2**33, 7), (0, 3, 1), (2**64 - 1, 2**40 + 1, 70001))


@kit.about(lambda params: ("random_bits", dt.uint32))
@pytest.mark.parametrize(("seed", "offset", "length"), WORDS)
def test_bits_are_philox(target: str, backend: Backend, small: bool, seed: int, offset: int, length: int) -> None:
    """The kernel gives the words that flambeau.core.random defines, seeds and offsets of 64 bits included."""
    length = min(length, 101) if small else length
    kernel = key_for(Device(target), dt.uint32).random_bits
    found = backend.to_host(kernel(seed, offset, length=length, index=Device(target).number))
    np.testing.assert_array_equal(found, random_words(seed, offset, length))


def test_integers_equal_the_cpus(target: str) -> None:
    values = []
    for where in (target, "cpu"):
        fb.manual_seed(1234)
        values.append(kit.host(fb.randint(-5, 1 << 16, (1001,), device=where)))
    np.testing.assert_array_equal(*values)


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
