"""The processes of the ranks of one machine: started, their output prefixed, ended together."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.util import _args_from_interpreter_flags  # type: ignore[attr-defined]
from pathlib import Path
from typing import IO, BinaryIO

from flambeau.distributed.guard import FAILURE_FILE

__all__ = ["Failure", "Output", "Ranks", "guarded", "threads"]

_GUARD = "from flambeau.distributed.guard import main; main()"
_LONGEST = 1 << 16  # bytes of a line without an end, after which it is printed all the same
OUT, ERR = 1, 2
_ENDS = re.compile(rb"(\r?\n|\r(?=.))", re.S)  # a last one waits for what comes behind it


@dataclass(frozen=True)
class Failure:
    """Why a job ends: the rank that was first, or None for its launcher; what happened; the exit status.

    After a ``final`` one the job is not started again.
    """

    rank: int | None
    what: str
    status: int
    final: bool = False

    def __str__(self) -> str:
        return self.what if self.rank is None else f"rank {self.rank} {self.what}"

    def to_json(self) -> str:
        """As a text for the other launchers."""
        return json.dumps([self.rank, self.what, self.status, self.final])

    @classmethod
    def from_json(cls, text: bytes) -> Failure:
        """What another launcher said."""
        rank, what, status, final = json.loads(text)
        return cls(None if rank is None else int(rank), str(what), int(status), bool(final))


@dataclass(frozen=True)
class Output:
    """Where output goes: ``console`` and ``files`` say for a local rank which of OUT and ERR, as a sum."""

    console: Callable[[int], int] = lambda rank: OUT | ERR
    files: Callable[[int], int] = lambda rank: 0
    folder: Path | None = None


def guarded(program: Sequence[str], module: bool) -> list[str]:
    """The command of a Python program, or of a module, as a rank under the guard."""
    options = _args_from_interpreter_flags()
    return [sys.executable, *options, "-c", _GUARD, str(os.getpid()), *(["-m"] if module else []), *program]


def threads(ranks: int) -> int:
    """How many threads each of so many ranks may use on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // ranks)


class Ranks:
    """The running ranks of this machine.

    Args:
        command: what each runs.
        environments: the environment of each; ``RANK`` names it in the output.
        output: where their output goes.
    """

    def __init__(self, command: Sequence[str], environments: Sequence[Mapping[str, str]], output: Output):
        self._folder = tempfile.TemporaryDirectory(prefix="flambeau-launch-")
        self.numbers = [int(environment["RANK"]) for environment in environments]
        self._output = output
        self._lock = threading.Lock()  # one line at a time
        self._readers: list[threading.Thread] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            for local, environment in enumerate(environments):
                self._start(command, local, environment)
        except BaseException:
            self.end(0)
            raise

    def _start(self, command: Sequence[str], local: int, environment: Mapping[str, str]) -> None:
        said = str(self._failure_file(local))
        process = subprocess.Popen(
            command, env={**environment, FAILURE_FILE: said}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        for kind, stream, name in ((OUT, process.stdout, "stdout"), (ERR, process.stderr, "stderr")):
            assert stream is not None
            args = (local, kind, stream, name)
            reader = threading.Thread(target=self._copy, args=args, name=f"flambeau-output-{local}", daemon=True)
            reader.start()
            self._readers.append(reader)

    def _failure_file(self, local: int) -> Path:
        return Path(self._folder.name, f"{local}.json")

    # -- output -----------------------------------------------------------------------------------
    def _copy(self, local: int, kind: int, stream: IO[bytes], name: str) -> None:
        """Copy a stream to its ends until it is closed."""
        rank = self.numbers[local]
        console = (sys.stdout if kind == OUT else sys.stderr) if self._output.console(local) & kind else None
        prefix = f"[rank {rank}] ".encode()
        with contextlib.ExitStack() as opened:
            file: BinaryIO | None = None
            if self._output.files(local) & kind and self._output.folder is not None:
                folder = self._output.folder / str(rank)
                folder.mkdir(parents=True, exist_ok=True)
                file = opened.enter_context(open(folder / f"{name}.log", "wb"))
            for line in _lines(stream):
                if file is not None:
                    file.write(line)
                    file.flush()
                if console is not None and (rank == 0 or not line.endswith(b"\r")):  # progress bars: of rank 0 only
                    with self._lock, contextlib.suppress(OSError, ValueError):
                        console.buffer.write(prefix + line)
                        console.buffer.flush()

    # -- their end --------------------------------------------------------------------------------
    def running(self) -> bool:
        """Whether one still runs."""
        return any(process.poll() is None for process in self.processes)

    def failure(self) -> Failure | None:
        """The first that failed by now."""
        for local, process in enumerate(self.processes):
            if process.poll():
                return self._told(local, process)
        return None

    def _told(self, local: int, process: subprocess.Popen[bytes]) -> Failure:
        """What happened to a process that failed."""
        code = process.returncode
        if code < 0:
            memory = ", as the kernel does when memory is short" if -code == signal.SIGKILL else ""
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            return Failure(self.numbers[local], f"was killed by {name}{memory}", 128 - code)
        with contextlib.suppress(OSError, ValueError, KeyError):
            said = json.loads(self._failure_file(local).read_bytes()[: 1 << 16])
            where = f" at {said['where']}" if said["where"] else ""
            return Failure(self.numbers[local], f"failed: {said['error']}{where}", code)
        return Failure(self.numbers[local], f"ended with exit code {code} and said nothing (os._exit)", code)

    def end(self, grace: float) -> None:
        """End those that run, and what they started: ask, after ``grace`` seconds kill, and wait until all are gone."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + grace
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.01)
        self._signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
        self.close()

    def _signal(self, number: int) -> None:
        for process in self.processes:
            with contextlib.suppress(OSError):
                if os.name == "nt":
                    process.send_signal(number)
                else:
                    os.killpg(process.pid, number)  # its own children too

    def close(self) -> None:
        """Wait until all are gone and their output is copied."""
        for process in self.processes:
            process.wait()
        for reader in self._readers:
            reader.join(1)  # a process that outlives its rank may hold a pipe open
        self._folder.cleanup()


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """The lines of a stream, each with its end; one that ends in a carriage return is written over by the next."""
    left = b""
    while chunk := os.read(stream.fileno(), 1 << 16):
        *whole, left = _ENDS.split(left + chunk)
        yield from map(b"".join, zip(whole[::2], whole[1::2], strict=True))
        if len(left) > _LONGEST:
            yield left + b"\n"
            left = b""
    if left:
        yield left + b"\n"
    stream.close()
