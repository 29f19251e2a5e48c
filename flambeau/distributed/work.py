"""A collective under way, and who drives it.

A call is a generator: it starts something that an engine does, yields the request, is resumed when that is done, and
ends with the call. A :class:`Lane` runs the calls of a group one after the other, in the thread that waits for them
where it can, else on a thread of its own. Who drives asks the request and sleeps in between: an engine's own waiting
spins, and takes a core from what computes beside it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeAlias

from flambeau.distributed.errors import DistBackendError

if TYPE_CHECKING:
    from flambeau.futures import Future

_EAGER: Final = 50e-6  # seconds in which a call that is nearly done is asked without a pause
_LEAST, _MOST = 30e-6, 1e-3  # seconds of a pause

_abandoned: Final[list[Work]] = []


class Request(Protocol):
    """Something that an engine does."""

    def Test(self) -> bool: ...


#: A call, as the engine's part of it does it.
Steps: TypeAlias = Generator[Request, None, None]
Timeout: TypeAlias = timedelta | float | None


def seconds(timeout: Timeout, default: float) -> float:
    """A timeout in seconds; None and torch's "no timeout" of 0 are the default."""
    if timeout is None:
        return default
    value = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    return value if value > 0 else default


def pause(waited: float) -> None:
    """Leave the core to others for about an eighth of the time waited so far."""
    if waited < _EAGER:
        time.sleep(0)
    else:
        time.sleep(min(max(waited / 8, _LEAST), _MOST))


def _pause(request: object, waited: float) -> None:
    pause(waited)


class Work:
    """A collective under way: what the calls with ``async_op=True`` return."""

    linger: Callable[[Any, float], None]  #: waits for a request, of whatever engine, a moment
    came: tuple[Sequence[int], list[int]] | None = None  #: of a message: ranks of the job, and which of them sent it
    patience: float = 0.0  #: seconds after which it is told what is waited for; 0: never

    def __init__(
        self, told: Callable[[], str], steps: Steps, timeout: float, result: list[Any], fail: Callable[[str], NoReturn]
    ):
        self._told, self.timeout = told, timeout
        self.linger = _pause
        self._steps, self._result, self._fail = steps, result, fail
        self._request: Request | None = None
        self._started = 0.0
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._future: Future[list[Any]] | None = None
        self._lock = threading.Lock()

    @property
    def what(self) -> str:
        """Rank and call."""
        return self._told()

    # -- for who drives -------------------------------------------------------------------------
    def advance(self) -> bool:
        """Go on as far as it goes now; True once it is over."""
        try:
            if not self._started:
                self._started = time.monotonic()
                self._request = next(self._steps)
            while self._request is not None and self._request.Test():
                self._request = next(self._steps)
        except StopIteration:
            self.finish(None)
            return True
        except BaseException as error:
            self.finish(error)
            return True
        waited = time.monotonic() - self._started
        if waited > self.timeout:
            self.finish(self._late(self.timeout))
            return True
        if self.patience and waited > self.patience:
            sys.stderr.write(f"flambeau.distributed: {self.what} waits for {waited:.1f} s\n")
            sys.stderr.flush()
            self.patience *= 2
        return False

    def drive(self) -> None:
        """Go on until it is over."""
        start = time.monotonic()
        while not self.advance():
            self.linger(self._request, time.monotonic() - start)

    def finish(self, error: BaseException | None) -> None:
        """It is over, one way or the other."""
        with self._lock:
            self._error, future = error, self._future
            self._done.set()
        if future is not None:
            self._tell(future)

    def _late(self, limit: float) -> DistBackendError:
        _abandoned.append(self)  # the engine may still write to its memory
        try:
            self._fail(f"{self.what}: no answer within {limit:g} s")
        except DistBackendError as error:
            return error

    def _tell(self, future: Future[list[Any]]) -> None:
        if self._error is None:
            future.set_result(self._result)
        else:
            future.set_exception(self._error if isinstance(self._error, Exception) else DistBackendError(self.what))

    # -- for the program ------------------------------------------------------------------------
    def is_completed(self) -> bool:
        """Whether it is over, well or not."""
        return self._done.is_set()

    def is_success(self) -> bool:
        """Whether it is over, and went well."""
        return self._done.is_set() and self._error is None

    def exception(self) -> BaseException | None:
        """What went wrong; None where nothing did so far."""
        return self._error

    def wait(self, timeout: Timeout = None) -> bool:
        """Wait until it is over, at most ``timeout`` (None: that of the group).

        DistBackendError names the rank and the call where there is no answer in time.
        """
        limit = seconds(timeout, 0.0)
        if not self._done.wait(limit or None):
            raise self._late(limit)
        if self._error is not None:
            raise self._error
        return True

    def synchronize(self) -> None:
        """Wait until it is over."""
        self.wait()

    block_current_stream = synchronize

    def result(self) -> list[Any]:
        """The tensors that it writes to, once it is over."""
        self.wait()
        return self._result

    def source_rank(self) -> int:
        """The rank that sent a message, once it is there; RuntimeError where it is none that is received."""
        self.wait()
        if self.came is None or not self.came[1]:
            raise RuntimeError(f"Work.source_rank: {self.what} receives nothing")
        ranks, found = self.came
        return ranks[found[0]]

    _source_rank = source_rank

    def get_future(self) -> Future[list[Any]]:
        """A :class:`flambeau.futures.Future` of the tensors that it writes to."""
        from flambeau.futures import Future  # lazy for start-up: few ask for one

        with self._lock:
            if self._future is not None:
                return self._future
            future = self._future = Future()
            over = self._done.is_set()
        if over:
            self._tell(future)
        return future


