"""Views in torch's signatures: reshape, expand, permute and their relatives.

Each is a plain function over the view ops of :mod:`flambeau.core.ops.storage`, so that a backend has
them all through its layout rules. Views of parts stand in :mod:`flambeau.core.ops.views`, what joins or
rearranges by copying in :mod:`flambeau.core.ops.joining`, conversions of dtype and device in
:mod:`flambeau.core.ops.convert`.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Final

from flambeau.backends import layout
from flambeau.backends.layout import Shape
from flambeau.core import dtype as dt
from flambeau.core.arguments import AXIS, NEW_SHAPE, normal_axes, normal_axis
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType, DTypeLike, as_dtype
from flambeau.core.errors import ShapeError
from flambeau.core.graph import Box, View
from flambeau.core.ops.storage import clone_p, expand_p, permute_p, view_dtype_p, view_p
from flambeau.core.public import public
from flambeau.core.record import OPS
from flambeau.core.size import Size
from flambeau.core.state import get
from flambeau.core.tensor import Tensor

_VIEW: Final = OPS["view"]


# -- arguments ---------------------------------------------------------------------------------------
def axis_of(name: str, x: Tensor, dim: int, *, extra: int = 0, label: str = "dim") -> int:
    """``dim`` counted from the front; ``extra`` more dimensions than ``x`` has are allowed."""
    try:
        return AXIS[dim, len(x._array.shape) + extra]
    except (IndexError, TypeError) as error:
        raise type(error)(
            f"{name}: {str(error).replace('dim=', label + '=').replace('dim must', label + ' must')}"
        ) from None


def sizes_of(name: str, size: Sequence[object], label: str = "size") -> Shape:
    """A tuple of ints from ``f(2, 3)`` or ``f((2, 3))``."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    try:
        return tuple(operator.index(n) for n in size)  # type: ignore[arg-type]  # TypeError is caught
    except TypeError:
        raise TypeError(f"{name}: {label} must be ints, got {tuple(size)!r}") from None


