"""Ops on storage: copies, casts, fills, and every kind of view. Any backend has them through its storage calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

from flambeau.backends import layout
from flambeau.backends.layout import Shape
from flambeau.core import dtype as dt
from flambeau.core.autograd.inplace import in_place, unrecorded
from flambeau.core.box import INFERENCE, mark_written
from flambeau.core.creation import arange as numbers
from flambeau.core.creation import zeros_at, zeros_like
from flambeau.core.declare import OpFunction, composite, op
from flambeau.core.device import device as Device
from flambeau.core.dispatch import from_host
from flambeau.core.dtype import Number
from flambeau.core.errors import NumberError, ShapeError
from flambeau.core.from_data import number
from flambeau.core.public import public
from flambeau.core.record import CREATE, OPS, VIEW, DTypeRule
from flambeau.core.state import get
from flambeau.core.tensor import Tensor
from flambeau.core.transfer import move

anything = DTypeRule("anything", promotes=False, accepts=dt.STORABLE)
to_param = DTypeRule("to_param", result=lambda compute, params: params["dtype"], promotes=False, accepts=dt.STORABLE)


#: A full index: one int or slice per axis, None for a new one.
Places: TypeAlias = tuple[int | slice | None, ...]
#: Space before and after along each axis.
Widths: TypeAlias = tuple[tuple[int, int], ...]


def unchanged(x: Shape, **params: object) -> Shape:
    """The shape of the operand."""
    return x


# -- copies ------------------------------------------------------------------------------------------
cast_p = op("cast(x: Tensor, *, dtype: DType) -> Tensor", infer=unchanged, dtype=to_param, vjp=dict(x=lambda g: g),
          linear=["x"], public=False, doc="The values in another dtype.")  # fmt: skip

clone_p = op(
    "clone(x: Tensor, *, order: str = 'K') -> Tensor",
    infer=unchanged,
    dtype=anything,
    vjp=dict(x=lambda g: g),
    linear=["x"],
    doc="A copy in memory of its own, with the same strides ('K') or contiguous ('C').",
)


@composite(
    "to_device(x: Tensor, *, device: Device) -> Tensor",
    infer=unchanged,
    dtype=anything,
    vjp=dict(x=lambda g: g),
    linear=["x"],
    public=False,
    upcast=False,
)
def to_device_p(x: Tensor, *, device: Device) -> Tensor:
    """The values on another device; the gradient goes back by itself."""
    return x if device is x._key.device else move(x, device)


def _copied(x: Shape, src: Shape) -> Shape:
    try:
        fits = tuple(layout.broadcast_shapes(x, src)) == tuple(x)
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"copy_: src of shape {tuple(src)} does not broadcast to the shape {tuple(x)} of the tensor")
    return x


@composite(
    "copy(x: Tensor, src: Tensor) -> Tensor",
    infer=_copied,
    check=True,
    dtype=anything,
    kinds={"src": "any"},
    linear=["x", "src"],
    vjp=dict(x=lambda g: zeros_like(g), src=lambda g: g),
    inplace=True,
    public=False,
    upcast=False,
)
def copy_p(x: Tensor, src: Tensor) -> Tensor:
    """``x`` with the values of ``src``, broadcast and cast.

    >>> fb.zeros(2).copy_(fb.tensor([1, 2]))
    tensor([1., 2.])
    """
    return clone_p(expand_p(cast_p(src, dtype=x.dtype), shape=tuple(x.shape)), order="C")


full_p = op("full(*, shape: Ints, value: Any, dtype: DType, device: Device) -> Tensor", CREATE,
          infer=lambda *, shape, **p: shape, dtype=to_param, differentiable=False, public=False,
          doc="A new tensor with every element ``value``.")  # fmt: skip

empty_p = op("empty(*, shape: Ints, dtype: DType, device: Device) -> Tensor", CREATE,
           infer=lambda *, shape, **p: shape, dtype=to_param, differentiable=False, public=False,
           doc="A new tensor of undefined values.")  # fmt: skip


def _cat_shape(xs: Sequence[Shape], *, axis: int) -> Shape:
    first = xs[0]
    if len({s[:axis] + s[axis + 1 :] for s in xs}) == 1 and [len(s) for s in xs].count(len(first)) == len(xs):
        return (*first[:axis], sum([s[axis] for s in xs]), *first[axis + 1 :])
    shapes = [s for s in xs if tuple(s) != (0,)] or [xs[0]]
    first = shapes[0]
    for i, s in enumerate(xs):
        if tuple(s) == (0,):
            continue
        if len(s) != len(first) or any(a != b for j, (a, b) in enumerate(zip(s, first, strict=True)) if j != axis):
            raise ShapeError(
                f"cat: sizes must match except in dimension {axis}: tensor 0 has shape {tuple(first)}, "
                f"tensor {i} {tuple(s)}"
            )
    return (*first[:axis], sum(s[axis] for s in shapes), *first[axis + 1 :])


def _cat_vjp(g: Tensor, xs_shape: Sequence[Shape], axis: int) -> list[Tensor | None]:
    grads: list[Tensor | None] = []
    start = 0
    for s in xs_shape:
        if tuple(s) == (0,):
            grads.append(None)
            continue
        grads.append(g.narrow(axis, start, s[axis]))
        start += s[axis]
    return grads


cat_p = op(
    "cat(xs: Tensor[], *, axis: Axis = 0) -> Tensor",
    dtype=DTypeRule("joined", accepts=dt.STORABLE),
    infer=_cat_shape,
    vjp=dict(xs=_cat_vjp),
    linear=["xs"],
    check=True,
    public=False,
    doc="Tensors joined along an axis that they have.",
)


def _padded(x: Shape, *, widths: Widths, value: Number) -> Shape:
    shape = tuple([n + a + b for n, (a, b) in zip(x, widths, strict=True)])
    if shape and min(shape) < 0:
        raise ShapeError(f"pad: widths {widths} take more than the shape {tuple(x)} has")
    return shape


pad_p = op("pad(x: Tensor, *, widths: Any, value: Any = 0) -> Tensor", infer=_padded, dtype=anything, check=True,
         vjp=dict(x=lambda g, widths: pad_back(g, widths)), public=False,
         doc="Space before and after along each axis, filled with ``value``; negative widths cut.")  # fmt: skip


def pad_back(g: Tensor, widths: Widths) -> Tensor:
    return pad_p(g, widths=tuple((-a, -b) for a, b in widths), value=0)


flip_p: OpFunction[Tensor] = op(
    "flip(x: Tensor, *, axes: Axes) -> Tensor",
    infer=unchanged,
    dtype=anything,
    linear=["x"],
    public=False,
    vjp=dict(x=lambda g, axes: flip_p(g, axes=axes)),
    doc="The order of elements reversed along axes; a copy.",
)


# -- views -------------------------------------------------------------------------------------------
def _scattered(g: Tensor, x_shape: Shape, place: Callable[[Tensor], Tensor]) -> Tensor:
    """Zeros of the input's shape with ``g`` written at the ``place`` in them."""
    zeros = zeros_at(g, tuple(x_shape))
    place(zeros).copy_(g)
    return zeros


