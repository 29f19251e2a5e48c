"""The table of the CPU's kernels: numpy over the shared bodies, and what numpy does better or specially."""

from __future__ import annotations

import numpy as np

from flambeau.backends.base import Backend, KernelTable
from flambeau.backends.cpu import index, linalg, random, reduce, shape
from flambeau.backends.generic import generic_table
from flambeau.backends.xp import elementwise as xp_elementwise


def build_table(backend: Backend) -> KernelTable:
    """A new table; what stands later replaces what stands before."""
    table = KernelTable("cpu", generic_table(backend))
    xp_elementwise.bind(table, np)
    for module in (reduce, linalg, shape, index, random):
        module.bind(table)
    return table
