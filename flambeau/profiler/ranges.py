"""Named parts of a program, and what is done with a recorded trace."""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Callable
from contextlib import ContextDecorator
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from flambeau.core import state
from flambeau.profiler.recording import profile

__all__ = ["ExecutionTraceObserver", "record_function", "tensorboard_trace_handler"]


class record_function(ContextDecorator):
    """A named part of the program, a block or a function, that profiles show with the ops inside it.

    >>> with fb.profiler.profile() as p, fb.profiler.record_function("mine"):
    ...     _ = fb.ones(2).exp()
    >>> p.key_averages()[0].key
    'mine'
    """

    def __init__(self, name: str, args: str | None = None):
        self.name, self.args = name, args
        self._begins: list[float] = []

    def __enter__(self) -> Self:
        self._begins.append(time.perf_counter())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        began, ends = self._begins.pop(), time.perf_counter()
        for watcher in state.current().watchers:
            owner = getattr(watcher, "__self__", None)
            if isinstance(owner, profile):
                owner.note_range(self.name, began, ends)


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False, use_python_export: bool = False
) -> Callable[[profile], None]:
    """An ``on_trace_ready`` that writes each trace to a file of its own in a folder.

    >>> with fb.profiler.profile(on_trace_ready=fb.profiler.tensorboard_trace_handler("log", "me")):
    ...     _ = fb.ones(2).exp()
    >>> import os
    >>> len(os.listdir("log"))
    1
    """

    def write(prof: profile, name: str) -> None:
        Path(dir_name).mkdir(parents=True, exist_ok=True)
        file = f"{name}.{time.time_ns()}.pt.trace.json{'.gz' if use_gzip else ''}"
        prof.export_chrome_trace(os.path.join(dir_name, file))

    return functools.partial(write, name=worker_name or f"{socket.gethostname()}_{os.getpid()}")


class ExecutionTraceObserver:
    """Writes a trace of what a program computed, with its operands; there is none here, ``profile`` has the ops."""

    def __init__(self) -> None:
        self._path: str | None = None

    def register_callback(self, output_file_path: str) -> Self:
        """Where it would be written."""
        self._path = output_file_path
        return self

    def get_output_file_path(self) -> str | None:
        """Where it would be written."""
        return self._path

    def is_registered(self) -> bool:
        """Whether :meth:`register_callback` was called."""
        return self._path is not None

    def unregister_callback(self) -> None:
        """Forget it."""
        self._path = None

    def start(self) -> NoReturn:
        """RuntimeError: there are no such traces."""
        raise RuntimeError("ExecutionTraceObserver: there are no execution traces; profile(...) records the ops")

    def stop(self) -> None:
        """Nothing runs."""
