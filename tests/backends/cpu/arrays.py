"""Host arrays for the tests of the CPU kernels: values by dtype, and one array's values in several layouts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flambeau.backends.cpu.backend import CpuBackend
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

Array = Any

BACKEND = CpuBackend()
FULL = (dt.float32, dt.float64)
#: One more than fits any threshold from which kernels work in chunks or over threads.
LARGE = (1 << 18) + 3


def kernel(name: str, dtype: DType = dt.float64) -> Any:
    """The backend's own kernel; the tests must not be served by a parent table."""
    entry = BACKEND.kernels.own(name, dtype)
    assert entry is not None, f"no kernel {name} for {dtype.name}"
    return entry.fn


def values(shape: tuple[int, ...], dtype: DType, seed: int = 0, low: float = -3.0, high: float = 3.0) -> Array:
    """Random values in [low, high) that the dtype has."""
    rng = np.random.default_rng([seed, *shape])
    if dtype is dt.bool_:
        return rng.random(shape) < 0.5
    if dtype.category == dt.INTEGER:
        return rng.integers(max(0, int(low)) if not dtype.is_signed else int(low), int(high) + 1, shape).astype(
            dtype.numpy
        )
    real = rng.random(shape) * (high - low) + low
    if dtype.is_complex:
        return np.asarray(real + 1j * (rng.random(shape) * (high - low) + low)).astype(dtype.numpy)
    return np.asarray(real).astype(dtype.numpy)


def layouts(x: Array) -> Iterator[Array]:
    """The same values in row-major, column-major, reversed and gapped memory."""
    yield x
    if x.ndim == 0 or x.size == 0:
        return
    yield np.array(x, order="F")
    yield np.ascontiguousarray(x[::-1])[::-1]
    gapped = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    gapped[..., ::2] = x
    yield gapped[..., ::2]


def wide(x: Array) -> Array:
    """Values that numpy's tests compare: low precision as float32."""
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind in "fV" else x


def tolerance(dtype: DType) -> float:
    """A relative error of some units in the last place."""
    return {dt.float16: 2e-3, dt.bfloat16: 1.6e-2, dt.float32: 2e-6, dt.complex64: 4e-6}.get(dtype, 1e-13)


def close(found: Array, expected: Array, rtol: float = 1e-12, atol: float = 1e-12) -> None:
    """Equal shapes, and values within the tolerance; nan equals nan."""
    found, expected = wide(found), wide(expected)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol, atol)


def same(found: Array, expected: Array) -> None:
    """Equal to the last bit; nan equals nan."""
    found, expected = wide(found), wide(expected)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
