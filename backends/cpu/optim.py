"""Steps of optimizers: in machine code, or the shared bodies on numpy, large parameters in chunks over the threads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from flambeau.backends.base import Kernel, KernelTable
from flambeau.backends.cpu.chunks import LARGE, in_chunks
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.xp import Array
from flambeau.backends.xp import optim as xp_optim
from flambeau.core import dtype as dt

if TYPE_CHECKING:
    from flambeau.core.expr import Rule  # lazy for start-up

_SMALL: Final = 4096
#: Elements in a list from which machine code is worth being made; where there is some, it is used from the first on.
_NATIVE: Final = 8192
_size = attrgetter("size")


def bind(table: KernelTable) -> None:
    for name, make in (("sgd_step", xp_optim.sgd), ("adam_step", xp_optim.adam)):
        # An array without axes is the form of a constant that numpy's functions take fastest.
        table.register(name, partial(xp_optim.kernel, make, np, np.array, _call), dt.FLOATS)
    general = table.own("sgd_step", dt.float32)
    assert general is not None
    table.register("sgd_step", partial(_sgd_of_small, general.fn), (dt.float32, dt.float64))
    for name in ("sgd_step", "adam_step"):
        for dtype in dt.FLOATS:
            usual = table.own(name, dtype)
            assert usual is not None
            table.register(name, partial(_native, usual.fn, name), (dtype,))
    table.register("update_lists", update_lists, dt.FLOATS)
    table.register("total_of_lists", total_of_lists, dt.FLOATS)


def worth_it(arrays: Sequence[Array]) -> bool:
    """Whether machine code gains for a list: small ones do not pay for a compiler that nothing else has needed yet."""
    return "llvmlite" in sys.modules or sum(map(_size, arrays)) >= _NATIVE


def _native(usual: Kernel, name: str, params: list[Array], grads: list[Array], *operands: Any, **options: Any) -> Any:
    """A step in machine code, of those parameters that it serves; ``usual`` for the others."""
    target = active() if worth_it(params) else None
    if target is None:
        return usual(params, grads, *operands, **options)
    from flambeau.backends.cpu.native import optim as native  # what small work does not need

    step = native.KERNELS[name]
    if step(target, params, grads, *operands, **options):
        return []
    lists = [params, grads, *[v for v in operands if isinstance(v, list)]]
    numbers = operands[len(lists) - 2 :]
    rows = list(zip(*[v or repeat(None, len(params)) for v in lists], strict=True))
    turned = [native.dense(row) for row in rows]
    served, others = [t for t in turned if t is not None], [r for r, t in zip(rows, turned, strict=True) if t is None]
    if served and not step(target, *_columns(served, lists), *numbers, **options):
        others = rows
    return usual(*_columns(others, lists), *numbers, **options) if others else []


def update_lists(rule: Rule, columns: Sequence[list[Array]], numbers: Sequence[float]) -> bool:
    """Change lists of arrays by a rule in one call; False, and nothing done, for what is not served."""
    target = active() if worth_it(columns[0]) else None
    if target is None:
        return False
    from flambeau.backends.cpu.native.update import update  # what small work does not need

    return update(target, rule, columns, numbers)


def total_of_lists(arrays: list[Array], fold: str) -> float | None:
    """The sum of the squares ("sum_squares") or sizes, or the largest size ("max_size"), of all; None: not served."""
    target = active() if worth_it(arrays) else None
    if target is None:
        return None
    from flambeau.backends.cpu.native.update import total  # what small work does not need

    return total(target, arrays, fold)


def _columns(rows: Sequence[Sequence[Array | None]], like: Sequence[list[Array]]) -> list[list[Any]]:
    """The lists of rows; those that have nothing are empty."""
    return [list(column) if model else [] for column, model in zip(zip(*rows, strict=True), like, strict=True)]


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
