"""Convolutions of every form against the CPU backend in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.backends.launched import conv
from flambeau.core import dtype as dt
from flambeau.core.registry import get_backend

pytestmark = pytest.mark.device("opencl")

CLOSE = {dt.float16: 4e-3, dt.bfloat16: 2e-2, dt.float32: 3e-5, dt.float64: 1e-12}
#: input, weight, stride, padding, dilation, groups
CASES = {
    "1d": ((2, 3, 17), (4, 3, 3), (1,), (1,), (1,), 1),
    "1d strided": ((3, 4, 131), (6, 4, 5), (3,), (4,), (2,), 1),
    "2d": ((3, 5, 9, 11), (7, 5, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    "2d mixed": ((2, 4, 12, 9), (6, 4, 3, 2), (2, 3), (2, 1), (1, 2), 1),
    "many places": ((2, 3, 20, 16), (5, 3, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    "wide line": ((1, 2, 3, 150), (3, 2, 2, 3), (1, 2), (1, 1), (1, 1), 1),
    "1x1": ((3, 9, 8, 16), (4, 9, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    "1x1 strided": ((2, 9, 7, 5), (4, 9, 1, 1), (2, 2), (0, 0), (1, 1), 1),
    "groups": ((2, 16, 6, 7), (24, 8, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    "wide groups": ((2, 16, 16, 8), (16, 8, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    "depthwise": ((2, 6, 9, 70), (12, 1, 3, 3), (1, 1), (1, 1), (1, 1), 6),
    "depthwise strided": ((2, 6, 9, 8), (6, 1, 3, 3), (2, 2), (1, 2), (2, 1), 6),
    "depthwise 1d": ((2, 4, 15), (4, 1, 4), (2,), (1,), (1,), 4),
    "narrow groups": ((2, 8, 5, 6), (4, 4, 2, 3), (2, 1), (1, 0), (1, 1), 2),
    "3d": ((2, 3, 5, 6, 7), (4, 3, 2, 3, 2), (1, 2, 1), (1, 1, 0), (2, 1, 1), 1),
    "depthwise 3d": ((1, 3, 4, 5, 6), (3, 1, 2, 3, 2), (1, 2, 1), (1, 1, 0), (2, 1, 1), 3),
    "window inside padding": ((1, 2, 2, 2), (3, 2, 1, 1), (5, 5), (4, 4), (1, 1), 1),
}  # fmt: skip


def _reference(name: str, *args: Any, **params: Any) -> Any:
    """The CPU backend's kernel in float64."""
    wide = [None if a is None else np.asarray(a, np.float64) for a in args]
    return get_backend("cpu").kernels.find(name, dt.float64)(*wide, **params)


def _check(got: Any, expected: Any, dtype: dt.DType) -> None:
    assert got.shape == expected.shape and got.dtype == dtype.numpy
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(got.astype(np.float64), expected, rtol=CLOSE[dtype], atol=CLOSE[dtype] * scale)


def _data(rng: Any, dtype: dt.DType, *shapes: Any) -> list[Any]:
    return [rng.normal(size=s).astype(dtype.numpy) for s in shapes]


def _options(case: Any) -> dict[str, Any]:
    return dict(stride=case[2], padding=case[3], dilation=case[4], groups=case[5])


def _all_three(bench: Any, rng: Any, case: Any, dtype: dt.DType) -> None:
    options = _options(case)
    x, weight, bias = _data(rng, dtype, case[0], case[1], case[1][:1])
    expected = _reference("conv", x, weight, bias, **options)
    put = [bench.put(v) for v in (x, weight, bias)]
    _check(bench.get(bench.op("conv", dtype)(*put, **options)), expected, dtype)
    (grad,) = _data(rng, dtype, expected.shape)
    dev = bench.put(grad)
    expected = _reference("conv_grad_input", grad, weight, shape=case[0], **options)
    _check(bench.get(bench.op("conv_grad_input", dtype)(dev, put[1], shape=case[0], **options)), expected, dtype)
    expected = _reference("conv_grad_weight", grad, x, shape=case[1], **options)
    _check(bench.get(bench.op("conv_grad_weight", dtype)(dev, put[0], shape=case[1], **options)), expected, dtype)


@pytest.mark.parametrize("name", CASES)
def test_convolution_and_gradients(bench: Any, rng: Any, name: str) -> None:
    _all_three(bench, rng, CASES[name], dt.float32)


