"""Pooling by machine code against the numpy kernels, at every width of registers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flambeau.backends.cpu import pool as numpy_kernels
from flambeau.backends.cpu.native import pool as native
from flambeau.backends.cpu.native import pool_rows
from flambeau.backends.llvm.compiler import compiler_for
from flambeau.backends.llvm.target import ELSEWHERE, Target, runnable
from flambeau.core import config
from flambeau.core import dtype as dt
from tests.backends.cpu.arrays import kernel, layouts, values
from tests.backends.cpu.fences import Fences, by_two_threads, needs_pages, written_only

TARGETS = runnable()
every_width = pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
LOWEST = np.float32(-np.inf)
Ints = tuple[int, ...]
#: Shape, kernel, stride, padding, dilation (of max pooling), ceil.
Case = tuple[Ints, Ints, Ints, Ints, Ints, bool]

SAMPLE: list[Case] = [
    ((2, 3, 40, 70), (2, 2), (2, 2), (0, 0), (1, 1), False),
    ((2, 3, 13, 37), (2, 2), (2, 2), (0, 0), (1, 1), True),
    ((1, 3, 19, 35), (3, 3), (2, 2), (1, 1), (1, 1), False),
    ((2, 2, 12, 33), (3, 3), (1, 1), (1, 1), (2, 2), False),
    ((2, 2, 15, 50), (5, 4), (3, 4), (2, 2), (1, 2), True),
    ((3, 2, 7, 7), (7, 7), (7, 7), (0, 0), (1, 1), False),
    ((2, 3, 90), (3,), (2,), (1,), (1,), True),
    ((2, 2, 6, 7, 20), (2, 3, 2), (2, 1, 2), (1, 1, 0), (1, 2, 3), True),
    ((40, 9, 6, 5), (2, 2), (2, 3), (1, 0), (1, 1), False),
]


@pytest.fixture(autouse=True)
def machine_code() -> Iterator[None]:
    with config.override(cpu_code="host"):
        yield


def names(c: Case) -> str:
    return f"{c[0]}-{c[1]}-{c[2]}"


def sizes(c: Case, dilation: Ints) -> Ints:
    """How many windows there are along each axis."""
    _, kernel_, stride, padding, _, ceil = c
    axes = zip(c[0][2:], kernel_, stride, padding, dilation, strict=True)
    return tuple(numpy_kernels.pool_size(*v, ceil) for v in axes)


def window(c: Case) -> dict[str, Any]:
    return dict(kernel=c[1], stride=c[2], padding=c[3])


def largest(target: Target, x: Any, c: Case) -> Any:
    return native.max_pool(target, x, outside=sizes(c, c[4]), dilation=c[4], **window(c))


def mixed(shape: Ints) -> Any:
    """Few values, so that some are equal; nan, and as small as what stands around."""
    rng = np.random.default_rng(shape)
    x = rng.integers(-3, 4, shape).astype(np.float32)
    x[rng.random(shape) < 0.05] = np.nan
    x[rng.random(shape) < 0.2] = -np.inf
    x[rng.random(shape) < 0.05] = np.inf
    x[rng.random(shape) < 0.1] = -0.0
    return x


def check_max(target: Target, c: Case) -> None:
    x = mixed(c[0])
    found = largest(target, x, c)
    assert found is not None
    expected = numpy_kernels.max_pool(LOWEST, x, dilation=c[4], ceil=c[5], **window(c))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    grad = values(found[0].shape, dt.float32)
    to_x = native.max_pool_grad(target, grad, found[1], shape=x.shape)
    assert to_x is not None
    expected = numpy_kernels.max_pool_grad(grad.astype(np.float64), found[1], shape=x.shape)
    np.testing.assert_allclose(to_x, expected, 1e-5, 1e-5)


def averages(target: Target, x: Any, grad: Any, c: Case, counts: dict[str, Any]) -> tuple[Any, Any]:
    outside = sizes(c, (1,) * len(c[1]))
    mean = native.avg_pool(target, x, outside=outside, **window(c), **counts)
    return mean, native.avg_pool_grad(target, grad, shape=c[0], outside=outside, **window(c), **counts)


def check_average(target: Target, c: Case, include: bool, divisor: int | None) -> None:
    counts = dict(count_include_pad=include, divisor=divisor)
    x = values(c[0], dt.float32, 1)
    grad = values((*c[0][:2], *sizes(c, (1,) * len(c[1]))), dt.float32, 2)
    mean, to_x = averages(target, x, grad, c, counts)
    assert mean is not None and to_x is not None
    wide = numpy_kernels.avg_pool(x.astype(np.float64), ceil=c[5], **window(c), **counts)
    np.testing.assert_allclose(mean, wide, 1e-5, 1e-5)
    wide = numpy_kernels.avg_pool_grad(grad.astype(np.float64), shape=c[0], ceil=c[5], **window(c), **counts)
    np.testing.assert_allclose(to_x, wide, 1e-5, 1e-5)


@every_width
@pytest.mark.parametrize("c", SAMPLE, ids=names)
def test_all_four_kernels(target: Target, c: Case) -> None:
    check_max(target, c)
    check_average(target, c, True, None)
    check_average(target, c, False, None)
    check_average(target, c, False, 3)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Pooling of 1 to 3 dimensions; padding is at most half of the kernel."""
    ndim = draw(st.integers(1, 3))
    kernel_ = tuple(draw(st.integers(1, 5)) for _ in range(ndim))
    each = [tuple(draw(st.integers(1, 4)) for _ in range(ndim)) for _ in range(2)]
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 3)))
    inside = tuple(draw(st.integers(1, {1: 90, 2: 40, 3: 9}[ndim])) for _ in range(ndim))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel_)
    return (*shape, *inside), kernel_, each[0], padding, each[1], draw(st.booleans())


