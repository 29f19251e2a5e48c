"""What joins, repeats and rearranges by copying: cat and stack, repeat, roll, flip."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence
from typing import Final

from flambeau.backends.layout import Shape
from flambeau.core import creation, from_data
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from flambeau.core.dispatch import tensor_of
from flambeau.core.errors import ArgumentError, FormatError, LevelError, ShapeError
from flambeau.core.graph import disown
from flambeau.core.keys import Key
from flambeau.core.memory_format import (
    MemoryFormat,
    check_format,
    contiguous_format,
    order_of,
    preserve_format,
)  # fmt: skip
from flambeau.core.ops import storage
from flambeau.core.ops.expand import broadcast_tensors
from flambeau.core.ops.search import searchsorted
from flambeau.core.ops.shape import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    axis_of,
    reshape,
    sizes_of,
    tensors_of,
    transpose,
    unsqueeze,
)  # fmt: skip
from flambeau.core.ops.storage import clone_p, expand_p, permute_p
from flambeau.core.ops.views import narrow
from flambeau.core.out import deliver
from flambeau.core.public import public
from flambeau.core.record import alike
from flambeau.core.state import get
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import bottom


@public(function=False, guard="function")
def contiguous(self: Tensor, memory_format: MemoryFormat | None = None) -> Tensor:
    """The tensor itself when its elements stand in row-major order without gaps, else a copy that does.

    >>> fb.ones(2, 3).T.contiguous().stride()
    (2, 1)
    >>> fb.ones(1, 2, 3, 4).contiguous(memory_format=fb.channels_last).stride()
    (24, 1, 8, 2)
    """
    if memory_format is preserve_format:
        if self.is_contiguous():
            return self
        raise FormatError("contiguous: preserve_format says nothing about the result")
    if memory_format is None or memory_format is contiguous_format:
        return self if self.is_contiguous(memory_format) else clone_p(self, "C")
    return in_format("contiguous", self, memory_format)


def in_format(name: str, x: Tensor, memory_format: MemoryFormat | None, copy: bool = False) -> Tensor:
    """The tensor with its elements in an order, itself where they are in it, unless ``copy``."""
    if memory_format is None or memory_format is preserve_format:
        return x
    check_format(name, memory_format)
    order = order_of(name, memory_format, x.ndim)
    if order is None:
        return x if x.is_contiguous() and not copy else clone_p(x, "C")
    if not copy and x._key.level is None and x.is_contiguous(memory_format):
        return x
    back = tuple(order.index(i) for i in range(len(order)))
    found = permute_p(clone_p(permute_p(x, order), "C"), back)
    disown(found)
    return found


# -- joining -----------------------------------------------------------------------------------------
def _tensors(name: str, tensors: object) -> list[Tensor]:
    if not isinstance(tensors, (tuple, list)):
        raise TypeError(f"{name}: argument 'tensors' must be a tuple or list of tensors, got {type(tensors).__name__}")
    if {*map(type, tensors)} != {Tensor}:
        for i, t in enumerate(tensors):
            if not isinstance(t, Tensor):
                raise TypeError(f"{name}: expected a tensor as element {i} of 'tensors', got {type(t).__name__}")
    if not tensors:
        raise ShapeError(f"{name}: expects a non-empty list of tensors")
    return list(tensors)


#: The shape of tensors joined, by theirs and the axis.
_JOINED: Final[Cache[tuple[tuple[Shape, ...], int], Shape]] = Cache(
    lambda key: storage.cat_p.op.infer(key[0], axis=key[1])  # type: ignore[misc]  # every such op has one
)


@public(aliases=("concat", "concatenate"), method=False)
def cat(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """Tensors one after the other along dimension ``dim``, in their promoted dtype.

    ShapeError unless all other sizes agree; an empty tensor of shape (0,) joins any.

    >>> fb.cat([fb.tensor([1, 2]), fb.tensor([3])])
    tensor([1, 2, 3])
    """
    items = _tensors("cat", tensors)
    shapes = [t._array.shape for t in items]
    if () in shapes:
        raise ShapeError(f"cat: tensor {shapes.index(())} is 0-d and cannot be concatenated; use stack, or reshape(1)")
    kept = items
    if (0,) in shapes:  # torch lets it join anything
        kept = [t for t, shape in zip(items, shapes, strict=True) if shape != (0,)] or items[:1]
    axis = axis_of("cat", kept[0], dim)
    if out is None and kept is items and _unrecorded(items):
        _JOINED[tuple(shapes), axis]  # ShapeError where they do not fit
        return tensor_of(items[0]._key.cat(*[t._array for t in items], axis=axis), items[0]._key)
    result = storage.cat_p(kept, axis)
    if len(kept) != len(items):
        wanted = result.dtype
        for t in items:
            wanted = dt.promote_types(wanted, t.dtype)
        result = storage.cast_p(result, wanted) if wanted is not result.dtype else result
    return deliver("cat", result, out)


@public(method=False)
def stack(tensors: Sequence[Tensor], dim: int = 0, *, out: Tensor | None = None) -> Tensor:
    """Tensors of one shape (else ShapeError) side by side along a new dimension ``dim``.

    >>> fb.stack([fb.tensor([1, 2]), fb.tensor([3, 4])], dim=1)
    tensor([[1, 3],
            [2, 4]])
    """
    items = _tensors("stack", tensors)
    first = tuple(items[0]._array.shape)
    for i, t in enumerate(items):
        if tuple(t._array.shape) != first:
            raise ShapeError(
                f"stack: expects tensors of equal shape, but tensor 0 has {first} and tensor {i} {tuple(t.shape)}"
            )
    axis = axis_of("stack", items[0], dim, extra=1)
    if out is None and _unrecorded(items):
        return _stacked(items, items[0]._key, (*first[:axis], 1, *first[axis:]), axis)
    return cat([unsqueeze(t, axis) for t in items], axis, out=out)


def _unrecorded(items: Sequence[Tensor]) -> bool:
    """Whether the tensors are of one device and dtype, and nobody has to know what is made of them."""
    key, state = items[0]._key, get()
    if state is None or not state.plain or key.level is not None or [t._key for t in items].count(key) < len(items):
        return False
    return not state.grad or not [t for t in items if t._node is not None]


def _stacked(items: Sequence[Tensor], key: Key, shape: tuple[int, ...], axis: int) -> Tensor:
    """:func:`stack` of arrays that nobody has to know about as views."""
    index: list[slice | None] = [slice(0, n, 1) for n in shape]
    index[axis] = None
    parts = [key.basic_index(t._array, index=tuple(index)) for t in items]
    return tensor_of(key.cat(*parts, axis=axis), key)


@public(method=False)
def hstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Tensors joined along dimension 1 (0 where they are 1-d).

    >>> fb.hstack((fb.tensor([1]), fb.tensor([2, 3])))
    tensor([1, 2, 3])
    """
    items = [atleast_1d(t) for t in _tensors("hstack", tensors)]
    return cat(items, 0 if len(items[0]._array.shape) == 1 else 1, out=out)


