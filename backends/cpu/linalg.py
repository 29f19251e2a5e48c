"""Products of matrices on numpy's BLAS: ``dot`` for two matrices, which is faster than ``matmul``."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.xp import linalg as xp_linalg
from flambeau.core import dtype as dt

Array = np.ndarray[Any, Any]


def bind(table: KernelTable) -> None:
    xp_linalg.bind(table, np)
    table.register("matmul", matmul, (dt.float32, dt.float64, dt.complex64, dt.complex128))
    table.register("matmul", low_matmul, dt.LOW_PRECISION)


def matmul(x: Array, y: Array) -> Array:
    if x.ndim == 2 and y.ndim == 2:
        return x.dot(y)
    return np.matmul(x, y)


def low_matmul(x: Array, y: Array) -> Array:
    """In float32, rounded once."""
    return matmul(x.astype(np.float32), y.astype(np.float32)).astype(x.dtype)
