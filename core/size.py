"""Shapes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import SupportsIndex, overload

from flambeau.core.naming import prefix, shown


@shown()
class Size(tuple[int, ...]):
    """A shape: a tuple of ints that can count its elements.

    >>> Size((2, 3)).numel()
    6
    """

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements of a tensor of this shape."""
        return math.prod(self)

    @overload
    def __getitem__(self, i: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, i: slice) -> Size: ...
    def __getitem__(self, i: SupportsIndex | slice) -> int | Size:
        try:
            found = tuple.__getitem__(self, i)
        except TypeError:
            raise TypeError(f"Size: an index must be an int or a slice, got {i!r} ({type(i).__name__})") from None
        return Size(found) if isinstance(found, tuple) else found

    def __add__(self, other: Iterable[int]) -> Size:  # type: ignore[override]  # of ints alone
        return Size((*self, *other)) if isinstance(other, Iterable) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> Size:
        return Size([*self] * times) if isinstance(times, int) else NotImplemented

    def __repr__(self) -> str:
        return f"{prefix()}.Size({list(self)})"