@public(aliases=("row_stack",), method=False)
def vstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Tensors joined as rows, along dimension 0.

    >>> fb.row_stack((fb.tensor([1, 2]), fb.tensor([3, 4])))
    tensor([[1, 2],
            [3, 4]])
    """
    return cat([atleast_2d(t) for t in _tensors("vstack", tensors)], 0, out=out)


@public(method=False)
def dstack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """Tensors joined along dimension 2.

    >>> fb.dstack((fb.tensor([1, 2]), fb.tensor([3, 4]))).shape
    flambeau.Size([1, 2, 2])
    """
    return cat([atleast_3d(t) for t in _tensors("dstack", tensors)], 2, out=out)


@public(method=False)
def column_stack(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """1-d tensors as columns, matrices joined along dimension 1.

    >>> fb.column_stack((fb.tensor([1, 2]), fb.tensor([3, 4])))
    tensor([[1, 3],
            [2, 4]])
    """
    items = _tensors("column_stack", tensors)
    return cat([reshape(t, (t.numel(), 1)) if len(t._array.shape) < 2 else t for t in items], 1, out=out)


@public(method=False)
def block_diag(*tensors: Tensor) -> Tensor:
    """The matrices along the diagonal of a larger one, zeros elsewhere; vectors count as one row.

    >>> fb.block_diag(fb.ones(1, 2), fb.full((1, 1), 2.0))
    tensor([[1., 1., 0.],
            [0., 0., 2.]])
    """
    items = [atleast_2d(t) for t in _tensors("block_diag", tensors)]
    if any(len(t._array.shape) > 2 for t in items):
        raise ShapeError(f"block_diag: expects at most 2-d tensors, got shapes {[tuple(t.shape) for t in items]}")
    total, before, rows = sum(t.shape[1] for t in items), 0, []
    for t in items:
        width = t.shape[1]
        rows.append(storage.pad_p(t, ((0, 0), (before, total - before - width)), 0))
        before += width
    return cat(rows, 0)


@public(method=False)
def meshgrid(*tensors: Tensor | Sequence[Tensor], indexing: str = "ij") -> tuple[Tensor, ...]:
    """For each 1-d tensor, its values over the grid that all of them span; "xy" exchanges the first two dimensions.

    >>> [t.shape for t in fb.meshgrid(fb.arange(2), fb.arange(3), indexing="ij")]
    [flambeau.Size([2, 3]), flambeau.Size([2, 3])]
    """
    items = tensors_of(tensors)
    alike()("meshgrid", items)
    if indexing not in ("ij", "xy"):
        raise ArgumentError(f"meshgrid: indexing must be 'ij' or 'xy', got {indexing!r}")
    if not items or any(len(t._array.shape) > 1 for t in items):
        raise ShapeError(f"meshgrid: expects 0-d or 1-d tensors, got shapes {[tuple(t.shape) for t in items]}")
    ndim = len(items)
    lines = [reshape(t, (*(1,) * i, t.numel(), *(1,) * (ndim - 1 - i))) for i, t in enumerate(items)]
    grids = broadcast_tensors(*lines)
    return grids if indexing == "ij" or ndim < 2 else tuple([transpose(g, 0, 1) for g in grids])


@public(method=False)
def cartesian_prod(*tensors: Tensor) -> Tensor:
    """Every combination of one element of each 1-d tensor, as rows.

    >>> fb.cartesian_prod(fb.tensor([1, 2]), fb.tensor([3, 4]))
    tensor([[1, 3],
            [1, 4],
            [2, 3],
            [2, 4]])
    """
    items = _tensors("cartesian_prod", tensors)
    if any(len(t._array.shape) != 1 for t in items):
        raise ShapeError(f"cartesian_prod: expects 1-d tensors, got shapes {[tuple(t.shape) for t in items]}")
    if len(items) == 1:
        return items[0]
    return stack([reshape(g, (g.numel(),)) for g in meshgrid(*items)], 1)


@public(method=False)
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """Every choice of ``r`` elements of a 1-d tensor in order, as rows.

    >>> fb.combinations(fb.tensor([1, 2, 3]))
    tensor([[1, 2],
            [1, 3],
            [2, 3]])
    """
    if len(input._array.shape) != 1:
        raise ShapeError(f"combinations: expects a 1-d tensor, got shape {tuple(input.shape)}")
    if r < 0:
        raise ArgumentError(f"combinations: r must not be negative, got {r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = list(itertools.chain.from_iterable(choose(range(input.shape[0]), r)))
    if r == 0 or not places:
        return reshape(narrow(input, 0, 0, 0), (0, r)) if r else reshape(narrow(input, 0, 0, 0), (0,))
    index = from_data.tensor(places, dtype=dt.int64, device=input.device)
    return reshape(input.index_select(0, index), (len(places) // r, r))


# -- repeating ---------------------------------------------------------------------------------------
@public(function=False)
def repeat(self: Tensor, *repeats: int | Sequence[int]) -> Tensor:
    """A copy repeated ``repeats[i]`` times along each dimension, counted from the last.

    >>> fb.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    return _repeated("repeat", self, sizes_of("repeat", repeats, "repeats"))


