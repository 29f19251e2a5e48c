"""Steps of optimizers on numpy: the shared bodies, large parameters a piece at a time, over the threads."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu.pieces import LARGE, in_pieces
from flambeau.backends.xp import Array
from flambeau.backends.xp import optim as xp_optim
from flambeau.core import dtype as dt


def bind(table: KernelTable) -> None:
    for body in (xp_optim.sgd_step, xp_optim.adam_step):
        table.register(body.__name__, partial(_step, body), dt.FLOATS)


def _step(body: Kernel, param: Array, *operands: Array | float | None, **options: Any) -> Array:
    """A step, whose temporaries stay in the cache where all arrays have the same dense order of elements."""
    arrays = [v for v in (param, *operands) if isinstance(v, np.ndarray)]
    if param.size < LARGE or not all(v.flags.c_contiguous and v.shape == param.shape for v in arrays):
        body(np, param, *operands, **options)
        return param
    flat = [v.reshape(-1) if isinstance(v, np.ndarray) else v for v in (param, *operands)]

    def work(part: slice) -> None:
        body(np, *[v[part] if isinstance(v, np.ndarray) else v for v in flat], **options)

    in_pieces(work, param.size, 1)
    return param
