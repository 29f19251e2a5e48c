"""Several processes that run one function, each with its number, and whose errors are raised here."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

__all__ = [
    "ProcessContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException", "SpawnContext", "spawn",
    "start_processes",
]  # fmt: skip


class ProcessException(Exception):
    """A process failed: which, by its number and id."""

    def __init__(self, msg: str, error_index: int, pid: int):
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, pid

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """It raised; the text is the traceback there."""


class ProcessExitedException(ProcessException):
    """It ended without one, by a signal or an exit code."""

    def __init__(self, msg: str, error_index: int, error_pid: int, exit_code: int, signal_name: str | None = None):
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.msg, self.error_index, self.pid, self.exit_code, self.signal_name)


def _run(fn: Callable[..., Any], number: int, args: tuple[Any, ...], errors: Any) -> None:
    try:
        fn(number, *args)
    except KeyboardInterrupt:
        return
    except Exception:
        errors.send(traceback.format_exc())
        raise SystemExit(1) from None


class ProcessContext:
    """The processes, to wait for."""

    def __init__(self, processes: Sequence[BaseProcess], errors: Sequence[multiprocessing.connection.Connection]):
        self.processes, self._errors = list(processes), list(errors)
        self._left = {p.sentinel: i for i, p in enumerate(self.processes)}

    def pids(self) -> list[int]:
        """Their ids."""
        return [p.pid or 0 for p in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait for one of them or more; whether all have ended. Where one failed it ends the others and raises."""
        if not self._left:
            return True
        ended = multiprocessing.connection.wait(list(self._left), timeout)
        failed = None
        for sentinel in ended:
            number = self._left.pop(sentinel)  # type: ignore[arg-type]
            self.processes[number].join()
            if self.processes[number].exitcode != 0:
                failed = number
                break
        if failed is None:
            return not self._left
        self._end_others(grace_period)
        raise self._error(failed)

    def _end_others(self, grace_period: float | None) -> None:
        deadline = time.monotonic() + (grace_period or 0)
        for process in self.processes:
            process.join(max(0, deadline - time.monotonic()))
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join()

    def _text(self, number: int) -> str | None:
        """The traceback that a process sent before it ended; None where it sent none."""
        with contextlib.suppress(EOFError, OSError):
            if self._errors[number].poll():
                text: str = self._errors[number].recv()
                return text
        return None

    def _error(self, number: int) -> ProcessException:
        process = self.processes[number]
        pid, code = process.pid or 0, process.exitcode or 0
        text = self._text(number)
        if text is not None:
            return ProcessRaisedException(
                f"\n\n-- Process {number} terminated with the following error:\n{text}", number, pid
            )
        if code < 0:
            try:
                name: str | None = signal.Signals(-code).name
            except ValueError:
                name = f"<Unknown signal {-code}>"
            return ProcessExitedException(f"process {number} terminated with signal {name}", number, pid, code, name)
        return ProcessExitedException(f"process {number} terminated with exit code {code}", number, pid, code)


SpawnContext = ProcessContext


def start_processes(
    fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:  # fmt: skip
    """Run ``fn(number, *args)`` in ``nprocs`` processes.

    Args:
        fn: a function at the top level of a module, which the processes can import.
        join: wait until all have ended; otherwise the processes are returned.
        daemon: end them with this process.
        start_method: "spawn", "forkserver" or "fork".

    Raises:
        ProcessRaisedException, ProcessExitedException: one failed; the others are ended.
    """
    context = multiprocessing.get_context(start_method)
    processes: list[BaseProcess] = []
    errors = []
    for number in range(nprocs):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_run, args=(fn, number, args, theirs), daemon=daemon)  # type: ignore[attr-defined]
        process.start()
        theirs.close()
        processes.append(process)
        errors.append(ours)
    started = ProcessContext(processes, errors)
    if not join:
        return started
    while not started.join():
        pass
    return None


def spawn(
    fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:  # fmt: skip
    """:func:`start_processes` by new interpreters, which need a guarded main module and know nothing of this one."""
    return start_processes(fn, args, nprocs, join, daemon, start_method)
