"""Convolutions of any number of dimensions: the windows of some images as columns, then one matrix product.

Columns are made for as many images at a time as fill a product well and still stay in the cache. The batch
is spread over the threads, each product in one of them. Shapes: input (N, C, *S), weight (O, C / groups, *K),
result (N, O, *L).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.base import KernelTable
from flambeau.backends.cpu import threads
from flambeau.backends.cpu.linalg import gemm
from flambeau.backends.cpu.native.arrays import active
from flambeau.backends.xp import Array
from flambeau.core import dtype as dt

Ints = tuple[int, ...]

_COLUMNS: Final = 2048  # that a product should have at least
_BYTES: Final = 1 << 22  # that the columns of some images may take, unless one image takes more
_WORTH_CODE: Final = 1 << 16  # multiplications
_WORTH_A_THREAD: Final = 10_000_000  # multiplications
_PARTS: Final = 8  # at least, of the batch for the gradient of the weight
_TERMS: Final = 64  # that are added one by one, of chunks in a part


def bind(table: KernelTable) -> None:
    for fn in (conv, conv_grad_input, conv_grad_weight):
        single = _by_machine_code(fn)
        table.register(fn.__name__, fn, (dt.float64, dt.complex64, dt.complex128))
        table.register(fn.__name__, single, (dt.float32,))
        table.register(fn.__name__, _through_float32(single), dt.LOW_PRECISION)


def _by_machine_code(fn: Callable[..., Array]) -> Callable[..., Array]:
    """A kernel, or machine code for it where there is enough to do, it can be made, and it serves the operands."""

    def kernel(first: Array, second: Array, *rest: Array | None, **params: Any) -> Array:
        filters = prod(params["shape"]) if fn is conv_grad_weight else second.size
        places = first.size // max(first.shape[1], 1)  # of the input or the output
        if places * filters >= _WORTH_CODE and (target := active()) is not None:
            from flambeau.backends.cpu.native import conv as native  # lazy for start-up: only large work needs it

            found: Array | None = getattr(native, fn.__name__)(target, first, second, *rest, **params)
            if found is not None:
                return found
        return fn(first, second, *rest, **params)

    return kernel


def _through_float32(fn: Callable[..., Array]) -> Callable[..., Array]:
    """Low precision widened to float32, the result rounded once."""

    def kernel(*ins: Array | None, **params: Any) -> Array:
        found = fn(*[x if x is None else x.astype(np.float32) for x in ins], **params)
        first = ins[0]
        assert first is not None
        return found.astype(first.dtype)

    return kernel


@dataclass(frozen=True)
class Geometry:
    """The sizes of one convolution."""

    batch: int
    channels: int
    inside: Ints  # S
    out_channels: int
    outside: Ints  # L
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints
    groups: int

    @property
    def rows(self) -> int:
        return self.channels * prod(self.kernel)

    @property
    def places(self) -> int:
        return prod(self.outside)

    @property
    def padded(self) -> Ints:
        return tuple([n + 2 * p for n, p in zip(self.inside, self.padding, strict=True)])

    def chunk(self, itemsize: int) -> int:
        """How many images to treat at a time."""
        one = max(self.rows * self.places * itemsize, 1)
        most = -(-self.batch // 4) if self.is_large else self.batch
        return max(1, min(most, _COLUMNS // max(self.places, 1), _BYTES // one))

    def images(self, part: slice, itemsize: int) -> Iterator[slice]:
        """``part`` of the batch, some images at a time."""
        chunk = self.chunk(itemsize)
        yield from (slice(i, min(i + chunk, part.stop)) for i in range(part.start, part.stop, chunk))

    def tiles(self, itemsize: int) -> list[slice]:
        """The first axis of L in chunks whose columns for one image stay in the cache."""
        one = self.rows * self.places * itemsize
        return threads.ranges(self.outside[0], max(1, min(one // _BYTES, self.outside[0])))

    def interior(self) -> tuple[slice, ...]:
        """Where the input lies in its padded form, from axis 2 on."""
        return tuple([slice(p, p + n) for p, n in zip(self.padding, self.inside, strict=True)])

    @property
    def is_large(self) -> bool:
        """Whether it is worth several threads."""
        work = self.batch * self.rows * self.places * self.out_channels // max(self.groups, 1)
        return work > _WORTH_A_THREAD and threads.blas_threads() is not None

    def dot(self, x: Array, y: Array) -> Array:
        """A product of the columns of a chunk; the threads share the chunks, or the product of the only one."""
        return x.dot(y) if self.chunk(x.itemsize) < self.batch else gemm(x, y)

    def parts(self, count: int, itemsize: int) -> list[slice]:
        """The batch in ``count`` parts of whole chunks, which are the same whatever the count, as are their bits."""
        chunk = self.chunk(itemsize)
        chunks = threads.ranges(-(-self.batch // chunk), count)
        return [slice(part.start * chunk, min(part.stop * chunk, self.batch)) for part in chunks]


def geometry(x_shape: Ints, weight_shape: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Geometry:
    inside, kernel = tuple(x_shape[2:]), tuple(weight_shape[2:])
    outside = tuple([
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(inside, kernel, stride, padding, dilation, strict=True)
    ])  # fmt: skip
    return Geometry(x_shape[0], x_shape[1], inside, weight_shape[0], outside, kernel, stride, padding, dilation, groups)


class Columns:
    """The windows of some images as a matrix (C * K, images * places), in memory of its own: one for each thread."""

    def __init__(self, x: Array, g: Geometry):
        self.x, self.g = x, g
        self.trivial = prod(g.kernel) == 1 and not any(g.padding) and prod(g.stride) == 1
        self.frame: Array = np.zeros((g.chunk(x.itemsize), g.channels, *g.padded), x.dtype) if any(g.padding) else None
        self.made = np.empty(0, x.dtype)

    def of(self, part: slice) -> Iterator[tuple[slice, slice, Array]]:
        """Images, a piece of the first axis of L, and their columns; each is good until the next one comes."""
        tiles = self.g.tiles(self.x.itemsize)
        for images in self.g.images(part, self.x.itemsize):
            source = self.padded(images)
            for tile in tiles:
                yield images, tile, self.columns(source, tile)

    def padded(self, images: slice) -> Array:
        source = self.x[images]
        if self.frame is None:
            return source
        frame = self.frame[: source.shape[0]]
        frame[(..., *self.g.interior())] = source
        return frame

    def columns(self, source: Array, tile: slice) -> Array:
        g, count = self.g, source.shape[0]
        if self.trivial and count == 1:
            part = source[0, :, tile]
            return part.reshape(g.rows, prod(part.shape[1:]))
        windows = _windows(source, g, tile)
        if self.made.size < windows.size:
            self.made = np.empty(windows.size, windows.dtype)
        made = self.made[: windows.size].reshape(windows.shape)
        np.copyto(made, windows)
        return made.reshape(g.rows, prod(windows.shape[1 + len(g.kernel) :]))


def _windows(source: Array, g: Geometry, tile: slice) -> Array:
    """The windows of padded images as a view (C, *K, images, *L), L's first axis within ``tile``."""
    over_batch, over_channels, *over = source.strides
    strides = (
        over_channels, *[s * d for s, d in zip(over, g.dilation, strict=True)],
        over_batch, *[s * t for s, t in zip(over, g.stride, strict=True)],
    )  # fmt: skip
    shape = (g.channels, *g.kernel, source.shape[0], tile.stop - tile.start, *g.outside[1:])
    return np.lib.stride_tricks.as_strided(source[:, :, tile.start * g.stride[0] :], shape, strides)


