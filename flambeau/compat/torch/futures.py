"""torch.futures: a value that comes later, and what is done with it then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, Generic, TypeVar

__all__ = ["Future", "collect_all", "wait_all"]


T = TypeVar("T")


class Future(Generic[T]):
    """A result that another thread may set: ``wait``, ``then``, ``set_result``, ``set_exception``.

    >>> from flambeau.compat.torch.futures import Future
    >>> later = Future()
    >>> double = later.then(lambda done: done.value() * 2)
    >>> later.set_result(21)
    >>> double.wait()
    42
    """

    def __init__(self, *, devices: Sequence[Any] | None = None):  # Any: whatever names a device
        self._inner: futures.Future[T] = futures.Future()

    def done(self) -> bool:
        """Whether there is a result or an error."""
        return self._inner.done()

    def wait(self) -> T:
        """The result, once it is there; raises what ``set_exception`` was given."""
        return self._inner.result()

    value = wait

    def then(self, callback: Callable[[Future[T]], Any]) -> Future[Any]:  # Any: the next future's result
        """A future of what ``callback``, called with this future when it is done, gives."""
        following: Future[Any] = Future()

        def run(done: Future[T]) -> None:
            try:
                following.set_result(callback(done))
            except Exception as error:
                following.set_exception(error)

        self.add_done_callback(run)
        return following

    def add_done_callback(self, callback: Callable[[Future[T]], Any]) -> None:  # Any: not looked at
        """Call ``callback`` with this future when it is done, at once if it is."""
        self._inner.add_done_callback(lambda _: callback(self))

    def set_result(self, result: T) -> None:
        """The result; RuntimeError when there is one already."""
        self._once()
        self._inner.set_result(result)

    def set_exception(self, result: BaseException) -> None:
        """The error that ``wait`` raises."""
        self._once()
        self._inner.set_exception(result)

    def _once(self) -> None:
        if self._inner.done():
            raise RuntimeError("Future: the result has been set already, and can be set once")


def collect_all(futures: Sequence[Future[T]]) -> Future[list[Future[T]]]:
    """A future of the list of these futures, done when all are."""
    together: Future[list[Future[T]]] = Future()
    left = [len(futures)]

    def one(_: Future[T]) -> None:
        left[0] -= 1
        if not left[0]:
            together.set_result(list(futures))

    if not futures:
        together.set_result([])
    for future in futures:
        future.add_done_callback(one)
    return together


def wait_all(futures: Sequence[Future[T]]) -> list[T]:
    """The results, in order."""
    return [future.wait() for future in futures]
