"""The server of a TCPStore: one thread, which reads what comes piece by piece and never waits for one process."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import weakref
from collections.abc import Generator
from enum import IntEnum
from typing import ClassVar

from flambeau.distributed.errors import DistNetworkError, DistStoreError
from flambeau.distributed.stores.base import LONGEST, Table

__all__ = ["MAGIC", "READY", "STOP_WAITING", "WAIT_CANCELED", "Ask", "StoreServer"]

MAGIC = 0x3C85F7CE  # what a client says first
READY, NOT_READY = b"\0", b"\1"
STOP_WAITING, WAIT_CANCELED = b"\0", b"\1"
_MOST_KEYS = 1 << 20  # of one request
_MOST_UNSENT = 1 << 28  # bytes that a client may leave unread before it is dropped


class Ask(IntEnum):
    """The kinds of requests."""

    VALIDATE = 0
    SET = 1
    COMPARE_SET = 2
    GET = 3
    ADD = 4
    CHECK = 5
    WAIT = 6
    GETNUMKEYS = 7
    DELETE_KEY = 8
    APPEND = 9
    MULTI_GET = 10
    MULTI_SET = 11
    CANCEL_WAIT = 12
    PING = 13
    QUEUE_PUSH = 14
    QUEUE_POP = 15
    QUEUE_LEN = 16
    LIST_KEYS = 17


_Reading = Generator[int, bytes, bytes]  # yields how many bytes it wants, is sent them, returns what it made of them


def _number() -> Generator[int, bytes, int]:
    number: int = struct.unpack("<q", (yield 8))[0]
    return number


def _text() -> _Reading:
    length = yield from _number()
    if not 0 <= length <= LONGEST:
        raise DistStoreError(f"a text of {length} bytes")
    return (yield length)


def _key() -> Generator[int, bytes, str]:
    return (yield from _text()).decode()


def _count() -> Generator[int, bytes, int]:
    count = yield from _number()
    if not 0 <= count <= _MOST_KEYS:
        raise DistStoreError(f"{count} keys")
    return count


def _keys() -> Generator[int, bytes, list[str]]:
    keys = []
    for _ in range((yield from _count())):
        keys.append((yield from _key()))
    return keys


def _packed(value: bytes) -> bytes:
    return struct.pack("<q", len(value)) + value


class _Client:
    """A connection: what came and is not yet read, what is to be sent, the keys it waits for."""

    def __init__(self, sock: socket.socket, server: StoreServer):
        self.sock, self.came, self.unsent = sock, bytearray(), bytearray()
        self.waits: list[str] | None = None
        self.reading = server._conversation(self)
        self.wanted = next(self.reading)

    def feed(self, data: bytes) -> None:
        """Go on reading requests with what came."""
        self.came += data
        while len(self.came) >= self.wanted:
            piece = bytes(self.came[: self.wanted])
            del self.came[: self.wanted]
            self.wanted = self.reading.send(piece)


class StoreServer:
    """Serves a table until it is closed, at a port (a free one with 0) of a host ("": every address of this machine).

    With ``descriptor`` it does so at a socket that listens already.
    """

    _open: ClassVar[weakref.WeakValueDictionary[int, StoreServer]] = weakref.WeakValueDictionary()

    def __init__(self, port: int = 0, descriptor: int | None = None, host: str = ""):
        self.table = Table()
        self._waiting: dict[str, list[_Client]] = {}
        self._listener = _listener(host, port, descriptor)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._users = 1
        self._open[self.port] = self
        self._thread = threading.Thread(target=self._serve, name="flambeau-store", daemon=True)
        self._thread.start()

    @classmethod
    def shared(cls, port: int) -> StoreServer | None:
        """The server that this process has at a port already, for one more user."""
        found = cls._open.get(port)
        if found is not None:
            found._users += 1
        return found

    def close(self) -> None:
        """One user less; the last one ends it."""
        self._users -= 1
        if self._users == 0:
            self._open.pop(self.port, None)
            with contextlib.suppress(OSError):
                self._wake.send(b"x")
            if threading.current_thread() is not self._thread:
                self._thread.join()

    def _serve(self) -> None:
        while True:
            for key, events in self._selector.select():
                if key.fileobj is self._woken:
                    self._close_all()
                    return
                if key.fileobj is self._listener:
                    self._accept()
                    continue
                try:
                    if events & selectors.EVENT_WRITE:
                        self._flush(key.data)
                    if events & selectors.EVENT_READ:
                        self._read(key.data)
                except (OSError, DistStoreError, UnicodeDecodeError, EOFError):
                    self._drop(key.data)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            sock, _address = self._listener.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(sock, selectors.EVENT_READ, _Client(sock, self))

    def _close_all(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        self._wake.close()

    def _drop(self, client: _Client) -> None:
        if client.sock.fileno() < 0:
            return
        self._selector.unregister(client.sock)
        client.sock.close()
        self._stop_waiting(client)

    def _read(self, client: _Client) -> None:
        try:
            data = client.sock.recv(1 << 16)
        except BlockingIOError:
            return
        if not data:
            raise EOFError
        client.feed(data)

    def _say(self, client: _Client, *answer: bytes) -> None:
        client.unsent += b"".join(answer)
        if len(client.unsent) > _MOST_UNSENT:
            raise DistStoreError("a client does not read its answers")
        self._flush(client)

    def _flush(self, client: _Client) -> None:
        with contextlib.suppress(BlockingIOError):
            while client.unsent:
                del client.unsent[: client.sock.send(client.unsent)]
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        if self._selector.get_key(client.sock).events != events:
            self._selector.modify(client.sock, events, client)

    def _conversation(self, client: _Client) -> Generator[int, bytes, None]:
        """Read and answer the requests of one client, the first of which must be the magic number."""
        if (yield 1)[0] != Ask.VALIDATE or struct.unpack("<I", (yield 4))[0] != MAGIC:
            raise DistStoreError("no client of a store")
        while True:
            kind = (yield 1)[0]
            if not Ask.SET <= kind <= Ask.LIST_KEYS:
                raise DistStoreError(f"request {kind}")
            asked = getattr(self, f"_on_{Ask(kind).name.lower()}")(client)
            if asked is not None:  # it reads more
                yield from asked

    def _changed(self, key: str) -> None:
        """Answer those who waited for a key and now have all."""
        for client in list(self._waiting.get(key, ())):
            if client.waits is not None and self.table.has(client.waits):
                self._stop_waiting(client)
                try:
                    self._say(client, STOP_WAITING)
                except (OSError, DistStoreError):
                    self._drop(client)

    def _stop_waiting(self, client: _Client) -> None:
        for key in client.waits or ():
            others = self._waiting.get(key, [])
            if client in others:
                others.remove(client)
            if not others:
                self._waiting.pop(key, None)
        client.waits = None

    def _on_set(self, client: _Client) -> Generator[int, bytes, None]:
        key = yield from _key()
        self.table.values[key] = yield from _text()
        self._changed(key)

    def _on_compare_set(self, client: _Client) -> Generator[int, bytes, None]:
        key = yield from _key()
        expected = yield from _text()
        desired = yield from _text()
        self._say(client, _packed(self.table.compare_set(key, expected, desired)))
        self._changed(key)

    def _on_get(self, client: _Client) -> Generator[int, bytes, None]:
        self._say(client, _packed(self.table.values.get((yield from _key()), b"")))

    def _on_add(self, client: _Client) -> Generator[int, bytes, None]:
        key = yield from _key()
        amount = yield from _number()
        self._say(client, struct.pack("<q", self.table.add(key, amount)))
        self._changed(key)

    def _on_check(self, client: _Client) -> Generator[int, bytes, None]:
        self._say(client, READY if self.table.has((yield from _keys())) else NOT_READY)

    def _on_wait(self, client: _Client) -> Generator[int, bytes, None]:
        keys = yield from _keys()
        if self.table.has(keys):
            self._say(client, STOP_WAITING)
            return
        client.waits = keys
        for key in set(keys):
            self._waiting.setdefault(key, []).append(client)

    def _on_cancel_wait(self, client: _Client) -> None:
        self._stop_waiting(client)
        self._say(client, WAIT_CANCELED)

    def _on_getnumkeys(self, client: _Client) -> None:
        self._say(client, struct.pack("<q", len(self.table.values)))

    def _on_delete_key(self, client: _Client) -> Generator[int, bytes, None]:
        self._say(client, struct.pack("<q", self.table.delete((yield from _key()))))

    def _on_append(self, client: _Client) -> Generator[int, bytes, None]:
        key = yield from _key()
        self.table.append(key, (yield from _text()))
        self._changed(key)

    def _on_multi_get(self, client: _Client) -> Generator[int, bytes, None]:
        keys = yield from _keys()
        self._say(client, *(_packed(self.table.values.get(key, b"")) for key in keys))

    def _on_multi_set(self, client: _Client) -> Generator[int, bytes, None]:
        for _ in range((yield from _count())):
            yield from self._on_set(client)

    def _on_ping(self, client: _Client) -> Generator[int, bytes, None]:
        self._say(client, (yield 4))

    def _on_queue_push(self, client: _Client) -> Generator[int, bytes, None]:
        key = yield from _key()
        self.table.push(key, (yield from _text()))
        self._changed(key)

    def _on_queue_pop(self, client: _Client) -> Generator[int, bytes, None]:
        value = self.table.pop((yield from _key()))
        self._say(client, *([struct.pack("<q", 0)] if value is None else [struct.pack("<q", 1), _packed(value)]))

    def _on_queue_len(self, client: _Client) -> Generator[int, bytes, None]:
        queue = self.table.queues.get((yield from _key()), ())
        self._say(client, struct.pack("<q", len(queue)))

    def _on_list_keys(self, client: _Client) -> None:
        keys = list(self.table.values)
        self._say(client, struct.pack("<q", len(keys)), *(_packed(key.encode()) for key in keys))


def _listener(host: str, port: int, descriptor: int | None) -> socket.socket:
    """A socket that listens; without a host at every address of this machine, of IPv6 too where there is."""
    if descriptor is not None:
        return socket.socket(fileno=descriptor)
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, backlog=2048, dualstack_ipv6=True)
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise DistNetworkError(f"TCPStore: cannot listen at port {port}: {error}") from error
