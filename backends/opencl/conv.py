"""Convolutions: columns of some images at a time and matrix products, or the direct kernels for narrow groups."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from flambeau.backends import layout as lay
from flambeau.backends.dialect import conv as texts
from flambeau.backends.dialect.conv import Columns, Geometry, Images
from flambeau.backends.dialect.launch import computed
from flambeau.backends.dialect.windows import Ints
from flambeau.backends.opencl import elementwise
from flambeau.backends.opencl.launch import enqueue
from flambeau.backends.opencl.linalg import matmul, matmul_into
from flambeau.backends.strided import StridedArray
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.expr import parse

if TYPE_CHECKING:
    from flambeau.backends.opencl.backend import OpenCLBackend

#: Bytes that the columns of some images may take, unless one image takes more: on processors, elsewhere.
_BYTES: Final = {True: 1 << 23, False: 1 << 27}
#: Places from which on an image has a product of its own, written where its result belongs.
_MANY: Final = 128


def register(backend: OpenCLBackend) -> None:
    """Enter the convolution and its gradients."""
    for fn in (conv, conv_grad_input, conv_grad_weight):
        backend.kernels.register(fn.__name__, partial(fn, backend), dt.FLOATS)


class _Product:
    """What the three have in common: the geometry, chunks of the batch, and their columns."""

    def __init__(self, backend: OpenCLBackend, g: Geometry, like: StridedArray):
        self.backend, self.g, self.dtype, self.index = backend, g, like.dtype, like.index
        self.wide = computed(like.dtype)
        self.device = backend.device(like.index)
        self.places = g.windows.places

    @property
    def alone(self) -> bool:
        """Whether each image has a product of its own, in the result's dtype."""
        fits = self.places >= _MANY or self.places % 32 == 0 or self.g.batch == 1
        return fits and self.wide is self.dtype

    def empty(self, *shape: int) -> StridedArray:
        return self.backend.empty(shape, self.wide, self.index)

    def chunks(self) -> Iterator[slice]:
        """The batch, as many images at a time as have columns of bounded size."""
        one = max(self.g.rows * self.places * self.wide.itemsize, 1)
        step = max(1, _BYTES[self.device.target.cpu] // one)
        step = -(-self.g.batch // -(-self.g.batch // step))  # of one size
        yield from (slice(i, min(i + step, self.g.batch)) for i in range(0, self.g.batch, step))

    def by_group(self, weight: StridedArray) -> StridedArray:
        """A weight as matrices (groups, filters, rows of a group), in the computed type."""
        whole = self.widened(weight)
        shape = (self.g.groups, self.g.filters, self.g.rows // self.g.groups)
        return whole.viewed(shape, lay.contiguous_strides(shape), whole.offset)

    def widened(self, x: StridedArray) -> StridedArray:
        """Contiguous, in the computed type."""
        if x.dtype is self.wide:
            return self.backend.dense(x)
        out = self.backend.empty(x.shape, self.wide, x.index)
        self.backend.copy(out, x)
        return out

    def shaped(self, images: int, alone: bool) -> tuple[Ints, Columns]:
        """The shape of columns and where they stand: an image after the other, or all together."""
        rows, g = self.g.rows, self.g
        height = g.windows.outside[0]
        if alone:
            shape = (images, g.groups, rows // g.groups, self.places)
            return shape, Columns(images, 0, height, self.places, rows * self.places)
        shape = (g.groups, rows // g.groups, images * self.places)
        return shape, Columns(images, 0, height, images * self.places, self.places)

    def columns(self, x: StridedArray, part: slice, alone: bool) -> StridedArray:
        """The columns of some images: (images, groups, rows, places), or (groups, rows, images * places)."""
        shape, q = self.shaped(part.stop - part.start, alone)
        if alone and self.g.windows.is_plain and x.is_contiguous:
            return x.viewed(shape, lay.contiguous_strides(shape), x.offset + part.start * x.strides[0])
        out = self.empty(*shape)
        if out.size:
            images = Images(x.strides, x.offset + part.start * x.strides[0])
            launch = texts.columns(self.device, self.dtype, self.g, images, q)
            enqueue(self.device, launch, (x,), (out,))
        return out

    def together(self, grad: StridedArray, part: slice) -> StridedArray:
        """Some images of a result (N, O, *L), contiguous, as (groups, filters, images * places)."""
        g, count = self.g, part.stop - part.start
        step = g.out_channels * self.places
        view = grad.viewed((g.out_channels, count, self.places), (self.places, step, 1),
                           grad.offset + part.start * step)  # fmt: skip
        shape = (g.groups, g.filters, count * self.places)
        found = self.widened(view) if count > 1 or view.dtype is not self.wide else view
        return found.viewed(shape, lay.contiguous_strides(shape), found.offset)

    def by_place(self, grad: StridedArray, part: slice) -> StridedArray:
        """Some images of a result (N, O, *L), contiguous, as (groups, images * places, filters), filters innermost."""
        g, count = self.g, part.stop - part.start
        step = g.out_channels * self.places
        view = grad.viewed((count, self.places, g.out_channels), (step, 1, self.places),
                           grad.offset + part.start * step)  # fmt: skip
        found = self.widened(view)
        shape = (g.groups, count * self.places, g.filters)
        return found.viewed(shape, (g.filters, g.out_channels, 1), found.offset)

    def each(self, grad: StridedArray, part: slice, channels: int, places: int) -> StridedArray:
        """Some images of (N, channels, places), contiguous, as (images, groups, channels of a group, places)."""
        shape = (part.stop - part.start, self.g.groups, channels // self.g.groups, places)
        return grad.viewed(shape, lay.contiguous_strides(shape), grad.offset + part.start * channels * places)


def conv(
    backend: OpenCLBackend, x: StridedArray, weight: StridedArray, bias: StridedArray | None, *, stride: Ints,
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
    for part in work.chunks():
        columns = work.columns(x, part, work.alone)
        target = work.each(out, part, g.out_channels, work.places)
        if work.alone:
            matmul_into(backend, target, matrices, columns)
            if wide is not None:
                _finish(backend, target, target, wide)
        else:
            found = matmul(backend, matrices, columns)  # (groups, filters, images * places)
            count, line = part.stop - part.start, found.shape[-1]
            view = found.viewed(target.shape, (work.places, g.filters * line, line, 1), found.offset)
            assert count == target.shape[0]
            _finish(backend, target, view, wide)
    return out


def _finish(backend: OpenCLBackend, out: StridedArray, found: StridedArray, bias: StridedArray | None) -> None:
    """Write ``found`` (images, groups, filters, places) plus the bias (O,)."""
    if bias is None:
        backend.copy(out, found)
        return
    _, groups, filters, _ = out.shape
    each = bias.viewed(out.shape, (0, filters, 1, 0), bias.offset)
    assert groups * filters == bias.size
    _adding(backend, found.dtype, out.dtype).run(out, (found, each))


def _adding(backend: OpenCLBackend, dtype: DType, out: DType) -> elementwise.Elementwise:
    made: dict[Any, elementwise.Elementwise] = backend.__dict__.setdefault("_named", {})
    key = ("sum", dtype, out)
    if key not in made:
        made[key] = elementwise.Elementwise(backend, "x + y", parse("x + y", ("x", "y")), (dtype, dtype), out)
    return made[key]


def _direct(
    backend: OpenCLBackend, out: StridedArray, x: StridedArray, weight: StridedArray, bias: StridedArray | None,
    g: Geometry,
) -> StridedArray:  # fmt: skip
    device = backend.device(x.index)
    ins = [backend.dense(a) for a in (x, weight, bias) if a is not None]
    offsets = tuple([a.offset for a in ins]) + ((0,) if bias is None else ()) + (out.offset,)
    launch = texts.direct(device, x.dtype, g, offsets, bias is not None)
    enqueue(device, launch, ins, (out,))
    return out


# -- gradients -----------------------------------------------------------------------------------------
def conv_grad_input(
    backend: OpenCLBackend, grad: StridedArray, weight: StridedArray, *, shape: Ints, stride: Ints, padding: Ints,
    dilation: Ints, groups: int,
) -> StridedArray:  # fmt: skip
    """The gradient for an input of ``shape``."""
    g = texts.geometry(tuple(shape), weight.shape, stride, padding, dilation, groups)
    out = backend.empty(tuple(shape), grad.dtype, grad.index)
    if not grad.size or not out.size:
        elementwise.fill(backend, out, 0)
        return out
    grad = backend.dense(grad)
    if g.narrower(4):
        device, weight = backend.device(grad.index), backend.dense(weight)
        launch = texts.spread(device, grad.dtype, g, (grad.offset, weight.offset, out.offset))
        enqueue(device, launch, (grad, weight), (out,))
        return out
    work = _Product(backend, g, grad)
    matrices = work.by_group(weight)
    turned = matrices.viewed(*lay.permute(*matrices.layout, (0, 2, 1)))
    for part in work.chunks():
        _input_part(work, out, grad, turned, part)
    return out


def _input_part(work: _Product, out: StridedArray, grad: StridedArray, turned: StridedArray, part: slice) -> None:
    """The gradient for some images."""
    g, backend = work.g, work.backend
    if work.alone and g.windows.is_plain:
        matmul_into(backend, work.each(out, part, g.channels, work.places), turned,
                    work.each(grad, part, g.out_channels, work.places))  # fmt: skip
        return
    shape, q = work.shaped(part.stop - part.start, work.alone)
    columns = work.empty(*shape)
    source = work.each(grad, part, g.out_channels, work.places) if work.alone else work.together(grad, part)
    matmul_into(backend, columns, turned, source)
    offset = out.offset + part.start * out.strides[0]
    enqueue(work.device, texts.images(work.device, out.dtype, g, q, offset), (columns,), (out,))


def conv_grad_weight(
    backend: OpenCLBackend, grad: StridedArray, x: StridedArray, *, shape: Ints, stride: Ints, padding: Ints,
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
        device, x = backend.device(grad.index), backend.dense(x)
        launch = texts.weigh(device, grad.dtype, g, (grad.offset, x.offset, out.offset))
        enqueue(device, launch, (grad, x), (out,))
        return out
    work, total = _Product(backend, g, grad), None
    for part in work.chunks():
        found = _weight_part(work, grad, x, part)
        if total is None:
            total = found
        else:
            _adding(backend, total.dtype, total.dtype).run(total, (total, found))
    assert total is not None
    backend.copy(out.viewed(total.shape, lay.contiguous_strides(total.shape), out.offset), total)
    return out


def _weight_part(work: _Product, grad: StridedArray, x: StridedArray, part: slice) -> StridedArray:
    """The gradient from some images: (groups, filters, rows of a group).

    The inner loop of a product runs along its right operand: the smaller of gradient and result is turned for it.
    """
    columns = work.columns(x, part, False)
    if columns.shape[1] > columns.shape[2]:
        turned = columns.viewed(*lay.permute(*columns.layout, (0, 2, 1)))
        return matmul(work.backend, work.together(grad, part), turned)
    found = matmul(work.backend, columns, work.by_place(grad, part))
    return found.viewed(*lay.permute(*found.layout, (0, 2, 1)))
