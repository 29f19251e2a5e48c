"""The server that tells MPI's processes of each other: PMI-1, the text protocol of MPICH and of what is built on it.

A process whose environment names the server (``PMI_PORT``, ``PMI_ID``) gets its world from it when it initialises MPI,
so no ``mpiexec`` is needed. The server sees each process end: one whose connection closes before it said ``finalize``
is lost.

The protocol is described in MPICH's wiki, "PMI-1.1 wire protocol"; messages are lines of ``key=value``.

As a program, ``python pmi.py SIZE``, it prints its port and serves until the process that started it, rank 0, is gone:
when its input ends. It then imports nothing of flambeau, which would make the start slow.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

__all__ = ["PROGRAM", "Server", "process_mapping", "remove_shared_memory", "segments"]

PROGRAM = __file__
_LEAVE = 5.0  # seconds that the other ranks have to take leave after rank 0
_NAME, _KEY, _VALUE = 256, 64, 1024  # the longest that PMI-1's clients ask for
_LINE = 4096  # the longest line that is read
_TOTAL = 1 << 26  # bytes of all values of a job


def process_mapping(nodes: Sequence[int]) -> str:
    """Which processes share a node: ``nodes`` is the node of each rank, in ascending order.

    >>> from flambeau.distributed.pmi import process_mapping
    >>> process_mapping([0, 0, 1, 1]), process_mapping([0, 0, 0, 1])
    ('(vector,(0,2,2))', '(vector,(0,1,3),(1,1,1))')
    """
    counts = [(node, len(list(ranks))) for node, ranks in groupby(nodes)]
    if len({count for _, count in counts}) == 1:
        return f"(vector,(0,{len(counts)},{counts[0][1]}))"
    return "(vector," + ",".join(f"({node},1,{count})" for node, count in counts) + ")"


def segments(name: str) -> Iterator[Path]:
    """The files of shared memory on this machine that a job of this name has.

    MPICH calls its segments by the FNV-1a hash of the job's name (``MPIR_Process.world_id``) and the number of the
    node.
    """
    world = 2166136261
    for byte in name.encode():
        world = (world ^ byte) * 16777619 & 0xFFFFFFFF
    for kind in ("shm", "vci"):
        yield from Path("/dev/shm").glob(f"mpich_{kind}_{world:x}_*")


def remove_shared_memory(name: str) -> None:
    """Remove what killed processes of a job of this name left in shared memory on this machine."""
    for left in segments(name):
        with contextlib.suppress(OSError):
            left.unlink()


class _Process:
    """The connection of one process."""

    def __init__(self, sock: socket.socket):
        self.sock, self.came, self.finished = sock, b"", False
        self.rank: int | None = None

    def say(self, text: str) -> None:
        """Send a line; one that cannot take it is found gone when it is read from."""
        with contextlib.suppress(OSError):
            self.sock.sendall(text.encode() + b"\n")


class Server:
    """Serves one job of ``size`` processes in a thread until it is closed.

    Args:
        size: how many processes.
        nodes: the node of each rank, ascending; all on one by default.
        host: the address to listen at.
        lost: called in the server's thread with a rank that aborted or went without taking leave, and why, where it
        said.
    """

    def __init__(
        self, size: int, nodes: Sequence[int] | None = None, host: str = "127.0.0.1",
        lost: Callable[[int, str], None] | None = None,
    ):  # fmt: skip
        self.size = size
        # MPICH derives the names of its shared memory from this one: what a killed job left must not match.
        self.name = f"flambeau_{os.getpid()}_{os.urandom(8).hex()}"
        self._values = {"PMI_process_mapping": process_mapping(nodes or [0] * size)}
        self._stored = 0
        self._lost = lost
        self._arrived: list[_Process] = []
        self._watchers: list[_Process] = []
        self._left: set[int] = set()
        self._here = 0  # processes of ranks that are connected
        self._emptied = threading.Condition()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=max(128, size))
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="flambeau-pmi", daemon=True)
        self._thread.start()

    def drain(self, timeout: float) -> None:
        """Wait until every process that came has taken leave or is gone."""
        with self._emptied:
            self._emptied.wait_for(lambda: not self._here, timeout)

    def close(self) -> None:
        """Stop serving; processes that are still there find their connection closed."""
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._woken:
                    self._close_all()
                    return
                if key.fileobj is self._listener:
                    sock, _address = self._listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.settimeout(10)
                    self._selector.register(sock, selectors.EVENT_READ, _Process(sock))
                else:
                    self._read(key.data)

    def _close_all(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        self._wake.close()

    def _read(self, process: _Process) -> None:
        try:
            came = process.sock.recv(65536)
        except OSError:
            came = b""
        *lines, process.came = (process.came + came).split(b"\n")
        if not came or len(process.came) > _LINE:
            self._gone(process)
            return
        for line in lines:
            if not self._answer(process, line.decode(errors="replace")):
                self._gone(process)
                return

    def _gone(self, process: _Process) -> None:
        self._selector.unregister(process.sock)
        process.sock.close()
        if process in self._watchers:
            self._watchers.remove(process)
        elif process.rank is not None:
            with self._emptied:
                self._here -= 1
                self._emptied.notify_all()
            if not process.finished and process.rank not in self._left:
                self._tell(process.rank, "")

    def _tell(self, rank: int, why: str) -> None:
        for watcher in self._watchers:
            if watcher.rank != rank:
                watcher.say(f"cmd=lost rank={rank} why={why}")
        if self._lost is not None:
            self._lost(rank, why)

    def _answer(self, process: _Process, line: str) -> bool:
        """Answer one line; whether the connection goes on."""
        given = dict(part.split("=", 1) for part in line.split() if "=" in part)
        command = given.get("cmd", "")
        handler = getattr(self, f"_on_{command}", None)
        if handler is None:
            process.say(f"cmd={command[:_KEY]}_result rc=-1 msg=unknown_command")
            return True
        try:
            going_on: bool = handler(process, given, line) is not False
        except (KeyError, ValueError):
            return False
        return going_on

    def _rank(self, text: str) -> int:
        rank = int(text)
        if not 0 <= rank < self.size:
            raise ValueError(f"rank {rank} of {self.size}")
        return rank

    def _on_initack(self, process: _Process, given: dict[str, str], line: str) -> None:
        process.rank = self._rank(given["pmiid"])
        with self._emptied:
            self._here += 1
        process.say("cmd=initack rc=0")
        process.say(f"cmd=set size={self.size}")
        process.say(f"cmd=set rank={process.rank}")
        process.say("cmd=set debug=0")

    def _on_init(self, process: _Process, given: dict[str, str], line: str) -> None:
        process.say("cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0")

    def _on_get_maxes(self, process: _Process, given: dict[str, str], line: str) -> None:
        process.say(f"cmd=maxes rc=0 kvsname_max={_NAME} keylen_max={_KEY} vallen_max={_VALUE}")

    def _on_get_appnum(self, process: _Process, given: dict[str, str], line: str) -> None:
        process.say("cmd=appnum rc=0 appnum=0")

    def _on_get_universe_size(self, process: _Process, given: dict[str, str], line: str) -> None:
        process.say(f"cmd=universe_size rc=0 size={self.size}")

    def _on_get_my_kvsname(self, process: _Process, given: dict[str, str], line: str) -> None:
        process.say(f"cmd=my_kvsname rc=0 kvsname={self.name}")

    def _on_put(self, process: _Process, given: dict[str, str], line: str) -> None:
        value = line.split("value=", 1)[1]
        self._stored += len(value)
        if len(given["key"]) > _KEY or len(value) > _VALUE or self._stored > _TOTAL:
            process.say("cmd=put_result rc=-1 msg=too_long")
            return
        self._values[given["key"]] = value
        process.say("cmd=put_result rc=0 msg=success")

    def _on_get(self, process: _Process, given: dict[str, str], line: str) -> None:
        value = self._values.get(given["key"])
        if value is None:
            process.say("cmd=get_result rc=-1 msg=key_not_found value=unknown")
        else:
            process.say(f"cmd=get_result rc=0 msg=success value={value}")

    def _on_barrier_in(self, process: _Process, given: dict[str, str], line: str) -> None:
        self._arrived.append(process)
        if len(self._arrived) == self.size:
            arrived, self._arrived = self._arrived, []
            for each in arrived:
                each.say("cmd=barrier_out rc=0")

    def _on_finalize(self, process: _Process, given: dict[str, str], line: str) -> bool:
        process.finished = True
        process.say("cmd=finalize_ack rc=0")
        return False

    def _on_abort(self, process: _Process, given: dict[str, str], line: str) -> bool:
        process.finished = True
        if process.rank is not None:
            self._tell(process.rank, f"rank {process.rank} aborted with status {int(given.get('exitcode', 1))}")
        return False

    def _on_watch(self, process: _Process, given: dict[str, str], line: str) -> None:
        """Of ours: the process of a rank asks to be told of those that are lost."""
        process.rank = self._rank(given["rank"])
        self._watchers.append(process)

    def _on_left(self, process: _Process, given: dict[str, str], line: str) -> None:
        """Of ours: a rank has left, though its process will end in a way in which MPI says nothing."""
        self._left.add(self._rank(given["rank"]))
        process.say("cmd=left_ack")

    def _on_failed(self, process: _Process, given: dict[str, str], line: str) -> None:
        """Of ours: the process of a rank says why it ends."""
        self._tell(self._rank(given["rank"]), line.split("why=", 1)[1])


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = Server(int(sys.argv[1]), host="0.0.0.0")
    print(server.port, flush=True)
    sys.stdin.buffer.read()
    server.drain(_LEAVE)
    server.close()
    remove_shared_memory(server.name)


if __name__ == "__main__":
    _main()
