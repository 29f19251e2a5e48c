"""Steps of optimizers on numpy: the shared bodies, large parameters a piece at a time, over the threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu.pieces import LARGE, in_pieces
from flambeau.backends.xp import Array
from flambeau.backends.xp import optim as xp_optim
from flambeau.core import dtype as dt


def bind(table: KernelTable) -> None:
    for name, make in (("sgd_step", xp_optim.sgd), ("adam_step", xp_optim.adam)):
        # An array without axes is the form of a constant that numpy's functions take fastest.
        table.register(name, partial(xp_optim.kernel, make, np, np.array, _call), dt.FLOATS)


def _call(step: Callable[..., Any], row: Sequence[Array | None]) -> None:
    """A step, whose temporaries stay in the cache where all arrays have the same dense order of elements."""
    param = row[0]
    assert param is not None
    if param.size < LARGE or not all(v is None or (v.flags.c_contiguous and v.shape == param.shape) for v in row):
        step(*row)
        return
    flat = [None if v is None else v.reshape(-1) for v in row]

    def work(part: slice) -> None:
        step(*[None if v is None else v[part] for v in flat])

    in_pieces(work, param.size, 1)
