"""The worker processes of a DataLoader, seen from the process that loads."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any

from flambeau.core import registry
from flambeau.utils.data import shared
from flambeau.utils.data import worker as w
from flambeau.utils.data.fetch import Exhausted, Recipe

_STOP_SECONDS = 1.0  # for workers that were told to stop and are still fetching
_TERM_SECONDS = 2.0  # for workers that were terminated, and may have something to tidy up
_GUARD = re.compile(r"^if\s+(__name__\s*==\s*['\"]__main__['\"]|['\"]__main__['\"]\s*==\s*__name__)", re.MULTILINE)
_EXIT_SECONDS = 5.0  # for a process that has hung up, or was killed, to be gone


def start_context(chosen: str | BaseContext | None = None) -> BaseContext:
    """The multiprocessing context for workers: forkserver where there is one, else spawn.

    Both import the program's main module anew, so a program that has no ``if __name__ == "__main__":`` in it, or no
    file, gets fork. That copies threads' locks and a driver's state in the middle of their work, and is refused where
    a device's driver is at work in this process.
    """
    if isinstance(chosen, BaseContext):
        name, context = chosen.get_start_method(), chosen
    else:
        available = multiprocessing.get_all_start_methods()
        name = chosen or _method(available)
        if name not in available:
            raise ValueError(f"DataLoader: multiprocessing_context must be one of {available}, got {chosen!r}")
        context = multiprocessing.get_context(name)
    if name == "fork" and (busy := _driver_at_work()):
        raise ValueError(
            f"DataLoader: multiprocessing_context='fork' hangs once a thread or a device driver runs, and that of "
            f"{busy!r} does; use 'forkserver' or 'spawn'"
        )
    if name == "forkserver" and context is not chosen:  # saves each worker the import
        context.set_forkserver_preload(["__main__", w.__name__])
    return context


def _method(available: list[str]) -> str:
    if "fork" in available and not _is_guarded() and not _driver_at_work():
        return "fork"
    return "forkserver" if "forkserver" in available else "spawn"


def _is_guarded() -> bool:
    """Whether the main module can be imported by a worker without running the program again."""
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None:  # run as a module
        return True
    try:
        with open(main.__file__ or "", encoding="utf-8") as file:
            return _GUARD.search(file.read()) is not None
    except (AttributeError, OSError, UnicodeDecodeError):  # typed in, or read from elsewhere
        return False


def _driver_at_work() -> str | None:
    """A device type whose driver has memory in this process; None if there is none."""
    for name, backend in list(registry.backends.items()):
        if backend.has("distinct_memory") and backend.is_available():
            stats = [backend.memory_stats(i) for i in range(backend.device_count())]
            if any(s.reserved or s.allocated for s in stats):
                return name
    return None


class Pool:
    """Worker processes and their pipes; ``epoch`` runs one pass over the dataset."""

    def __init__(
        self, count: int, recipe: Recipe, init: Callable[[int], None] | None, context: BaseContext, timeout: float
    ):
        self.count, self.timeout = count, timeout
        self._epochs = 0
        self._processes: list[BaseProcess] = []
        self._tasks: list[Connection] = []
        self._answers: list[Connection] = []
        self._leases = [shared.Leases() for _ in range(count)]
        # Multiprocessing's own, which runs before it joins the processes when the program ends.
        held = (self._processes, self._tasks, self._answers, self._leases)
        self._finalizer = Finalize(self, _stop, args=held, exitpriority=0)
        try:
            for number in range(count):
                self._start(number, recipe, init, context)
        except BaseException:
            self.close()
            raise

    def _start(self, number: int, recipe: Recipe, init: Callable[[int], None] | None, context: BaseContext) -> None:
        their_tasks, our_tasks = context.Pipe(duplex=False)
        our_answers, their_answers = context.Pipe(duplex=shared.AVAILABLE)  # a socket, which descriptors travel through
        self._tasks.append(our_tasks)
        self._answers.append(our_answers)
        process = context.Process(  # type: ignore[attr-defined]
            target=w.run,
            args=(their_tasks, their_answers, w.Job(number, self.count, recipe, init)),
            name=w.process_name(number),
            daemon=True,
        )
        with their_tasks, their_answers:
            try:
                process.start()
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise RuntimeError(
                    "DataLoader: the dataset, collate_fn or worker_init_fn cannot be sent to a worker process: "
                    f"{error}. Define their classes and functions at the top level of a module, or use num_workers=0"
                ) from error
            except (ConnectionError, EOFError) as error:
                raise RuntimeError(
                    f"DataLoader: worker {number} ended before it had taken the dataset over (its own message, if any, "
                    "is above): is there enough memory, and is what the main module runs under "
                    "`if __name__ == '__main__':`?"
                ) from error
        self._processes.append(process)

    def close(self) -> None:
        """Stop the workers; a second call does nothing."""
        self._finalizer()

    @property
    def closed(self) -> bool:
        return not self._finalizer.still_active()

    def epoch(self, tasks: Iterator[tuple[int, Any]], seed: int, ahead: int, in_order: bool = True) -> Iterator[Any]:
        """The batches of numbered ``tasks``, in order or as they come, ``ahead`` of them under way in each worker."""
        self._epochs += 1
        for connection in self._tasks:
            self._send(connection, w.Epoch(self._epochs, seed))
        return _Run(self, self._epochs, tasks, ahead, in_order)

    def ask(self, worker: int, batch: int, what: Any) -> None:
        self._send(self._tasks[worker], w.Task(batch, what, self._leases[worker].offer()))

    def _send(self, connection: Connection, message: Any) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a dead one shows when its answer is awaited
            connection.send(message)

    def first_ready(self, workers: Iterable[int]) -> int:
        """A worker that has sent something, of those given; the first of them after the timeout."""
        if self.closed:
            return next(iter(workers))
        by_connection = {self._answers[i]: i for i in dict.fromkeys(workers)}
        ready = wait(list(by_connection), self.timeout or None)
        return next((i for c, i in by_connection.items() if c in ready), next(iter(by_connection.values())))

    def answer(self, worker: int, epoch: int) -> w.Answer:
        """The worker's next answer of this epoch; those of an epoch that was left early are dropped."""
        if epoch != self._epochs:
            raise RuntimeError("DataLoader: a newer iterator has taken the persistent workers over")
        if self.closed:
            raise RuntimeError("DataLoader: the workers have stopped; start a new iterator")
        connection = self._answers[worker]
        while True:
            if self.timeout and not connection.poll(self.timeout):
                raise RuntimeError(f"DataLoader: worker {worker} sent no batch for {self.timeout} seconds (timeout)")
            try:
                message = w.receive(connection, self._leases[worker])
            except (EOFError, OSError):  # between two messages, or in the middle of one
                process = self._processes[worker]
                process.join(_EXIT_SECONDS)
                reason = w.describe_exit(process.exitcode)
                self.close()
                raise RuntimeError(f"DataLoader: worker {worker} (pid {process.pid}) {reason}") from None
            except BaseException:  # an interrupt, or no memory: what is left in the pipe is no message
                self.close()
                raise
            if message.epoch == epoch:
                return w.answer(message)


