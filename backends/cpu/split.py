"""Large elementwise work over the threads: operands cut into pieces along memory, one piece a thread."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import numpy as np

from flambeau.backends.base import Kernel
from flambeau.backends.cpu import threads
from flambeau.backends.xp import Array

#: Elements from which waking a second thread pays for work of some nanoseconds an element.
LARGE: Final = 150_000


def unary(native: Kernel, result: np.dtype[Any]) -> Kernel:
    """``native`` for small operands, spread over the threads for large ones."""

    def kernel(x: Array, out: Array | None = None) -> Array:
        if x.size < LARGE:
            made: Array = native(x, out)
            return made
        return spread(native, (x,), out, result)

    return kernel


def binary(native: Kernel, result: np.dtype[Any]) -> Kernel:
    """The same for two operands."""

    def kernel(x: Array, y: Array, out: Array | None = None) -> Array:
        if x.size < LARGE and y.size < LARGE:
            made: Array = native(x, y, out)
            return made
        return spread(native, (x, y), out, result)

    return kernel


def nary(native: Kernel, result: np.dtype[Any], arity: int, block: int = 0) -> Kernel:
    """The same for ``arity`` operands; with a ``block``, pieces of so many elements, which stay in the cache."""
    limit = block or LARGE

    def kernel(*ins: Array, out: Array | None = None) -> Array:
        if len(ins) > arity:  # `out` by position
            *ins, out = ins  # type: ignore[assignment]
        if max([x.size for x in ins], default=0) < limit:
            made: Array = native(*ins, out=out)
            return made
        return spread(native, ins, out, result, block)

    return kernel


def spread(native: Kernel, ins: tuple[Array, ...], out: Array | None, result: np.dtype[Any], block: int = 0) -> Array:
    """Run ``native(*ins, out=)`` in pieces; ``block`` bounds the elements of a piece, so that it stays in the cache."""
    shape = np.broadcast_shapes(*[x.shape for x in ins])
    count = threads.num_threads()
    if out is None:
        out = _like(ins, shape, result)
    elif (
        count < 2 and not block or any(x is not out and np.may_share_memory(x, out) and not _same(x, out) for x in ins)
    ):
        return native(*ins, out=out)  # numpy sees to operands that overlap partly
    views = _in_memory_order((*ins, out))
    target = views[-1]
    length = target.shape[0]
    row = max(target.size // max(length, 1), 1)
    step = max(block // row, 1) if block else length
    pieces = [_pieces(native, views, s, step) for s in threads.ranges(length, count)]
    threads.run(pieces)
    return out


def _same(x: Array, out: Array) -> bool:
    """Whether two arrays are the same elements in the same order."""
    return bool(
        x.shape == out.shape
        and x.strides == out.strides
        and x.__array_interface__["data"][0] == out.__array_interface__["data"][0]
    )


def _like(ins: tuple[Array, ...], shape: tuple[int, ...], result: np.dtype[Any]) -> Array:
    """A new array in the memory order of the first operand that has the result's shape."""
    model = next((x for x in ins if x.shape == shape), None)
    return np.empty(shape, result) if model is None else np.empty_like(model, result, subok=False)


def _in_memory_order(arrays: tuple[Array, ...]) -> list[Array]:
    """The operands, the last being the result, with axes from the largest stride down; flat where all are dense."""
    out = arrays[-1]
    order = sorted(range(out.ndim), key=lambda i: -abs(out.strides[i]))
    full = [x if x.ndim == 0 or x.size == 1 else np.broadcast_to(x, out.shape).transpose(order) for x in arrays[:-1]]
    views = [*full, out.transpose(order)]
    if all(v.size == 1 or v.flags.c_contiguous for v in views):
        return [v.reshape(()) if v.size == 1 and out.size != 1 else v.reshape(-1) for v in views]
    lead = next((i for i, n in enumerate(views[-1].shape) if n > 1), 0)
    return [v if v.ndim == 0 else np.moveaxis(v, lead, 0) for v in (w.reshape(()) if w.size == 1 else w for w in views)]


def _pieces(native: Kernel, views: list[Array], part: slice, step: int) -> Kernel:
    return partial(_run_pieces, native, views, part, step)


def _run_pieces(native: Kernel, views: list[Array], part: slice, step: int) -> None:
    for start in range(part.start, part.stop, step):
        here = slice(start, min(start + step, part.stop))
        *ins, out = [v if v.ndim == 0 else v[here] for v in views]
        native(*ins, out=out)
