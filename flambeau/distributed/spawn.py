"""Ranks that a running program starts itself: processes of Python's ``multiprocessing`` on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flambeau.distributed import guard
from flambeau.distributed.pmi import Server, remove_shared_memory
from flambeau.distributed.ranks import threads
from flambeau.distributed.stores.server import StoreServer
from flambeau.multiprocessing import ProcessContext, ProcessExitedException, start_processes

__all__ = ["SpawnedRanks", "spawn"]


class SpawnedRanks:
    """The processes of a job, to wait for.

    Attributes:
        processes: those of ``multiprocessing``, by rank.
    """

    def __init__(self, context: ProcessContext, serving: _Serving):
        self._context, self._serving = context, serving
        self.processes = context.processes

    def pids(self) -> list[int]:
        """Their ids, by rank."""
        return self._context.pids()

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until all have ended, at most ``timeout`` seconds; whether they have. One that fails ends the others.

        Raises:
            ProcessRaisedException, ProcessExitedException: one failed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while not self._context.join(_LOOK, grace_period):
                self._look_for_lost(grace_period)
                if deadline is not None and time.monotonic() > deadline:
                    return False
        except BaseException:
            self._end(grace_period)
            raise
        self._serving.close()
        return True

    def _look_for_lost(self, grace_period: float | None) -> None:
        """A process that went with status 0 in the midst of the others' work failed too."""
        for rank in self._serving.lost:
            process = self.processes[rank]
            process.join(1)
            if process.exitcode == 0:
                text = f"process {rank} terminated with exit code 0 before it left the job (os._exit)"
                raise ProcessExitedException(text, rank, process.pid or 0, 0)

    def _end(self, grace_period: float | None) -> None:
        deadline = time.monotonic() + (grace_period or 0)
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.terminate()
        for process in self.processes:
            process.join(1)
            if process.is_alive():
                process.kill()
                process.join()
        self._serving.close()


_LOOK = 0.1  # seconds between two looks for ranks that are lost


class _Serving:
    """What the ranks ask of this process."""

    def __init__(self, size: int):
        self.lost: list[int] = []
        self.store = StoreServer(host="127.0.0.1")
        self.pmi = Server(size, lost=lambda rank, why: self.lost.append(rank))

    def environment(self, size: int) -> dict[str, str]:
        """What all ranks find in their environment."""
        return {
            "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self.store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RUN_ID": uuid.uuid4().hex,
            "LAUNCHED_BY_FLAMBEAU": self.pmi.name, "PMI_PORT": f"127.0.0.1:{self.pmi.port}",
        }  # fmt: skip

    def close(self) -> None:
        self.pmi.close()
        self.store.close()
        remove_shared_memory(self.pmi.name)


def spawn(
    fn: Callable[..., Any], args: tuple[Any, ...] = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
    start_method: str = "spawn",
) -> SpawnedRanks | None:  # fmt: skip
    """Run ``fn(rank, *args)`` in ``nprocs`` processes, the ranks of a job; init_process_group needs no arguments there.

    Args:
        fn: a function at the top level of a module that the processes can import. With "spawn", the program needs
            ``if __name__ == "__main__":`` around its own call.
        join: wait until all have ended; otherwise what is returned can be waited for.
        daemon: end them with this process.
        start_method: "spawn", "forkserver" or "fork"; a process in which MPI is initialised cannot be forked.

    Raises:
        ProcessRaisedException: a rank raised; the text has its traceback. The others are ended.
        ProcessExitedException: a rank ended by a signal or with an exit status.
    """
    if nprocs < 1:
        raise ValueError(f"spawn: nprocs must be at least 1, got {nprocs}")
    mpi = sys.modules.get("mpi4py.MPI")
    if start_method == "fork" and mpi is not None and mpi.Is_initialized():
        raise RuntimeError('spawn: MPI is initialised in this process, which "fork" cannot copy; use "spawn"')
    serving = _Serving(nprocs)
    environment = serving.environment(nprocs)
    count = os.environ.get("OMP_NUM_THREADS", str(threads(nprocs)))
    with _set({"OMP_NUM_THREADS": count, "FLAMBEAU_NUM_THREADS": os.environ.get("FLAMBEAU_NUM_THREADS", count)}):
        try:
            context = start_processes(_rank, (fn, args, environment), nprocs, False, daemon, start_method)
        except BaseException:
            serving.close()
            raise
    assert context is not None
    ranks = SpawnedRanks(context, serving)
    if not join:
        return ranks
    ranks.join()
    return None


@contextlib.contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables that new processes find as they start, before numpy is imported."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _rank(number: int, fn: Callable[..., Any], args: tuple[Any, ...], environment: Mapping[str, str]) -> None:
    """In each process."""
    os.environ.update(environment)
    os.environ.update({"RANK": str(number), "LOCAL_RANK": str(number), "PMI_ID": str(number)})
    if number > 0:
        os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        fn(number, *args)
    except BaseException:
        guard.give_up()
        raise
    guard.leave()
    _take_leave(environment["PMI_PORT"], number)


def _take_leave(address: str, rank: int) -> None:
    """MPI does so when Python ends, which a forked process does not wait for."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as sock:
        sock.sendall(f"cmd=left rank={rank}\n".encode())
        sock.recv(64)