def tensors_of(tensors: Sequence[Tensor | Sequence[Tensor]]) -> Sequence[Tensor]:
    """The tensors of ``f(a, b)`` or ``f((a, b))``."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        return tensors[0]
    return tensors  # type: ignore[return-value]  # of several, each is one


# -- one shape for another ---------------------------------------------------------------------------
@public()
def reshape(input: Tensor, *sizes: int | Sequence[int], shape: Sequence[int] | None = None) -> Tensor:
    """The same elements in order under another shape: a view where strides allow it, else a copy.

    One size may be -1: it follows from the others. ShapeError when the numbers of elements differ.

    >>> fb.arange(6).reshape(2, -1).shape
    flambeau.Size([2, 3])
    """
    try:
        key = input._key
        state = get()
        if state.plain and key.level is None:  # type: ignore[union-attr]
            a = input._array
            if sizes not in _WHOLE:
                sizes = _whole(a.shape, sizes, shape)
            native = key.reshape
            if native is None:
                r = key.view(a, shape=sizes)
            else:  # an array's own method: a view exactly when it has the same base
                r = native(a, sizes)
                if r.base is not a and r.base is not a.base:
                    return _reshape(input, sizes)
            link = input._node
            box = input._box
            if box is None:
                box = input._box = Box()
            v = View()  # make_view, written out
            v.node = None
            if link is None:
                v.generation = box.generation
                v.made = (input, None, _VIEW, sizes, box, a, r, key, state.grad)  # type: ignore[union-attr]
            else:
                base, parent = (link.made[0], link) if link.__class__ is View else (input, None)
                v.generation = -1
                v.made = (base, parent, _VIEW, sizes, box, a, r, key, state.grad)  # type: ignore[union-attr]
            out = Tensor()
            out._array = r
            out._key = key
            out._box = box
            out._node = v
            return out
    except Exception:  # the uniform path finds out what is wrong
        pass
    return _reshape(input, sizes if shape is None else shape)


#: Sizes that need no further look: several, none of them negative. A set answers `in` sooner than a Cache.
_WHOLE: Final[set[tuple[int | Sequence[int], ...]]] = set()


def _whole(old: Shape, sizes: tuple[Any, ...], shape: Sequence[int] | None) -> Shape:
    """The sizes as they were given, by position, as one sequence or by name, with -1 filled in."""
    if shape is None:
        shape = sizes if len(sizes) != 1 or sizes[0].__class__ is int else sizes[0]
    shape = tuple(shape)
    if min(shape, default=0) < 0:
        shape = NEW_SHAPE[old, shape]
    elif shape is sizes and shape:  # none at all may come with a shape by name
        if len(_WHOLE) > 10_000:
            _WHOLE.clear()
        _WHOLE.add(shape)
    found: Shape = shape
    return found


def _reshape(input: Tensor, shape: Sequence[int | Sequence[int]]) -> Tensor:
    if not isinstance(input, Tensor):
        raise TypeError(f"reshape: argument 'input' must be a tensor, got {type(input).__name__}")
    new = NEW_SHAPE[tuple(input._array.shape), sizes_of("reshape", shape, "shape")]
    try:
        return view_p(input, new)
    except ValueError as error:  # a level does not know the layouts below it
        if not isinstance(error, layout.CopyNeededError) and input._key.level is None and input.is_contiguous():
            raise
    return view_p(clone_p(input, "C"), new)


@public(function=False)
def view(
    self: Tensor,
    *shape: int | Sequence[int] | DType,
    dtype: DTypeLike | None = None,
    size: Sequence[int] | None = None,
) -> Tensor:
    """The same memory under another shape, or as another dtype: ``x.view(2, -1)``, ``x.view(flambeau.int32)``.

    ShapeError where it would need a copy; :func:`reshape` makes one.

    >>> fb.arange(4).view(2, 2)
    tensor([[0, 1],
            [2, 3]])
    """
    if dtype is None and len(shape) == 1 and isinstance(shape[0], DType):
        dtype = shape[0]
    if dtype is not None:
        return _view_dtype(self, as_dtype(dtype))
    old = tuple(self._array.shape)
    try:
        new = NEW_SHAPE[old, sizes_of("view", shape if size is None else (tuple(size),))]
    except ShapeError as error:
        raise ShapeError(str(error).replace("reshape: ", "view: ", 1)) from None
    try:
        return view_p(self, new)
    except ValueError:
        if self._key.level is not None:  # the elements of a batch may lie apart where one alone would not
            return _reshape(self, new)
        raise ShapeError(
            f"view: shape {old} with strides {self.stride()} cannot be viewed as {new} without a copy; "
            "use reshape instead"
        ) from None


def _view_dtype(x: Tensor, dtype: DType) -> Tensor:
    if dtype is x.dtype:
        return view(x, tuple(x._array.shape))
    try:
        return view_dtype_p(x, dtype)
    except ValueError as error:
        raise ShapeError(
            f"view: a {x.dtype.name} tensor of shape {tuple(x.shape)} cannot be seen as {dtype.name}: {error}"
        ) from None


@public(function=False)
def view_as(self: Tensor, other: Tensor) -> Tensor:
    """``self.view(other.shape)``.

    >>> fb.arange(4).view_as(fb.ones(2, 2)).shape
    flambeau.Size([2, 2])
    """
    return view(self, tuple(other._array.shape))


@public(function=False)
def reshape_as(self: Tensor, other: Tensor) -> Tensor:
    """``self.reshape(other.shape)``.

    >>> fb.arange(4).reshape_as(fb.ones(2, 2))
    tensor([[0, 1],
            [2, 3]])
    """
    return reshape(self, tuple(other._array.shape))


@public()
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Dimensions ``start_dim`` to ``end_dim`` as one; a 0-d tensor becomes 1-d.

    >>> fb.zeros(2, 3, 4).flatten(1).shape
    flambeau.Size([2, 12])
    """
    shape = tuple(input._array.shape)
    first = axis_of("flatten", input, start_dim, label="start_dim")
    last = axis_of("flatten", input, end_dim, label="end_dim")
    if first > last:
        raise ShapeError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim} in shape {shape}")
    if not shape:
        return reshape(input, (1,))
    size = 1
    for n in shape[first : last + 1]:
        size *= n
    return reshape(input, (*shape[:first], size, *shape[last + 1 :]))


