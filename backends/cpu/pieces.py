"""Large work of rows that have nothing to do with each other: some rows at a time, over the threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu import threads
from flambeau.backends.xp import Array

#: Elements that are treated at a time, so that the temporaries of a kernel stay in the cache.
PIECE: Final = 1 << 16
#: Elements from which pieces pay.
LARGE: Final = 1 << 17


def in_pieces(work: Callable[[slice], Any], length: int, row: int, piece: int = PIECE) -> None:
    """``work`` on slices of ``range(length)`` of about ``piece`` elements, ``row`` elements each, over the threads."""
    step = max(1, piece // max(row, 1))

    def some(part: slice) -> None:
        for start in range(part.start, part.stop, step):
            work(slice(start, min(start + step, part.stop)))

    threads.run([partial(some, part) for part in threads.ranges(length, threads.num_threads())])


def along_axis(body: Callable[..., Any], *ins: Array, axis: int, **params: Any) -> Any:
    """A kernel along one axis, of one result or a tuple of them: another axis is cut into pieces."""
    x = ins[0]
    cut = max((i for i in range(x.ndim) if i != axis), key=lambda i: (x.shape[i] > 1, -i), default=None)
    if x.size < LARGE or cut is None:
        return body(np, *ins, axis=axis, **params)
    found: dict[int, Any] = {}

    def work(part: slice) -> None:
        here = (slice(None),) * cut + (part,)
        found[part.start] = body(np, *[v[here] for v in ins], axis=axis, **params)

    in_pieces(work, x.shape[cut], x.size // x.shape[cut])
    ordered = [found[start] for start in sorted(found)]
    if isinstance(ordered[0], tuple):
        return tuple(np.concatenate(v, cut) for v in zip(*ordered, strict=True))
    return np.concatenate(ordered, cut)
