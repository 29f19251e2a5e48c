"""The median of all elements by selection: no order of the others is looked for."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from flambeau.backends.base import Declined, KernelTable
from flambeau.backends.xp import Array
from flambeau.core import dtype as dt

_FULL: Final = (dt.float32, dt.float64)


def bind(table: KernelTable) -> None:
    for fn in (median, nanmedian):
        table.register(fn.__name__, fn, (*dt.INTS, *_FULL))


def median(x: Array) -> Array:
    """The lower of the two in the middle; nan where there is one."""
    return _middle("median", x, False)


def nanmedian(x: Array) -> Array:
    """The lower of the two in the middle of what is not nan; nan where there is nothing else."""
    return _middle("nanmedian", x, True)


def _middle(name: str, x: Array, skip_nan: bool) -> Array:
    if not x.size:
        raise Declined(name)
    x = x.reshape(-1)
    if x.dtype.kind == "f":
        largest: Any = np.maximum.reduce(x)  # nan if there is one
        if largest != largest:
            x = x[x == x] if skip_nan else x[:0]
            if not x.size:
                return np.array(largest)
    rank = (x.size - 1) // 2
    return np.array(np.partition(x, rank)[rank])