@public()
def ravel(input: Tensor) -> Tensor:
    """All elements in row-major order, 1-d; a copy only where needed.

    >>> fb.ravel(fb.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 2., 3., 4.])
    """
    return reshape(input, (input.numel(),))


@public()
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """Dimension ``dim`` as several of ``sizes``, one of which may be -1.

    >>> fb.unflatten(fb.arange(4), 0, (2, 2)).shape
    flambeau.Size([2, 2])
    """
    axis = axis_of("unflatten", input, dim)
    shape = tuple(input._array.shape)
    wanted = sizes_of("unflatten", (tuple(sizes),), "sizes")
    if not shape:
        raise IndexError("unflatten: a 0-d tensor has no dimension to unflatten")
    try:
        parts = NEW_SHAPE[(shape[axis],), wanted]
    except ShapeError:
        raise ShapeError(
            f"unflatten: sizes {wanted} do not multiply to the size {shape[axis]} of dim {dim} in shape {shape}"
        ) from None
    return reshape(input, (*shape[:axis], *parts, *shape[axis + 1 :]))


@public()
def squeeze(
    input: Tensor, dim: int | Sequence[int] | None = None, *, axis: int | Sequence[int] | None = None
) -> Tensor:
    """Without the dimensions of size 1: all of them, or those of ``dim`` that have size 1; a view.

    >>> fb.squeeze(fb.ones(1, 3, 1)).shape
    flambeau.Size([3])
    """
    shape = tuple(input._array.shape)
    dim = dim if axis is None else axis
    if dim is None:
        return view_p(input, tuple([n for n in shape if n != 1]))
    gone = [axis_of("squeeze", input, d) for d in (dim if isinstance(dim, (tuple, list)) else (dim,))]
    return view_p(input, tuple([n for i, n in enumerate(shape) if n != 1 or i not in gone]))


@public()
def unsqueeze(input: Tensor, dim: int | None = None, *, axis: int | None = None) -> Tensor:
    """With a new dimension of size 1 at ``dim``; a view.

    >>> fb.unsqueeze(fb.ones(3), 0).shape
    flambeau.Size([1, 3])
    """
    shape = input._array.shape
    try:
        place = AXIS[dim if axis is None else axis, len(shape) + 1]
    except (IndexError, TypeError):
        place = axis_of("unsqueeze", input, dim if axis is None else axis, extra=1)  # type: ignore[arg-type]  # raises
    return view_p(input, (*shape[:place], 1, *shape[place:]))


# -- repetition without memory -----------------------------------------------------------------------
@public(function=False)
def expand(self: Tensor, *sizes: int | Sequence[int], size: Sequence[int] | None = None) -> Tensor:
    """Dimensions of size 1, and new ones in front, repeated without memory; -1 keeps a size. A view.

    >>> fb.tensor([[1], [2]]).expand(-1, 2)
    tensor([[1, 1],
            [2, 2]])
    """
    return _expand("expand", self, sizes_of("expand", sizes if size is None else (tuple(size),), "sizes"))


def _expand(name: str, x: Tensor, sizes: Shape) -> Tensor:
    return expand_p(x, _EXPANDED[name, tuple(x._array.shape), sizes])


def _expanded_shape(name: str, old: Shape, sizes: Shape) -> Shape:
    front = len(sizes) - len(old)
    if front < 0:
        raise ShapeError(f"{name}: {len(sizes)} sizes {sizes} are too few for a tensor of shape {old}")
    new = list(sizes)
    for i, n in enumerate(sizes):
        have = old[i - front] if i >= front else None
        if n == -1:
            if have is None:
                raise ShapeError(f"{name}: size -1 at dimension {i} of {sizes} has no size to keep in shape {old}")
            new[i] = have
        elif n < 0:
            raise ShapeError(f"{name}: sizes must not be negative, got {sizes}")
        elif have is not None and have not in (1, n):
            raise ShapeError(
                f"{name}: shape {old} does not expand to {sizes}: dimension {i - front} has size {have}, not 1 or {n}"
            )
    return tuple(new)


