"""Repetition without memory: expand and the broadcasting of shapes and tensors; sum_to_size is the reverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flambeau.backends import layout
from flambeau.backends.layout import Shape
from flambeau.core.arguments import ints
from flambeau.core.cache import Cache
from flambeau.core.errors import ShapeError
from flambeau.core.ops.shape import reshape, sizes_of, tensors_of
from flambeau.core.ops.storage import expand_p
from flambeau.core.public import public
from flambeau.core.size import Size
from flambeau.core.tensor import Tensor


@public(function=False, guard="function")
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
                f"{name}: shape {old} does not expand to {sizes}: the expanded size of the tensor ({n}) must match the "
                f"existing size ({have}) at non-singleton dimension {i}"
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
        return Size(layout.broadcast_shapes(*(ints(s, "broadcast_shapes: a shape") for s in shapes)))
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
    if not new:
        return self.sum()  # also of one element, as in torch: integers in int64
    axes = tuple(i for i, n in enumerate(old) if i < front or n != new[i - front])
    return reshape(self.sum(axes, keepdim=True), new) if axes else self
