"""Indexing on numpy: the shared bodies, and machine code for what is large."""

from __future__ import annotations

from typing import Final

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu.native.arrays import over
from flambeau.backends.xp import index as xp_index
from flambeau.core import dtype as dt

#: What there is machine code for: the module, from how many elements on, the operand whose size counts, and how many
#: operands calls with plans have.
_NATIVE: Final = {
    "gather": ("gather", 1 << 9, 1, 2), "index_select": ("gather", 1 << 7, 1, 2),
    "index_get": ("gather", 1 << 9, 1, 2), "embedding": ("gather", 1 << 7, 1, 2),
    "scatter": ("scatter", 1 << 9, 1, 3), "scatter_reduce": ("scatter", 1 << 9, 1, 3),
    "index_add": ("scatter", 1 << 10, 2, 3), "index_put": ("scatter", 1 << 6, 2, 3),
    "put_at": ("scatter", 1 << 6, 2, 0), "embedding_grad": ("scatter", 1 << 10, 0, 0),
    "sum_rows": ("scatter", 1 << 6, 1, 0),
}  # fmt: skip


def bind(table: KernelTable) -> None:
    xp_index.bodies.bind(table, np)
    for name, (module, least, counted, planned) in _NATIVE.items():
        over(table, name, [d for d in dt.ALL if table.own(name, d)], module, least, counted, planned)
