"""Fourier transforms by numpy's pocketfft, the rows of a large array over the threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu import threads
from flambeau.backends.xp import Array
from flambeau.backends.xp import fourier as xp_fourier

_WORTH_A_THREAD: Final = 1 << 17  # elements


def bind(table: KernelTable) -> None:
    for name, dtypes in xp_fourier.SERVED.items():
        table.register(name, partial(_over_rows, getattr(xp_fourier, name)), dtypes)


def _over_rows(body: Callable[..., Array], x: Array, **params: Any) -> Array:
    count = threads.num_threads()
    rows = prod(x.shape[:-1])
    if x.size < _WORTH_A_THREAD or count < 2 or rows < 2:
        return body(np, x, **params)
    flat = x.reshape(rows, x.shape[-1])
    parts = threads.run([partial(body, np, flat[part], **params) for part in threads.ranges(rows, count)])
    found: Array = np.concatenate(parts)
    return found.reshape(*x.shape[:-1], found.shape[-1])
