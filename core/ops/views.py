"""Views of parts of a tensor: narrow, select, split, diagonal, windows, real and imaginary parts."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from flambeau.backends import layout
from flambeau.backends.layout import Shape
from flambeau.core import dtype as dt
from flambeau.core.arguments import bounded
from flambeau.core.autocast import autocasting
from flambeau.core.creation import full_at
from flambeau.core.dtype import Number
from flambeau.core.errors import ArgumentError, DTypeError, ShapeError
from flambeau.core.fastpath import view_case
from flambeau.core.graph import View, edge_of, mark_parts
from flambeau.core.ops import storage
from flambeau.core.ops.shape import axis_of, sizes_of, unsqueeze
from flambeau.core.ops.storage import basic_index_p, clone_p
from flambeau.core.public import public
from flambeau.core.record import OPS
from flambeau.core.tensor import Tensor


def whole(shape: Sequence[int]) -> list[int | slice]:
    """The index that takes everything, to be changed at one axis."""
    return [slice(0, n, 1) for n in shape]


# -- parts -------------------------------------------------------------------------------------------
@public(guard="function")
def narrow(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """``length`` places of dimension ``dim`` from ``start`` on; a view. IndexError or ShapeError where it ends before.

    >>> fb.narrow(fb.arange(5), 0, 1, 3)
    tensor([1, 2, 3])
    """
    axis = axis_of("narrow", input, dim)
    shape = input._array.shape
    if not shape:
        raise ShapeError("narrow: cannot be applied to a 0-d tensor")
    if isinstance(start, Tensor) and (start.ndim or start.dtype.category != dt.INTEGER):
        raise DTypeError(f"narrow: start must be an int or 0-d integer tensor, got {start.dtype} {tuple(start.shape)}")
    size, first, count = shape[axis], operator.index(start), operator.index(length)
    if not -size <= first <= size:
        raise IndexError(f"narrow: start {first} is out of range for dimension {axis} of size {size}")
    first += size if first < 0 else 0
    if count < 0 or first + count > size:
        raise ShapeError(f"narrow: start {first} with length {count} exceeds dimension {axis} of size {size}")
    index = whole(shape)
    index[axis] = slice(first, first + count, 1)
    return basic_index_p(input, tuple(index))


@public(out=True)
def narrow_copy(input: Tensor, dim: int, start: int | Tensor, length: int) -> Tensor:
    """:func:`narrow` as a copy.

    >>> fb.narrow_copy(fb.arange(5), 0, 1, 3)
    tensor([1, 2, 3])
    """
    return clone_p(narrow(input, dim, start, length), "C")


@public(guard="function")
def select(input: Tensor, dim: int, index: int | Tensor) -> Tensor:
    """Place ``index`` of dimension ``dim``, which goes; a view. IndexError where there is none.

    >>> fb.select(fb.tensor([[1.0, 2.0], [3.0, 4.0]]), 0, 1)
    tensor([3., 4.])
    """
    shape = input._array.shape
    if not shape:
        raise IndexError("select: cannot be applied to a 0-d tensor")
    axis = axis_of("select", input, dim)
    size, i = shape[axis], operator.index(index)
    if not -size <= i < size:
        raise IndexError(
            f"select: index {i} is out of range for dimension {axis} of size {size} in shape {tuple(shape)}"
        )
    entries = whole(shape)
    entries[axis] = i + size if i < 0 else i
    return basic_index_p(input, tuple(entries))


@public("slice", method=False)
def _slice(input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    """Places ``start`` to ``end`` (not included) of dimension ``dim``, every ``step``; a view.

    >>> fb.slice(fb.arange(5), 0, 1, 4)
    tensor([1, 2, 3])
    """
    axis = axis_of("slice", input, dim)
    shape = input._array.shape
    if not shape:
        raise IndexError("slice: cannot be applied to a 0-d tensor")
    if step <= 0:
        raise ArgumentError(f"slice: step must be positive, got {step}; use flip for the reverse order")
    index = whole(shape)
    index[axis] = slice(*slice(start, end, step).indices(shape[axis]))
    return basic_index_p(input, tuple(index))


@public()
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Every place of dimension ``dim`` as a tensor without it; views.

    >>> fb.unbind(fb.tensor([[1, 2], [3, 4]]))
    (tensor([1, 2]), tensor([3, 4]))
    """
    if not input._array.shape:
        raise IndexError("unbind: cannot be applied to a 0-d tensor")
    axis = axis_of("unbind", input, dim)
    return mark_parts(tuple([select(input, axis, i) for i in range(input._array.shape[axis])]))


