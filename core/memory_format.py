"""Orders of elements in memory, as strides: row-major, and channels last for images and volumes.

Layouts other than strided are those of :mod:`flambeau.core.sparse`.

https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flambeau.core.errors import FormatError
from flambeau.core.naming import prefix, shown


@shown("memory_format", own="")
class MemoryFormat:
    """An order of elements in memory: ``contiguous_format``, ``channels_last``, ``channels_last_3d``, or
    ``preserve_format``, which is that of the tensor at hand.
    """

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"{prefix()}.{self.name}"

    def __reduce__(self) -> str:
        return self.name


def check_format(name: str, memory_format: object) -> None:
    """TypeError for a ``memory_format`` that is none."""
    if not isinstance(memory_format, MemoryFormat):
        kind = type(memory_format).__name__
        raise TypeError(f"{name}: argument 'memory_format' must be a memory format, got {memory_format!r} ({kind})")


@shown("layout", own="")
class Layout(MemoryFormat):
    """How elements are laid out: ``strided``, or one of the sparse layouts."""

    __slots__ = ()


contiguous_format: Final = MemoryFormat("contiguous_format")
channels_last: Final = MemoryFormat("channels_last")
channels_last_3d: Final = MemoryFormat("channels_last_3d")
preserve_format: Final = MemoryFormat("preserve_format")
strided: Final = Layout("strided")
sparse_coo: Final = Layout("sparse_coo")
sparse_csr: Final = Layout("sparse_csr")
sparse_csc: Final = Layout("sparse_csc")
sparse_bsr: Final = Layout("sparse_bsr")
sparse_bsc: Final = Layout("sparse_bsc")

#: The formats that are an order of the axes: how many axes they take, and that order, the slowest first.
_ORDERS: Final = {channels_last: (0, 2, 3, 1), channels_last_3d: (0, 2, 3, 4, 1)}


def order_of(name: str, memory_format: MemoryFormat, ndim: int) -> tuple[int, ...] | None:
    """The order of the axes in memory, the slowest first; None for row-major order, and for whatever is there.

    RuntimeError where the format takes another number of axes.
    """
    found = _ORDERS.get(memory_format)
    if found is not None and len(found) != ndim:
        raise FormatError(f"{name}: memory_format {memory_format} takes {len(found)} dimensions, the tensor has {ndim}")
    return found


def strides_of(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """The strides of a dense tensor whose axes follow each other in ``order``, the slowest first.

    >>> strides_of((2, 3, 4, 5), (0, 2, 3, 1))
    (60, 1, 15, 3)
    """
    strides, step = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return tuple(strides)


def is_in_order(shape: Sequence[int], strides: Sequence[int], order: Sequence[int]) -> bool:
    """Whether elements stand without gaps in an order of the axes; axes of size 1 stand anywhere."""
    step = 1
    for axis in reversed(order):
        if shape[axis] != 1:
            if strides[axis] != step:
                return False
            step *= shape[axis]
    return True


def suggested(shape: Sequence[int], strides: Sequence[int]) -> MemoryFormat:
    """The format in which the results of a convolution or a pooling are given: that of its input.

    Channels last where the strides say so and row-major order does not; what is both is row-major.
    """
    wanted = channels_last if len(shape) == 4 else channels_last_3d if len(shape) == 5 else None
    if wanted is None or strides[1] != 1 or 0 in shape:
        return contiguous_format
    if is_in_order(shape, strides, range(len(shape))) and not _strictly(shape, strides):
        return contiguous_format
    return wanted if is_in_order(shape, strides, _ORDERS[wanted]) else contiguous_format


def _strictly(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether strides that are right for both orders are those that channels last writes."""
    order = _ORDERS[channels_last if len(shape) == 4 else channels_last_3d]
    own, rows = strides_of(shape, order), strides_of(shape, range(len(shape)))
    return tuple(strides) == own != rows