def view_op(
    schema: str, shape: Callable[..., Shape], vjp: Callable[..., Tensor], *, dtype: DTypeRule = anything, doc: str
) -> OpFunction[Tensor]:
    """A view: shares storage with its operand; every backend has it through as_strided."""

    def infer(x: Shape, **params: Any) -> Shape:  # params as the rule of the shape takes them
        return shape(tuple(x), **params)

    return op(schema, VIEW, infer=infer, dtype=dtype, vjp=dict(x=vjp), linear=["x"], public=False, doc=doc)


@composite(
    "index_back(g: Tensor, *, x_shape: Ints, index: Index) -> Tensor",
    infer=lambda g, *, x_shape, index: x_shape,
    vjp=dict(g=lambda g, index: basic_index_p(g, index=index)),
    linear=["g"],
    public=False,
)
def index_back_p(g: Tensor, *, x_shape: Shape, index: Places) -> Tensor:
    """Zeros with ``g`` where ``index`` points: the gradient of basic indexing."""
    return _scattered(g, x_shape, lambda z: basic_index_p(z, index=index))


basic_index_p: OpFunction[Tensor] = view_op(
    "basic_index(x: Tensor, *, index: Index) -> Tensor",
    lambda x, index: layout.index_shape(x, index),
    lambda g, x_shape, index: index_back_p(g, x_shape=tuple(x_shape), index=index),
    doc="One entry per axis: an int (removes it), a slice, or None (a new axis of size 1).",
)
permute_p: OpFunction[Tensor] = view_op(
    "permute(x: Tensor, *, axes: Ints) -> Tensor",
    lambda x, axes: tuple(x[a] for a in axes),
    lambda g, axes: permute_p(g, axes=inverse_permutation(axes)),
    doc="The axes in another order.",
)
view_p = view_op(
    "view(x: Tensor, *, shape: Ints) -> Tensor",
    lambda x, shape: shape,
    lambda g, x_shape: g.reshape(tuple(x_shape)),
    doc="The same elements in another shape; only where strides allow it without a copy.",
)
expand_p = view_op(
    "expand(x: Tensor, *, shape: Ints) -> Tensor",
    lambda x, shape: layout.expand_shape(x, shape),
    lambda g: g,  # the engine sums over what was broadcast
    doc="Axes of size 1 (and new ones in front) repeated without memory.",
)
as_strided_p = view_op(
    "as_strided(x: Tensor, *, shape: Ints, strides: Ints, offset: int) -> Tensor",
    lambda x, shape, strides, offset: shape,
    lambda g, x_shape, shape, strides, offset: strided_back(g, x_shape, shape, strides, offset),
    doc="Any shape, strides and offset over the storage.",
)
diagonal_p: OpFunction[Tensor] = view_op(
    "diagonal(x: Tensor, *, offset: int, axis1: Axis, axis2: Axis) -> Tensor",
    lambda x, offset, axis1, axis2: layout.diagonal_shape(x, offset, axis1, axis2),
    lambda g, x_shape, offset, axis1, axis2: _scattered(
        g, x_shape, lambda z: diagonal_p(z, offset=offset, axis1=axis1, axis2=axis2)
    ),
    doc="The elements with equal (shifted) indices along two axes, as the last axis.",
)
unfold_p = view_op(
    "unfold(x: Tensor, *, axis: Axis, size: int, step: int) -> Tensor",
    lambda x, axis, size, step: layout.unfold_shape(x, axis, size, step),
    lambda g, x_shape, axis, size, step: unfold_back(g, tuple(x_shape), axis, size, step),
    doc="Windows of ``size`` every ``step`` along an axis, as a new last axis.",
)
view_dtype_p = op(
    "view_dtype(x: Tensor, *, dtype: DType) -> Tensor",
    VIEW,
    dtype=to_param,
    differentiable=False,
    public=False,
    doc="The bits as another dtype; the last axis takes up a change of width.",
)
view_as_real_p = view_op(
    "view_as_real(x: Tensor) -> Tensor",
    lambda x: (*x, 2),
    lambda g: view_as_complex_p(g.contiguous()),
    dtype=DTypeRule("as_real", result="real", accepts=dt.COMPLEXES, promotes=False),
    doc="Complex numbers as a last axis of (real, imaginary).",
)
view_as_complex_p: OpFunction[Tensor] = view_op(
    "view_as_complex(x: Tensor) -> Tensor",
    lambda x: layout.complex_shape(x),
    lambda g: view_as_real_p(g),
    dtype=DTypeRule("as_complex", result="complex", accepts=(dt.float32, dt.float64), promotes=False),
    doc="A last axis of (real, imaginary) as complex numbers.",
)