class _Run(Iterator[Any]):
    """One epoch. The workers take turns, so each answers in the order in which it was asked."""

    def __init__(self, pool: Pool, number: int, tasks: Iterator[tuple[int, Any]], ahead: int, in_order: bool):
        self._pool, self._number, self._tasks, self._in_order = pool, number, tasks, in_order
        self._asked: deque[int] = deque()  # the workers that owe an answer
        for _ in range(ahead):
            for worker in range(pool.count):
                self._ask(worker)

    def _ask(self, worker: int) -> None:
        task = next(self._tasks, None)
        if task is not None:
            self._pool.ask(worker, *task)
            self._asked.append(worker)

    def __next__(self) -> Any:
        while self._asked:
            worker = self._asked[0] if self._in_order else self._pool.first_ready(self._asked)
            answer = self._pool.answer(worker, self._number)  # after a timeout it may be awaited again
            self._asked.remove(worker)
            if answer.content is Exhausted:  # this worker's share of an iterable dataset
                continue
            self._ask(worker)
            if isinstance(answer.content, w.Failure):
                error = _error(answer.content, worker, answer.batch)
                try:
                    raise error
                finally:  # or its traceback, which holds this frame, kept the workers until the next collection
                    del answer, error
            return answer.content
        raise StopIteration


def _error(failure: w.Failure, worker: int, batch: int) -> BaseException:
    error = failure.error or RuntimeError(failure.summary)
    error.add_note(f"raised in DataLoader worker {worker}, batch {batch}; there:\n{failure.traceback}")
    return error


def _stop(
    processes: list[BaseProcess], tasks: list[Connection], answers: list[Connection], leases: list[shared.Leases]
) -> None:
    for held in leases:
        held.forget()
    for connection in (*tasks, *answers):  # a worker stops when its pipes close
        connection.close()
    alive = _waited_for(processes, _STOP_SECONDS)
    for process in alive:
        process.terminate()
    alive = _waited_for(alive, _TERM_SECONDS)
    for process in alive:  # SIGTERM is ignored, or not delivered
        process.kill()
    _waited_for(alive, _EXIT_SECONDS)


def _waited_for(processes: list[BaseProcess], seconds: float) -> list[BaseProcess]:
    """The processes that have not ended after so many seconds."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0, deadline - time.monotonic()))
    return [process for process in processes if process.is_alive()]
