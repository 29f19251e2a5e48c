"""The table of the CPU's kernels: numpy over the shared bodies, and what numpy does better or specially."""

from __future__ import annotations

import operator

from flambeau.backends.base import Backend, KernelTable
from flambeau.backends.cpu import (
    attention,
    conv,
    elementwise,
    fourier,
    index,
    linalg,
    losses,
    median,
    nn,
    optim,
    pool,
    products,
    random,
    recurrent,
    reduce,
    shape,
    small,
    special,
    systems,
)
from flambeau.backends.generic import generic_table


def build_table(backend: Backend) -> KernelTable:
    """A new table; what stands later replaces what stands before."""
    table = KernelTable("cpu", generic_table(backend))
    modules = (
        elementwise, reduce, linalg, products, systems, shape, index, nn, losses, median, attention, conv, pool,
        recurrent, optim, random, fourier, special, small,
    )  # fmt: skip
    for module in modules:
        module.bind(table)
    table.register("slices", operator.getitem)  # numpy copies only where an index is all ints
    return table
