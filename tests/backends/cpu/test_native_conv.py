"""Convolutions by machine code against the numpy kernels in float64, at every width of registers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu import conv as numpy_kernels
from flambeau.backends.cpu.native import conv as native
from flambeau.backends.cpu.native import conv_forward, conv_weights, depthwise
from flambeau.backends.llvm.compiler import compiler_for
from flambeau.backends.llvm.target import ELSEWHERE, Target, runnable
from flambeau.core import config
from flambeau.core import dtype as dt
from tests.backends.cpu.arrays import kernel, layouts, values
from tests.backends.cpu.fences import Fences, by_two_threads, needs_pages, written_only

TARGETS = runnable()
every_width = pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
Case = tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]


@pytest.fixture(autouse=True)
def machine_code() -> Iterator[None]:
    with config.override(cpu_code="host"):
        yield


def case(x: tuple[int, ...], weight: tuple[int, ...], stride: Any, padding: Any, dilation: Any, groups: int) -> Case:
    """Shapes and params; a number stands for all axes."""

    def each(v: Any) -> tuple[int, ...]:
        return (v,) * (len(x) - 2) if isinstance(v, int) else v

    return x, weight, dict(stride=each(stride), padding=each(padding), dilation=each(dilation), groups=groups)


SAMPLE = [
    case((2, 3, 9, 20), (5, 3, 3, 3), 1, 1, 1, 1),
    case((3, 20, 7, 7), (19, 20, 3, 3), 1, 1, 1, 1),  # panels over several images
    case((1, 3, 33, 37), (20, 3, 7, 7), 2, 3, 1, 1),
    case((2, 60, 9, 8), (50, 60, 3, 3), 2, 1, 1, 1),  # channels in several steps
    case((2, 8, 11, 34), (12, 2, 2, 5), (3, 1), (2, 0), (1, 3), 4),
    case((5, 30, 6, 6), (17, 30, 1, 1), 1, 0, 1, 1),
    case((2, 6, 12, 13), (6, 3, 1, 1), 2, 0, 1, 2),
    case((2, 7, 70), (9, 7, 5), 3, 4, 2, 1),
    case((2, 3, 2200), (4, 3, 3), 1, 1, 1, 1),  # a row of more places than a panel has
    case((2, 4, 5, 6, 18), (6, 4, 2, 3, 3), (1, 2, 1), 1, (2, 1, 1), 1),
    case((3, 5, 10, 70), (5, 1, 3, 3), 1, 1, 1, 5),
    case((2, 5, 11, 19), (5, 1, 3, 5), 2, (0, 3), (2, 1), 5),
    case((2, 4, 40), (4, 1, 7), 3, 0, 1, 4),
    case((2, 3, 5, 6, 7), (3, 1, 2, 2, 3), (1, 3, 2), 2, 1, 3),
    case((2, 4, 3, 3), (8, 4, 2, 2), 1, 5, 1, 1),  # more padding than the kernel reaches
]


def operands(c: Case) -> tuple[Any, Any, Any, Any]:
    """x, weight, bias and a gradient of the output."""
    x_shape, w_shape, params = c
    x, weight, bias = (values(s, dt.float32, i) for i, s in enumerate((x_shape, w_shape, w_shape[:1])))
    g = numpy_kernels.geometry(x_shape, w_shape, *params.values())
    return x, weight, bias, values((x_shape[0], w_shape[0], *g.outside), dt.float32, 3)


def near(found: Any, expected: Any, terms: int) -> None:
    """Within the error of a sum of so many terms, each below 9."""
    assert found is not None and found.dtype == np.float32 and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, 1e-5, 1e-6 * (terms + 10))


def all_three(target: Target, c: Case, fence: Fences | None = None) -> list[Any]:
    """The results of the three kernels."""
    x, weight, bias, grad = (v if fence is None else fence.of(v) for v in operands(c))
    return [
        native.conv(target, x, weight, bias, **c[2]),
        native.conv_grad_input(target, grad, weight, shape=x.shape, **c[2]),
        native.conv_grad_weight(target, grad, x, shape=weight.shape, **c[2]),
    ]


def check(target: Target, c: Case) -> None:
    x, weight, bias, grad = (v.astype(np.float64) for v in operands(c))
    found = all_three(target, c)
    window = int(np.prod(c[1][2:]))
    near(found[0], numpy_kernels.conv(x, weight, bias, **c[2]), c[1][1] * window)
    near(found[1], numpy_kernels.conv_grad_input(grad, weight, shape=x.shape, **c[2]), c[1][0] * window)
    near(found[2], numpy_kernels.conv_grad_weight(grad, x, shape=weight.shape, **c[2]), grad[:, 0].size)


@every_width
@pytest.mark.parametrize("c", SAMPLE, ids=lambda c: f"{c[0]}-{c[1]}")
def test_all_three_kernels(target: Target, c: Case) -> None:
    check(target, c)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Convolutions of 1 to 3 dimensions that have a result."""
    ndim = draw(st.integers(1, 3))
    small = 3 if ndim == 3 else 7
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    depthwise_ = draw(st.booleans()) and groups > 1
    channels, outs = (1, 1) if depthwise_ else (draw(st.integers(1, 9)), draw(st.integers(1, 17)))
    axes = [
        (draw(st.integers(1, small)), draw(st.integers(1, 3)), draw(st.integers(0, 4)), draw(st.integers(1, 3)))
        for _ in range(ndim)
    ]
    largest = {1: 80, 2: 24, 3: 6}[ndim]
    sizes = [max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, largest)) for k, _, p, d in axes]
    kernel_, stride, padding, dilation = zip(*axes, strict=True)
    return case(
        (draw(st.integers(1, 5)), channels * groups, *sizes), (outs * groups, channels, *kernel_), stride, padding,
        dilation, groups,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(cases())
def test_any_convolution(c: Case) -> None:
    check(TARGETS[0], c)


@needs_pages
@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("c", SAMPLE, ids=lambda c: f"{c[0]}-{c[1]}")
def test_nothing_outside_of_the_operands_is_touched(monkeypatch: pytest.MonkeyPatch, c: Case, at_end: bool) -> None:
    expected = all_three(TARGETS[0], c)
    fence = Fences(at_end)
    fence.stand_in(monkeypatch)
    for found, want in zip(all_three(TARGETS[0], c, fence), expected, strict=True):
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("c", SAMPLE, ids=lambda c: f"{c[0]}-{c[1]}")
def test_chunks_in_any_order_and_in_several_threads_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, c: Case
) -> None:
    with config.override(num_threads=1):
        expected = all_three(TARGETS[0], c)
    counts = by_two_threads(monkeypatch)
    with config.override(num_threads=2):
        found = all_three(TARGETS[0], c)
    assert max(counts) > 1
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_several_python_threads_may_call_at_once() -> None:
    expected = [all_three(TARGETS[0], c) for c in SAMPLE]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for found, want in zip(pool.map(lambda c: all_three(TARGETS[0], c), SAMPLE), expected, strict=True):
                for a, b in zip(found, want, strict=True):
                    np.testing.assert_array_equal(a, b)


