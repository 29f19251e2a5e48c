"""Pooling: one pass over the images for each place in the window, in chunks of the batch that stay in the cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from itertools import product
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu import threads
from flambeau.backends.cpu.chunks import in_chunks
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.xp import Array
from flambeau.backends.xp.sums import add_up
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

Ints = tuple[int, ...]

_CHUNK: Final = 1 << 17  # elements of input that are treated at a time
_FEW: Final = 16  # elements of a window along an axis that are added one by one
_LARGE: Final = 1 << 18  # elements of input from which several threads pay


def bind(table: KernelTable) -> None:
    for dtype in dt.BOOLS + dt.REALS:
        table.register("max_pool", partial(max_pool, _lowest(dtype)), (dtype,))
    table.register("max_pool", _max_pool_by_code, (dt.float32,))
    table.register("max_pool_grad", max_pool_grad, (*dt.INTS, dt.float64))
    for fn in (avg_pool, avg_pool_grad):
        table.register(fn.__name__, fn, (dt.float64,))
    by_code: dict[str, Callable[..., Array]] = {
        "max_pool_grad": _max_pool_grad_by_code, "avg_pool": _avg_pool_by_code, "avg_pool_grad": _avg_pool_grad_by_code,
    }  # fmt: skip
    for name, kernel in by_code.items():
        table.register(name, kernel, (dt.float32,))
        table.register(name, _in_float32(kernel), dt.LOW_PRECISION)


def _in_float32(fn: Callable[..., Array]) -> Callable[..., Array]:
    """Low precision widened to float32, the result rounded once."""
    return lambda x, *rest, **params: fn(x.astype(np.float32), *rest, **params).astype(x.dtype)


def _lowest(dtype: DType) -> Any:
    if dtype.is_floating_point:
        return dtype.numpy.type(-math.inf)
    return False if dtype is dt.bool_ else dt.iinfo(dtype).min


def pool_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """How many windows there are; with ``ceil`` a last one may stick out, if it starts inside."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (room + (stride - 1 if ceil else 0)) // stride + 1
    return count - 1 if ceil and (count - 1) * stride >= size + padding else count


class Windows:
    """The windows of images (R, *S): views of them, one for each place in the window."""

    def __init__(self, inside: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool):
        self.inside, self.kernel, self.stride, self.padding, self.dilation = inside, kernel, stride, padding, dilation
        self.outside = tuple([pool_size(*v, ceil) for v in zip(inside, kernel, stride, padding, dilation, strict=True)])
        reach = [
            (o - 1) * s + d * (k - 1) + 1 for o, s, d, k in zip(self.outside, stride, dilation, kernel, strict=True)
        ]
        self.frame = tuple([max(r, p + n) for r, p, n in zip(reach, padding, inside, strict=True)])
        self.interior = (..., *[slice(p, p + n) for p, n in zip(padding, inside, strict=True)])
        self.places = tuple(product(*map(range, kernel)))

    def framed(self, x: Array, value: Any) -> Array:
        """``x`` with ``value`` around it, wherever a window reaches."""
        if self.frame == self.inside:
            return x
        frame: Array = np.full((*x.shape[: x.ndim - len(self.inside)], *self.frame), value, x.dtype)
        frame[self.interior] = x
        return frame

    def views(self, frame: Array) -> Iterator[Array]:
        """For each place in the window, the elements (R, *L) that all windows have there."""
        for place in self.places:
            first = [p * d for p, d in zip(place, self.dilation, strict=True)]
            yield frame[(..., *[
                slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, self.outside, self.stride, strict=True)
            ])]  # fmt: skip

    def real(self) -> Iterator[Array]:
        """For each place in the window, whether it lies in the image and not in what stands around: (*L)."""
        starts = [np.arange(n) * s - p for n, s, p in zip(self.outside, self.stride, self.padding, strict=True)]
        for place in self.places:
            found: Array = np.ones((), bool)
            for start, k, d, n in zip(starts, place, self.dilation, self.inside, strict=True):
                found = found[..., None] & (start + k * d >= 0) & (start + k * d < n)
            yield found

    def counts(self, include_pad: bool) -> Array | float:
        """How many elements each window counts: (*L), or one number."""
        total: Any = 1.0
        axes = zip(self.inside, self.outside, self.kernel, self.stride, self.padding, strict=True)
        for i, (n, o, k, s, p) in enumerate(axes):
            start = np.arange(o) * s - p
            stop = np.minimum(start + k, n + p)
            if not include_pad:
                start, stop = np.maximum(start, 0), np.minimum(stop, n)
            total = total * (stop - start).reshape((-1,) + (1,) * (len(self.inside) - 1 - i))
        return total


