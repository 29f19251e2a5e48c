"""Products of matrices and the decompositions."""

from __future__ import annotations

from typing import Any

from flambeau.backends.base import KernelTable
from flambeau.backends.xp import Array, Bodies

bodies = Bodies()


def bind(table: KernelTable, xp: Any) -> None:
    bodies.bind(table, xp)


@bodies.kernel("matmul")
def matmul(xp: Any, x: Array, y: Array) -> Array:
    return xp.matmul(x, y)
