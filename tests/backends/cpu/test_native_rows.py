"""Row-wise kernels and scans as machine code against numpy in float64, at every width, in all layouts, with nan."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fb
from flambeau.backends.cpu.native import channels, rows, scan, softmax_columns
from flambeau.backends.cpu.native.lanes import served
from flambeau.backends.cpu.native.nn import KERNELS as NN
from flambeau.backends.cpu.native.scan import KERNELS as SCANS
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from flambeau.backends.xp import nn as xp_nn
from flambeau.backends.xp import scan as xp_scan
from flambeau.core import config
from tests.backends.cpu.arrays import kernel, layouts

DTYPES = ("float32", "float64", "float16", "bfloat16")
TOLERANCE = {"float32": 1e-6, "float64": 1e-13, "float16": 1e-3, "bfloat16": 8e-3}
SHAPES = ((7,), (5, 16), (33, 65), (3, 130, 63), (2, 3, 4, 17), (300, 1), (1, 300))
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def of(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Any:
    rng = np.random.default_rng([seed, *shape])
    return (2 * rng.standard_normal(shape)).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def exact(x: Any) -> Any:
    return None if x is None else x.astype(np.float64)


def agree(found: Any, expected: Any, dtype: str) -> None:
    """One result or several, of the dtype, within its tolerance of the largest."""
    if isinstance(found, tuple):
        for one, other in zip(found, expected, strict=True):
            agree(one, other, dtype)
        return
    assert found.shape == expected.shape
    assert found.dtype.name == dtype
    np.testing.assert_allclose(exact(found), expected, 0, TOLERANCE[dtype] * (np.nanmax(np.abs(expected)) + 1e-9))


# -- softmax ---------------------------------------------------------------------------------------
@every_width
@every_dtype
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_and_its_gradient(target: Target, name: str, dtype: str) -> None:
    for shape in SHAPES:
        x, grad = of(dtype, shape), of(dtype, shape, 1)
        if not served(x, target):
            assert NN[name](target, x, axis=0) is None
            return
        for axis in range(-1, len(shape)):
            body, back = getattr(xp_nn, name), getattr(xp_nn, f"{name}_grad")
            agree(NN[name](target, x, axis=axis), body(np, exact(x), axis=axis), dtype)
            result = body(np, exact(x), axis=axis).astype(x.dtype)
            expected = back(np, exact(grad), exact(result), axis=axis)
            agree(NN[f"{name}_grad"](target, grad, result, axis=axis), expected, dtype)


def test_softmax_in_all_layouts() -> None:
    x, grad = of("float32", (6, 40, 24)), of("float32", (6, 40, 24), 1)
    for axis in range(3):
        for view in layouts(x):
            agree(NN["softmax"](host(), view, axis=axis), xp_nn.softmax(np, exact(x), axis=axis), "float32")
            expected = xp_nn.softmax_grad(np, exact(grad), exact(x), axis=axis)
            agree(NN["softmax_grad"](host(), grad, view, axis=axis), expected, "float32")


@every_width
def test_softmax_of_nan_and_infinities(target: Target) -> None:
    for axis, shape in ((1, (5, 37)), (0, (37, 5))):
        x = np.moveaxis(of("float32", (5, 37)), 1, axis).copy()
        lines = np.moveaxis(x, axis, 1)
        lines[0] = -np.inf
        lines[1, 3], lines[2, 4], lines[3, 5] = np.nan, np.inf, -np.inf
        assert x.shape == shape
        for name in ("softmax", "log_softmax"):
            found = np.moveaxis(NN[name](target, x, axis=axis), axis, 1)
            expected = np.moveaxis(getattr(xp_nn, name)(np, exact(x), axis=axis), axis, 1)
            assert np.isnan(found[:2]).all()
            assert np.isnan(found[2, 4])
            np.testing.assert_allclose(found[3:], expected[3:], 1e-5, 1e-6)


def test_log_softmax_of_large_numbers_keeps_their_differences() -> None:
    x = np.float32(3e4) + np.arange(40, dtype="f4").reshape(2, 20)
    for axis in (0, 1):
        expected = xp_nn.log_softmax(np, exact(x), axis=axis)
        np.testing.assert_allclose(NN["log_softmax"](host(), x, axis=axis), expected, 1e-6, 1e-7)


def test_softmax_of_a_long_row() -> None:
    x = np.zeros((1, 4_000_001), "f4")
    np.testing.assert_allclose(NN["softmax"](host(), x, axis=1), 1 / 4_000_001, 1e-6)
    np.testing.assert_allclose(NN["softmax"](host(), np.zeros((1_000_001, 2), "f4"), axis=0), 1 / 1_000_001, 1e-6)


# -- normalisation ---------------------------------------------------------------------------------
@every_width
@every_dtype
def test_normalisations_of_rows(target: Target, dtype: str) -> None:
    for shape in SHAPES[1:]:
        x, grad = of(dtype, shape), of(dtype, shape, 1)
        if not served(x, target) or shape[-1] == 1:
            continue
        size = shape[1:]
        weight, bias = of(dtype, size, 2), of(dtype, size, 3)
        options: Any = dict(normalized_shape=size, eps=1e-5)
        for w, b in ((weight, bias), (None, None), (weight, None)):
            expected = xp_nn.layer_norm(np, exact(x), exact(w), exact(b), **options)
            agree(NN["layer_norm"](target, x, w, b, **options), expected, dtype)
            agree(NN["rms_norm"](target, x, w, **options), xp_nn.rms_norm(np, exact(x), exact(w), **options), dtype)
            for name in ("layer_norm_grad", "rms_norm_grad"):
                expected = getattr(xp_nn, name)(np, exact(grad), exact(x), exact(w), **options)
                agree(NN[name](target, grad, x, w, **options), expected, dtype)


def test_gradients_of_weights_over_many_chunks() -> None:
    x, grad, weight = of("float32", (3001, 97)), of("float32", (3001, 97), 1), of("float32", (97,), 2)
    options: Any = dict(normalized_shape=(97,), eps=1e-5)
    expected = xp_nn.layer_norm_grad(np, exact(grad), exact(x), exact(weight), **options)
    agree(NN["layer_norm_grad"](host(), grad.T.copy().T, x, weight, **options), expected, "float32")


@every_width
@every_dtype
def test_batch_normalisation(target: Target, dtype: str) -> None:
    for shape in ((3, 4, 5, 5), (2, 7, 33), (8, 64, 9, 9), (2, 3, 130, 65)):
        x, grad = of(dtype, shape) + 3, of(dtype, shape, 1)
        weight, bias = of(dtype, (shape[1],), 2), of(dtype, (shape[1],), 3)
        x = x.astype(grad.dtype)
        if not served(x, target):
            continue
        for w, b in ((weight, bias), (None, None)):
            expected = xp_nn.batch_norm(np, exact(x), exact(w), exact(b), eps=1e-5)
            agree(NN["batch_norm"](target, x, w, b, eps=1e-5), expected, dtype)
        mean, var = (v.astype(x.dtype) for v in expected[1:])
        column = (-1, *[1] * (len(shape) - 2))
        for w, b in ((weight, bias), (None, bias), (weight, None)):
            scale = (1 if w is None else exact(w)) / np.sqrt(exact(var) + 1e-5)
            wanted = (exact(x) - exact(mean).reshape(column)) * scale.reshape(column)
            wanted = wanted if b is None else wanted + exact(b).reshape(column)
            agree(NN["batch_norm_given"](target, x, mean, var, w, b, eps=1e-5), wanted, dtype)
        sums = xp_nn.batch_norm_sums(np, exact(grad), exact(x), exact(mean))
        agree(NN["batch_norm_sums"](target, grad, x, mean), sums, dtype)


def test_what_is_not_served() -> None:
    x, half = of("float32", (40, 50)), of("float16", (50,))
    options: Any = dict(normalized_shape=(50,), eps=1e-5)
    assert NN["softmax"](host(), np.zeros((3, 0), "f4"), axis=1) is None
    assert NN["softmax"](host(), np.zeros((), "f4"), axis=0) is None
    assert NN["softmax_grad"](host(), x[:1], x, axis=1) is None
    assert NN["layer_norm"](host(), x, half, None, **options) is None
    assert NN["layer_norm"](host(), x, x[0, :7], None, **options) is None
    assert NN["rms_norm"](host(), x, x[:, 0], normalized_shape=(40,), eps=1e-5) is None
    assert NN["batch_norm"](host(), x.reshape(2, 20, 50), x[0], None, eps=1e-5) is None
    assert SCANS["cumsum"](host(), np.zeros((3, 0), "f4"), axis=0) is None
    assert SCANS["cumsum"](host(), np.zeros((3, 4), ">f4"), axis=0) is None


# -- scans -----------------------------------------------------------------------------------------
@every_width
@every_dtype
def test_scans(target: Target, dtype: str) -> None:
    for shape in (*SHAPES, (40, 600)):
        x = of(dtype, shape)
        if not served(x, target):
            assert SCANS["cumsum"](target, x, axis=0) is None
            return
        for axis in range(len(shape)):
            for name in ("cumsum", "cumprod", "logcumsumexp"):
                found, expected = SCANS[name](target, x, axis=axis), getattr(xp_scan, name)(np, exact(x), axis=axis)
                assert found.dtype == x.dtype
                limit = exact(expected.astype(x.dtype))  # what is too large for the dtype is infinite
                np.testing.assert_allclose(exact(found), limit, 2 * TOLERANCE[dtype], TOLERANCE[dtype] * 4)
            whole = np.round(x.astype("f4")).astype(x.dtype)
            for name in ("cummax", "cummin"):
                values, places = SCANS[name](target, whole, axis=axis)
                expected = getattr(xp_scan, name)(np, exact(whole), axis=axis)
                np.testing.assert_array_equal(exact(values), expected[0])
                np.testing.assert_array_equal(places, expected[1])


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    marks=st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 0.0]), max_size=5),
    data=st.data(),
)
def test_scans_of_views_with_nan_and_infinities(shape: list[int], marks: list[float], data: Any) -> None:
    x = np.round(of("float32", tuple(shape)))
    for mark in marks:
        x.reshape(-1)[data.draw(st.integers(0, x.size - 1))] = mark
    x = x.transpose(data.draw(st.permutations(range(x.ndim))))[:: data.draw(st.sampled_from([1, -1]))]
    axis = data.draw(st.integers(0, x.ndim - 1))
    with np.errstate(all="ignore"):
        for name in ("cumsum", "cumprod", "logcumsumexp"):
            expected = getattr(xp_scan, name)(np, exact(x), axis=axis)
            np.testing.assert_allclose(SCANS[name](host(), x, axis=axis), expected.astype("f4"), 1e-5, 1e-5)
        for name in ("cummax", "cummin"):
            both = zip(SCANS[name](host(), x, axis=axis), getattr(xp_scan, name)(np, x, axis=axis), strict=True)
            for found, wanted in both:
                np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", ["native", "numpy"])
@pytest.mark.parametrize("shape", [(4_000_000,), (1_000_000, 3), (3, 1_000_000)])
def test_millions_of_float32_are_added_right_on_the_way(kind: str, shape: tuple[int, ...]) -> None:
    x = np.full(shape, np.float32(0.1))
    axis = int(np.argmax(shape))
    run = SCANS["cumsum"](host(), x, axis=axis) if kind == "native" else _numpy("cumsum")(x, axis=axis)
    counts = np.moveaxis(np.arange(1, x.shape[axis] + 1).reshape(-1, *(1,) * (x.ndim - 1)), 0, axis)
    np.testing.assert_allclose(run, np.broadcast_to(float(np.float32(0.1)) * counts, shape), 1e-6)


def _numpy(name: str) -> Any:
    """The kernel that stands below the native one."""
    return kernel(name, fb.float32).__wrapped__


# -- threads, other processors ---------------------------------------------------------------------
def test_the_same_bits_for_one_and_two_threads() -> None:
    x, grad, weight = of("float32", (700, 301)), of("float32", (700, 301), 1), of("float32", (301,), 2)

    def results() -> list[bytes]:
        found = [
            kernel("sum", fb.float32)(x, axis=None),
            kernel("var", fb.float32)(x, axis=(0,), correction=1, keepdims=False),
            kernel("logsumexp", fb.float32)(x, axis=(1,), keepdims=False),
            kernel("softmax", fb.float32)(x, axis=0),
            kernel("cumsum", fb.float32)(x, axis=1),
            *kernel("layer_norm_grad", fb.float32)(grad, x, weight, normalized_shape=(301,), eps=1e-5),
        ]
        return [v.tobytes() for v in found]

    found = []
    for count in (1, 2):
        with config.override(num_threads=count, cpu_code="host"):
            found.append(results())
    assert found[0] == found[1]
    with config.override(cpu_code="none"):
        assert results() != found[0]  # that was machine code


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_elsewhere_it_compiles(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for module in (rows, softmax_columns, channels, scan):
        monkeypatch.setattr(module, "jobs", lambda *fs: [made.append(Compiler(target).compile(fs[0].module.text()))])
    for name in ("softmax", "log_softmax_grad"):
        rows.softmax.__wrapped__(target, "float16", name)
        softmax_columns.softmax.__wrapped__(target, "float64", name)
    rows.norm_grad.__wrapped__(target, "bfloat16", True, True)
    channels.batch_norm.__wrapped__(target, "float32", True, True)
    scan._rows.__wrapped__(target, "float32", "cummax")
    scan._columns.__wrapped__(target, "float32", "logcumsumexp")
    assert len(made) == 8
