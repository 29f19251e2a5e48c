"""Random ops against the definitions in core.random, and the distributions that they follow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.core import random as definition
from flambeau.core.ops.random import below, words
from tests.errors import check_error

SEED, OFFSET = 2**63 + 12345, 7


def generator() -> Any:
    """A generator in the middle of its stream."""
    g = fb.Generator()
    g.state = (SEED, OFFSET)
    return g


def drawn(count: int) -> list[int]:
    return definition.random_words(SEED, OFFSET, count)


# -- the same numbers as the definitions ------------------------------------------------------------
def test_words() -> None:
    g = generator()
    assert words(10, "cpu", g).tolist() == drawn(10)
    assert g.state == (SEED, OFFSET + 3)  # three blocks of four


@pytest.mark.parametrize(("dtype", "bits"), [(fb.float32, 24), (fb.float16, 11), (fb.bfloat16, 8)])
def test_uniform_numbers(dtype: Any, bits: int) -> None:
    found = fb.rand(3, 3, dtype=dtype, generator=generator())
    assert found.shape == (3, 3) and found.dtype is dtype
    assert found.reshape(-1).tolist() == [definition.uniform(w, bits) for w in drawn(9)]


def test_uniform_doubles() -> None:
    w = drawn(10)
    found = fb.rand(5, dtype=fb.float64, generator=generator()).tolist()
    assert found == [definition.uniform_double(w[2 * i], w[2 * i + 1]) for i in range(5)]


@pytest.mark.parametrize("n", [1, 5, 6])
def test_normal_numbers(n: int) -> None:
    u = [definition.uniform(w) for w in drawn(n + n % 2)]
    wanted = [z for i in range(0, len(u), 2) for z in definition.normal_pair(u[i], u[i + 1])]
    np.testing.assert_allclose(fb.randn(n, generator=generator()).tolist(), wanted[:n], rtol=1e-4, atol=1e-6)
    w = drawn(2 * (n + n % 2))
    u = [definition.uniform_double(w[i], w[i + 1]) for i in range(0, len(w), 2)]
    wanted = [z for i in range(0, len(u), 2) for z in definition.normal_pair(u[i], u[i + 1])]
    found = fb.randn(n, dtype=fb.float64, generator=generator()).tolist()
    np.testing.assert_allclose(found, wanted[:n], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("low", "high"), [(0, 10), (-7, 2**32 - 7), (-(2**62), 2**62 + 5), (-(2**63), 2**63)])
def test_whole_numbers(low: int, high: int) -> None:
    w = drawn(12)
    wanted = [low + definition.uniform_int(w[2 * i], w[2 * i + 1], high - low) for i in range(6)]
    assert fb.randint(low, high, (2, 3), generator=generator()).reshape(-1).tolist() == wanted


def test_a_count_that_is_a_tensor_leaves_the_generator_whole() -> None:
    g, n = generator(), fb.tensor(3)
    fb.randperm(n, generator=g)
    fb.multinomial(fb.ones(5), n, replacement=True, generator=g)
    fb.randint(n, (2,), generator=g)
    assert [type(v) for v in g.draw(1)] == [int, int]


@pytest.mark.parametrize("n", [0, 1, 33])
def test_permutations(n: int) -> None:
    assert fb.randperm(n, generator=generator()).tolist() == definition.permutation(SEED, OFFSET, n)


def test_masks_compare_integers() -> None:
    limit = math.floor(0.3 * 2**32)
    assert below(0.3, (8,), "cpu", generator()).tolist() == [w < limit for w in drawn(8)]
    assert below(1.0, (100,), "cpu").all().item() and not below(0.0, (100,), "cpu").any().item()


# -- constructors ------------------------------------------------------------------------------------
def test_the_forms_of_the_constructors() -> None:
    g = generator
    assert fb.rand((2, 3), generator=g()).tolist() == fb.rand(2, 3, generator=g()).tolist()
    assert fb.randint(5, (3,), generator=g()).tolist() == fb.randint(low=0, high=5, size=(3,), generator=g()).tolist()
    like = fb.zeros(4, dtype=fb.float64)
    assert fb.rand_like(like).dtype is fb.float64 and fb.randn_like(like, dtype=fb.float32).dtype is fb.float32
    assert fb.randint_like(like, 3).dtype is fb.float64
    assert fb.randn(2, requires_grad=True).requires_grad
    out = fb.empty(3)
    assert fb.rand(3, out=out, generator=g()) is out and out.tolist() == fb.rand(3, generator=g()).tolist()
    assert fb.randn(1000, dtype=fb.complex128).abs().square().mean().item() == pytest.approx(1, abs=0.2)
    assert fb.rand(0).shape == (0,)


def test_draws_follow_each_other_and_a_seed_repeats_them() -> None:
    fb.manual_seed(3)
    first, second = fb.rand(5), fb.rand(5)
    assert first.tolist() != second.tolist()
    fb.manual_seed(3)
    assert fb.rand(5).tolist() == first.tolist() and fb.rand(5).tolist() == second.tolist()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: fb.rand(2, dtype=fb.int64), RuntimeError, ("rand", "int64")),
        (lambda: fb.rand(-1), RuntimeError, ("rand", "negative", "-1")),
        (lambda: fb.randint(5, 5, (2,)), ValueError, ("randint", "low=5", "high=5")),
        (lambda: fb.randint(5), TypeError, ("randint", "(high, size)")),
        (lambda: fb.randperm(-1), ValueError, ("randperm", "-1")),
        (lambda: fb.zeros(2, dtype=fb.int64).normal_(), RuntimeError, ("normal_", "int64")),
        (lambda: fb.zeros(2).normal_(0, -1), ValueError, ("normal_", "std", "-1")),
        (lambda: fb.zeros(2).uniform_(2, 1), ValueError, ("uniform_", "from", "to")),
        (lambda: fb.zeros(2).exponential_(0), ValueError, ("exponential_", "lambd")),
        (lambda: fb.zeros(2).geometric_(1.0), ValueError, ("geometric_", "(0, 1)")),
        (lambda: fb.bernoulli(fb.tensor([1.5])), ValueError, ("bernoulli", "[0, 1]")),
        (lambda: fb.bernoulli(fb.tensor([1])), RuntimeError, ("bernoulli", "int64")),
        (lambda: fb.multinomial(fb.ones(2), 3), ValueError, ("multinomial", "3 of 2", "without replacement")),
        (lambda: fb.multinomial(fb.tensor([1.0, 0.0]), 2), ValueError, ("multinomial", "2 positive weights")),
        (lambda: fb.multinomial(-fb.ones(2), 1), ValueError, ("multinomial", "at least 0")),
        (lambda: fb.poisson(-fb.ones(2)), ValueError, ("poisson", "at least 0")),
        (lambda: fb.normal(0.0, 1.0), TypeError, ("normal", "size")),
        (lambda: fb.zeros(2, requires_grad=True).uniform_(), RuntimeError, ("leaf",)),
    ],
)
def test_wrong_calls(make: Any, error: type[Exception], words: tuple[str, ...]) -> None:
    check_error(make, error, words)


# -- distributions -----------------------------------------------------------------------------------
N = 40_000

#: Sampler, the distribution's function in scipy.stats; each is tested by Kolmogorov and Smirnov.
CONTINUOUS: dict[str, tuple[Any, str, tuple[float, ...]]] = {
    "rand": (lambda g: fb.rand(N, generator=g), "uniform", ()),
    "randn": (lambda g: fb.randn(N, generator=g), "norm", ()),
    "uniform_": (lambda g: fb.empty(N).uniform_(-1, 3, generator=g), "uniform", (-1, 4)),
    "normal_": (lambda g: fb.empty(N).normal_(2, 0.5, generator=g), "norm", (2, 0.5)),
    "log_normal_": (lambda g: fb.empty(N).log_normal_(1, 0.5, generator=g), "lognorm", (0.5, 0, math.e)),
    "exponential_": (lambda g: fb.empty(N).exponential_(2, generator=g), "expon", (0, 0.5)),
    "cauchy_": (lambda g: fb.empty(N).cauchy_(1, 2, generator=g), "cauchy", (1, 2)),
    "normal": (lambda g: fb.normal(fb.full((N,), 1.0), 3.0, generator=g), "norm", (1, 3)),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_distributions(name: str) -> None:
    from scipy import stats

    draw, family, parameters = CONTINUOUS[name]
    assert stats.kstest(draw(generator()).numpy(), family, parameters).pvalue > 0.001


def assert_frequencies(found: Any, probabilities: Any) -> None:
    """A chi-squared test of counts against probabilities."""
    from scipy import stats

    expected = np.asarray(probabilities) * found.sum()
    assert stats.chisquare(found, expected, sum_check=False).pvalue > 0.001


@pytest.mark.parametrize("rate", [0.5, 4.0, 9.5, 10.5, 60.0])
def test_poisson(rate: float) -> None:
    from scipy import stats

    found = fb.poisson(fb.full((N,), rate), generator()).to(fb.int64)
    low, high = (int(stats.poisson.ppf(p, rate)) for p in (0.001, 0.999))
    inside = found.clamp(low, high).numpy() - low
    mass = stats.poisson.pmf(np.arange(low, high + 1), rate)
    mass[0], mass[-1] = stats.poisson.cdf(low, rate), stats.poisson.sf(high - 1, rate)
    assert_frequencies(np.bincount(inside, minlength=len(mass)), mass)
    assert fb.poisson(fb.zeros(3)).tolist() == [0, 0, 0]


def test_discrete_distributions() -> None:
    g = generator()
    weights = fb.tensor([1.0, 0.0, 2.0, 5.0])
    many = fb.multinomial(weights, N, replacement=True, generator=g)
    counts = fb.bincount(many, minlength=4).numpy()
    assert counts[1] == 0
    assert_frequencies(counts[[0, 2, 3]], [1 / 8, 2 / 8, 5 / 8])
    pairs = fb.multinomial(weights.expand(N, 4), 2, generator=g).numpy()
    assert (pairs[:, 0] != pairs[:, 1]).all() and not (pairs == 1).any()
    assert_frequencies(np.bincount(pairs[:, 0], minlength=4)[[0, 2, 3]], [1 / 8, 2 / 8, 5 / 8])
    second = np.bincount(pairs[pairs[:, 0] == 3, 1], minlength=4)[[0, 2]]
    assert_frequencies(second, [1 / 3, 2 / 3])
    trials = fb.empty(N).geometric_(0.3, generator=g).clamp(max=12).to(fb.int64).numpy() - 1
    assert_frequencies(np.bincount(trials, minlength=12), [*(0.3 * 0.7**k for k in range(11)), 0.7**11])
    sides = fb.empty(N, dtype=fb.int32).random_(1, 7, generator=g).numpy() - 1
    assert_frequencies(np.bincount(sides, minlength=6), [1 / 6] * 6)
    mask = fb.bernoulli(fb.full((N,), 0.2), generator=g)
    assert_frequencies(np.bincount(mask.to(fb.int64).numpy(), minlength=2), [0.8, 0.2])


def test_bernoulli_fills_any_dtype() -> None:
    assert fb.zeros(50, dtype=fb.bool).bernoulli_(1.0).all().item()
    assert fb.zeros(3, dtype=fb.int8).bernoulli_(fb.tensor([0.0, 1.0, 0.0])).tolist() == [0, 1, 0]


# -- transforms and gradients ------------------------------------------------------------------------
def test_randomness_inside_vmap() -> None:
    x = fb.zeros(4, 3)

    def noisy(row: Any) -> Any:
        return row + fb.rand(3) + fb.randn_like(row)

    same = fb.func.vmap(noisy, randomness="same")(x)
    assert (same == same[0]).all().item()
    different = fb.func.vmap(noisy, randomness="different")(x)
    assert fb.unique(different).numel() == 12
    with pytest.raises(RuntimeError, match=r"randomness='error'"):
        fb.func.vmap(noisy)(x)
    filled = fb.func.vmap(lambda row: row.clone().uniform_(), randomness="different")(x)
    assert fb.unique(filled).numel() == 12


def test_a_different_draw_for_each_element_uses_up_the_stream() -> None:
    """What is drawn after the vmap does not repeat what was drawn inside."""
    fb.manual_seed(1)
    inside = fb.func.vmap(lambda row: fb.rand(4), randomness="different")(fb.zeros(3, 1))
    assert not set(fb.rand(12).tolist()) & set(inside.reshape(-1).tolist())


def test_samples_have_a_gradient_of_zeros_and_samplers_forget_theirs() -> None:
    x = fb.ones(3, requires_grad=True)
    y = x * 2
    y.uniform_()
    (y * 3).sum().backward()
    assert x.grad.tolist() == [0, 0, 0]


def test_numbers_do_not_depend_on_the_number_of_threads() -> None:
    """Draws long enough to be split among threads."""

    def draws() -> list[fb.Tensor]:
        fb.manual_seed(3)
        return [
            fb.rand(300_001), fb.randn(300_001), fb.rand(100_000, dtype=fb.float64), fb.randint(0, 100, (300_000,)),
            fb.randperm(100_000), fb.nn.functional.dropout(fb.ones(300_000)), fb.empty(200_000).exponential_(),
        ]  # fmt: skip

    before, found = fb.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            fb.set_num_threads(count)
            found.append(draws())
    finally:
        fb.set_num_threads(before)
    for other in found[1:]:
        assert all(a.equal(b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("device", ["strict", pytest.param("opencl", marks=pytest.mark.device("opencl"))])
def test_poisson_numbers_are_the_same_on_every_device(device: str) -> None:
    """Also where there is no float64."""
    rate = fb.arange(20_000) * 0.005
    found = []
    for where in ("cpu", device):
        fb.manual_seed(3)
        found.append((fb.poisson(rate.to(where)).cpu(), fb.get_rng_state()))
    assert fb.equal(found[0][0], found[1][0]) and fb.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("dtype", [fb.float16, fb.bfloat16, fb.float32, fb.float64], ids=str)
@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0001), (0.1, 0.2), (-1.0, -0.999), (-3.0, 0.0), (2.0, 2.0)])
def test_a_uniform_draw_never_returns_its_upper_end(dtype: Any, low: float, high: float) -> None:
    g = fb.Generator().manual_seed(0)
    found = fb.empty(100_000, dtype=dtype).uniform_(low, high, generator=g).double()
    assert low == high or found.max().item() < high
    with fb.no_grad():
        few = fb.func.vmap(lambda row: row.clone().uniform_(low, high), randomness="different")(fb.empty(2, 50_000))
    assert low == high or few.double().max().item() < high


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_largest_number_below(dtype: str) -> None:
    for high in (1.0, 1.0001, 0.1, 0.0, -1.0, -0.1, 2.0**-14, 65504.0, 1e-30):
        near = np.dtype(dtype).type(high)
        wanted = near if float(near) < high else np.nextafter(near, np.dtype(dtype).type(-np.inf))
        assert definition.largest_below(high, dtype) == float(wanted)
