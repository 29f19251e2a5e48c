"""Winograd's convolutions against numpy's in float64: their error beside that of the direct sums, at every width."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.backends.cpu import conv as numpy_kernels
from flambeau.backends.cpu.native import conv as native
from flambeau.backends.cpu.native import winograd, winograd_calls, winograd_tiles, winograd_weights
from flambeau.backends.llvm.compiler import compiler_for
from flambeau.backends.llvm.target import ELSEWHERE, Target, runnable
from flambeau.core import config
from tests.backends.cpu.fences import Fences, by_two_threads, needs_pages, written_only

Array = Any
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
#: batch, channels and output channels of a group, height, width, padding, groups
Case = tuple[int, int, int, int, int, tuple[int, int], int]
SAMPLE: list[Case] = [
    (2, 16, 16, 8, 8, (1, 1), 1),
    (3, 20, 19, 7, 9, (1, 1), 1),
    (2, 17, 50, 13, 6, (0, 0), 2),
    (2, 33, 21, 5, 70, (2, 0), 1),
    (9, 16, 64, 4, 4, (1, 2), 3),
    (70, 16, 17, 10, 11, (1, 1), 1),  # several chunks, and several blocks of tiles in each
]


def operands(c: Case) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
    """x, weight, bias, a gradient of the output, and the params of a convolution."""
    batch, channels, outs, height, width, padding, groups = c
    rng = np.random.default_rng(5)
    x = rng.standard_normal((batch, channels * groups, height, width), np.float32)
    weight = rng.standard_normal((outs * groups, channels, 3, 3), np.float32)
    bias = rng.standard_normal(outs * groups, np.float32)
    outside = height + 2 * padding[0] - 2, width + 2 * padding[1] - 2
    grad = rng.standard_normal((batch, outs * groups, *outside), np.float32)
    return x, weight, bias, grad, dict(stride=(1, 1), padding=padding, dilation=(1, 1), groups=groups)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that can go this way does, and fails where it does not."""
    monkeypatch.setattr(winograd_calls, "pays", lambda *sizes: True)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd_calls, "pays", lambda *sizes: False)


def all_three(target: Target, x: Array, weight: Array, bias: Array, grad: Array, params: dict[str, Any]) -> list[Array]:
    found = [
        native.conv(target, x, weight, bias, **params),
        native.conv_grad_input(target, grad, weight, shape=x.shape, **params),
        native.conv_grad_weight(target, grad, x, shape=weight.shape, **params),
    ]
    assert all(y is not None for y in found)
    return found


def exact(x: Array, weight: Array, bias: Array, grad: Array, params: dict[str, Any]) -> list[Array]:
    x, weight, bias, grad = (v.astype(np.float64) for v in (x, weight, bias, grad))
    return [
        numpy_kernels.conv(x, weight, bias, **params),
        numpy_kernels.conv_grad_input(grad, weight, shape=x.shape, **params),
        numpy_kernels.conv_grad_weight(grad, x, shape=weight.shape, **params),
    ]


def error(found: Array, expected: Array) -> float:
    """The root mean square of the error, relative to that of the results."""
    return float(np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2)))


def test_the_matrices_multiply_polynomials() -> None:
    rng = np.random.default_rng(0)
    for results in (4, 3):
        m = winograd_tiles.matrices(results)
        taps = 7 - results
        x, g = rng.standard_normal(6), rng.standard_normal(taps)
        found = np.array(m.output) @ ((np.array(m.filter) @ g) * (np.array(winograd_tiles.INPUT) @ x))
        np.testing.assert_allclose(found, [x[i : i + taps] @ g for i in range(results)], 1e-12)
    assert winograd_tiles._polynomial([Fraction(2), Fraction(-2)])[:3] == [-4, 0, 1]


@every_width
@pytest.mark.parametrize("c", SAMPLE, ids=str)
@pytest.mark.usefixtures("always")
def test_all_three_kernels(target: Target, c: Case) -> None:
    made = operands(c)
    for found, expected in zip(all_three(target, *made), exact(*made), strict=True):
        assert found.dtype == np.float32 and found.shape == expected.shape
        assert error(found, expected) < 3e-6