def _over_images(work: Callable[[slice], None], images: int, size: int) -> None:
    """Run ``work`` on chunks of ``images`` of ``size`` elements each, over the threads when there is much to do."""
    count = threads.num_threads() if images * size > _LARGE else 1
    in_chunks(work, images, size, _CHUNK, count)


def _rows(x: Array) -> Array:
    """Images (N * C, *S) of (N, C, *S)."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


# -- max -------------------------------------------------------------------------------------------
def max_pool(
    lowest: Any, x: Array, *, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool
) -> tuple[Array, Array]:
    """The largest of each window, the first of equal ones, and its index in the flattened sizes; nan is largest."""
    w = Windows(x.shape[2:], kernel, stride, padding, dilation, ceil)
    images = _rows(x)
    out = np.empty((images.shape[0], *w.outside), x.dtype)
    indices = np.empty(out.shape, np.int64)
    base, steps = _places(w)

    def work(part: slice) -> None:
        which = _largest(w, w.framed(images[part], lowest), out[part])
        np.add(steps.take(which), base, indices[part])

    _over_images(work, images.shape[0], prod(w.frame))
    shape = (*x.shape[:2], *w.outside)
    return out.reshape(shape), indices.reshape(shape)


def _largest(w: Windows, frame: Array, out: Array) -> Array:
    """Write the largest of each window to ``out``; return which place of the window it is."""
    views = w.views(frame)
    np.copyto(out, next(views))
    which = np.zeros(out.shape, np.int8 if len(w.places) < 128 else np.int32)
    real = w.real() if w.frame != w.inside else None
    held: Array = None if real is None else next(real)
    for k, view in enumerate(views, 1):
        better = _better(view, out)
        if real is not None:  # what stands around may be as small as what is inside, but is never chosen
            here = next(real)
            better |= here & ~held
            better &= here
            held = held | here
        np.copyto(out, view, where=better)  # of zeros of both signs, too, the first
        mask = np.negative(better.view(np.int8))
        which ^= (which ^ which.dtype.type(k)) & mask  # k where better, without a branch for each element
    return which


def _better(new: Array, old: Array) -> Array:
    """Whether ``new`` is larger, or the first nan."""
    if new.dtype.kind not in "fV":
        return np.greater(new, old)
    better = np.less_equal(new, old)
    np.logical_not(better, better)  # larger, or a nan on either side
    better &= np.equal(old, old)
    return better


def _places(w: Windows) -> tuple[Array, Array]:
    """The index, in the flattened sizes, of each window's first place, and the steps to its others."""
    base, steps = np.zeros((), np.int64), np.zeros(len(w.places), np.int64)
    for i, (o, s, p, d) in enumerate(zip(w.outside, w.stride, w.padding, w.dilation, strict=True)):
        inner = prod(w.inside[i + 1 :])
        base = base[..., None] + (np.arange(o) * s - p) * inner
        steps += np.array([place[i] for place in w.places]) * (d * inner)
    return base, steps


def max_pool_grad(grad: Array, indices: Array, *, shape: Ints) -> Array:
    """Zeros of ``shape`` (N, C, *S) with ``grad`` added where ``indices`` into the flattened sizes say."""
    size = prod(shape[2:])
    if not indices.size:
        return np.zeros(shape, grad.dtype)
    if indices.view(np.uint64).max() >= size:
        bad = int(indices[(indices < 0) | (indices >= size)].flat[0])
        raise IndexError(f"max_pool_grad: index {bad} is out of bounds for sizes {tuple(shape[2:])}, {size} elements")
    out = np.zeros(shape, grad.dtype)
    rows = np.arange(shape[0] * shape[1]).reshape(-1, 1) * size
    np.add.at(out.reshape(-1), (indices.reshape(len(rows), -1) + rows).reshape(-1), grad.reshape(-1))
    return out


# -- average ---------------------------------------------------------------------------------------
def avg_pool(
    x: Array, *, kernel: Ints, stride: Ints, padding: Ints, ceil: bool, count_include_pad: bool, divisor: int | None
) -> Array:
    """The mean of each window."""
    w = Windows(x.shape[2:], kernel, stride, padding, (1,) * len(kernel), ceil)
    counts = _divisor(w, count_include_pad, divisor, x.dtype)
    images = _rows(x)
    out = np.empty((images.shape[0], *w.outside), x.dtype)

    def work(part: slice) -> None:
        total = w.framed(images[part], 0)
        for i in range(len(kernel)):
            total = _along(total, total.ndim - len(kernel) + i, w.outside[i], kernel[i], stride[i])
        np.divide(total, counts, out[part])

    _over_images(work, images.shape[0], prod(w.frame))
    return out.reshape(*x.shape[:2], *w.outside)


