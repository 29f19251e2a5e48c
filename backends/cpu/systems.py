"""Systems of equations with triangular matrices by blocks: machine code for a block, products for the rest."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from flambeau.backends.base import Declined, Kernel, KernelTable
from flambeau.backends.cpu.linalg import matmul
from flambeau.backends.cpu.native.arrays import active, over
from flambeau.backends.xp import Array
from flambeau.core import dtype as dt

_FULL: Final = (dt.float32, dt.float64)
#: Rows that are solved at once.
_BLOCK: Final = 64
#: Elements of matrices that are many.
_LEAST: Final = 32


def bind(table: KernelTable) -> None:
    for name in ("lu_factor", "solve", "inv"):
        over(table, name, _FULL, "systems", 1 if name == "lu_factor" else _LEAST)
    for dtype in _FULL:
        before = table.own("solve_triangular", dtype)
        assert before is not None, f"no kernel solve_triangular for {dtype.name} to stand over"
        table.register("solve_triangular", partial(solve_triangular, before.fn), (dtype,))
    table.register("cholesky_solve", cholesky_solve, _FULL)


def solve_triangular(before: Kernel, a: Array, b: Array, *, upper: bool, unitriangular: bool = False) -> Array:
    """x with a x = b, where only one triangle of ``a`` is read, and its diagonal counts as 1 if ``unitriangular``."""
    x = _right_sides(a, b)
    if x is None or not _solve(a, x, upper, unitriangular):
        found: Array = before(a, b, upper=upper, unitriangular=unitriangular)
        return found
    return x


def cholesky_solve(b: Array, factor: Array, *, upper: bool = False) -> Array:
    """x with l lᵀ x = b, or uᵀ u x = b for an upper factor."""
    low = factor.swapaxes(-1, -2) if upper else factor
    x = _right_sides(low, b)
    if x is None or not _solve(low, x, False, False) or not _solve(low.swapaxes(-1, -2), x, True, False):
        raise Declined("cholesky_solve")
    return x


def _right_sides(a: Array, b: Array) -> Array | None:
    """The right-hand sides for each matrix, in memory of their own; None without numbers, or for wrong shapes."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2] or not a.size or not b.size:
        return None
    if b.ndim == a.ndim == 2 or a.shape[:-2] == b.shape[:-2]:
        return b.copy("C")
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:])
    return np.broadcast_to(b, shape).copy("C")


def _solve(a: Array, x: Array, upper: bool, unitriangular: bool) -> bool:
    """Solve in place; False, and nothing done, where machine code does not serve the operands."""
    target = active()
    if target is None:
        return False
    from flambeau.backends.cpu.native.systems import substitute  # lazy for start-up: few programs need it

    n = a.shape[-1]
    if n <= _BLOCK:
        return substitute(target, a, x, upper=upper, unitriangular=unitriangular)
    starts = range(0, n, _BLOCK)
    for start in reversed(starts) if upper else starts:
        here, rest = slice(start, start + _BLOCK), slice(0, start) if upper else slice(start + _BLOCK, n)
        part = x[..., here, :]
        if not substitute(target, a[..., here, here], part, upper=upper, unitriangular=unitriangular):
            return False  # at the first block, or at none
        if a[..., rest, here].size:
            x[..., rest, :] -= matmul(a[..., rest, here], part)
    return True
