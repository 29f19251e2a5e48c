"""Pooling: the places of the window one after the other, each a strided slice of the image."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau_jax.cells import Value, aval
from flambeau_jax.kernels.index import extent
from flambeau_jax.kernels.reduce import wide

if TYPE_CHECKING:
    from flambeau_jax.backend import JaxBackend

Ints = tuple[int, ...]


def bind(backend: JaxBackend) -> None:
    def max_pool_grad(grad: StridedArray, indices: StridedArray, *, shape: Ints) -> StridedArray:
        places = backend.load(indices)
        if indices.size:
            backend.check_later("max_pool_grad", backend.do(extent, places), 2, prod(shape[2:]))
        return backend.new(backend.do(put_back, backend.load(grad), places, shape=tuple(shape)), grad.index)

    backend.function("max_pool", max_pool, (*dt.BOOLS, *dt.REALS))
    backend.kernels.register("max_pool_grad", max_pool_grad, (*dt.INTS, dt.float32, dt.float64, *dt.LOW_PRECISION))
    for fn in (avg_pool, avg_pool_grad):
        backend.function(fn.__name__, fn, (dt.float32, dt.float64, *dt.LOW_PRECISION))


def _size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """How many windows there are; with ``ceil`` a last one may stick out, if it starts inside."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (room + (stride - 1 if ceil else 0)) // stride + 1
    return count - 1 if ceil and (count - 1) * stride >= size + padding else count


class Windows:
    """The windows over images (N, C, *S)."""

    def __init__(self, inside: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool):
        self.inside, self.kernel, self.stride, self.padding, self.dilation = inside, kernel, stride, padding, dilation
        self.outside = tuple([_size(*v, ceil) for v in zip(inside, kernel, stride, padding, dilation, strict=True)])
        sizes = zip(self.outside, stride, dilation, kernel, padding, inside, strict=True)
        #: Elements before and after each axis, as far as windows reach.
        self.around = [(p, max((o - 1) * s + d * (k - 1) + 1 - p - n, 0)) for o, s, d, k, p, n in sizes]
        self.places = list(product(*map(range, kernel)))

    def framed(self, x: Value, value: Any) -> Value:
        return jnp.pad(x, [(0, 0), (0, 0), *self.around], constant_values=value)

    def view(self, frame: Value, place: Ints) -> Value:
        """The elements that all windows have at one place."""
        firsts = [k * d for k, d in zip(place, self.dilation, strict=True)]
        cut = [slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(firsts, self.outside, self.stride, strict=True)]
        return frame[(..., *cut)]

    def starts(self, axis: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.arange(self.outside[axis]) * self.stride[axis] - self.padding[axis]

    def along(self, values: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
        return values.reshape((-1,) + (1,) * (len(self.inside) - 1 - axis))

    def real(self, place: Ints) -> np.ndarray[Any, Any]:
        """Whether a place of the window lies in the image: (*L)."""
        found: Any = np.ones((), bool)
        for axis, (k, d, n) in enumerate(zip(place, self.dilation, self.inside, strict=True)):
            at = self.starts(axis) + k * d
            found = found & self.along((at >= 0) & (at < n), axis)
        return np.broadcast_to(found, self.outside)

    def indices(self, place: Ints) -> np.ndarray[Any, Any]:
        """Where a place of the window lies in the flattened image: (*L)."""
        found: Any = np.zeros((), np.int64)
        for axis, (k, d) in enumerate(zip(place, self.dilation, strict=True)):
            found = found + self.along((self.starts(axis) + k * d) * prod(self.inside[axis + 1 :]), axis)
        return np.broadcast_to(found, self.outside)

    def counts(self, include_pad: bool) -> np.ndarray[Any, Any]:
        """How many elements each window counts: (*L)."""
        total: Any = np.ones((), np.int64)
        for axis, (k, n, p) in enumerate(zip(self.kernel, self.inside, self.padding, strict=True)):
            start = self.starts(axis)
            stop = np.minimum(start + k, n + p)
            if not include_pad:
                start, stop = np.maximum(start, 0), np.minimum(stop, n)
            total = total * self.along(stop - start, axis)
        return np.broadcast_to(total, self.outside)


def max_pool(x: Value, *, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool) -> tuple[Value, Value]:
    """The largest of each window, the first of equal ones, and its index in the flattened sizes; nan is largest."""
    w = Windows(x.shape[2:], kernel, stride, padding, dilation, ceil)
    frame = w.framed(x, 0)
    held: Value = w.real(w.places[0])
    out, which = w.view(frame, w.places[0]), jnp.asarray(w.indices(w.places[0]))
    for place in w.places[1:]:
        new, here = w.view(frame, place), w.real(place)
        better = ~(new <= out) & (out == out) & here | (here & ~held)
        out, which, held = jnp.where(better, new, out), jnp.where(better, w.indices(place), which), held | here
    return out, jnp.broadcast_to(which, out.shape)


def put_back(grad: Value, indices: Value, *, shape: Ints) -> Value:
    """Zeros with ``grad`` added where the indices say."""
    size, images = prod(shape[2:]), shape[0] * shape[1]
    rows, places = jnp.arange(images)[:, None], indices.reshape(images, -1)
    places = jnp.where((places < 0) | (places >= size), size, places)
    zeros = jnp.zeros((images, size), wide(grad).dtype)
    return zeros.at[rows, places].add(wide(grad).reshape(images, -1), mode="drop").reshape(shape).astype(grad.dtype)


def avg_pool(
    x: Value, *, kernel: Ints, stride: Ints, padding: Ints, ceil: bool, count_include_pad: bool, divisor: int | None
) -> Value:
    w = Windows(x.shape[2:], kernel, stride, padding, (1,) * len(kernel), ceil)
    frame = w.framed(wide(x), 0)
    total = sum(w.view(frame, place) for place in w.places)
    return (total / _divisor(w, count_include_pad, divisor, frame.dtype)).astype(x.dtype)


def _divisor(w: Windows, include_pad: bool, divisor: int | None, dtype: Any) -> Value:
    return jnp.asarray(w.counts(include_pad) if divisor is None else divisor, dtype)


def avg_pool_grad(
    grad: Value, *, shape: Ints, kernel: Ints, stride: Ints, padding: Ints, ceil: bool, count_include_pad: bool,
    divisor: int | None,
) -> Value:  # fmt: skip
    """Each element of ``grad`` spread evenly over its window: the transpose of the mean."""
    params: dict[str, Any] = dict(
        kernel=kernel, stride=stride, padding=padding, ceil=ceil, count_include_pad=count_include_pad, divisor=divisor
    )
    work = wide(grad)
    (found,) = jax.linear_transpose(lambda x: avg_pool(x, **params), aval(shape, work.dtype))(work)
    return found.astype(grad.dtype)
