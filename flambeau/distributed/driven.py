"""Futures whose value is made by who waits for it, in the same thread.

What follows a collective, as :meth:`Future.then` has it, would else be done by the thread in which that ends: without
the modes of the program, and beyond what a recorder of the program sees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flambeau.futures import Future

S = TypeVar("S")


class Driven(Future[Any]):
    """A Future of what ``make()`` gives, which the first one calls who waits."""

    def __init__(self, make: Callable[[], Any]):
        super().__init__()
        self._make: Callable[[], Any] | None = make

    def wait(self) -> Any:  # Any: as the Future's
        """The value, made now if it is not there; an error in its place is raised."""
        make, self._make = self._make, None
        if make is not None:
            try:
                self.set_result(make())
            except Exception as error:
                self.set_exception(error)
        return super().wait()

    def then(self, callback: Callable[[Future[Any]], S]) -> Future[S]:
        """What ``callback(self)`` gives, called by who waits for it."""

        def follow() -> S:
            self.wait()
            return callback(self)

        return Driven(follow)


def driven(wait: Callable[[], object], result: S) -> Future[S]:
    """A Future of ``result``, which is there after ``wait()``.

    >>> from flambeau.distributed.driven import driven
    >>> values = []
    >>> later = driven(lambda: values.append(1), values).then(lambda f: len(f.value()))
    >>> len(values), later.wait()
    (0, 1)
    """

    def make() -> S:
        wait()
        return result

    return Driven(make)
