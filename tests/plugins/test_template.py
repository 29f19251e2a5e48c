"""The template package: small, exactly the minimum, and right where the CPU is the judge."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flambeau.backends.base import MINIMUM, MINIMUM_ELEMENTWISE
from flambeau.backends.cpu.backend import CpuBackend
from flambeau.core import dtype as dt

TEMPLATE = Path(__file__).resolve().parents[2] / "plugins" / "template"
UNARY = frozenset(["neg", "abs", "exp", "log", "sqrt", "sin", "cos", "floor"])
FLOAT_VALUES = [0.0, -0.0, 1, -1, 2.5, -2.5, np.nan, np.inf, -np.inf, 1e30, 3, 7, -7, 0.5, 1e-30]
INT_VALUES = [0, 1, -1, 2, 3, 7, -7, 100, -128, 127, 64, 5]


@pytest.fixture(scope="module")
def template() -> Iterator[Any]:
    """The template's module, as if it were installed."""
    sys.path.insert(0, str(TEMPLATE))
    try:
        import flambeau_pylist

        yield flambeau_pylist
    finally:
        sys.path.remove(str(TEMPLATE))


class Twins:
    """The template's backend beside the CPU's."""

    def __init__(self, template: Any):
        self.backend, self.cpu = template.flambeau_backends(), CpuBackend()

    def check(self, name: str, dtype: dt.DType, /, *operands: Any, **params: Any) -> None:
        """One kernel on both: the same dtype, shape and values, or on neither."""
        kernel, reference = self.backend.kernels.find(name, dtype), self.cpu.kernels.find(name, dtype)
        if reference is None:
            return
        assert kernel is not None, f"{name} of {dtype}"
        arrays = [
            self.backend.from_host(a, dt.from_numpy(a.dtype)) if isinstance(a, np.ndarray) else a for a in operands
        ]
        found = self.backend.to_host(kernel(*arrays, **params))
        with np.errstate(all="ignore"):
            expected = np.asarray(reference(*operands, **params))
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        tolerance = {"rtol": 1e-6} if found.dtype.kind == "f" else {"rtol": 0}
        np.testing.assert_allclose(found, expected, **tolerance, err_msg=f"{name} of {dtype}")


@pytest.fixture(scope="module")
def twins(template: Any) -> Twins:
    return Twins(template)


DTYPES = pytest.mark.parametrize("dtype", [*dt.BOOLS, *dt.INTS, dt.float32, dt.float64], ids=lambda d: d.name)


def test_the_package_has_at_most_150_lines() -> None:
    files = [f for f in TEMPLATE.iterdir() if f.suffix in (".py", ".toml", ".md")]
    assert sum(len(f.read_text().splitlines()) for f in files) <= 150


def test_it_has_the_minimum_and_nothing_else(twins: Twins) -> None:
    parent = set(twins.backend.kernels.parent.names())
    assert set(twins.backend.kernels.names()) - parent == set(MINIMUM)


@DTYPES
@pytest.mark.parametrize("name", MINIMUM_ELEMENTWISE)
def test_elementwise(twins: Twins, name: str, dtype: dt.DType) -> None:
    values = np.array(FLOAT_VALUES if dtype.is_floating_point else INT_VALUES).astype(dtype.numpy)
    if name == "where":
        twins.check(name, dtype, values == values[::-1], values, values[::-1].copy())
    elif name in UNARY:
        twins.check(name, dtype, values)
    else:
        twins.check(name, dtype, values[:, None].copy(), values)


def numbers(dtype: dt.DType, *shape: int) -> np.ndarray:
    """Numbers with ties, and with nan where there is one."""
    values = np.random.default_rng(7).integers(0, 20, shape).astype(dtype.numpy)
    if dtype.is_floating_point:
        values[..., 1] = np.nan
    return values


@DTYPES
@pytest.mark.parametrize("axis", [None, (0,), (1, 2), (0, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(twins: Twins, dtype: dt.DType, axis: Any, keepdims: bool) -> None:
    for name in ("sum", "max"):
        twins.check(name, dtype, numbers(dtype, 3, 4, 5), axis=axis, keepdims=keepdims)


@DTYPES
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_an_axis(twins: Twins, dtype: dt.DType, axis: int) -> None:
    x = numbers(dtype, 3, 4, 5)
    twins.check("argmax", dtype, x, axis=axis, keepdims=False)
    for descending in (False, True):
        twins.check("argsort", dtype, x, axis=axis, descending=descending)
    index = np.random.default_rng(1).integers(0, x.shape[axis], (2, 3, 4))
    twins.check("gather", dtype, x, index, axis=axis)
    twins.check("scatter", dtype, x, index, numbers(dtype, 3, 4, 4), axis=axis, reduce="add")
    twins.check("scatter", dtype, x, np.ones((1, 1, 1), int), numbers(dtype, 1, 1, 2), axis=axis, reduce="set")


@pytest.mark.parametrize("bad", [-1, 4])
def test_bad_indices(twins: Twins, bad: int) -> None:
    backend = twins.backend
    x, index = backend.from_host(np.ones(4, np.float32), dt.float32), backend.from_host(np.array([bad]), dt.int64)
    for name, operands in (("gather", (x, index)), ("scatter", (x, index, x))):
        with pytest.raises(IndexError, match=f"index {bad} is out of bounds for an axis of size 4"):
            backend.kernels.find(name, dt.float32)(*operands, axis=0)


@pytest.mark.parametrize("dtype", [dt.int32, dt.float32, dt.float64], ids=lambda d: d.name)
def test_matmul_and_makers(twins: Twins, dtype: dt.DType) -> None:
    def whole(*shape: int) -> np.ndarray:
        return np.random.default_rng(3).integers(-9, 9, shape).astype(dtype.numpy)

    twins.check("matmul", dtype, whole(2, 1, 3, 4), whole(5, 4, 2))
    twins.check("matmul", dtype, whole(3, 0), whole(0, 2))
    twins.check("arange", dtype, 2, 3, length=5, dtype=dtype, index=0)


def test_random_bits(twins: Twins) -> None:
    twins.check("random_bits", dt.uint32, 0x0123456789ABCDEF, 2**33, length=11, index=0)