@public(more={"split_size": "split_size_or_sections"})
def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of a size (the last may be smaller), or of the sizes listed, along ``dim``; views.

    With gradients on, a write to one of them raises: :func:`unsafe_split` gives pieces that may be written to.

    >>> [p.tolist() for p in fb.arange(5).split(2)]
    [[0, 1], [2, 3], [4]]
    """
    return mark_parts(unsafe_split(tensor, split_size_or_sections, dim))


@public(more={"split_size": "split_size_or_sections"})
def unsafe_split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """:func:`split`, whose pieces may be written to.

    >>> [p.tolist() for p in fb.unsafe_split(fb.arange(3), 2)]
    [[0, 1], [2]]
    """
    if not tensor._array.shape:
        raise ShapeError("split: expects at least a 1-d tensor")
    axis = axis_of("split", tensor, dim)
    size = tensor._array.shape[axis]
    if isinstance(split_size_or_sections, (tuple, list)):
        return unsafe_split_with_sizes(tensor, split_size_or_sections, dim)
    step = operator.index(split_size_or_sections)  # type: ignore[arg-type]
    if step < 0 or (step == 0 and size > 0):
        raise ShapeError(f"split: split_size must be positive, got {step} for dimension {axis} of size {size}")
    if size == 0:
        return (narrow(tensor, axis, 0, 0),)
    return tuple([narrow(tensor, axis, i, min(step, size - i)) for i in range(0, size, step)])


@public()
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of the sizes listed, which must add up, along ``dim``; views, as those of :func:`split`.

    >>> fb.split_with_sizes(fb.arange(3), [1, 2])
    (tensor([0]), tensor([1, 2]))
    """
    return mark_parts(unsafe_split_with_sizes(input, split_sizes, dim))


@public()
def unsafe_split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """:func:`split_with_sizes`, whose pieces may be written to.

    >>> fb.unsafe_split_with_sizes(fb.arange(3), [1, 2])
    (tensor([0]), tensor([1, 2]))
    """
    axis = axis_of("split_with_sizes", input, dim)
    sizes = sizes_of("split_with_sizes", (tuple(split_sizes),), "split_sizes")
    have = input._array.shape[axis] if input._array.shape else 1
    if any(n < 0 for n in sizes) or sum(sizes) != have:
        raise ShapeError(
            f"split_with_sizes: sizes {sizes} must not be negative and must add up to the size {have} of dim {dim}"
        )
    pieces, start = [], 0
    for n in sizes:
        pieces.append(narrow(input, axis, start, n))
        start += n
    return tuple(pieces)