@every_width
@pytest.mark.parametrize("c", [SAMPLE[0], SAMPLE[2], SAMPLE[10], SAMPLE[11]], ids=lambda c: f"{c[0]}-{c[1]}")
def test_what_is_not_finite_stays_in_its_windows(target: Target, c: Case) -> None:
    x, weight, bias, grad = operands(c)
    for operand in (x, grad):
        operand.reshape(-1)[[1, operand.size // 2, -1]] = np.inf, np.nan, -np.inf
    wide = [v.astype(np.float64) for v in (x, weight, bias, grad)]
    pairs = [
        (native.conv(target, x, weight, bias, **c[2]), numpy_kernels.conv(*wide[:3], **c[2])),
        (
            native.conv_grad_input(target, grad, weight, shape=x.shape, **c[2]),
            numpy_kernels.conv_grad_input(wide[3], wide[1], shape=x.shape, **c[2]),
        ),
        (
            native.conv_grad_weight(target, grad, x, shape=weight.shape, **c[2]),
            numpy_kernels.conv_grad_weight(wide[3], wide[0], shape=weight.shape, **c[2]),
        ),
    ]
    for found, expected in pairs:
        assert found is not None
        np.testing.assert_allclose(found, expected, 1e-4, 1e-3)


def test_operands_in_any_layout() -> None:
    c = SAMPLE[1]
    expected = all_three(TARGETS[0], c)
    x, weight, bias, grad = operands(c)
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    assert not unaligned.flags.aligned
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    x.flags.writeable = weight.flags.writeable = False
    for view in (*layouts(x), unaligned, channels_last):
        np.testing.assert_array_equal(native.conv(TARGETS[0], view, weight, bias, **c[2]), expected[0])
        np.testing.assert_array_equal(
            native.conv_grad_weight(TARGETS[0], grad, view, shape=weight.shape, **c[2]), expected[2]
        )
    for view in layouts(weight):
        np.testing.assert_array_equal(native.conv(TARGETS[0], x, view, bias[::-1][::-1], **c[2]), expected[0])
    for view in layouts(grad):
        np.testing.assert_array_equal(
            native.conv_grad_input(TARGETS[0], view, weight, shape=x.shape, **c[2]), expected[1]
        )
    one = np.broadcast_to(np.float32(2), grad.shape)
    np.testing.assert_array_equal(
        native.conv_grad_weight(TARGETS[0], one, x, shape=weight.shape, **c[2]),
        native.conv_grad_weight(TARGETS[0], one.copy(), x, shape=weight.shape, **c[2]),
    )


def test_what_is_not_served_is_left_to_numpy() -> None:
    x, weight, bias, _ = operands(SAMPLE[0])
    params = SAMPLE[0][2]
    for bad in (x[:0], x.astype(np.float64), x.astype(">f4")):
        assert native.conv(TARGETS[0], bad, weight, bias, **params) is None
    assert native.conv(TARGETS[0], x, weight, bias.astype(np.float64), **params) is None
    far = np.broadcast_to(np.float32(1), (1, 1, 1 << 30))  # places in a row are counted in 32 bits
    assert native._shape(far.shape, (1, 1, 3), (1,), (0,), (1,), 1) is None
    assert native._shape((1, 1, 4), (1, 1, 3), (1,), (1 << 29,), (1,), 1) is None


@pytest.mark.parametrize("dtype", [dt.float32, dt.float16], ids=lambda d: d.name)
def test_the_table_uses_them_where_there_is_enough_to_do(monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    used: list[str] = []
    for name in ("conv", "conv_grad_input", "conv_grad_weight"):
        monkeypatch.setattr(native, name, lambda *a, _n=name, **p: used.append(_n))  # None: numpy does it
    table = KernelTable("test")
    numpy_kernels.bind(table)
    for size, code, expected in ((2, "host", 0), (24, "host", 3), (24, "none", 0)):
        used.clear()
        c = case((2, 8, size, size), (8, 8, 3, 3), 1, 1, 1, 1)
        x, weight, bias, grad = (v.astype(dtype.numpy) for v in operands(c))

        def found(name: str) -> Any:
            entry = table.own(name, dtype)
            assert entry is not None
            return entry.fn

        with config.override(cpu_code=code):
            assert found("conv")(x, weight, bias, **c[2]).dtype == dtype.numpy
            assert found("conv_grad_input")(grad, weight, shape=x.shape, **c[2]).shape == x.shape
            assert found("conv_grad_weight")(grad, x, shape=weight.shape, **c[2]).shape == weight.shape
        assert len(used) == expected


def test_an_empty_batch_has_results() -> None:
    c = case((0, 64, 40, 40), (64, 64, 3, 3), 1, 1, 1, 1)
    x, weight, bias, grad = operands(c)
    assert kernel("conv", dt.float32)(x, weight, bias, **c[2]).shape == grad.shape
    assert kernel("conv_grad_input", dt.float32)(grad, weight, shape=x.shape, **c[2]).shape == x.shape
    assert not kernel("conv_grad_weight", dt.float32)(grad, x, shape=weight.shape, **c[2]).any()


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_they_compile_for_other_processors(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    texts = written_only(monkeypatch, conv_forward, conv_weights, depthwise)
    for stride in (0, 1, 2):
        conv_forward.forward.__wrapped__(target, stride)
    for build in (
        conv_forward.arranged,
        conv_weights.weights,
        depthwise.forward,
        depthwise.scattered,
        depthwise.weights,
    ):
        build.__wrapped__(target)
    assert len(texts) == 8
    for text in texts[1:]:  # all but one of three that are nearly the same
        assert compiler_for(target).object_code(text)
