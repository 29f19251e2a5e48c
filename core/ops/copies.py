"""The views of a tensor as copies: ``..._copy``, and what undoes a slice."""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.core.dtype import DType
from flambeau.core.ops import shape, storage, views
from flambeau.core.ops.shape import axis_of
from flambeau.core.ops.storage import clone_p
from flambeau.core.ops.views import as_strided
from flambeau.core.public import public
from flambeau.core.tensor import Tensor


def _copied(x: Tensor) -> Tensor:
    return clone_p(x, "C")


def _all_copied(parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple([_copied(p) for p in parts])


# -- of the whole --------------------------------------------------------------------------------------
@public(method=False, out=True)
def alias_copy(input: Tensor) -> Tensor:
    """A copy.

    >>> fb.alias_copy(fb.tensor([1, 2]))
    tensor([1, 2])
    """
    return _copied(input)


@public(method=False, out=True)
def detach_copy(input: Tensor) -> Tensor:
    """A copy without gradients.

    >>> fb.detach_copy(fb.tensor([1, 2]))
    tensor([1, 2])
    """
    return _copied(input.detach())


@public(method=False, out=True)
def as_strided_copy(
    input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """:func:`as_strided` as a copy.

    >>> fb.as_strided_copy(fb.tensor([1, 2, 3]), (2, 2), (1, 1))
    tensor([[1, 2],
            [2, 3]])
    """
    return _copied(as_strided(input, size, stride, storage_offset))


@public(method=False, out=True)
def view_copy(input: Tensor, size: Sequence[int] | DType) -> Tensor:
    """:func:`view` as a copy: in another shape, or of the bits in another dtype.

    >>> fb.view_copy(fb.tensor([1, 2, 3, 4]), (2, 2))
    tensor([[1, 2],
            [3, 4]])
    """
    return _copied(input.view(size if isinstance(size, DType) else tuple(size)))


@public(method=False, out=True)
def expand_copy(input: Tensor, size: Sequence[int], *, implicit: bool = False) -> Tensor:
    """:func:`expand` as a copy.

    >>> fb.expand_copy(fb.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]])
    """
    return _copied(input.expand(tuple(size)))


@public(method=False, out=True)
def view_as_complex_copy(input: Tensor) -> Tensor:
    """:func:`view_as_complex` as a copy.

    >>> fb.view_as_complex_copy(fb.tensor([1.0, 2.0]))
    tensor(1.+2.j)
    """
    return _copied(views.view_as_complex(input))


@public(method=False, out=True)
def view_as_real_copy(input: Tensor) -> Tensor:
    """:func:`view_as_real` as a copy.

    >>> fb.view_as_real_copy(fb.tensor(1.0 + 2.0j))
    tensor([1., 2.])
    """
    return _copied(views.view_as_real(input))


# -- with other axes -----------------------------------------------------------------------------------
@public(method=False, out=True)
def permute_copy(input: Tensor, dims: Sequence[int]) -> Tensor:
    """:func:`permute` as a copy.

    >>> fb.permute_copy(fb.tensor([[1, 2]]), (1, 0))
    tensor([[1],
            [2]])
    """
    return _copied(input.permute(tuple(dims)))


@public(method=False, out=True)
def transpose_copy(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """:func:`transpose` as a copy.

    >>> fb.transpose_copy(fb.tensor([[1, 2]]), 0, 1)
    tensor([[1],
            [2]])
    """
    return _copied(input.transpose(dim0, dim1))


@public(method=False, out=True)
def t_copy(input: Tensor) -> Tensor:
    """:func:`t` as a copy.

    >>> fb.t_copy(fb.tensor([[1, 2]]))
    tensor([[1],
            [2]])
    """
    return _copied(input.t())


@public(method=False, out=True)
def squeeze_copy(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """:func:`squeeze` as a copy.

    >>> fb.squeeze_copy(fb.tensor([[1, 2]]))
    tensor([1, 2])
    """
    return _copied(input.squeeze() if dim is None else input.squeeze(dim))


@public(method=False, out=True)
def unsqueeze_copy(input: Tensor, dim: int) -> Tensor:
    """:func:`unsqueeze` as a copy.

    >>> fb.unsqueeze_copy(fb.tensor([1, 2]), 0)
    tensor([[1, 2]])
    """
    return _copied(shape.unsqueeze(input, dim))


# -- of parts ------------------------------------------------------------------------------------------
@public(method=False, out=True)
def diagonal_copy(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """:func:`diagonal` as a copy.

    >>> fb.diagonal_copy(fb.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    return _copied(views.diagonal(input, offset, dim1, dim2))


@public(method=False, out=True)
def select_copy(input: Tensor, dim: int, index: int) -> Tensor:
    """:func:`select` as a copy.

    >>> fb.select_copy(fb.tensor([[1, 2], [3, 4]]), 0, 1)
    tensor([3, 4])
    """
    return _copied(views.select(input, dim, index))


def _places(name: str, input: Tensor, dim: int, start: int | None, end: int | None, step: int) -> tuple[int, slice]:
    """The axis, and the places that count: beyond the ends there are none."""
    axis = axis_of(name, input, dim)
    if step < 1:
        raise ValueError(f"{name}: step must be positive, got {step}")
    first, last, _ = slice(start, end).indices(input.shape[axis])
    return axis, slice(first, max(first, last), step)


@public(method=False, out=True)
def slice_copy(input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    """``input[start:end:step]`` along ``dim``, as a copy.

    >>> fb.slice_copy(fb.tensor([1, 2, 3]), 0, 1)
    tensor([2, 3])
    """
    axis, places = _places("slice_copy", input, dim, start, end, step)
    index = views.whole(input.shape)
    index[axis] = places
    return _copied(storage.basic_index_p(input, tuple(index)))


@public()
def slice_inverse(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """The memory of ``input`` with the sizes, strides and offset of ``src``, a slice of it; a view, as in torch.

    >>> fb.slice_inverse(fb.tensor([1, 2, 3]), fb.tensor([4, 5, 6])[1:], 0, 1)
    tensor([2, 3])
    """
    return as_strided(input, tuple(src.shape), src.stride(), src.storage_offset())


@public(method=False, out=True)
def split_copy(input: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """:func:`split` as copies.

    >>> fb.split_copy(fb.tensor([1, 2, 3]), 2)
    (tensor([1, 2]), tensor([3]))
    """
    return _all_copied(views.unsafe_split(input, split_size, dim))


@public(method=False, out=True)
def split_with_sizes_copy(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """:func:`split_with_sizes` as copies.

    >>> fb.split_with_sizes_copy(fb.tensor([1, 2, 3]), (1, 2))
    (tensor([1]), tensor([2, 3]))
    """
    return _all_copied(views.unsafe_split_with_sizes(input, split_sizes, dim))


@public(method=False, out=True)
def unbind_copy(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """:func:`unbind` as copies.

    >>> fb.unbind_copy(fb.tensor([1, 2]))
    (tensor(1), tensor(2))
    """
    return _all_copied(views.unbind(input, dim))


@public(method=False, out=True)
def unfold_copy(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """:meth:`flambeau.Tensor.unfold` as a copy.

    >>> fb.unfold_copy(fb.tensor([1, 2, 3]), 0, 2, 1)
    tensor([[1, 2],
            [2, 3]])
    """
    return _copied(input.unfold(dimension, size, step))


@public(method=False, out=True)
def fill(input: Tensor, value: Tensor | complex) -> Tensor:
    """A tensor like ``input``, all of it ``value``, a number or 0-d tensor.

    >>> fb.fill(fb.tensor([1, 2]), 3)
    tensor([3, 3])
    """
    return _copied(input).fill_(value)