@pytest.mark.parametrize("dtype", [dt.float16, dt.bfloat16, dt.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("name", ["2d mixed", "many places", "depthwise"])
def test_dtypes(bench: Any, rng: Any, name: str, dtype: dt.DType) -> None:
    _all_three(bench, rng, CASES[name], dtype)


@pytest.mark.parametrize("name", ["2d", "many places", "1x1", "depthwise"])
def test_operands_of_any_strides(bench: Any, rng: Any, name: str) -> None:
    """Channels last, a weight read backwards along its axes, an offset: the same numbers."""
    case = CASES[name]
    options = _options(case)
    x, weight = _data(rng, dt.float32, case[0], case[1])
    expected = _reference("conv", x, weight, None, **options)
    last = bench.put(np.ascontiguousarray(np.moveaxis(np.concatenate([x, x]), 1, -1)))
    strides = last.strides
    turned = last.viewed(x.shape, (strides[0], strides[3], *strides[1:3]), x.size)
    put = bench.put(np.ascontiguousarray(weight.T))
    got = bench.op("conv", dt.float32)(turned, put.viewed(weight.shape, put.strides[::-1], 0), None, **options)
    _check(bench.get(got), expected, dt.float32)
    grad = bench.put(np.ascontiguousarray(expected.T).astype(np.float32))
    grad = grad.viewed(expected.shape, grad.strides[::-1], 0)
    found = bench.op("conv_grad_weight", dt.float32)(grad, turned, shape=case[1], **options)
    wanted = _reference("conv_grad_weight", expected, x, shape=case[1], **options)
    _check(bench.get(found), wanted, dt.float32)
    found = bench.op("conv_grad_input", dt.float32)(grad, put.viewed(weight.shape, put.strides[::-1], 0),
                                                    shape=case[0], **options)  # fmt: skip
    _check(bench.get(found), _reference("conv_grad_input", expected, weight, shape=case[0], **options), dt.float32)


@pytest.mark.parametrize("name", ["2d", "many places", "1d", "1d strided", "groups", "3d"])
def test_parts_of_the_batch(bench: Any, rng: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of one image at a time, and of a few places at a time."""
    case = CASES[name]
    *_, places = (
        _reference("conv", np.zeros(case[0]), np.zeros(case[1]), None, **_options(case)).reshape(1, 1, -1).shape
    )
    one = 4 * case[0][1] * int(np.prod(case[1][2:])) * places // (case[0][0] * case[1][0])
    for room in (one, one // 3):
        monkeypatch.setattr(conv, "_BYTES", {True: room, False: room})
        _all_three(bench, rng, case, dt.float32)


def test_columns_take_bounded_memory(opencl: Any, rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine times the input, if they all stood there at once."""
    monkeypatch.setattr(conv, "_BYTES", {True: 1 << 16, False: 1 << 16})
    x = opencl.from_host(rng.normal(size=(8, 8, 32, 32)).astype(np.float32), dt.float32)
    weight = opencl.from_host(rng.normal(size=(8, 8, 3, 3)).astype(np.float32), dt.float32)
    opencl.synchronize()
    opencl.reset_peak()
    before = opencl.memory_stats().allocated
    limit = opencl.device(0).pool.limit
    options: dict[str, Any] = dict(stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1)
    try:
        opencl.set_memory_limit(before + (1 << 20))
        out = opencl.kernels.find("conv", dt.float32)(x, weight, None, **options)
        opencl.kernels.find("conv_grad_input", dt.float32)(out, weight, shape=x.shape, **options)
        opencl.kernels.find("conv_grad_weight", dt.float32)(out, x, shape=weight.shape, **options)
        opencl.synchronize()
        assert opencl.memory_stats().peak - before <= 1 << 20, "memory from the free lists counts too"
    finally:
        opencl.set_memory_limit(limit)


@pytest.mark.parametrize(
    ("shape", "weight"), [((0, 3, 5, 5), (4, 3, 3, 3)), ((2, 3, 5, 5), (0, 3, 3, 3)), ((2, 0, 5, 5), (4, 0, 3, 3))]
)
def test_empty(bench: Any, rng: Any, shape: Any, weight: Any) -> None:
    options = _options((shape, weight, (1, 1), (1, 1), (1, 1), 1))
    x, w, bias = _data(rng, dt.float32, shape, weight, weight[:1])
    out = np.broadcast_to(bias.reshape(-1, 1, 1), (shape[0], weight[0], 5, 5))
    got = bench.op("conv", dt.float32)(bench.put(x), bench.put(w), bench.put(bias), **options)
    np.testing.assert_array_equal(bench.get(got), out)
    grad = bench.put(np.ones(out.shape, np.float32))
    got = bench.op("conv_grad_input", dt.float32)(grad, bench.put(w), shape=shape, **options)
    np.testing.assert_array_equal(bench.get(got), np.zeros(shape, np.float32))
    got = bench.op("conv_grad_weight", dt.float32)(grad, bench.put(x), shape=weight, **options)
    np.testing.assert_array_equal(bench.get(got), np.zeros(weight, np.float32))


def test_the_same_bits_each_time(bench: Any, rng: Any) -> None:
    case = CASES["2d mixed"]
    x, weight = _data(rng, dt.float32, case[0], case[1])
    args = [bench.put(x), bench.put(weight), None]
    first, second = (bench.get(bench.op("conv", dt.float32)(*args, **_options(case))) for _ in range(2))
    assert first.tobytes() == second.tobytes()
