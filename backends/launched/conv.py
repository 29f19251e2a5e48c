"""Convolutions: columns of some images at a time and matrix products, or the direct kernels for narrow groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

from flambeau.backends import layout as lay
from flambeau.backends.dialect import conv as texts
from flambeau.backends.dialect.conv import Columns, Geometry, Images
from flambeau.backends.dialect.launch import Launch, computed
from flambeau.backends.dialect.windows import Ints
from flambeau.backends.launched import elementwise
from flambeau.backends.launched.launcher import Launcher
from flambeau.backends.launched.linalg import matmul, matmul_into
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt

#: Bytes that the columns of some images may take, unless one image takes more: on processors, elsewhere.
_BYTES: Final = {True: 1 << 23, False: 1 << 27}
#: Places from which on an image has a product of its own, written where its result belongs.
_MANY: Final = 128


def register(backend: Launcher) -> None:
    """Enter the convolution and its gradients."""
    for fn in (conv, conv_grad_input, conv_grad_weight):
        backend.kernels.register(fn.__name__, partial(fn, backend), dt.FLOATS)


class _Part(NamedTuple):
    """Some images, and ``height`` places of the first axis of L from ``top`` on: what has columns at a time."""

    first: int
    number: int
    top: int
    height: int


class _Product:
    """What the three have in common: the geometry, parts of the batch, and their columns."""

    def __init__(self, backend: Launcher, g: Geometry, like: StridedArray):
        self.backend, self.g, self.dtype, self.index = backend, g, like.dtype, like.index
        self.wide = computed(like.dtype)
        self.device = backend.device(like.index)
        self.places = g.windows.places
        self.line = self.places // g.windows.outside[0]
        fits = self.places >= _MANY or self.places % 32 == 0 or g.batch == 1
        self.bytes = max(g.rows * self.places * self.wide.itemsize, 1)  # of the columns of one image
        self.room = _BYTES[self.device.target.cpu]
        plain = g.windows.is_plain and self.wide is self.dtype
        #: Whether one image has too many columns (those that are not made cost nothing).
        self.is_cut = self.bytes > 2 * self.room and g.windows.outside[0] > 1 and not plain
        #: Whether each image has a product of its own, in the result's dtype.
        self.alone = fits and self.wide is self.dtype and not self.is_cut

    def empty(self, *shape: int) -> StridedArray:
        return self.backend.empty(shape, self.wide, self.index)

    def parts(self) -> Iterator[_Part]:
        """As many images at a time as have columns of bounded size, or a part of one image."""
        batch, length = self.g.batch, self.g.windows.outside[0]
        step, height = max(1, self.room // self.bytes), length
        if self.is_cut:
            height = max(1, length * self.room // self.bytes)
        step = -(-batch // -(-batch // step))  # of one size
        for first in range(0, batch, step):
            for top in range(0, length, height):
                yield _Part(first, min(step, batch - first), top, min(height, length - top))

    def by_group(self, weight: StridedArray) -> StridedArray:
        """A weight as matrices (groups, filters, rows of a group), in the computed type."""
        whole = self.widened(weight)
        shape = (self.g.groups, self.g.filters, self.g.rows // self.g.groups)
        return whole.reshaped(shape)

    def widened(self, x: StridedArray) -> StridedArray:
        """Contiguous, in the computed type."""
        if x.dtype is self.wide:
            return self.backend.dense(x)
        out = self.backend.empty(x.shape, self.wide, x.index)
        self.backend.copy(out, x)
        return out

    def shaped(self, part: _Part, alone: bool) -> tuple[Ints, Columns]:
        """The shape of columns and where they stand: an image after the other, or all together."""
        rows, groups, places = self.g.rows, self.g.groups, part.height * self.line
        if alone:
            shape: Ints = (part.number, groups, rows // groups, places)
            return shape, Columns(part.number, part.top, part.height, places, rows * places)
        shape = (groups, rows // groups, part.number * places)
        return shape, Columns(part.number, part.top, part.height, part.number * places, places)

    def columns(self, x: StridedArray, part: _Part, alone: bool) -> StridedArray:
        """The columns of a part: (images, groups, rows, places), or (groups, rows, images * places)."""
        shape, q = self.shaped(part, alone)
        images = Images(x.strides, x.offset + part.first * x.strides[0])
        if alone and self.g.windows.is_plain and x.is_contiguous:
            return x.viewed(shape, lay.contiguous_strides(shape), images.offset)
        out = self.empty(*shape)
        if out.size:
            self.device.enqueue(texts.columns(self.device, self.dtype, self.g, images, q), (x,), (out,))
        return out

    def each(self, result: StridedArray, part: _Part, channels: int) -> StridedArray:
        """A part of (N, channels, *L), contiguous, as (images, groups, channels of a group, places)."""
        step, groups = channels * self.places, self.g.groups
        shape = (part.number, groups, channels // groups, part.height * self.line)
        strides = (step, channels // groups * self.places, self.places, 1)
        return result.viewed(shape, strides, result.offset + part.first * step + part.top * self.line)

    def together(self, grad: StridedArray, part: _Part) -> StridedArray:
        """A part of a result as (groups, filters, images * places)."""
        view = self.each(grad, part, self.g.out_channels)
        found = self.widened(view.permuted((1, 2, 0, 3)))
        shape = (*found.shape[:2], found.shape[2] * found.shape[3])
        return found.reshaped(shape)

    def by_place(self, grad: StridedArray, part: _Part) -> StridedArray:
        """A part of a result as (groups, images * places, filters), filters innermost."""
        view = self.each(grad, part, self.g.out_channels)
        found = self.widened(view.permuted((0, 3, 1, 2)))
        shape = (self.g.groups, found.shape[0] * found.shape[1], self.g.filters)
        return found.viewed(shape, (self.g.filters, self.g.out_channels, 1), found.offset)


def conv(
    backend: Launcher, x: StridedArray, weight: StridedArray, bias: StridedArray | None, *, stride: Ints,
    padding: Ints, dilation: Ints, groups: int,
) -> StridedArray:  # fmt: skip
    """Cross-correlation plus bias: (N, O, *L)."""
    g = texts.geometry(x.shape, weight.shape, stride, padding, dilation, groups)
    out = backend.empty((g.batch, g.out_channels, *g.windows.outside), x.dtype, x.index)
    if not out.size:
        return out
    if g.narrower(4):
        return _direct(backend, out, x, weight, bias, g)
    work = _Product(backend, g, x)
    matrices, wide = work.by_group(weight), None if bias is None else work.widened(bias)
    for part in work.parts():
        columns = work.columns(x, part, work.alone)
        target = work.each(out, part, g.out_channels)
        if work.alone:
            matmul_into(backend, target, matrices, columns)
            if wide is not None:
                _finish(backend, target, target, wide)
        else:
            found = matmul(backend, matrices, columns)  # (groups, filters, images * places)
            line = found.shape[-1]
            view = found.viewed(target.shape, (target.shape[-1], g.filters * line, line, 1), found.offset)
            _finish(backend, target, view, wide)
    return out


def _finish(backend: Launcher, out: StridedArray, found: StridedArray, bias: StridedArray | None) -> None:
    """Write ``found`` (images, groups, filters, places) plus the bias (O,)."""
    if bias is None:
        backend.copy(out, found)
        return
    each = bias.viewed(out.shape, (0, out.shape[2], 1, 0), bias.offset)
    add = backend.expression("x + y", (found.dtype, found.dtype), out.dtype)
    add(found, each, out=out)


def _direct(
    backend: Launcher, out: StridedArray, x: StridedArray, weight: StridedArray, bias: StridedArray | None,
    g: Geometry,
) -> StridedArray:  # fmt: skip
    device = backend.device(x.index)
    ins = [backend.dense(a) for a in (x, weight, bias) if a is not None]
    offsets = tuple([a.offset for a in ins]) + ((0,) if bias is None else ()) + (out.offset,)
    launch = texts.direct(device, x.dtype, g, offsets, bias is not None)
    device.enqueue(launch, ins, (out,))
    return out


# -- gradients -----------------------------------------------------------------------------------------
def conv_grad_input(
    backend: Launcher, grad: StridedArray, weight: StridedArray, *, shape: Ints, stride: Ints, padding: Ints,
    dilation: Ints, groups: int,
) -> StridedArray:  # fmt: skip
    """The gradient for an input of ``shape``."""
    options: dict[str, Any] = dict(stride=stride, dilation=dilation, groups=groups)
    g = texts.geometry(tuple(shape), weight.shape, padding=padding, **options)
    reach = tuple([d * (k - 1) - p for k, d, p in zip(weight.shape[2:], dilation, padding, strict=True)])
    if not g.narrower(4) and set(stride) == {1} and min(reach) >= 0 and _Product(backend, g, grad).is_cut:
        return conv(backend, grad, _reversed(backend, weight, groups), None, padding=reach, **options)
    out = backend.empty(tuple(shape), grad.dtype, grad.index)
    if not grad.size or not out.size:
        elementwise.fill(backend, out, 0)
        return out
    grad = backend.dense(grad)
    if g.narrower(4):
        return _narrow(backend, texts.spread, g, out, grad, weight)
    work = _Product(backend, g, grad)
    matrices = work.by_group(weight)
    turned = matrices.permuted((0, 2, 1))
    for part in work.parts():
        if part.top == 0:  # all places of these images
            _input_part(work, out, grad, turned, part._replace(height=g.windows.outside[0]))
    return out


def _narrow(
    backend: Launcher, make: Callable[..., Launch], g: Geometry, out: StridedArray, grad: StridedArray,
    other: StridedArray,
) -> StridedArray:  # fmt: skip
    """A gradient of groups with few channels, from ``grad`` and the other operand, by a kernel of its own."""
    other, device = backend.dense(other), backend.device(grad.index)
    device.enqueue(make(device, grad.dtype, g, (grad.offset, other.offset, out.offset)), (grad, other), (out,))
    return out


def _reversed(backend: Launcher, weight: StridedArray, groups: int) -> StridedArray:
    """The weight (O, C / groups, *K) with channels exchanged and the kernel backwards: (C, O / groups, *K)."""
    filters, per_group = weight.shape[0] // groups, weight.shape[1]
    axes = range(3, weight.ndim + 1)
    split = (groups, filters, *weight.shape[1:]), (filters * weight.strides[0], *weight.strides), weight.offset
    turned = lay.permute(*lay.flip(*split, tuple(axes)), (0, 2, 1, *axes))
    dense = backend.dense(weight.viewed(*turned))
    shape = (groups * per_group, filters, *weight.shape[2:])
    return dense.reshaped(shape)


def _input_part(work: _Product, out: StridedArray, grad: StridedArray, turned: StridedArray, part: _Part) -> None:
    """The gradient for some images."""
    g, backend = work.g, work.backend
    if work.alone and g.windows.is_plain:
        matmul_into(backend, work.each(out, part, g.channels), turned, work.each(grad, part, g.out_channels))
        return
    shape, q = work.shaped(part, work.alone)
    columns = work.empty(*shape)
    source = work.each(grad, part, g.out_channels) if work.alone else work.together(grad, part)
    matmul_into(backend, columns, turned, source)
    offset = out.offset + part.first * out.strides[0]
    work.device.enqueue(texts.images(work.device, out.dtype, g, q, offset), (columns,), (out,))


def conv_grad_weight(
    backend: Launcher, grad: StridedArray, x: StridedArray, *, shape: Ints, stride: Ints, padding: Ints,
    dilation: Ints, groups: int,
) -> StridedArray:  # fmt: skip
    """The gradient for a weight of ``shape``."""
    g = texts.geometry(x.shape, tuple(shape), stride, padding, dilation, groups)
    out = backend.empty(tuple(shape), grad.dtype, grad.index)
    if not grad.size or not x.size or not out.size:
        elementwise.fill(backend, out, 0)
        return out
    grad = backend.dense(grad)
    if g.narrower(9):
        return _narrow(backend, texts.weigh, g, out, grad, x)
    work, total = _Product(backend, g, grad), None
    for part in work.parts():
        found = _weight_part(work, grad, x, part)
        if total is None:
            total = found
        else:
            add = backend.expression("x + y", (total.dtype, total.dtype), total.dtype)
            add(total, found, out=total)
    assert total is not None
    backend.copy(out.reshaped(total.shape), total)
    return out


def _weight_part(work: _Product, grad: StridedArray, x: StridedArray, part: _Part) -> StridedArray:
    """The gradient from a part: (groups, filters, rows of a group).

    The inner loop of a product runs along its right operand: the smaller of gradient and result is turned for it.
    """
    columns = work.columns(x, part, False)
    if columns.shape[1] > columns.shape[2]:
        turned = columns.permuted((0, 2, 1))
        return matmul(work.backend, work.together(grad, part), turned)
    found = matmul(work.backend, columns, work.by_place(grad, part))
    return found.permuted((0, 2, 1))
