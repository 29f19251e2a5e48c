"""Indexing on numpy: the shared bodies, and machine code for what is large."""

from __future__ import annotations

from typing import Final

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu.native.arrays import over
from flambeau.backends.xp import index as xp_index
from flambeau.core import dtype as dt

#: What there is machine code for: the module, the operand whose size counts, and from how many elements on.
_NATIVE: Final = {
    "gather": ("gather", 1, 1 << 9), "index_select": ("gather", 1, 1 << 7), "index_get": ("gather", 1, 1 << 9),
    "embedding": ("gather", 1, 1 << 7), "scatter": ("scatter", 1, 1 << 9), "scatter_reduce": ("scatter", 1, 1 << 9),
    "index_add": ("scatter", 2, 1 << 10), "index_put": ("scatter", 2, 1 << 6), "put_at": ("scatter", 2, 1 << 6),
    "embedding_grad": ("scatter", 0, 1 << 10), "sum_rows": ("scatter", 1, 1 << 6),
}  # fmt: skip


def bind(table: KernelTable) -> None:
    xp_index.bodies.bind(table, np)
    for name, (module, counted, least) in _NATIVE.items():
        over(table, name, [d for d in dt.ALL if table.own(name, d)], module, least, counted)