def _rows_of(x: Array, images: slice, tile: slice) -> Array:
    """Some images (n, R, *L), L's first axis within ``tile``, as rows (R, n * places)."""
    part = x[images, :, tile]
    return np.moveaxis(part, 0, 1).reshape(part.shape[1], part.size // max(part.shape[1], 1))


def _by_group(x: Array, groups: int) -> Array:
    return x.reshape(groups, x.shape[0] // groups, prod(x.shape[1:]))


def _product(weight: Array, columns: Array, g: Geometry) -> Array:
    """Weight (groups, R, Q) times columns (groups * Q, M), as (groups * R, M)."""
    groups = g.groups
    if groups == 1:
        return g.dot(weight[0], columns)
    found = np.matmul(weight, columns.reshape(groups, weight.shape[2], columns.shape[1]))
    return found.reshape(weight.shape[0] * weight.shape[1], columns.shape[1])


# -- forward ---------------------------------------------------------------------------------------
def conv(
    x: Array, weight: Array, bias: Array | None, *, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array:
    """Cross-correlation plus bias: (N, O, *L)."""
    g = geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    out = np.empty((g.batch, g.out_channels, *g.outside), x.dtype)
    _over_batch(partial(_conv_part, x, _by_group(weight, groups), bias, out, g), g, x.itemsize)
    return out


def _over_batch(work: Callable[[slice], Any], g: Geometry, itemsize: int) -> None:
    parts = g.parts(threads.num_threads() if g.is_large else 1, itemsize)
    with threads.single_threaded_blas():
        threads.run([partial(work, part) for part in parts])


def _conv_part(x: Array, weight: Array, bias: Array | None, out: Array, g: Geometry, part: slice) -> None:
    for images, tile, columns in Columns(x, g).of(part):
        found = _product(weight, columns, g)
        if bias is not None:
            found += bias[:, None]
        target = np.moveaxis(out[images, :, tile], 0, 1)
        np.copyto(target, found.reshape(target.shape))


# -- gradients -------------------------------------------------------------------------------------
def conv_grad_input(
    grad: Array, weight: Array, *, shape: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array:
    """The gradient for an input of ``shape``."""
    g = geometry(shape, weight.shape, stride, padding, dilation, groups)
    turned = tuple([d * (k - 1) - p for k, p, d in zip(g.kernel, padding, dilation, strict=True)])
    if prod(stride) == 1 and min(turned, default=0) >= 0 and g.out_channels <= 2 * g.channels:
        return conv(grad, _turned(weight, g), None, stride=stride, padding=turned, dilation=dilation, groups=groups)
    out = np.empty(shape, grad.dtype)
    across = np.ascontiguousarray(_by_group(weight, groups).swapaxes(1, 2))
    _over_batch(partial(_grad_input_part, grad, across, out, g), g, grad.itemsize)
    return out


def _turned(weight: Array, g: Geometry) -> Array:
    """The weight with its channels exchanged and its kernel reversed: (C, O / groups, *K)."""
    per_group = g.out_channels // g.groups
    split = weight.reshape(g.groups, per_group, -1, *g.kernel).swapaxes(1, 2)
    back = split[(slice(None),) * 3 + (slice(None, None, -1),) * len(g.kernel)]
    return back.reshape(g.channels, per_group, *g.kernel)


def _grad_input_part(grad: Array, across: Array, out: Array, g: Geometry, part: slice) -> None:
    tiles = g.tiles(grad.itemsize)
    for images in g.images(part, grad.itemsize):
        frame: Array = np.zeros((g.channels, images.stop - images.start, *g.padded), grad.dtype)
        for tile in tiles:
            columns = _product(across, _rows_of(grad, images, tile), g)
            _add_windows(frame, columns, g, tile)
        np.copyto(out[images], np.moveaxis(frame[(..., *g.interior())], 0, 1))


def _add_windows(frame: Array, columns: Array, g: Geometry, tile: slice) -> None:
    """Add columns (C * K, images * places) where their windows lie in padded images (C, images, *S)."""
    sizes = (tile.stop - tile.start, *g.outside[1:])
    columns = columns.reshape(g.channels, *g.kernel, frame.shape[1], *sizes)
    for offset in product(*map(range, g.kernel)):
        first = [k * d for k, d in zip(offset, g.dilation, strict=True)]
        first[0] += tile.start * g.stride[0]
        place = [slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, sizes, g.stride, strict=True)]
        frame[(..., *place)] += columns[(slice(None), *offset)]


def conv_grad_weight(
    grad: Array, x: Array, *, shape: Ints, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Array:
    """The gradient for a weight of ``shape``."""
    g = geometry(x.shape, shape, stride, padding, dilation, groups)
    total = np.zeros((groups, g.out_channels // groups, g.rows // groups), x.dtype)
    count = max(_PARTS, g.batch // g.chunk(x.itemsize) // _TERMS) if g.is_large else 1
    parts = [partial(_grad_weight_part, grad, x, g, part) for part in g.parts(count, x.itemsize)]
    with threads.single_threaded_blas():
        for part in threads.in_order(parts):
            total += part
    return total.reshape(shape)


def _grad_weight_part(grad: Array, x: Array, g: Geometry, part: slice) -> Array:
    total = np.zeros((g.groups, g.out_channels // g.groups, g.rows // g.groups), x.dtype)
    for images, tile, columns in Columns(x, g).of(part):
        rows = _rows_of(grad, images, tile)
        if g.groups == 1:
            total[0] += g.dot(rows, columns.T)
        else:
            total += np.matmul(_by_group(rows, g.groups), _by_group(columns, g.groups).swapaxes(1, 2))
    return total