@public()
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` pieces of equal size (the last may be smaller) along ``dim``; views, like :func:`split`'s.

    >>> fb.chunk(fb.arange(4), 2)
    (tensor([0, 1]), tensor([2, 3]))
    """
    return mark_parts(unsafe_chunk(input, chunks, dim))


@public()
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """:func:`chunk`, whose pieces may be written to.

    >>> fb.unsafe_chunk(fb.arange(4), 2)
    (tensor([0, 1]), tensor([2, 3]))
    """
    if not input._array.shape:
        raise ShapeError("chunk: expects at least a 1-d tensor")
    if chunks <= 0:
        raise ShapeError(f"chunk: chunks must be greater than 0, got {chunks}")
    axis = axis_of("chunk", input, dim)
    size = input._array.shape[axis]
    if size == 0:
        return tuple([narrow(input, axis, 0, 0) for _ in range(chunks)])
    return unsafe_split(input, -(-size // chunks), axis)


@public(more={"sections": "indices_or_sections", "indices": "indices_or_sections"})
def tensor_split(input: Tensor, indices_or_sections: int | Sequence[int] | Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """``n`` pieces of nearly equal size, or pieces that end at the indices listed; views.

    >>> fb.tensor_split(fb.arange(3), 2)
    (tensor([0, 1]), tensor([2]))
    """
    if not input._array.shape:
        raise ShapeError("tensor_split: expects at least a 1-d tensor")
    axis = axis_of("tensor_split", input, dim)
    size = input._array.shape[axis]
    if isinstance(indices_or_sections, Tensor):
        indices_or_sections = indices_or_sections.tolist()
    if isinstance(indices_or_sections, (tuple, list)):
        places = [
            slice(a, b).indices(size)
            for a, b in zip((None, *indices_or_sections), (*indices_or_sections, None), strict=True)
        ]
        return tuple([narrow(input, axis, a, max(b - a, 0)) for a, b, _ in places])
    count = operator.index(indices_or_sections)  # type: ignore[arg-type]
    if count <= 0:
        raise ShapeError(f"tensor_split: the number of sections must be larger than 0, got {count}")
    low, extra = divmod(size, bounded(count, "tensor_split: the number of sections"))
    return unsafe_split_with_sizes(input, [low + (i < extra) for i in range(count)], axis)


def _split_along(
    name: str, input: Tensor, where: int | Sequence[int] | Tensor, dim: int, least: int
) -> tuple[Tensor, ...]:
    shape = tuple(input._array.shape)
    if len(shape) < least:
        raise ShapeError(f"{name}: expects a tensor with at least {least} dimension(s), got shape {shape}")
    if isinstance(where, int) and (where <= 0 or shape[dim] % where):
        raise ShapeError(f"{name}: {where} sections do not divide dimension {dim} of size {shape[dim]} evenly")
    return tensor_split(input, where, dim)


@public()
def hsplit(input: Tensor, indices_or_sections: int | Sequence[int] | Tensor) -> tuple[Tensor, ...]:
    """:func:`tensor_split` along dimension 1 (0 of a 1-d tensor), in equal sections.

    >>> fb.hsplit(fb.arange(4), 2)
    (tensor([0, 1]), tensor([2, 3]))
    """
    return _split_along("hsplit", input, indices_or_sections, 0 if len(input._array.shape) == 1 else 1, 1)


@public()
def vsplit(input: Tensor, indices_or_sections: int | Sequence[int] | Tensor) -> tuple[Tensor, ...]:
    """:func:`tensor_split` along dimension 0, in equal sections.

    >>> [t.shape for t in fb.vsplit(fb.ones(4, 1), 2)]
    [flambeau.Size([2, 1]), flambeau.Size([2, 1])]
    """
    return _split_along("vsplit", input, indices_or_sections, 0, 2)


@public()
def dsplit(input: Tensor, indices_or_sections: int | Sequence[int] | Tensor) -> tuple[Tensor, ...]:
    """:func:`tensor_split` along dimension 2, in equal sections.

    >>> [t.shape for t in fb.dsplit(fb.ones(1, 1, 4), 2)]
    [flambeau.Size([1, 1, 2]), flambeau.Size([1, 1, 2])]
    """
    return _split_along("dsplit", input, indices_or_sections, 2, 3)


# -- a copy with a part written ---------------------------------------------------------------------
def _written(name: str, input: Tensor, src: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
    level = src._key.level
    if level is None or level is input._key.level:
        whole = clone_p(input, "K")
    else:  # which writes to a plain copy cannot reach
        whole = full_at(src, tuple(input._array.shape), 0, input.dtype).copy_(input)
    where = part(whole)
    if where._array.shape != src._array.shape:
        raise ShapeError(
            f"{name}: src of shape {tuple(src.shape)} must have the shape {tuple(where.shape)} of the part it replaces"
        )
    where.copy_(src)
    return whole


@public()
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of ``input`` with ``src`` at place ``index`` of dimension ``dim``.

    >>> fb.select_scatter(fb.zeros(2, 2), fb.ones(2), 0, 1)
    tensor([[0., 0.],
            [1., 1.]])
    """
    return _written("select_scatter", input, src, lambda x: select(x, dim, index))


@public(out=True)
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy of ``input`` with ``src`` at the places that :func:`slice` takes.

    >>> fb.slice_scatter(fb.zeros(4), fb.ones(2), 0, 1, 3)
    tensor([0., 1., 1., 0.])
    """
    return _written("slice_scatter", input, src, lambda x: _slice(x, dim, start, end, step))


@public()
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of ``input`` with ``src`` on a diagonal.

    >>> fb.diagonal_scatter(fb.zeros(2, 2), fb.ones(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    return _written("diagonal_scatter", input, src, lambda x: diagonal(x, offset, dim1, dim2))


@public()
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A copy of ``input`` with ``src`` at the places that :func:`as_strided` takes.

    >>> fb.as_strided_scatter(fb.zeros(4), fb.ones(2), (2,), (2,))
    tensor([1., 0., 1., 0.])
    """
    return _written("as_strided_scatter", input, src, lambda x: as_strided(x, size, stride, storage_offset))


@public()
def fill_diagonal_(self: Tensor, fill_value: float, wrap: bool = False) -> Tensor:
    """Write a number to the main diagonal, in place; ``wrap`` starts it again below in a tall matrix.

    >>> fb.zeros(2, 2).fill_diagonal_(1)
    tensor([[1., 0.],
            [0., 1.]])
    """
    shape = tuple(self._array.shape)
    if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
        raise ShapeError(f"fill_diagonal_: expects a matrix, or equal sizes in more dimensions, got shape {shape}")
    count, rest = min(shape), shape[1] + 1
    places = as_strided(self, (count,), (sum(self.stride()),))
    places.fill_(fill_value)
    if wrap and len(shape) == 2 and shape[0] > rest:
        for start in range(rest, shape[0], rest):
            diagonal(narrow(self, 0, start, min(rest - 1, shape[0] - start))).fill_(fill_value)
    return self


# -- diagonals, windows, any strides -----------------------------------------------------------------
@public()
@view_case(
    OPS["diagonal"],
    "{'offset': offset, 'axis1': AXIS[dim1, a0.ndim], 'axis2': AXIS[dim2, a0.ndim]}",
    when="offset.__class__ is int and dim1.__class__ is int and dim2.__class__ is int",
    call="key.diagonal(a0, **value)",
)
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The elements whose places along ``dim1`` and ``dim2`` differ by ``offset``, as a new last dimension; a view.

    >>> fb.arange(9).reshape(3, 3).diagonal(1)
    tensor([1, 5])
    """
    a, b = axis_of("diagonal", input, dim1, label="dim1"), axis_of("diagonal", input, dim2, label="dim2")
    if a == b or len(input._array.shape) < 2:
        raise ShapeError(
            f"diagonal: dim1={dim1} and dim2={dim2} must be two different dimensions of shape {tuple(input.shape)}"
        )
    return storage.diagonal_p(input, operator.index(offset), a, b)


@public(function=False)
@view_case(
    OPS["unfold"],
    "{'axis': AXIS[dimension, a0.ndim], 'size': size, 'step': step}",
    when="dimension.__class__ is int and size.__class__ is int and step.__class__ is int and self._array.shape",
    call="key.unfold(a0, **value)",
)
def unfold(self: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """Windows of ``size`` every ``step`` along ``dimension``, each in a new last dimension; a view.

    >>> fb.arange(5).unfold(0, 3, 2)
    tensor([[0, 1, 2],
            [2, 3, 4]])
    """
    axis = axis_of("unfold", self, dimension, label="dimension")
    length = self._array.shape[axis] if self._array.shape else 1
    if not 0 <= size <= length:
        raise ShapeError(f"unfold: size {size} must be between 0 and the size {length} of dimension {dimension}")
    if step <= 0:
        raise ShapeError(f"unfold: step must be greater than 0, got {step}")
    if not self._array.shape:
        return narrow(unsqueeze(self, 0), 0, 0, size)
    return storage.unfold_p(self, axis, size, step)


def _in_numbers_of(x: Tensor, source: Tensor) -> Tensor:
    """``source``, whose elements lie in their order, as the real or complex numbers that its view ``x`` consists of."""
    have, want = source._key.dtype, x._key.dtype
    if have is want:
        return source
    if have.category == dt.COMPLEX:
        return view_as_real(source)
    flat = source.reshape(-1)
    return view_as_complex(narrow(flat, 0, 0, flat.numel() // 2 * 2).reshape(-1, 2))


def _storage_of(x: Tensor) -> tuple[Tensor, int]:
    """A tensor with the elements of the storage in their order, and where it starts: the gradient counts in them."""
    if x._key.level is not None or edge_of(x) is None:
        return x, 0
    link = x._node
    source = link.base if isinstance(link, View) else x
    strides = source.stride()
    order = sorted(range(source.ndim), key=lambda i: -strides[i])
    if order != list(range(source.ndim)):
        source = source.permute(order)
    source = _in_numbers_of(x, source)
    start = source.storage_offset()
    return (source.clone(), start) if start else (source, 0)


def _strided(size: Shape, stride: Shape, offset: int | None) -> dict[str, Shape | int]:
    """The params of as_strided; ShapeError for what the function says more of."""
    if min(size, default=0) < 0 or min(stride, default=0) < 0:
        raise ShapeError("as_strided: size and stride must not be negative")
    return {"shape": size, "strides": stride, "offset": 0 if offset is None else offset}


@public()
@view_case(  # of an array that has all of its storage, and no gradient
    OPS["as_strided"],
    "_strided(size, stride, storage_offset)",
    when="size.__class__ is tuple and stride.__class__ is tuple and input._node is None "
    "and input._array.base is None and (storage_offset is None or storage_offset.__class__ is int)",
    call="key.as_strided(a0, **value)",
)
def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """A view of the storage under any shape, strides and offset, all counted in elements; ShapeError outside of it.

    >>> fb.as_strided(fb.arange(6), (2, 2), (3, 1))
    tensor([[0, 1],
            [3, 4]])
    """
    shape, strides = sizes_of("as_strided", (tuple(size),)), sizes_of("as_strided", (tuple(stride),), "stride")
    if len(shape) != len(strides):
        raise ShapeError(f"as_strided: size {shape} and stride {strides} must have the same length")
    if any(n < 0 for n in (*shape, *strides)):
        raise ShapeError(f"as_strided: size {shape} and stride {strides} must not be negative")
    if storage_offset is not None:
        offset = operator.index(storage_offset)
    else:
        offset = input.storage_offset() if input._key.level is None else 0
    source, start = _storage_of(input)
    try:
        return storage.as_strided_p(source, shape, strides, offset - start)
    except ValueError as error:
        raise ShapeError(
            f"as_strided: size {shape}, stride {strides}, storage_offset {offset} leave the storage: {error}"
        ) from None


# -- complex numbers ---------------------------------------------------------------------------------
@public()
@view_case(OPS["view_as_real"], "{}", when="key.dtype.category == dt.COMPLEX", call="key.view_as_real(a0)")
def view_as_real(input: Tensor) -> Tensor:
    """A complex tensor of shape (...) as real pairs (real, imaginary) of shape (..., 2); a view.

    >>> fb.view_as_real(fb.tensor([1 + 2j]))
    tensor([[1., 2.]])
    """
    if input._key.dtype.category != dt.COMPLEX:
        raise DTypeError(f"view_as_real: expects a complex tensor, got {input.dtype}")
    return storage.view_as_real_p(input)


@public()
@view_case(  # of pairs that surely stand at even places
    OPS["view_as_complex"],
    "{}",
    when="input._array.base is None and input._array.flags.c_contiguous and input._array.shape[-1] == 2 "
    "and (key.dtype is dt.float32 or key.dtype is dt.float64)",
    call="key.view_as_complex(a0)",
)
@autocasting("float32|same")
def view_as_complex(input: Tensor) -> Tensor:
    """Pairs (real, imaginary) of shape (..., 2) as complex numbers of shape (...); a view.

    >>> fb.view_as_complex(fb.tensor([[1.0, 2.0]]))
    tensor([1.+2.j])
    """
    if input._key.dtype not in (dt.float32, dt.float64):
        raise DTypeError(f"view_as_complex: expects a float32 or float64 tensor, got {input.dtype}")
    if tuple(input._array.shape[-1:]) != (2,):
        raise ShapeError(f"view_as_complex: the last dimension must have size 2, got shape {tuple(input.shape)}")
    try:
        if input._key.level is None:  # numpy could, at places where other devices cannot
            layout.view_as_complex(*input._key.backend.layout(input._array))
        return storage.view_as_complex_p(input)
    except ValueError as error:
        raise ShapeError(str(error)) from None


@public(setter=lambda self, value: _write_part(self, 0, value))
def real(input: Tensor) -> Tensor:
    """The real part, a view; a real tensor as it is.

    >>> fb.real(fb.tensor([1 + 2j]))
    tensor([1.])
    """
    return select(view_as_real(input), -1, 0) if input._key.dtype.category == dt.COMPLEX else input


@public(setter=lambda self, value: _write_part(self, 1, value))
def imag(input: Tensor) -> Tensor:
    """The imaginary part of a complex tensor; a view.

    >>> fb.imag(fb.tensor([1 + 2j]))
    tensor([2.])
    """
    if input._key.dtype.category != dt.COMPLEX:
        raise DTypeError(f"imag: expects a complex tensor, got {input.dtype}, which has no imaginary part")
    return select(view_as_real(input), -1, 1)


def _write_part(self: Tensor, place: int, value: Tensor | Number) -> None:
    part = select(view_as_real(self), -1, place)
    part.copy_(value if isinstance(value, Tensor) else part.new_full((), value))
