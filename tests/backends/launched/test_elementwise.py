"""Generated elementwise kernels against numpy: layouts, dtypes, casts, and the functions they call."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from flambeau.core import dtype as dt
from flambeau.core import special  # noqa: F401  # defines the functions that expressions call
from flambeau.core.dtype import INTS
from flambeau.core.expr import parse
from flambeau.core.expr.arrays import to_numpy

pytestmark = pytest.mark.device("opencl")

SHAPES = [(), (1,), (5,), (4097,), (3, 0, 2), (70, 33), (5, 6, 7), (2, 3, 4, 5, 2)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_any_layout(bench, rng, shape):
    x = rng.normal(size=shape).astype(np.float32)
    f = bench.expr("x * y + 1", dt.float32, dt.float32)
    d = bench.put(x)
    views = [(x, d)]
    if x.ndim:
        axes = tuple(reversed(range(x.ndim)))
        views.append((x.transpose(axes), bench.op("permute", dt.float32)(d, axes=axes)))
        index = (*[slice(None, None, -2)] * (x.ndim - 1), slice(1, None, 2))
        views.append((x[index], bench.op("basic_index", dt.float32)(d, index=index)))
        row = (slice(0, 1), *[slice(None)] * (x.ndim - 1))
        views.append((x[row], bench.op("basic_index", dt.float32)(d, index=row)))
    scalar = bench.put(np.float32(3))
    for host, view in views:
        np.testing.assert_array_equal(bench.get(view), host)
        np.testing.assert_allclose(bench.get(f(view, view)), host * host + 1, rtol=1e-6)
        np.testing.assert_allclose(bench.get(f(view, scalar)), host * 3 + 1, rtol=1e-6, atol=1e-6)
        if host.ndim == x.ndim and host.shape[1:] == x.shape[1:] and host.shape[:1] in ((1,), x.shape[:1]):
            np.testing.assert_allclose(bench.get(f(d, view)), x * host + 1, rtol=1e-6, atol=1e-6)


def test_more_axes_than_a_kernel_walks(bench, rng):
    x = rng.normal(size=(2,) * 16).astype(np.float32)
    index = (slice(None), *[slice(None, None, -1), slice(0, 1)] * 7, slice(None))  # nothing merges
    view = bench.op("basic_index", dt.float32)(bench.put(x), index=index)
    axes = (*range(1, 16, 2), *range(0, 16, 2))
    turned = bench.op("permute", dt.float32)(view, axes=axes)
    np.testing.assert_array_equal(bench.get(turned), x[index].transpose(axes))


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_arithmetic_of_every_dtype(bench, rng, dtype):
    x, y = (rng.normal(scale=4, size=600) + 1j * rng.normal(size=600) for _ in range(2))
    if dtype.category != dt.COMPLEX:
        x, y = np.abs(x.real) if not dtype.is_signed else x.real, y.real if dtype.is_signed else np.abs(y.real)
    x, y = x.astype(dtype.numpy), y.astype(dtype.numpy)
    for source in ("x + y", "x * y", "x - y", "y if x == y else x"):
        if dtype is dt.bool_ and "-" in source:
            continue
        got = bench.get(bench.expr(source, dtype, dtype)(bench.put(x), bench.put(y)))
        expected = to_numpy(parse(source, ("x", "y")), "f", (dtype, dtype), dtype)(x, y)
        assert got.dtype == dtype.numpy
        if dtype.category < dt.FLOATING:
            np.testing.assert_array_equal(got, expected)
        else:
            close = 1e-2 if dtype.itemsize == 2 else 1e-6
            np.testing.assert_allclose(got.astype(complex), expected.astype(complex), rtol=close, atol=close)


@pytest.mark.parametrize("dtype", INTS, ids=lambda d: d.name)
def test_integer_edges(bench, dtype):
    info = np.iinfo(dtype.numpy)
    edges = np.array([0, 1, 2, 7, info.max, info.min, info.max - 1, info.bits], dtype.numpy)
    x, y = np.repeat(edges, 8), np.tile(edges, 8)
    d, e = bench.put(x), bench.put(y)
    for source in ("x // y", "fmod(x, y)", "x % y", "x << y", "x >> y", "maximum(x, y)", "x ** (y & 7)", "-x", "~x"):
        got = bench.get(bench.expr(source, dtype, dtype)(d, e))
        np.testing.assert_array_equal(
            got, to_numpy(parse(source, ("x", "y")), "f", (dtype, dtype), dtype)(x, y), source
        )


EXACT = (
    "maximum(x, y)", "minimum(x, y)", "floor(x)", "trunc(x)", "ceil(x)", "round(x)", "copysign(x, y)", "x % y",
    "x // y", "fmod(x, y)", "sqrt(x)", "x / y", "abs(x)", "nextafter(x, y)", "frac(x)", "x * (x < y)",
)  # fmt: skip
CLOSE = (
    "exp(x)", "log(x)", "sin(x)", "cos(x)", "tanh(x)", "erf(x)", "log1p(x)", "expm1(x)", "pow(abs(x), y)",
    "lgamma(x)", "digamma(x)", "sinh(x)", "atan2(x, y)", "log2(x)", "erfinv(x)", "i0(x)", "hypot(x, y)", "asin(x)",
)  # fmt: skip


@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
@pytest.mark.parametrize("source", [*EXACT, *CLOSE])
def test_functions(bench, rng, dtype, source):
    special_values = np.array([0.0, -0.0, 1, -2.5, 0.5, np.inf, -np.inf, np.nan])
    x = np.concatenate([rng.normal(scale=3, size=300), np.repeat(special_values, 8), [80, -80, 1e-30, 500]])
    y = np.concatenate([rng.normal(scale=3, size=300), np.tile(special_values, 8), [2, 3, 4, 5]])
    x, y = x.astype(dtype.numpy), y.astype(dtype.numpy)
    got = bench.get(bench.expr(source, dtype, dtype)(bench.put(x), bench.put(y)))
    with np.errstate(all="ignore"):
        expected = to_numpy(parse(source, ("x", "y")), "f", (dtype, dtype), dtype)(x, y)
    if source in EXACT:
        np.testing.assert_array_equal(got, expected)
    else:
        eps = np.finfo(dtype.numpy).eps
        np.testing.assert_allclose(got, expected, rtol=200 * eps, atol=100 * eps)


@pytest.mark.parametrize("source", ["exp(x)", "log(x)"])
@pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)
def test_polynomials_over_the_whole_range(bench, rng, source, dtype):
    info = np.finfo(dtype.numpy)
    top = float(np.log(info.max))
    x = rng.uniform(-top, top, 20_000) if source == "exp(x)" else 2.0 ** rng.uniform(info.minexp, info.maxexp, 20_000)
    x = np.concatenate([x, [0.0, -0.0, np.inf, -np.inf, np.nan, top * 1.01, -top * 1.3, 1.0, info.tiny]]).astype(
        dtype.numpy
    )
    got = bench.get(bench.expr(source, dtype)(bench.put(x)))
    with np.errstate(all="ignore"):
        exact = (np.exp if source == "exp(x)" else np.log)(x.astype(np.longdouble)).astype(dtype.numpy)
    np.testing.assert_allclose(got, exact, rtol=4 * info.eps, atol=info.tiny)


# One dtype of each kind, since each has kernels of its own to build: the conformance kit casts to all.
@pytest.mark.parametrize("target", [dt.bool_, dt.int32, dt.uint64, dt.bfloat16, dt.float32], ids=lambda d: d.name)
def test_casts(bench, rng, target):
    for source in (
        dt.bool_,
        dt.int8,
        dt.uint8,
        dt.int64,
        dt.float16,
        dt.bfloat16,
        dt.float32,
        dt.float64,
        dt.complex64,
    ):
        x = np.abs(rng.normal(scale=20, size=100)).astype(source.numpy)
        got = bench.get(bench.op("cast", source)(bench.put(x), dtype=target))
        plain = x.real if source.category == dt.COMPLEX and target.category != dt.COMPLEX else x
        np.testing.assert_array_equal(got, plain.astype(target.numpy))


@pytest.mark.parametrize("low", [np.float16, ml_dtypes.bfloat16])
def test_low_precision_rounds_to_even(bench, low):
    x = np.linspace(-3, 3, 4001).astype(np.float32)
    x = np.concatenate([x, [np.nan, np.inf, -np.inf, 70000.0, 1e-8]]).astype(np.float32)
    d = dt.from_numpy(np.dtype(low))
    with np.errstate(all="ignore"):
        found = bench.get(bench.op("cast", dt.float32)(bench.put(x), dtype=d))
        # numpy cannot compare the nan of bfloat16, so both go back to float32, where every value of either is exact.
        np.testing.assert_array_equal(found.astype(np.float32), x.astype(low).astype(np.float32))


@pytest.mark.parametrize("size", [100, 20_000])
def test_out_may_overlap_the_operands(bench, rng, size):
    f = bench.expr("x + y", dt.float32, dt.float32)
    x = rng.normal(size=size).astype(np.float32)
    d = bench.put(x)
    cut = bench.op("basic_index", dt.float32)
    f(cut(d, index=(slice(1, None),)), cut(d, index=(slice(None, -1),)), out=cut(d, index=(slice(1, None),)))
    np.testing.assert_array_equal(bench.get(d)[1:], x[1:] + x[:-1])
    d = bench.put(x)
    f(d, d, out=d)
    np.testing.assert_array_equal(bench.get(d), x + x)


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_full(bench, dtype):
    for value in (0, 1, 3.7, -2):
        if value < 0 and not dtype.is_signed:
            continue
        got = bench.get(bench.op("full", dtype)(shape=(3, 5), value=value, dtype=dtype))
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(got, np.full((3, 5), value).astype(dtype.numpy))


def test_complex_functions(bench, rng):
    x = (rng.normal(size=200) * 2 + 1j * rng.normal(size=200)).astype(np.complex64)
    y = (rng.normal(size=200) + 1j * rng.normal(size=200)).astype(np.complex64)
    for source, expected in (("x / y", x / y), ("exp(x)", np.exp(x)), ("log(x)", np.log(x)), ("sqrt(x)", np.sqrt(x)),
                             ("sin(x)", np.sin(x)), ("tanh(x)", np.tanh(x)), ("pow(x, y)", x**y)):  # fmt: skip
        got = bench.get(bench.expr(source, dt.complex64, dt.complex64)(bench.put(x), bench.put(y)))
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6, err_msg=source)
    absolute = bench.expr("abs(x)", dt.complex64, out=dt.float32)(bench.put(x))
    np.testing.assert_allclose(bench.get(absolute), np.abs(x), rtol=1e-6)
