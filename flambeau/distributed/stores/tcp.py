"""A store that one process serves to others over the network.

What travels is what torch's TCPStore sends, so that each can be the other's client: under torchrun the store of its
agent is used. A request is one byte, its kind, and then texts, each after its length in 8 bytes; all numbers are
little-endian. Nothing longer than 64 MiB is read.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

from flambeau.core.locks import fork_safe
from flambeau.distributed.errors import DistNetworkError, DistStoreError, QueueEmptyError
from flambeau.distributed.stores.base import LONGEST, Store, as_bytes
from flambeau.distributed.stores.server import MAGIC, READY, STOP_WAITING, Ask, StoreServer

__all__ = ["TCPStore"]

_PREFIX = "/"  # before each key of a user, which keeps them from those of the store itself
_JOINED = "init/"


class TCPStore(Store):
    """A store that one process serves, the master, and that every process of a job uses.

    Args:
        host_name: where the master is.
        port: its port; with 0 the master takes a free one, see ``port``.
        world_size: for how many processes the master waits when it is made; None waits for none.
        is_master: this process serves.
        timeout: how long waits take at most, that for the master and for the other processes too.
        wait_for_workers: whether the master waits.
        multi_tenant: a master whose port this process already serves joins that server.
        master_listen_fd: the descriptor of a socket that listens already, for the master.
        use_libuv: accepted, without effect.

    Raises:
        DistNetworkError: the master cannot be reached, or the port cannot be had.
        DistStoreError: an answer did not come in time.

    >>> store = fb.distributed.TCPStore("127.0.0.1", 0, is_master=True)
    >>> other = fb.distributed.TCPStore("127.0.0.1", store.port)
    >>> other.set("seed", "7")
    >>> store.get("seed"), store.add("steps", 1), store.check(["epoch"])
    (b'7', 1, False)
    """

    def __init__(
        self, host_name: str, port: int, world_size: int | None = None, is_master: bool = False,
        timeout: timedelta = timedelta(seconds=300), wait_for_workers: bool = True, multi_tenant: bool = False,
        master_listen_fd: int | None = None, use_libuv: bool = True,
    ):  # fmt: skip
        if not 0 <= port < 65536:
            raise ValueError(f"TCPStore: a port is from 0 to 65535, got {port}")
        if port == 0 and not is_master:
            raise ValueError("TCPStore: port 0 is for the master only")
        self.host = host_name
        self._timeout = timeout
        self._server: StoreServer | None = None
        if is_master:
            self._server = StoreServer.shared(port) if multi_tenant else None
            self._server = self._server or StoreServer(port, master_listen_fd)
            port = self._server.port
        self.port = port
        self._lock = fork_safe(threading.RLock())
        self._sock = self._connected()
        if wait_for_workers and world_size is not None and world_size > 0:
            self._wait_for_workers(world_size, is_master)

    @property
    def libuvBackend(self) -> bool:
        """False: the server is Python's."""
        return False

    def _connected(self) -> socket.socket:
        """A connection to the master, which may start later than this process."""
        deadline = time.monotonic() + self._timeout.total_seconds()
        pause = 0.01
        while True:
            left = deadline - time.monotonic()
            try:
                sock = socket.create_connection((self.host, self.port), max(0.1, min(left, 10)))
            except OSError as error:
                if left <= pause:
                    raise DistNetworkError(
                        f"TCPStore: no master at {self.host}:{self.port} within {self._timeout.total_seconds():g} s: "
                        f"{error}"
                    ) from error
                time.sleep(pause)
                pause = min(2 * pause, 0.5)
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.sendall(struct.pack("<BI", Ask.VALIDATE, MAGIC))
                return sock

    def _wait_for_workers(self, world_size: int, is_master: bool) -> None:
        joined = self.add(_JOINED, 1)
        deadline = time.monotonic() + self._timeout.total_seconds()
        while is_master and joined < world_size:
            if time.monotonic() > deadline:
                raise DistStoreError(
                    f"TCPStore: {joined} of {world_size} processes joined within {self._timeout.total_seconds():g} s"
                )
            time.sleep(0.01)
            joined = self.add(_JOINED, 0)

    def _send(self, ask: Ask, *parts: bytes) -> None:
        self._sock.sendall(bytes([ask]) + b"".join(parts))

    def _read(self, count: int) -> bytes:
        chunks = []
        while count:
            chunk = self._sock.recv(min(count, 1 << 20))
            if not chunk:
                raise DistNetworkError(f"TCPStore: the master at {self.host}:{self.port} is gone")
            chunks.append(chunk)
            count -= len(chunk)
        return b"".join(chunks)

    def _read_number(self) -> int:
        number: int = struct.unpack("<q", self._read(8))[0]
        return number

    def _read_text(self) -> bytes:
        length = self._read_number()
        if not 0 <= length <= LONGEST:
            raise DistStoreError(f"TCPStore: the master sent a value of {length} bytes")
        return self._read(length)

    @contextlib.contextmanager
    def _asking(self, what: str, timeout: timedelta | None = None) -> Iterator[None]:
        """The connection for one question; failures are named after it."""
        limit = (self._timeout if timeout is None else timeout).total_seconds()
        with self._lock:
            try:
                self._sock.settimeout(max(limit, 0.001))
                yield
            except TimeoutError:
                self._sock.close()  # half an answer may be on its way
                raise DistStoreError(f"TCPStore: {what}: no answer within {limit:g} s") from None
            except OSError as error:
                raise DistNetworkError(f"TCPStore: {what}: {self.host}:{self.port} is gone: {error}") from error

    def set(self, key: str, value: str | bytes) -> None:
        with self._asking("set"):
            self._send(Ask.SET, _key(key), _text(as_bytes(value)))

    def get(self, key: str) -> bytes:
        with self._asking("get"):
            self.wait([key])
            self._send(Ask.GET, _key(key))
            return self._read_text()

    def add(self, key: str, amount: int) -> int:
        with self._asking("add"):
            self._send(Ask.ADD, _key(key), _number(amount))
            return self._read_number()

    def check(self, keys: Sequence[str]) -> bool:
        with self._asking("check"):
            self._send(Ask.CHECK, _keys(keys))
            return self._read(1) == READY

    def compare_set(self, key: str, expected: str | bytes, desired: str | bytes) -> bytes:
        with self._asking("compare_set"):
            self._send(Ask.COMPARE_SET, _key(key), _text(as_bytes(expected)), _text(as_bytes(desired)))
            return self._read_text()

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        limit = self._timeout if timeout is None else timeout
        with self._asking("wait"):
            self._send(Ask.WAIT, _keys(keys))
            self._sock.settimeout(max(limit.total_seconds(), 0.001))
            try:
                there = self._read(1) == STOP_WAITING
            except TimeoutError:
                self._sock.settimeout(self._timeout.total_seconds())
                self._send(Ask.CANCEL_WAIT)
                there = (
                    self._read(1) == STOP_WAITING
                )  # it came at the last moment, and the cancelling has an answer too
                if there:
                    self._read(1)
        if not there:
            raise self._late(keys, limit)

    def delete_key(self, key: str) -> bool:
        with self._asking("delete_key"):
            self._send(Ask.DELETE_KEY, _key(key))
            return self._read_number() > 0

    def num_keys(self) -> int:
        with self._asking("num_keys"):
            self._send(Ask.GETNUMKEYS)
            return self._read_number()

    def append(self, key: str, value: str | bytes) -> None:
        with self._asking("append"):
            self._send(Ask.APPEND, _key(key), _text(as_bytes(value)))

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        with self._asking("multi_get"):
            self.wait(keys)
            self._send(Ask.MULTI_GET, _keys(keys))
            return [self._read_text() for _ in keys]

    def multi_set(self, keys: Sequence[str], values: Sequence[str | bytes]) -> None:
        if len(keys) != len(values):
            raise ValueError(f"store: multi_set: {len(keys)} keys but {len(values)} values")
        pairs = [_key(key) + _text(as_bytes(value)) for key, value in zip(keys, values, strict=True)]
        with self._asking("multi_set"):
            self._send(Ask.MULTI_SET, _number(len(pairs)), *pairs)

    def list_keys(self) -> list[str]:
        with self._asking("list_keys"):
            self._send(Ask.LIST_KEYS)
            return [self._read_text().decode().removeprefix(_PREFIX) for _ in range(self._read_number())]

    def queue_push(self, key: str, value: str | bytes) -> None:
        with self._asking("queue_push"):
            self._send(Ask.QUEUE_PUSH, _key(key), _text(as_bytes(value)))

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        with self._asking("queue_pop"):
            while True:
                if block:
                    self.wait([key])
                self._send(Ask.QUEUE_POP, _key(key))
                if self._read_number():
                    return self._read_text()
                if not block:
                    raise QueueEmptyError(f"queue {key} is empty")

    def queue_len(self, key: str) -> int:
        with self._asking("queue_len"):
            self._send(Ask.QUEUE_LEN, _key(key))
            return self._read_number()

    def clone(self) -> TCPStore:
        return TCPStore(self.host, self.port, timeout=self._timeout)

    def close(self) -> None:
        """Leave the store; the master ends it for all."""
        self._sock.close()
        if self._server is not None:
            self._server.close()

    def __del__(self) -> None:
        if hasattr(self, "_sock"):
            self.close()


def _number(value: int) -> bytes:
    return struct.pack("<q", value)


def _text(value: bytes) -> bytes:
    if len(value) > LONGEST:
        raise ValueError(f"TCPStore: a key or value has {len(value)} bytes, more than {LONGEST}")
    return _number(len(value)) + value


def _key(key: str) -> bytes:
    return _text((_PREFIX + key).encode())


def _keys(keys: Sequence[str]) -> bytes:
    return _number(len(keys)) + b"".join(_key(key) for key in keys)