@settings(max_examples=60, deadline=None)
@given(cases(), st.booleans(), st.sampled_from([None, 2]))
def test_any_window(c: Case, include: bool, divisor: int | None) -> None:
    outside = [sizes(c, dilation) for dilation in (c[4], (1,) * len(c[1]))]
    assume(min(outside[0]) > 0 or min(outside[1]) > 0)
    if min(outside[0]) > 0 and native.Windows(c[0][2:], outside[0], *c[1:5]).has_real_places():
        check_max(TARGETS[0], c)
    if min(outside[1]) > 0:
        check_average(TARGETS[0], c, include, divisor)


def all_four(target: Target, c: Case, fence: Fences | None = None) -> list[Any]:
    x, grads = mixed(c[0]), [values((*c[0][:2], *sizes(c, d)), dt.float32) for d in (c[4], (1,) * len(c[1]))]
    if fence is not None:
        x, *grads = (fence.of(v) for v in (x, *grads))
    found = largest(target, x, c)
    assert found is not None
    indices = found[1] if fence is None else fence.of(found[1])
    counts = dict(count_include_pad=False, divisor=None)
    to_x = native.max_pool_grad(target, grads[0], indices, shape=c[0])
    return [*found, to_x, *averages(target, x, grads[1], c, counts)]


@needs_pages
@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("c", SAMPLE, ids=names)
def test_nothing_outside_of_the_operands_is_touched(monkeypatch: pytest.MonkeyPatch, c: Case, at_end: bool) -> None:
    expected = all_four(TARGETS[0], c)
    fence = Fences(at_end)
    fence.stand_in(monkeypatch)
    for found, want in zip(all_four(TARGETS[0], c, fence), expected, strict=True):
        np.testing.assert_array_equal(found, want)


@pytest.mark.parametrize("c", SAMPLE, ids=names)
def test_chunks_in_any_order_and_in_several_threads_give_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, c: Case
) -> None:
    expected = all_four(TARGETS[0], c)
    monkeypatch.setattr(native, "_LEAST", 1)  # several chunks of little work, too
    for planned in (native._largest, native._mean):
        planned.cache_clear()
    counts = by_two_threads(monkeypatch)
    with config.override(num_threads=2):
        found = all_four(TARGETS[0], c)
    assert max(counts) > 1
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@every_width
def test_what_is_not_finite_stays_in_its_windows(target: Target) -> None:
    c = SAMPLE[2]
    x = mixed(c[0])
    counts = dict(count_include_pad=True, divisor=None)
    found = native.avg_pool(target, x, outside=sizes(c, (1, 1)), **window(c), **counts)
    assert found is not None
    expected = numpy_kernels.avg_pool(x.astype(np.float64), ceil=False, **window(c), **counts)
    np.testing.assert_allclose(found, expected, 1e-5, 1e-6)


