"""Shapes."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable
from typing import SupportsIndex, overload

from flambeau.core.naming import prefix, shown


@shown()
class Size(tuple[int, ...]):
    """A shape: a tuple of ints that can count its elements.

    >>> Size((2, 3)).numel()
    6
    """

    __slots__ = ()

    def __new__(cls, sizes: Iterable[SupportsIndex] = ()) -> Size:
        found = tuple(sizes)
        for i, n in enumerate(found):
            if n.__class__ is not int and (isinstance(n, (float, str)) or not hasattr(n, "__index__")):
                raise TypeError(f"Size: takes an iterable of ints, item {i} is {n!r} ({type(n).__name__})")
        return size_of(map(operator.index, found))

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
        return size_of(found) if isinstance(found, tuple) else found

    def __add__(self, other: tuple[int, ...]) -> Size:  # type: ignore[override]  # of ints alone
        if not isinstance(other, tuple):
            raise TypeError(f"Size: can only be joined with a tuple, not {type(other).__name__}")
        return size_of((*self, *other))

    def __radd__(self, other: tuple[int, ...]) -> Size:
        return size_of((*other, *self)) if isinstance(other, tuple) else NotImplemented

    def __mul__(self, times: SupportsIndex) -> Size:
        return size_of([*self] * times) if isinstance(times, int) else NotImplemented

    __rmul__ = __mul__

    def __reduce__(self) -> tuple[type[Size], tuple[tuple[int, ...]]]:
        return Size, (tuple(self),)

    def __repr__(self) -> str:
        return f"{prefix()}.Size({list(self)})"


#: A size of ints that need no second look.
size_of: Callable[[Iterable[int]], Size] = functools.partial(tuple.__new__, Size)