def _along(x: Array, axis: int, places: int, size: int, step: int) -> Array:
    """The sums of windows along one axis: the sum over a window of several is that of their sums along each."""
    if size > _FEW:
        shape = (*x.shape[:axis], places, *x.shape[axis + 1 :], size)
        strides = (*x.strides[:axis], x.strides[axis] * step, *x.strides[axis + 1 :], x.strides[axis])
        return add_up(np, np.lib.stride_tricks.as_strided(x, shape, strides), (x.ndim,))
    each, reach = (slice(None),) * axis, (places - 1) * step + 1
    total: Array = x[(*each, slice(0, reach, step))]
    for i in range(1, size):
        view = x[(*each, slice(i, i + reach, step))]
        total = np.add(total, view, out=total if i > 1 else None)
    return total


def _spread(x: Array, axis: int, length: int, size: int, step: int) -> Array:
    """The transpose of :func:`_along`: each element added to all of its window, in an axis of ``length``."""
    each, reach = (slice(None),) * axis, (x.shape[axis] - 1) * step + 1
    frame: Array = np.zeros((*x.shape[:axis], length, *x.shape[axis + 1 :]), x.dtype)
    for i in range(size):
        frame[(*each, slice(i, i + reach, step))] += x
    return frame


def _divisor(w: Windows, include_pad: bool, divisor: int | None, dtype: np.dtype[Any]) -> Array:
    return np.asarray(w.counts(include_pad) if divisor is None else divisor, dtype)


def avg_pool_grad(
    grad: Array, *, shape: Ints, kernel: Ints, stride: Ints, padding: Ints, ceil: bool, count_include_pad: bool,
    divisor: int | None,
) -> Array:  # fmt: skip
    """Each element of ``grad`` spread evenly over its window of ``shape`` (N, C, *S)."""
    w = Windows(tuple(shape[2:]), kernel, stride, padding, (1,) * len(kernel), ceil)
    counts = _divisor(w, count_include_pad, divisor, grad.dtype)
    rows = _rows(grad)
    out = np.empty((rows.shape[0], *w.inside), grad.dtype)

    def work(part: slice) -> None:
        share: Array = rows[part] / counts
        for i in reversed(range(len(kernel))):
            share = _spread(share, share.ndim - len(kernel) + i, w.frame[i], kernel[i], stride[i])
        np.copyto(out[part], share[w.interior])

    _over_images(work, rows.shape[0], prod(w.frame))
    return out.reshape(shape)


# -- by machine code where it can be made, and it serves the operands -------------------------------
def _code(name: str) -> Callable[..., Any]:
    """The machine code of a kernel; it gives None for what it does not serve."""
    target = active()
    if target is None:
        return _not_served
    from flambeau.backends.cpu.native import pool as native  # lazy for start-up: few programs need it

    return partial(getattr(native, name), target)


def _not_served(*arrays: Array, **params: Any) -> None:
    """What stands for machine code where none can be made."""


@lru_cache(1024)
def _sizes(inside: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool) -> Ints:
    return tuple([pool_size(*v, ceil) for v in zip(inside, kernel, stride, padding, dilation, strict=True)])


def _max_pool_by_code(x: Array, *, ceil: bool, **window: Ints) -> tuple[Array, Array]:
    found = _code("max_pool")(x, outside=_sizes(x.shape[2:], **window, ceil=ceil), **window)
    return found or max_pool(np.float32(-math.inf), x, ceil=ceil, **window)


def _max_pool_grad_by_code(grad: Array, indices: Array, *, shape: Ints) -> Array:
    found = _code("max_pool_grad")(grad, indices, shape=shape)
    return max_pool_grad(grad, indices, shape=shape) if found is None else found


def _avg_pool_by_code(x: Array, *, ceil: bool, **params: Any) -> Array:
    kernel = params["kernel"]
    outside = _sizes(x.shape[2:], kernel, params["stride"], params["padding"], (1,) * len(kernel), ceil)
    found = _code("avg_pool")(x, outside=outside, **params)
    return avg_pool(x, ceil=ceil, **params) if found is None else found


def _avg_pool_grad_by_code(grad: Array, *, shape: Ints, ceil: bool, **params: Any) -> Array:
    found = _code("avg_pool_grad")(grad, shape=shape, outside=tuple(grad.shape[2:]), **params)
    return avg_pool_grad(grad, shape=shape, ceil=ceil, **params) if found is None else found
