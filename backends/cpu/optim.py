"""Steps of optimizers on numpy: the shared bodies, large parameters a chunk at a time, over the threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu.chunks import LARGE, in_chunks
from flambeau.backends.xp import Array
from flambeau.backends.xp import optim as xp_optim
from flambeau.core import dtype as dt

_SMALL: Final = 4096
_size = attrgetter("size")


def bind(table: KernelTable) -> None:
    for name, make in (("sgd_step", xp_optim.sgd), ("adam_step", xp_optim.adam)):
        # An array without axes is the form of a constant that numpy's functions take fastest.
        table.register(name, partial(xp_optim.kernel, make, np, np.array, _call), dt.FLOATS)
    general = table.own("sgd_step", dt.float32)
    assert general is not None
    table.register("sgd_step", partial(_sgd_of_small, general.fn), (dt.float32, dt.float64))


def _sgd_of_small(
    general: Kernel, params: list[Array], grads: list[Array], *operands: Any, **options: Any
) -> list[Array]:
    """Plain SGD of parameters so small that calls and new memory cost more than the arithmetic; else ``general``."""
    buffers, lr, *others = operands
    if buffers or any(others) or options["maximize"] or max(map(_size, params)) > _SMALL:
        return general(params, grads, *operands, **options)  # type: ignore[no-any-return]
    rate = np.array(lr, params[0].dtype)
    scratch: dict[tuple[int, ...], Array] = {}
    multiply, subtract = np.multiply, np.subtract
    for param, grad in zip(params, grads, strict=True):
        work = scratch.get(grad.shape)
        if work is None:
            work = scratch[grad.shape] = np.empty_like(grad)
        subtract(param, multiply(grad, rate, work), param)
    return []


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

    in_chunks(work, param.size, 1)