_EXPANDED: Final[Cache[tuple[str, Shape, Shape], Shape]] = Cache(lambda key: _expanded_shape(*key))


@public(function=False)
def expand_as(self: Tensor, other: Tensor) -> Tensor:
    """``self.expand(other.shape)``.

    >>> fb.ones(1).expand_as(fb.zeros(2))
    tensor([1., 1.])
    """
    return _expand("expand_as", self, tuple(other._array.shape))


@public(more={"shape": "size"})
def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """``input`` expanded to ``size``.

    >>> fb.broadcast_to(fb.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]])
    """
    return _expand("broadcast_to", input, sizes_of("broadcast_to", (tuple(size),)))


@public(method=False)
def broadcast_shapes(*shapes: int | Sequence[int]) -> Size:
    """The shape that tensors of ``shapes`` broadcast to; ShapeError when they do not.

    >>> fb.broadcast_shapes((2, 1), (3,))
    flambeau.Size([2, 3])
    """
    try:
        return Size(layout.broadcast_shapes(*(tuple(s) if isinstance(s, (tuple, list)) else (s,) for s in shapes)))
    except ValueError as error:
        raise ShapeError(f"broadcast_shapes: {error}") from None


@public(method=False)
def broadcast_tensors(*tensors: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """All tensors expanded to their common shape.

    >>> [t.shape for t in fb.broadcast_tensors(fb.ones(2, 1), fb.ones(3))]
    [flambeau.Size([2, 3]), flambeau.Size([2, 3])]
    """
    items = tensors_of(tensors)
    try:
        shape = layout.broadcast_shapes(*(tuple(t._array.shape) for t in items))
    except ValueError as error:
        raise ShapeError(f"broadcast_tensors: {error}") from None
    return tuple(_expand("broadcast_tensors", t, shape) for t in items)


@public(function=False)
def sum_to_size(self: Tensor, *size: int | Sequence[int]) -> Tensor:
    """The sums over what broadcasting ``size`` to the shape of the tensor repeated: the reverse of expand.

    >>> fb.ones(3, 2).sum_to_size(1, 2)
    tensor([[3., 3.]])
    """
    new = sizes_of("sum_to_size", size)
    old = tuple(self._array.shape)
    front = len(old) - len(new)
    if front < 0 or any(n not in (1, have) for n, have in zip(new, old[front:], strict=True)):
        raise ShapeError(f"sum_to_size: size {new} does not expand to the shape {old} of the tensor")
    axes = tuple(i for i, n in enumerate(old) if i < front or n != new[i - front])
    return reshape(self.sum(axes, keepdim=True), new) if axes else self


_REVERSED: Final = [tuple(range(n - 1, -1, -1)) for n in range(65)]  # more dimensions than any backend has


# -- the order of dimensions -------------------------------------------------------------------------
@public()
def permute(input: Tensor, *order: int | Sequence[int], dims: Sequence[int] | None = None) -> Tensor:
    """The dimensions in the order ``dims``; a view.

    >>> fb.zeros(2, 3, 4).permute(2, 0, 1).shape
    flambeau.Size([4, 2, 3])
    """
    order = sizes_of("permute", order if dims is None else (tuple(dims),), "dims")
    return permute_p(input, _ORDER[order, input._array.shape])


def _ordered(order: Shape, shape: Shape) -> Shape:
    """Each dimension once, counted from the front."""
    if len(order) != len(shape):
        raise ShapeError(f"permute: dims {order} must name each of the {len(shape)} dimension(s) of shape {shape} once")
    try:
        axes = tuple([normal_axis(d, len(shape)) for d in order])
    except IndexError as error:
        raise IndexError(f"permute: {error}") from None
    if len(set(axes)) != len(axes):
        raise ShapeError(f"permute: dims {order} name a dimension of shape {shape} twice")
    return axes


_ORDER: Final[Cache[tuple[Shape, Shape], Shape]] = Cache(lambda key: _ordered(*key))


@public(aliases=("swapdims",))
@public("swapaxes", more={"axis0": "dim0", "axis1": "dim1"})
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """With dimensions ``dim0`` and ``dim1`` exchanged; a view.

    >>> fb.swapaxes(fb.ones(2, 3), 0, 1).shape
    flambeau.Size([3, 2])
    """
    try:
        axes = _EXCHANGED[dim0, dim1, len(input._array.shape)]
    except (IndexError, TypeError):
        axis_of("transpose", input, dim0, label="dim0")
        axis_of("transpose", input, dim1, label="dim1")
        raise
    return permute_p(input, axes)


def _exchanged(dim0: int, dim1: int, ndim: int) -> Shape:
    a, b = normal_axis(dim0, ndim), normal_axis(dim1, ndim)
    axes = list(range(ndim))
    if axes:
        axes[a], axes[b] = b, a
    return tuple(axes)


_EXCHANGED: Final[Cache[tuple[int, int, int], Shape]] = Cache(lambda key: _exchanged(*key))


@public(aliases=("moveaxis",))
def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Dimensions ``source`` at the places ``destination``, the others in order; a view.

    >>> fb.moveaxis(fb.ones(2, 3, 4), 0, -1).shape
    flambeau.Size([3, 4, 2])
    """
    ndim = len(input._array.shape)
    start = normal_axes(source, ndim, "source") or ()
    end = normal_axes(destination, ndim, "destination") or ()
    if len(start) != len(end):
        raise ShapeError(
            f"movedim: source {source} and destination {destination} must have the same number of dimensions"
        )
    rest = iter([a for a in range(ndim) if a not in start])
    placed = dict(zip(end, start, strict=True))
    return permute_p(input, tuple([placed[i] if i in placed else next(rest) for i in range(ndim)]))


@public()
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; tensors of fewer dimensions as they are.

    >>> fb.t(fb.ones(2, 3)).shape
    flambeau.Size([3, 2])
    """
    ndim = len(input._array.shape)
    if ndim > 2:
        raise ShapeError(
            f"t: expects a tensor with at most 2 dimensions, got shape {tuple(input.shape)}; use mT or transpose"
        )
    return permute_p(input, (1, 0) if ndim == 2 else tuple(range(ndim)))


@public(method=False)
def matrix_transpose(input: Tensor) -> Tensor:
    """With the last two dimensions exchanged (the property ``mT``); a view.

    >>> fb.matrix_transpose(fb.ones(2, 3)).shape
    flambeau.Size([3, 2])
    """
    ndim = len(input._array.shape)
    if ndim < 2:
        raise ShapeError(f"mT: expects a tensor with at least 2 dimensions, got shape {tuple(input.shape)}")
    return permute_p(input, _EXCHANGED[-2, -1, ndim])


@public()
def adjoint(input: Tensor) -> Tensor:
    """The conjugate of the transposed matrices in the last two dimensions.

    >>> fb.adjoint(fb.tensor([[1.0, 2.0]])).shape
    flambeau.Size([2, 1])
    """
    turned = matrix_transpose(input)
    return turned.conj() if turned._key.dtype.category == dt.COMPLEX else turned


@public(property=True)
def T(input: Tensor) -> Tensor:
    """All dimensions in reverse order; a view."""
    return permute_p(input, _REVERSED[len(input._array.shape)])


@public(property=True)
def mT(input: Tensor) -> Tensor:
    """With the last two dimensions exchanged; a view."""
    return matrix_transpose(input)


@public(property=True)
def mH(input: Tensor) -> Tensor:
    """The conjugate transpose of the matrices in the last two dimensions."""
    return adjoint(input)


@public(property=True)
def H(input: Tensor) -> Tensor:
    """The conjugate transpose of a matrix (or of a 0-d tensor)."""
    if len(input._array.shape) not in (0, 2):
        raise ShapeError(f"H: expects a matrix or a 0-d tensor, got shape {tuple(input.shape)}; use mH for batches")
    return adjoint(input) if input._array.shape else input.conj()
