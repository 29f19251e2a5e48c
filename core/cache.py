"""The one bounded cache, for whatever a lookup finds quicker than it is computed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(dict[K, V]):
    """A dict of at most ``limit`` entries: full, it starts anew, so that a loop over many keys fills no memory.

    ``cache[key]`` makes what is missing by ``make(key)``, and keeps it unless ``keep(key)`` is false. Without
    ``make`` it is a KeyError, and :meth:`remember` puts the entries.

    >>> squares = Cache(lambda n: n * n, limit=2)
    >>> [squares[n] for n in (2, 3, 4)], dict(squares)
    ([4, 9, 16], {4: 16})
    """

    __slots__ = ("keep", "limit", "make")

    def __init__(
        self, make: Callable[[K], V] | None = None, *, keep: Callable[[K], bool] | None = None, limit: int = 10_000
    ):
        super().__init__()
        self.make, self.keep, self.limit = make, keep, limit

    def __missing__(self, key: K) -> V:
        if self.make is None:
            raise KeyError(key)
        value = self.make(key)
        if self.keep is None or self.keep(key):
            self.remember(key, value)
        return value

    def remember(self, key: K, value: V) -> None:
        """Put one entry."""
        if len(self) >= self.limit:
            self.clear()
        self[key] = value