@pytest.mark.parametrize("size", [2, 4])
def test_an_average_of_negative_zeros_is_zero(size: int) -> None:
    """As PyTorch has it, whose sums start with 0."""
    x = np.full((1, 1, 4, 4), -0.0, np.float32)
    shape = dict(outside=(4 // size,) * 2, kernel=(size,) * 2, stride=(size,) * 2, padding=(0, 0))
    found = native.avg_pool(TARGETS[0], x, **shape, count_include_pad=True, divisor=None)
    assert found is not None and not np.signbit(found).any()


def test_indices_out_of_range_raise() -> None:
    shape, indices = (2, 3, 128, 128), np.zeros((2, 3, 4, 4), np.int64)
    grad = values(indices.shape, dt.float32)
    for bad in (-1, 128 * 128, 1 << 62, -(1 << 62)):
        indices[1, 2, 3, 3] = bad
        assert native.max_pool_grad(TARGETS[0], grad, indices, shape=shape) is None
        with pytest.raises(IndexError, match=f"index {bad} is out of bounds"):
            kernel("max_pool_grad", dt.float32)(grad, indices, shape=shape)


def test_operands_in_any_layout() -> None:
    c = SAMPLE[0]
    x = values(c[0], dt.float32)
    expected = largest(TARGETS[0], x, c)
    x.flags.writeable = False
    for view in layouts(x):
        for found, want in zip(largest(TARGETS[0], view, c), expected, strict=True):
            np.testing.assert_array_equal(found, want)
    counts = dict(count_include_pad=True, divisor=None)
    one = np.broadcast_to(np.float32(2), (2, 3, 20, 35))
    for found, want in zip(
        averages(TARGETS[0], x, one, c, counts), averages(TARGETS[0], x, one.copy(), c, counts), strict=True
    ):
        np.testing.assert_array_equal(found, want)


def test_what_is_not_served_is_left_to_numpy() -> None:
    c = SAMPLE[0]
    x = values(c[0], dt.float32)
    for bad in (x[:0], x.astype(np.float64), x.astype(">f4")):
        assert largest(TARGETS[0], bad, c) is None
    grad, indices = np.zeros((1, 1, 0), np.float32), np.zeros((1, 1, 0), np.int64)
    assert native.max_pool_grad(TARGETS[0], grad, indices, shape=(1, 1, 8)) is None
    lonely: Case = ((1, 1, 3), (2,), (1,), (1,), (5,), True)  # a window of which no place is inside
    assert not native.Windows((3,), (1,), *lonely[1:5]).has_real_places()


@pytest.mark.parametrize("dtype", [dt.float32, dt.float16], ids=lambda d: d.name)
@pytest.mark.parametrize(("size", "code"), [(4, "host"), (96, "host"), (96, "none")])
def test_the_table_uses_them_at_any_size(monkeypatch: pytest.MonkeyPatch, dtype: Any, size: int, code: str) -> None:
    used: list[str] = []
    for name in ("max_pool", "max_pool_grad", "avg_pool", "avg_pool_grad"):
        monkeypatch.setattr(native, name, lambda *a, _n=name, **p: used.append(_n))  # None: numpy does it
    x, params = values((1, 2, size, size), dtype), dict(kernel=(2, 2), stride=(2, 2), padding=(0, 0), ceil=False)
    counts = dict(count_include_pad=True, divisor=None)
    with config.override(cpu_code=code):
        found, indices = kernel("max_pool", dt.float32)(x.astype(np.float32), dilation=(1, 1), **params)
        grad = found.astype(dtype.numpy)
        assert kernel("max_pool_grad", dtype)(grad, indices, shape=x.shape).dtype == dtype.numpy
        assert kernel("avg_pool", dtype)(x, **params, **counts).dtype == dtype.numpy
        assert kernel("avg_pool_grad", dtype)(grad, shape=x.shape, **params, **counts).dtype == dtype.numpy
    assert len(used) == (4 if code == "host" else 0)


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_they_compile_for_other_processors(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    texts = written_only(monkeypatch, pool_rows)
    pool_rows.scattered.__wrapped__(target)
    pool_rows.largest.__wrapped__(target, 2, 3)
    pool_rows.mean.__wrapped__(target, 3)
    pool_rows.spread.__wrapped__(target, 2)
    assert len(texts) == 4
    for text in texts:
        assert compiler_for(target).object_code(text)
