"""Random bits: the published known answers, the definition in plain integers, any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau.backends.cpu import random as module
from flambeau.backends.xp import random as shared
from flambeau.core import config, random
from flambeau.core import dtype as dt
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


def test_small_draws_share_words_made_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    fill = shared.fill
    monkeypatch.setattr(shared, "fill", lambda xp, words, *a: made.append(len(words)) or fill(xp, words, *a))
    monkeypatch.setattr(module, "_made", -(1 << 40))  # numpy makes them
    draw = kernel("random_bits")
    offsets = [0, 4, 8, 9, 300, 2, 0, 2**64 - 1, 0]
    for offset in offsets:
        for length in (16, 3, 255):
            found = draw(21, offset, length=length)
            assert found.tolist() == random.random_words(21, offset, length)
            found[:] = 0  # nobody else's
    made.clear()
    for i in range(100):
        draw(22, i, length=4)
    assert made == [1, 256]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.3, 0.7)])
def test_uniform_numbers_are_those_of_the_steps(dtype: type, low: float, high: float) -> None:
    double = dtype is np.float64
    found = kernel("uniform_numbers", dt.float64 if double else dt.float32)(
        5, 6, low, high, shape=(3, 7), dtype=dt.float64 if double else dt.float32
    )
    words = random.random_words(5, 6, 42 if double else 21)
    steps = (
        [random.uniform_double(*words[2 * i : 2 * i + 2]) for i in range(21)]
        if double
        else [random.uniform(w) for w in words]
    )
    wanted = np.array(steps, dtype).reshape(3, 7)
    assert (found == (wanted * dtype(high - low) + dtype(low))).all() and found.dtype == dtype
