"""Random bits: the published known answers, the definition in plain integers, any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau.backends.cpu import random as module
from flambeau.backends.xp import random as shared
from flambeau.core import config, random
from tests.backends.cpu.arrays import kernel

DRAWS = [(0, 0, 9), (2**64 - 1, 2**64 - 2, 17), (12345, 2**32 - 1, 1001), (7, 0, 3), (-3, 5, 4), (7, 5, 0)]


def test_the_known_answers_of_random123() -> None:
    words = np.empty((1, 4), np.uint32)
    shared.fill(np, words, 0, 0)
    assert [f"{w:08x}" for w in words[0]] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


@pytest.mark.parametrize(("seed", "offset", "length"), DRAWS)
def test_the_definition(seed: int, offset: int, length: int) -> None:
    found = kernel("random_bits")(seed, offset, length=length, index=0)
    assert found.dtype == np.uint32 and found.shape == (length,)
    assert found.tolist() == random.random_words(seed % 2**64, offset, length)


def test_a_large_draw_is_the_same_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCKS", 100)
    draws = []
    for count in (1, 2, 3):
        with config.override(num_threads=count):
            draws.append(kernel("random_bits")(11, 2**64 - 300, length=5003))
    assert (draws[0] == draws[1]).all() and (draws[0] == draws[2]).all()
    assert draws[0].tolist() == random.random_words(11, 2**64 - 300, 5003)
