"""Kernels of composites that are expressions: the parts of floats, derivatives of digamma."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from flambeau.backends.base import Declined
from flambeau.backends.cpu import special
from flambeau.backends.llvm import printer
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import lower, parse
from tests.backends.cpu.arrays import close, kernel, layouts, same

scipy_special = pytest.importorskip("scipy.special")
CODES = ("none", "host")
BOTH = pytest.mark.parametrize("dtype", [dt.float32, dt.float64], ids=lambda d: d.name)


@pytest.fixture(params=CODES, autouse=True)
def code(request: pytest.FixtureRequest) -> Iterator[None]:
    with config.override(cpu_code=request.param):
        yield


def _floats(dtype: DType, count: int) -> Any:
    """Of every size, the first ones special."""
    limits = np.finfo(dtype.numpy)
    rng = np.random.default_rng(count)
    x = (rng.standard_normal(count) * 2.0 ** rng.integers(limits.minexp - 20, limits.maxexp, count)).astype(dtype.numpy)
    edge = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, limits.max, limits.tiny, limits.smallest_subnormal,
            -3 * limits.smallest_subnormal, limits.tiny - limits.smallest_subnormal]  # fmt: skip
    x[: len(edge)] = np.array(edge, dtype.numpy)[:count]
    return x


@BOTH
@pytest.mark.parametrize("count", [1, 12, special._PARTS - 1, special._PARTS, 3001])
def test_parts_are_numpys(dtype: DType, count: int) -> None:
    x = _floats(dtype, count)
    wanted, power = np.frexp(x)
    power = np.where(np.isfinite(x), power, 0)
    made = special._frexp(dtype)
    for arranged in layouts(x):
        mantissa, exponent = made(arranged)
        assert mantissa.dtype == dtype.numpy and exponent.dtype == np.int32
        same(mantissa, wanted)
        same(np.signbit(mantissa), np.signbit(wanted))
        same(exponent, power)


@BOTH
def test_parts_of_arrays_without_axes_or_elements(dtype: DType) -> None:
    for shape in ((), (0, 3)):
        mantissa, exponent = kernel("frexp", dtype)(np.full(shape, 6.0, dtype.numpy))
        same(mantissa, np.full(shape, 0.75, dtype.numpy))
        same(exponent, np.full(shape, 3, np.int32))


@BOTH
def test_machine_code_has_the_parts(dtype: DType) -> None:
    for source, result in ((special._MANTISSA, dtype), (special._EXPONENT, dt.int32)):
        program = lower(parse(source, ("x",)), (dtype,), result, printer.native)
        assert printer.unserved(program) is None


@BOTH
@pytest.mark.parametrize("n", [0, 1, 2, 3, 6, special._ORDERS])
def test_derivatives_of_digamma(dtype: DType, n: int) -> None:
    x = np.concatenate([np.linspace(0.3, 9, 30), np.linspace(-3.7, -0.2, 14), [40.0]]).astype(dtype.numpy)
    x = x[np.abs(x - np.round(x)) > 0.1]
    made = special._polygamma(dtype)
    digits = 3e-5 if dtype is dt.float32 else 1e-11
    wanted = scipy_special.polygamma(n, x.astype(np.float64))
    positive = x > 0
    found = made(x, n=n)
    assert found.dtype == dtype.numpy
    close(found[positive], wanted[positive], digits, 0)
    many = made(np.tile(x, 100), n=n)
    same(many, np.tile(found, 100))
    body = fb.core.ops.special._polygamma(fb.tensor(x, dtype=dtype), n=n).numpy()
    close(found, body, digits, digits * np.abs(body).max())


def test_orders_without_code_of_their_own_are_the_bodys() -> None:
    with pytest.raises(Declined):
        kernel("polygamma", dt.float64)(np.ones(3), n=special._ORDERS + 1)
    found = fb.polygamma(special._ORDERS + 1, fb.tensor([2.5], dtype=fb.float64))
    np.testing.assert_allclose(found.numpy(), scipy_special.polygamma(special._ORDERS + 1, [2.5]), 1e-11)
