"""Large work in chunks that have nothing to do with each other, over the threads: rows, or operands along memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from flambeau.backends.base import Kernel
from flambeau.backends.cpu import threads
from flambeau.backends.xp import Array

#: Elements that are treated at a time, so that the temporaries of a kernel stay in the cache.
CHUNK: Final = 1 << 16
#: Elements from which chunks pay for kernels that make temporaries,
LARGE: Final = 1 << 17
#: and from which waking a second thread pays for work of some nanoseconds an element.
_LARGE_ELEMENTWISE: Final = 150_000


def in_chunks(
    work: Callable[[slice], Any], length: int, row: int, chunk: int = CHUNK, count: int | None = None
) -> None:
    """``work`` on slices of ``range(length)`` of about ``chunk`` elements, ``row`` elements each, over the threads.

    The slices are the same for any number of threads, so that no result depends on it.
    """
    step = max(1, chunk // max(row, 1))

    def some(part: slice) -> None:
        for start in range(part.start * step, min(part.stop * step, length), step):
            work(slice(start, min(start + step, length)))

    count = threads.num_threads() if count is None else count
    threads.run([partial(some, part) for part in threads.ranges(-(-length // step), count)])


# -- rows ------------------------------------------------------------------------------------------
def along_axis(body: Callable[..., Any], *ins: Array, axis: int, **params: Any) -> Any:
    """A kernel along one axis, of one result or a tuple of them: another axis is cut."""
    x = ins[0]
    if x.size < LARGE:
        return body(np, *ins, axis=axis, **params)
    cut = max((i for i in range(x.ndim) if i != axis), key=lambda i: (x.shape[i] > 1, -i), default=None)
    if cut is None:
        return body(np, *ins, axis=axis, **params)
    found: dict[int, Any] = {}

    def work(part: slice) -> None:
        here = (slice(None),) * cut + (part,)
        found[part.start] = body(np, *[v[here] for v in ins], axis=axis, **params)

    in_chunks(work, x.shape[cut], x.size // x.shape[cut])
    ordered = [found[start] for start in sorted(found)]
    if isinstance(ordered[0], tuple):
        return tuple(np.concatenate(v, cut) for v in zip(*ordered, strict=True))
    return np.concatenate(ordered, cut)


# -- elementwise -----------------------------------------------------------------------------------
def unary(
    native: Kernel, result: np.dtype[Any], large: Kernel | None = None, limit: int = _LARGE_ELEMENTWISE
) -> Kernel:
    """``native`` for small operands; from ``limit`` elements on ``large``, or ``native`` spread over the threads."""

    def kernel(x: Array, out: Array | None = None) -> Array:
        if x.size < limit:
            made: Array = native(x, out)
            return made
        return spread(native, (x,), out, result) if large is None else large(x, out=out)

    return kernel


def binary(
    native: Kernel, result: np.dtype[Any], large: Kernel | None = None, limit: int = _LARGE_ELEMENTWISE
) -> Kernel:
    """The same for two operands."""

    def kernel(x: Array, y: Array, out: Array | None = None) -> Array:
        if x.size < limit and y.size < limit:
            made: Array = native(x, y, out)
            return made
        return spread(native, (x, y), out, result) if large is None else large(x, y, out=out)

    return kernel


def nary(
    native: Kernel,
    result: np.dtype[Any],
    arity: int,
    block: int = 0,
    large: Kernel | None = None,
    limit: int = _LARGE_ELEMENTWISE,
) -> Kernel:
    """The same for ``arity`` operands; with a ``block``, chunks of so many elements, which stay in the cache."""
    if large is None and block:
        limit = block

    def kernel(*ins: Array, out: Array | None = None) -> Array:
        if len(ins) > arity:  # `out` by position
            *ins, out = ins  # type: ignore[assignment]
        if max([x.size for x in ins], default=0) < limit:
            made: Array = native(*ins, out=out)
            return made
        return spread(native, ins, out, result, block) if large is None else large(*ins, out=out)

    return kernel


def spread(native: Kernel, ins: tuple[Array, ...], out: Array | None, result: np.dtype[Any], block: int = 0) -> Array:
    """Run ``native(*ins, out=)`` in chunks; ``block`` bounds the elements of a chunk, so that it stays in the cache."""
    shape = np.broadcast_shapes(*[x.shape for x in ins])
    if out is None:
        out = like(ins, shape, result)
    elif (threads.num_threads() < 2 and not block) or any(
        x is not out and np.may_share_memory(x, out) and not same(x, out) for x in ins
    ):
        return native(*ins, out=out)  # numpy sees to operands that overlap partly
    views = _in_memory_order((*ins, out))
    target = views[-1]
    length = target.shape[0]

    def work(part: slice) -> None:
        *parts, here = [v if v.ndim == 0 else v[part] for v in views]
        native(*parts, out=here)

    row = max(target.size // max(length, 1), 1)
    in_chunks(work, length, row, block or -(-length // threads.num_threads()) * row)
    return out


def same(x: Array, out: Array) -> bool:
    """Whether two arrays are the same elements in the same order."""
    return bool(
        x.shape == out.shape
        and x.strides == out.strides
        and x.__array_interface__["data"][0] == out.__array_interface__["data"][0]
    )


def like(ins: tuple[Array, ...], shape: tuple[int, ...], result: np.dtype[Any]) -> Array:
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
