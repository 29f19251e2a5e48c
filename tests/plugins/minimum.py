"""The minimum kernels of a backend against another's, kernel by kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flambeau.backends.base import Backend
from flambeau.core import dtype as dt

_UNARY = frozenset({"neg", "abs", "exp", "log", "sqrt", "sin", "cos", "floor"})
_FLOATS = [0.0, -0.0, 1, -1, 2.5, -2.5, np.nan, np.inf, -np.inf, 1e30, 3, 7, -7, 0.5, 1e-30]
_INTS = [0, 1, -1, 2, 3, 7, -7, 100, -128, 127, 64, 5]
DTYPES = (*dt.BOOLS, *dt.INTS, dt.float32, dt.float64)

Case = tuple[tuple[Any, ...], dict[str, Any]]


def check_minimum(name: str, backend: Backend, judge: Backend) -> None:
    """Run one kernel of ``backend`` on all its dtypes and compare with the judge's, dtype and shape included."""
    for dtype in filter(backend.supports, DTYPES):
        reference = judge.kernels.find(name, dtype)
        cases = list(_cases(name, dtype))
        if reference is None or not cases:
            continue
        kernel = backend.kernels.find(name, dtype)
        assert kernel is not None, f"{name} of {dtype}"
        for operands, params in cases:
            arrays = [
                backend.from_host(a, dt.from_numpy(a.dtype)) if isinstance(a, np.ndarray) else a for a in operands
            ]
            found = backend.to_host(kernel(*arrays, **params))
            with np.errstate(all="ignore"):
                expected = np.asarray(reference(*operands, **params))
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape), f"{name} of {dtype}, {params}"
            tolerance = 1e-6 if found.dtype.kind == "f" else 0
            np.testing.assert_allclose(found, expected, rtol=tolerance, err_msg=f"{name} of {dtype}, {params}")


def _cases(name: str, dtype: dt.DType) -> Iterator[Case]:
    along = {
        "sum": _reductions, "max": _reductions, "argmax": _positions, "argsort": _orders, "gather": _gathers,
        "scatter": _scatters, "matmul": _products, "arange": _ranges, "random_bits": _bits,
    }  # fmt: skip
    yield from along.get(name, _elementwise)(name, dtype)


def _elementwise(name: str, dtype: dt.DType) -> Iterator[Case]:
    values = np.array(_FLOATS if dtype.is_floating_point else _INTS).astype(dtype.numpy)
    if name == "where":
        yield (values == values[::-1], values, values[::-1].copy()), {}
    elif name in _UNARY:
        yield (values,), {}
    else:
        whole = name in ("idiv", "fmod") and not dtype.is_floating_point
        yield (values[:, None].copy(), values[values != 0] if whole else values), {}


def _numbers(dtype: dt.DType, *shape: int) -> np.ndarray[Any, Any]:
    """Numbers with ties, and with nan where there is one."""
    values = np.random.default_rng(7).integers(0, 20, shape).astype(dtype.numpy)
    if dtype.is_floating_point:
        values[..., 1] = np.nan
    return values


def _reductions(name: str, dtype: dt.DType) -> Iterator[Case]:
    if name == "sum" and not dtype.category:
        return
    for axis in (None, (0,), (1, 2), (0, 2)):
        for keepdims in (False, True):
            yield (_numbers(dtype, 3, 4, 5),), {"axis": axis, "keepdims": keepdims}
    if name == "sum":
        yield (_numbers(dtype, 3, 4, 5)[:, :0],), {"axis": (1,), "keepdims": False}


def _positions(name: str, dtype: dt.DType) -> Iterator[Case]:
    for axis in range(3):
        yield (_numbers(dtype, 3, 4, 5),), {"axis": axis, "keepdims": axis == 1}


def _orders(name: str, dtype: dt.DType) -> Iterator[Case]:
    for axis in range(3):
        for descending in (False, True):
            yield (_numbers(dtype, 3, 4, 5),), {"axis": axis, "descending": descending}


def _gathers(name: str, dtype: dt.DType) -> Iterator[Case]:
    x = _numbers(dtype, 3, 4, 5)
    for axis in range(3):
        yield (x, np.random.default_rng(1).integers(0, x.shape[axis], (2, 3, 4))), {"axis": axis}


def _scatters(name: str, dtype: dt.DType) -> Iterator[Case]:
    for (x, index), params in _gathers(name, dtype):
        yield (x, index, _numbers(dtype, 3, 4, 4)), {**params, "reduce": "add"}
        yield (x, np.ones((1, 1, 1), int), _numbers(dtype, 1, 1, 2)), {**params, "reduce": "set"}


def _products(name: str, dtype: dt.DType) -> Iterator[Case]:
    if dtype.category:
        for x, y in (((2, 1, 3, 4), (5, 4, 2)), ((3, 4), (4, 2)), ((3, 0), (0, 2))):
            whole = [np.random.default_rng(3).integers(0, 9, s).astype(dtype.numpy) for s in (x, y)]
            yield tuple(whole), {}


def _ranges(name: str, dtype: dt.DType) -> Iterator[Case]:
    if dtype.category:
        yield (2, 3), {"length": 5, "dtype": dtype, "index": 0}
        yield (2, 3), {"length": 0, "dtype": dtype, "index": 0}


def _bits(name: str, dtype: dt.DType) -> Iterator[Case]:
    if dtype is dt.uint32:
        for length in (0, 1, 11):
            yield (0x0123456789ABCDEF, 2**33), {"length": length, "index": 0}