@pytest.mark.parametrize("c", [(8, 64, 64, 16, 16, (1, 1), 1), (2, 256, 32, 12, 12, (1, 1), 1)], ids=str)
def test_the_error_is_at_most_three_times_that_of_direct_sums(monkeypatch: pytest.MonkeyPatch, c: Case) -> None:
    made, errors = operands(c), []
    expected = exact(*made)
    for way in (True, False):
        monkeypatch.setattr(winograd_calls, "pays", lambda *sizes, way=way: way)
        errors.append([error(f, e) for f, e in zip(all_three(runnable()[0], *made), expected, strict=True)])
    fast, direct = errors
    assert fast != direct
    assert all(f < 3 * d for f, d in zip(fast, direct, strict=True)), (fast, direct)


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(
        st.integers(1, 4),
        st.integers(1, 40),
        st.integers(1, 40),
        st.integers(3, 15),
        st.integers(3, 20),
        st.tuples(st.integers(0, 2), st.integers(0, 2)),
        st.integers(1, 2),
    )
)
def test_any_sizes(c: Case) -> None:
    made = operands(c)
    terms = 9 * c[1], 9 * c[2], made[3][:, 0].size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd_calls, "pays", lambda *sizes: True)
        for found, expected, count in zip(all_three(runnable()[0], *made), exact(*made), terms, strict=True):
            np.testing.assert_allclose(found, expected, 1e-5, 1e-5 * count**0.5)  # of products of normal numbers


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.usefixtures("always")
def test_what_is_not_finite_stays_where_it_is(monkeypatch: pytest.MonkeyPatch, bad: float) -> None:
    x, weight, bias, grad, params = operands((2, 16, 16, 12, 12, (1, 1), 1))
    x[1, 3, 5, 6] = grad[1, 2, 7, 8] = bad
    weight = np.abs(weight) / 100  # so that the one large number overflows nowhere but in Winograd's sums
    found = all_three(runnable()[0], x, weight, bias, grad, params)
    monkeypatch.setattr(winograd_calls, "pays", lambda *sizes: False)
    for a, b in zip(found, all_three(runnable()[0], x, weight, bias, grad, params), strict=True):
        np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
        assert np.isfinite(b).any()


@pytest.mark.usefixtures("always")
def test_the_same_bits_for_any_number_of_threads() -> None:
    made = operands((40, 16, 40, 14, 14, (1, 1), 1))
    found = []
    for count in (1, 2, 5):
        with config.override(num_threads=count):
            found.append(all_three(runnable()[0], *made))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@needs_pages
@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.usefixtures("always")
def test_nothing_outside_of_the_operands_is_touched(monkeypatch: pytest.MonkeyPatch, at_end: bool) -> None:
    for c in SAMPLE[1:5]:
        x, weight, bias, grad, params = operands(c)
        expected = exact(x, weight, bias, grad, params)
        fence = Fences(at_end)
        fenced = [fence.of(v) for v in (x, weight, bias, grad)]
        with monkeypatch.context() as patch:
            fence.stand_in(patch)
            chunks = by_two_threads(patch)
            found = all_three(runnable()[0], *fenced, params)
        assert chunks
        assert all(error(f, e) < 3e-6 for f, e in zip(found, expected, strict=True))


def test_where_it_pays() -> None:
    assert winograd_calls.pays(32, 64, 64, (1, 32, 32))
    assert not winograd_calls.pays(16, 512, 512, (1, 4, 4))  # the filters cost more than they save
    assert not winograd_calls.pays(32, 3, 64, (1, 32, 32))
    assert not winograd_calls.pays(32, 64, 64, (8, 32, 32))


@pytest.mark.parametrize(
    ("kernel", "params"),
    [((3, 3), dict(stride=(2, 2))), ((3, 3), dict(dilation=(2, 2))), ((3, 5), {}), ((9, 1), {})],
)
@pytest.mark.usefixtures("always")
def test_other_convolutions_go_the_direct_way(
    monkeypatch: pytest.MonkeyPatch, kernel: tuple[int, int], params: dict[str, Any]
) -> None:
    for name in ("conv", "conv_grad_weight"):
        monkeypatch.setattr(winograd_calls, name, lambda *args: pytest.fail("it went Winograd's way"))
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 16, 20, 20), np.float32), rng.standard_normal((16, 16, *kernel), np.float32)
    params = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1) | params
    grad = np.ones_like(numpy_kernels.conv(x, weight, None, **params))
    all_three(runnable()[0], x, weight, np.zeros(16, np.float32), grad, params)


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_they_compile_for_other_processors(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    texts = written_only(monkeypatch, winograd, winograd_weights)
    for build in (winograd.filters, winograd.forward, winograd_weights.sums, winograd_weights.collected):
        build.__wrapped__(target)
    assert len(texts) == 4
    for text in texts:
        assert compiler_for(target).object_code(text)