def inverse_permutation(axes: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes ``axes``."""
    inverse = [0] * len(axes)
    for i, a in enumerate(axes):
        inverse[a] = i
    return tuple(inverse)


def unfold_back(g: Tensor, x_shape: Shape, axis: int, size: int, step: int) -> Tensor:
    """Windows added back where they came from: one strided addition per element of the window."""
    if not x_shape:
        return g.reshape(()) if size else zeros_at(g, ())
    total = zeros_at(g, x_shape)
    count = g.shape[axis]
    for k in range(size):
        where = [slice(None)] * len(x_shape)
        where[axis] = slice(k, k + (count - 1) * step + 1, step)
        total[tuple(where)] += g.select(-1, k)
    return total


def strided_back(g: Tensor, x_shape: Shape, shape: Shape, strides: Shape, offset: int) -> Tensor:
    """The gradient of as_strided on a contiguous input: add each element where it was read."""
    place = numbers(offset, offset + 1, device=g.device)
    for n, s in zip(shape, strides, strict=True):
        place = place.unsqueeze(-1) + numbers(n, device=g.device) * s
    flat = zeros_at(g, (math.prod(x_shape),)).index_add(0, place.reshape(-1), g.reshape(-1))
    return flat.reshape(tuple(x_shape))


arange_p = op("arange(start: Scalar, step: Scalar, *, length: int, dtype: DType, device: Device) -> Tensor", CREATE,
            infer=lambda start, step, *, length, **p: (length,), dtype=to_param, differentiable=False, public=False,
            doc="``start + i * step`` for i from 0 to ``length`` - 1.")  # fmt: skip


# -- writes ------------------------------------------------------------------------------------------
def unwatched(x: Tensor) -> bool:
    """Whether a write to ``x`` concerns nothing but its memory.

    False where autograd, a transform, inference mode or a watcher has a say, or elements share memory.
    """
    key, state = x._key, get()
    if state is None or not state.plain or key.level is not None or x._box is INFERENCE:
        return False
    if x._node is not None and not unrecorded(x, state):
        return False
    flags = getattr(x._array, "flags", None)
    if flags is not None and flags.c_contiguous:
        return True
    found = key.backend.layout(x._array)
    return not layout.has_internal_overlap(found.shape, found.strides)


def written(x: Tensor, source: Any) -> bool:  # an array of the backend
    """Write an array of the shape of ``x``, or of one element, where that is all there is to do; else False."""
    if source.shape != x._array.shape and source.shape != () or not unwatched(x):
        return False
    x._key.backend.copy_into(x._array, source)
    mark_written(x, "copy_")
    return True


@public()
def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    """Write the values of ``src``, broadcast, cast and brought to the device, in place."""
    try:
        key, state = src._key, get()
        own = self._key
        plain = key.level is None and key.device is own.device
        plain = plain and (src._node is None or unrecorded(src, state))  # type: ignore[arg-type]
        apart = src._box is None or src._box is not self._box
        if plain and not apart and key is own and unwatched(self) and _same_place(self, src):  # as x[0] += 1 ends
            mark_written(self, "copy_")
            return self
        if plain and apart and (key is own or not own.truth and own.dtype not in dt.HELD) and written(self, src._array):
            return self
    except AttributeError:  # no tensor, or a thread's first op
        pass
    value: Any = src  # Any: torch takes a number too
    if isinstance(value, (bool, int, float, complex)):
        dt.check_int("copy_: src", value)
        src = from_host(dt.host_scalar(value, self.dtype), self.dtype, self.device)
    return cast(Tensor, in_place(OPS["copy"], (self, src), {}, None))


def _same_place(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors of one storage are the same elements in the same order."""
    layout_of = x._key.backend.layout
    return layout_of(x._array) == layout_of(y._array)


# -- in-place methods --------------------------------------------------------------------------------
@public(function=True, guard="function")
def fill_(self: Tensor, value: Number | Tensor) -> Tensor:
    """Write ``value`` (a number or a 0-d tensor) to every element, in place.

    >>> fb.zeros(2).fill_(7)
    tensor([7., 7.])
    """
    if isinstance(value, Tensor):
        if value.ndim:
            raise ShapeError(f"fill_: the value must be a number or a 0-d tensor, got shape {tuple(value.shape)}")
        _distinct(self).copy_(value)
    elif not filled(self, value):
        low = not self.ndim and self.dtype in dt.LOW_PRECISION
        _distinct(self).copy_(number("fill_", value, self.dtype, self.device, overflow=low))
    return self


def filled(x: Tensor, value: Number) -> bool:
    """Write a number that fits everywhere, where that is all there is to do; else False."""
    key, kind = x._key, type(value)  # a recorder's number is of neither
    if kind is float:
        known = key.exact_floats if value else key.floats  # 0 fits in every dtype
    else:
        known = None if kind is not int else key.exact_ints if value else key.ints
    try:
        return known is not None and written(x, known[value] if value else key.constant(value))
    except NumberError:
        return False


def _distinct(x: Tensor) -> Tensor:
    """``x`` with one element of each that share a place in memory because they were expanded."""
    if x._key.level is not None:
        return x
    found = x._key.backend.layout(x._array)
    if not any(s == 0 and n > 1 for n, s in zip(found.shape, found.strides, strict=True)):
        return x
    once = [slice(0, 1 if s == 0 else n, 1) for n, s in zip(found.shape, found.strides, strict=True)]
    return basic_index_p(x, tuple(once))


@public(function=True, guard="function")
def zero_(self: Tensor) -> Tensor:
    """Write 0 to every element, in place.

    >>> fb.ones(2).zero_()
    tensor([0., 0.])
    """
    return self if isinstance(self, Tensor) and filled(self, 0) else fill_(self, 0)