class Recorded(Work):
    """A collective of a step that is recorded: its replay waits at the same place."""

    def __init__(self, complete: Callable[[], object], result: list[Any]):
        super().__init__(lambda: "a recorded collective", _nothing(), 0.0, result, _never)
        self._complete = complete

    def wait(self, timeout: Timeout = None) -> bool:
        """Wait until it is over."""
        if not self._done.is_set():
            self._complete()
            self.finish(None)
        return True

    def is_completed(self) -> bool:
        """Whether it is over: it is waited for, so that the replay goes the same way."""
        return self.wait()

    is_success = is_completed

    def get_future(self) -> Future[list[Any]]:
        """A future whose value, and what follows it, is made by who waits for it."""
        from flambeau.distributed.driven import driven  # lazy for start-up

        return driven(self.wait, self._result)


def _nothing() -> Steps:
    yield from ()


def _never(why: str) -> NoReturn:
    raise DistBackendError(why)


class Lane:
    """Runs the calls of one group in the order in which they are made."""

    def __init__(self, name: str):
        self._name = name
        self._waiting: deque[Work] = deque()
        self._arrived = threading.Condition()
        self._driving = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def run(self, work: Work) -> None:
        """Drive ``work`` here if nothing is before it, else let it wait for its turn; until it is over."""
        if self._driving.acquire(blocking=False):
            try:
                if not self._waiting:
                    work.drive()
                    return
            finally:
                self._driving.release()
        self.put(work)
        work._done.wait()

    def put(self, work: Work) -> None:
        """Let ``work`` wait for its turn."""
        with self._arrived:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                self._thread.start()
            self._waiting.append(work)
            self._arrived.notify()

    def _serve(self) -> None:
        while True:
            with self._arrived:
                while not self._waiting and not self._closed:
                    self._arrived.wait()
                if not self._waiting:
                    return
            with self._driving:
                work = self._waiting[0]
                work.drive()
                self._waiting.popleft()

    def close(self) -> None:
        """No call comes any more; those that wait are still done."""
        with self._arrived:
            self._closed = True
            self._arrived.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()


class Mail(Lane):
    """Drives messages between two ranks, of which none waits for another."""

    def put(self, work: Work) -> None:
        """Start ``work``, and drive it beside the others."""
        if not work.advance():
            super().put(work)

    def run(self, work: Work) -> None:
        """Drive ``work`` here, until it is over."""
        work.drive()

    def _serve(self) -> None:
        since = time.monotonic()
        while True:
            with self._arrived:
                if not self._waiting:
                    while not self._waiting and not self._closed:
                        self._arrived.wait()
                    since = time.monotonic()
                if not self._waiting:
                    return
                works = list(self._waiting)
            over = [work for work in works if work.advance()]
            if over:
                with self._arrived:
                    for work in over:
                        self._waiting.remove(work)
                since = time.monotonic()
            else:
                pause(time.monotonic() - since)


def after_fork(forget: Callable[[], None]) -> None:
    """Call ``forget`` in a forked child, which has no part in what its parent joined."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=forget)
