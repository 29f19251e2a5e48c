"""Views in torch's signatures: reshape, squeeze, permute and their relatives.

Each is a plain function over the view ops of :mod:`flambeau.core.ops.storage`, so that a backend has
them all through its layout rules. Expanding stands in :mod:`flambeau.core.ops.expand`, views of parts in
:mod:`flambeau.core.ops.views`, what joins or rearranges by copying in :mod:`flambeau.core.ops.joining`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Final, overload

from flambeau.backends import layout
from flambeau.backends.layout import Shape
from flambeau.core import dtype as dt
from flambeau.core.arguments import AXIS, NEW_SHAPE, normal_axes, normal_axis
from flambeau.core.cache import Cache
from flambeau.core.dtype import DType, DTypeLike, as_dtype
from flambeau.core.errors import ShapeError
from flambeau.core.fastpath import view_case
from flambeau.core.graph import disown
from flambeau.core.ops.storage import clone_p, permute_p, view_dtype_p, view_p
from flambeau.core.public import public
from flambeau.core.stored import check_bytes
from flambeau.core.tensor import Tensor


# -- arguments ---------------------------------------------------------------------------------------
def axis_of(name: str, x: Tensor, dim: int, *, extra: int = 0, label: str = "dim") -> int:
    """``dim`` counted from the front; ``extra`` more dimensions than ``x`` has are allowed."""
    try:
        ndim = len(x._array.shape) + extra
        return AXIS[dim, ndim] if dim.__class__ is int else normal_axis(dim, ndim)  # 1.0 and True are 1 to a dict
    except (IndexError, TypeError) as error:
        raise type(error)(
            f"{name}: {str(error).replace('dim=', label + '=').replace('dim must', label + ' must')}"
        ) from None


def sizes_of(name: str, size: Sequence[object], label: str = "size") -> Shape:
    """A tuple of ints from ``f(2, 3)`` or ``f((2, 3))``."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
    try:
        return tuple(map(operator.index, size))  # type: ignore[arg-type]  # TypeError is caught
    except TypeError:
        raise TypeError(f"{name}: {label} must be ints, got {tuple(size)!r}") from None


def tensors_of(tensors: Sequence[Tensor | Sequence[Tensor]]) -> Sequence[Tensor]:
    """The tensors of ``f(a, b)`` or ``f((a, b))``."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        return tensors[0]
    return tensors  # type: ignore[return-value]  # of several, each is one


# -- one shape for another ---------------------------------------------------------------------------
#: Sizes that need no further look: several, none of them negative. A set answers `in` sooner than a Cache.
_WHOLE: Final[set[tuple[int | Sequence[int], ...]]] = set()
#: Sizes with one -1 among them, which arrays with a method of their own fill in.
_OPEN: Final[set[tuple[int | Sequence[int], ...]]] = set()


def _whole(old: Shape, sizes: tuple[int | Sequence[int], ...], shape: Sequence[int] | None) -> Shape:
    """The sizes as they were given, by position, as one sequence or by name, with -1 filled in."""
    if shape is None:
        shape = sizes if len(sizes) != 1 or sizes[0].__class__ is int else sizes[0]  # type: ignore[assignment]
    new = tuple(shape)  # type: ignore[arg-type]  # TypeError is caught
    least = min(new, default=0)
    whole = least >= 0
    if new is sizes and new and (whole or least == -1 and new.count(-1) == 1):
        known = _WHOLE if whole else _OPEN  # none at all may come with a shape by name
        if len(known) > 10_000:
            known.clear()
        known.add(new)
    return new if whole else NEW_SHAPE[old, new]


view_p.op.spelled = lambda shape, old: NEW_SHAPE[old, shape]


@public()
@view_case(  # an array's own method makes a view exactly when it has the same base
    view_p.op,
    "sizes if sizes in _WHOLE or sizes in _OPEN and key.reshape is not None else _whole(a0.shape, sizes, shape)",
    call="key.view(a0, shape=value) if (native := key.reshape) is None else native(a0, value)",
    unless="native is not None and a.base is not a0 and a.base is not a0.base",
)
def reshape(input: Tensor, *sizes: int | Sequence[int], shape: Sequence[int] | None = None) -> Tensor:
    """The same elements in order under another shape: a view where strides allow it, else a copy.

    One size may be -1: it follows from the others. ShapeError when the numbers of elements differ.

    >>> fb.arange(6).reshape(2, -1).shape
    flambeau.Size([2, 3])
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"reshape: argument 'input' must be a tensor, got {type(input).__name__}")
    new = NEW_SHAPE[tuple(input._array.shape), sizes_of("reshape", sizes if shape is None else shape, "shape")]
    try:
        return view_p(input, new)
    except ValueError as error:  # a level does not know the layouts below it
        if not isinstance(error, layout.CopyNeededError) and input._key.level is None and input.is_contiguous():
            raise
    copy: Tensor = view_p(clone_p(input, "C"), new)
    disown(copy)
    return copy


