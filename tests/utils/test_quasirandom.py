"""Sobol sequences are Joe and Kuo's, however they are drawn; scrambled ones stay as even."""

from __future__ import annotations

import pytest

import flambeau as fb
from flambeau.quasirandom import SobolEngine


def test_the_first_points() -> None:
    points = SobolEngine(3).draw(5)
    assert points.tolist() == [
        [0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.75, 0.25, 0.25], [0.25, 0.75, 0.75], [0.375, 0.375, 0.625],
    ]  # fmt: skip


def test_points_do_not_depend_on_how_they_are_drawn() -> None:
    whole = SobolEngine(40).draw(20)
    engine = SobolEngine(40)
    assert fb.equal(fb.cat([engine.draw(), engine.draw(6), engine.draw(13)]), whole) and engine.num_generated == 20
    assert fb.equal(engine.reset().fast_forward(3).draw(17), whole[3:])
    engine = SobolEngine(40).fast_forward(2).fast_forward(5)
    assert fb.equal(engine.draw(2, dtype=fb.float64), whole[7:9].double())


def test_points_into_a_tensor() -> None:
    out = fb.empty(1, dtype=fb.float64)
    assert SobolEngine(2).draw(2, out=out) is out and out.tolist() == [[0.0, 0.0], [0.5, 0.5]]


def test_powers_of_two() -> None:
    engine = SobolEngine(2)
    assert engine.draw_base2(2).shape == (4, 2) and engine.draw_base2(2).shape == (4, 2)
    with pytest.raises(ValueError, match="power of 2"):
        engine.draw_base2(2)


@pytest.mark.parametrize("dimension", [0, 21202])
def test_dimensions(dimension: int) -> None:
    with pytest.raises(ValueError, match=r"\[1, 21201\]"):
        SobolEngine(dimension)


def test_scrambled_points_are_as_even() -> None:
    engine = SobolEngine(4, scramble=True, seed=1)
    points = engine.draw(256)
    for i in range(4):
        assert (points[:, i] * 256).floor().long().sort().values.tolist() == list(range(256))
    assert fb.equal(SobolEngine(4, scramble=True, seed=1).draw(256), points)
    assert not fb.equal(SobolEngine(4, scramble=True, seed=2).draw(256), points)
    assert repr(engine) == "SobolEngine(dimension=4, scramble=True, seed=1)"


@pytest.mark.slow
def test_points_are_torchs() -> None:
    torch = pytest.importorskip("torch")
    for dimension in (1, 7, 1200):
        ours, theirs = SobolEngine(dimension), torch.quasirandom.SobolEngine(dimension)
        for n in (1, 30, 5):
            assert ours.draw(n).tolist() == theirs.draw(n).tolist()
