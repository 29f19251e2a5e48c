"""Results that come later: a value to wait for, with what is done when it is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

from flambeau.core.device import device as Device

__all__ = ["Future", "collect_all", "wait_all"]

T = TypeVar("T")
S = TypeVar("S")


class Future(Generic[T]):
    """A value that somebody will set, or an error in its place.

    >>> future = fb.futures.Future()
    >>> doubled = future.then(lambda f: 2 * f.value())
    >>> future.set_result(21)
    >>> doubled.wait()
    42
    """

    def __init__(self, *, devices: Sequence[int | str | Device] | None = None):
        self._devices = list(devices or ())
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future[T]], Any]] = []

    def done(self) -> bool:
        """Whether it is there."""
        return self._done.is_set()

    def wait(self) -> T:
        """The value, once it is there; an error in its place is raised."""
        self._done.wait()
        return self.value()

    def value(self) -> T:
        """The value, which must be there already."""
        if not self._done.is_set():
            raise RuntimeError("Future.value: it is not there yet; wait() waits for it")
        if self._error is not None:
            raise self._error
        return cast(T, self._value)

    def then(self, callback: Callable[[Future[T]], S]) -> Future[S]:
        """What ``callback(self)`` gives, called when the value is there."""
        later: Future[S] = Future(devices=self._devices)

        def run(done: Future[T]) -> None:
            try:
                later.set_result(callback(done))
            except Exception as error:
                later.set_exception(error)

        self.add_done_callback(run)
        return later

    def add_done_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Call ``callback(self)`` when the value is there, at once if it is."""
        with self._lock:
            if not self._done.is_set():
                self._callbacks.append(callback)
                return
        callback(self)

    def set_result(self, result: T) -> None:
        """Set the value; RuntimeError if it is there already."""
        self._finish(result, None)

    def set_exception(self, result: BaseException) -> None:
        """Set an error in its place."""
        if not isinstance(result, Exception):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._finish(None, result)

    def _finish(self, value: Any, error: BaseException | None) -> None:
        with self._lock:
            if self._done.is_set():
                raise RuntimeError("Future can only be marked completed once: it has a result already")
            self._value, self._error = value, error
            self._done.set()
            waiting, self._callbacks = self._callbacks, []
        for callback in waiting:
            callback(self)


def collect_all(futures: list[Future[Any]]) -> Future[list[Future[Any]]]:
    """The futures themselves, once all of them are done.

    >>> one = fb.futures.Future()
    >>> both = fb.futures.collect_all([one])
    >>> one.set_result(1)
    >>> [f.value() for f in both.wait()]
    [1]
    """
    together: Future[list[Future[Any]]] = Future()
    left = [len(futures)]
    lock = threading.Lock()

    def one_done(_: Future[Any]) -> None:
        with lock:
            left[0] -= 1
            last = left[0] == 0
        if last:
            together.set_result(futures)

    if not futures:
        together.set_result(futures)
    for future in futures:
        future.add_done_callback(one_done)
    return together


def wait_all(futures: list[Future[Any]]) -> list[Any]:
    """The values of all, once they are there; the first error among them is raised.

    >>> one = fb.futures.Future()
    >>> one.set_result(1)
    >>> fb.futures.wait_all([one])
    [1]
    """
    return [future.wait() for future in collect_all(futures).wait()]