def _repeated(name: str, x: Tensor, times: tuple[int, ...]) -> Tensor:
    old = tuple(x._array.shape)
    if len(times) < len(old):
        raise ShapeError(f"{name}: {len(times)} repeats {times} are too few for a tensor of shape {old}")
    if any(n < 0 for n in times):
        raise ShapeError(f"{name}: repeats must not be negative, got {times}")
    shape = (1,) * (len(times) - len(old)) + old
    apart = reshape(x, tuple([k for n in shape for k in (1, n)]))
    spread = expand_p(apart, tuple([k for r, n in zip(times, shape, strict=True) for k in (r, n)]))
    return reshape(clone_p(spread, "C"), tuple([r * n for r, n in zip(times, shape, strict=True)]))


@public()
def tile(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """:func:`repeat` whose ``dims`` may be fewer than the dimensions of ``input``.

    >>> fb.tile(fb.tensor([1, 2]), (2,))
    tensor([1, 2, 1, 2])
    """
    times = sizes_of("tile", dims, "dims")
    return _repeated("tile", input, (1,) * (len(input._array.shape) - len(times)) + times)


@public()
def repeat_interleave(
    input: Tensor, repeats: int | Tensor | None = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each element along ``dim`` (of the flattened tensor without it) ``repeats`` times in a row.

    ``repeats`` is a number or an integer tensor with one per element; alone, it gives the indices.

    >>> fb.repeat_interleave(fb.tensor([1, 2]), 2)
    tensor([1, 1, 2, 2])
    """
    if repeats is None:
        return _interleaved_places(input, input.shape[0], output_size)
    x = reshape(input, (input.numel(),)) if dim is None else input
    axis = axis_of("repeat_interleave", x, 0 if dim is None else dim)
    x = atleast_1d(x)
    size = x._array.shape[axis]
    if isinstance(repeats, Tensor) and repeats.numel() != 1:
        if repeats.ndim != 1 or repeats.shape[0] != size:
            raise ShapeError(
                f"repeat_interleave: repeats of shape {tuple(repeats.shape)} must have one number for each of the "
                f"{size} elements along dimension {axis}"
            )
        return x.index_select(axis, _interleaved_places(repeats, size, output_size))
    count = _count(repeats.reshape(())) if isinstance(repeats, Tensor) else operator.index(repeats)
    if count < 0:
        raise ShapeError(f"repeat_interleave: repeats must not be negative, got {count}")
    shape = tuple(x._array.shape)
    spread = expand_p(unsqueeze(x, axis + 1), (*shape[: axis + 1], count, *shape[axis + 1 :]))
    return reshape(clone_p(spread, "C"), (*shape[:axis], size * count, *shape[axis + 1 :]))


def _count(number: Tensor) -> int:
    """The value of a 0-d tensor, which all elements of a batch must share: a size depends on it."""
    values = bottom(number).reshape(-1)
    if values.numel() > 1 and bool((values != values[0]).any()):
        raise LevelError(
            f"repeat_interleave: inside vmap all elements of the batch must repeat as often, got {values.tolist()}; "
            "their results would differ in shape"
        )
    return operator.index(values[0])


def _interleaved_places(repeats: Tensor, size: int, total: int | None) -> Tensor:
    ends = repeats.cumsum(0)
    if total is None:
        total = _count(ends[-1]) if size else 0
    return searchsorted(ends, creation.arange(total, device=repeats.device), right=True)


# -- another order -----------------------------------------------------------------------------------
@public(more={"axis": "dims"})
def flip(input: Tensor, *dims: int | Sequence[int]) -> Tensor:
    """A copy with the order of the elements along ``dims`` (without any: along all) reversed.

    >>> fb.flip(fb.arange(3), (0,))
    tensor([2, 1, 0])
    """
    wanted = sizes_of("flip", dims, "dims") if dims else tuple(range(len(input._array.shape)))
    axes = tuple([axis_of("flip", input, d, label="dims") for d in wanted])
    if len(set(axes)) != len(axes):
        raise ShapeError(f"flip: dims {wanted} name a dimension of shape {tuple(input.shape)} twice")
    return storage.flip_p(input, axes) if axes and input._array.shape else clone_p(input, "C")


@public()
def fliplr(input: Tensor) -> Tensor:
    """A copy with the columns (dimension 1) reversed.

    >>> fb.fliplr(fb.tensor([[1, 2]]))
    tensor([[2, 1]])
    """
    if len(input._array.shape) < 2:
        raise ShapeError(f"fliplr: expects a tensor with at least 2 dimensions, got shape {tuple(input.shape)}")
    return flip(input, 1)


@public()
def flipud(input: Tensor) -> Tensor:
    """A copy with the rows (dimension 0) reversed.

    >>> fb.flipud(fb.tensor([1, 2]))
    tensor([2, 1])
    """
    if not input._array.shape:
        raise ShapeError("flipud: expects a tensor with at least 1 dimension, got a 0-d one")
    return flip(input, 0)


@public(more={"shift": "shifts", "axis": "dims"})
def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] | None = None) -> Tensor:
    """A copy whose elements moved ``shifts`` places along ``dims`` and came in again at the other end.

    Without ``dims`` the tensor is rolled flattened and gets its shape back.

    >>> fb.roll(fb.arange(4), 1)
    tensor([3, 0, 1, 2])
    """
    if dims is None or dims == () or dims == []:
        return reshape(roll(reshape(input, (input.numel(),)), shifts, 0), tuple(input._array.shape))
    by, along = sizes_of("roll", (shifts,), "shifts"), sizes_of("roll", (dims,), "dims")
    if len(by) != len(along):
        raise ShapeError(f"roll: shifts {by} and dims {along} must have the same length")
    if not input._array.shape:
        raise IndexError(f"roll: a 0-d tensor has no dims, got dims {along}; leave them out")
    out = input
    for shift, dim in zip(by, along, strict=True):
        axis = axis_of("roll", out, dim, label="dims")
        size = out._array.shape[axis] if out._array.shape else 0
        cut = shift % size if size else 0
        if cut:
            out = cat([narrow(out, axis, size - cut, cut), narrow(out, axis, 0, size - cut)], axis)
    return clone_p(out, "C") if out is input else out


@public()
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """Turned by 90 degrees ``k`` times in the plane of ``dims``, from the first towards the second; a copy.

    >>> fb.rot90(fb.tensor([[1, 2], [3, 4]]))
    tensor([[2, 4],
            [1, 3]])
    """
    if len(dims) != 2:
        raise ShapeError(f"rot90: dims must be two dimensions, got {tuple(dims)}")
    if len(input._array.shape) < 2:
        raise ShapeError(f"rot90: input must have at least 2 dimensions, got shape {tuple(input.shape)}")
    a, b = (axis_of("rot90", input, d, label="dims") for d in dims)
    if a == b:
        raise ShapeError(f"rot90: dims {tuple(dims)} must be two different dimensions of shape {tuple(input.shape)}")
    turns = k % 4
    if turns == 0:
        return clone_p(input, "C")
    if turns == 2:
        return flip(input, a, b)
    return transpose(flip(input, b if turns == 1 else a), a, b)