@public(function=False)
@view_case(
    view_p.op,
    "shape if shape in _WHOLE or shape in _OPEN and key.reshape is not None else _whole(a0.shape, shape, None)",
    when="dtype is None and size is None",
)
def view(
    self: Tensor, *shape: int | Sequence[int] | DType, dtype: DTypeLike | None = None,
    size: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
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
            return reshape(self, new)
        raise ShapeError(
            f"view: shape {old} with strides {self.stride()} cannot be viewed as {new} without a copy; "
            "use reshape instead"
        ) from None


def _view_dtype(x: Tensor, dtype: DType) -> Tensor:
    if dtype is x.dtype:
        return view(x, tuple(x._array.shape))
    check_bytes("view", x._key)
    check_bytes("view", x._key.sibling(dtype))
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


@public(guard="function")
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


@public(guard="function")
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


@public(guard="function")
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


# -- at least some dimensions ------------------------------------------------------------------------
def _each(
    raised: Callable[[Tensor], Tensor], tensors: tuple[Tensor | Sequence[Tensor], ...]
) -> Tensor | tuple[Tensor, ...]:
    if len(tensors) == 1 and isinstance(tensors[0], Tensor):
        return raised(tensors[0])
    return tuple([raised(x) for x in tensors_of(tensors)])


@overload
def atleast_1d(tensor: Tensor, /) -> Tensor: ...
@overload
def atleast_1d(tensors: Sequence[Tensor], /) -> tuple[Tensor, ...]: ...
@overload
def atleast_1d(first: Tensor, second: Tensor, /, *more: Tensor) -> tuple[Tensor, ...]: ...
@public(method=False)
def atleast_1d(*tensors: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """0-d tensors as 1-d, others as they are; a tuple for several.

    >>> fb.atleast_1d(fb.tensor(1.0))
    tensor([1.])
    """
    return _each(lambda x: x if x._array.shape else reshape(x, (1,)), tensors)


@overload
def atleast_2d(tensor: Tensor, /) -> Tensor: ...
@overload
def atleast_2d(tensors: Sequence[Tensor], /) -> tuple[Tensor, ...]: ...
@overload
def atleast_2d(first: Tensor, second: Tensor, /, *more: Tensor) -> tuple[Tensor, ...]: ...
@public(method=False)
def atleast_2d(*tensors: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Tensors of fewer dimensions with new ones in front.

    >>> fb.atleast_2d(fb.tensor([1.0, 2.0]))
    tensor([[1., 2.]])
    """
    return _each(lambda x: x if len(x._array.shape) >= 2 else reshape(x, (1, x.numel())), tensors)


@overload
def atleast_3d(tensor: Tensor, /) -> Tensor: ...
@overload
def atleast_3d(tensors: Sequence[Tensor], /) -> tuple[Tensor, ...]: ...
@overload
def atleast_3d(first: Tensor, second: Tensor, /, *more: Tensor) -> tuple[Tensor, ...]: ...
@public(method=False)
def atleast_3d(*tensors: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Tensors of fewer dimensions as (1, n, 1) or (n, m, 1).

    >>> fb.atleast_3d(fb.tensor([1.0, 2.0])).shape
    flambeau.Size([1, 2, 1])
    """

    def raised(x: Tensor) -> Tensor:
        ndim = len(x._array.shape)
        if ndim == 2:
            return unsqueeze(x, 2)
        return x if ndim > 2 else reshape(x, (1, x.numel(), 1))

    return _each(raised, tensors)


_REVERSED: Final = [tuple(range(n - 1, -1, -1)) for n in range(65)]  # more dimensions than any backend has


# -- the order of dimensions -------------------------------------------------------------------------
permute_p.op.spelled = lambda axes, shape: _ORDER[axes, shape]


@public()
@view_case(  # a backend's arrays read the order as this does; negative places are counted for the gradient
    permute_p.op,
    "order[0] if len(order) == 1 and order[0].__class__ is tuple else order",
    when="dims is None",
)
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


@public(aliases=("swapdims",), guard="function")
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


@public(guard="function")
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


@public(property=True, guard="function")
def T(input: Tensor) -> Tensor:
    """All dimensions in reverse order; a view."""
    return permute_p(input, _REVERSED[len(input._array.shape)])


@public(property=True, guard="function")
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
