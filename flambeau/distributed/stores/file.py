"""A store in a file, under a lock of the system."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from flambeau.core.locks import fork_safe
from flambeau.distributed.errors import DistStoreError
from flambeau.distributed.stores.base import LONGEST, Store, Table, as_bytes

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FileStore"]

_SET, _DELETE = 0, 1
_RECORD = struct.Struct("<BIQ")  # what, bytes of the key, bytes of the value
_OPENED, _CLOSED = "\0opened", "\0closed"  # how many processes came, and left
_POLL = 0.01  # seconds between two looks at the file


if sys.platform == "win32":

    def _lock(file: BinaryIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)

    def _unlock(file: BinaryIO) -> None:
        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:

    def _lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


@contextlib.contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    """The file is this process's alone."""
    _lock(file)
    try:
        yield
    finally:
        _unlock(file)


def _read(file: BinaryIO) -> tuple[int, str, bytes] | None:
    """The next record; None where there is no whole one."""
    head = file.read(_RECORD.size)
    if len(head) < _RECORD.size:
        return None
    what, key_bytes, value_bytes = _RECORD.unpack(head)
    if what not in (_SET, _DELETE) or key_bytes > LONGEST or value_bytes > LONGEST:
        raise DistStoreError(f"FileStore: {file.name} is no file of a store")
    key, value = file.read(key_bytes), file.read(value_bytes)
    return (what, key.decode(), value) if len(value) == value_bytes else None


class FileStore(Store):
    """A store in a file on a disk that all processes see, with locks.

    Args:
        file_name: the file, made where there is none; one of an earlier job must be removed first.
        world_size: with it, the last of so many processes removes the file when its store is closed or collected.
    """

    def __init__(self, file_name: str | os.PathLike[str], world_size: int = -1):
        self.path = os.fspath(file_name)
        self._world_size = world_size
        self._lock = fork_safe(threading.RLock())
        self._values: dict[str, bytes] = {}
        self._read_to = 0
        self._closed = False
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        if world_size > 0:
            self._count(_OPENED)

    def _count(self, key: str) -> int:
        return int(str(self._update(key, lambda table: table.add(key, 1))))

    def close(self) -> None:
        """Leave the store; the last of ``world_size`` processes removes the file."""
        if not self._closed and self._world_size > 0:
            self._closed = True
            with contextlib.suppress(OSError):
                if self._count(_CLOSED) >= max(self._world_size, int(self._values.get(_OPENED, b"0"))):
                    Path(self.path).unlink()

    def __del__(self) -> None:
        if hasattr(self, "_closed"):
            self.close()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        """The file, locked, after what others wrote was read."""
        with self._lock, open(self.path, "a+b") as file, _locked(file):
            file.seek(self._read_to)
            while (record := _read(file)) is not None:
                what, key, value = record
                if what == _SET:
                    self._values[key] = value
                else:
                    self._values.pop(key, None)
                self._read_to = file.tell()
            file.truncate(self._read_to)  # a writer that was killed left the beginning of a record
            yield file

    def _write(self, file: BinaryIO, what: int, key: str, value: bytes) -> None:
        name = key.encode()
        if len(name) > LONGEST or len(value) > LONGEST:
            raise ValueError(f"FileStore: a key or value is longer than {LONGEST} bytes")
        file.write(_RECORD.pack(what, len(name), len(value)) + name + value)
        file.flush()

    def set(self, key: str, value: str | bytes) -> None:
        with self._opened() as file:
            self._write(file, _SET, key, as_bytes(value))

    def get(self, key: str) -> bytes:
        self.wait([key])
        with self._lock:
            return self._values[key]

    def _update(self, key: str, change: Callable[[Table], object]) -> object:
        """Change one value while the file is locked."""
        with self._opened() as file:
            table = Table()
            table.values = {key: self._values[key]} if key in self._values else {}
            result = change(table)
            if table.values.get(key) != self._values.get(key):
                self._write(file, _SET, key, table.values[key])
            return result

    def add(self, key: str, amount: int) -> int:
        total = self._update(key, lambda table: table.add(key, amount))
        assert isinstance(total, int)
        return total

    def check(self, keys: Sequence[str]) -> bool:
        with self._opened():
            return all(key in self._values for key in keys)

    def compare_set(self, key: str, expected: str | bytes, desired: str | bytes) -> bytes:
        value = self._update(key, lambda table: table.compare_set(key, as_bytes(expected), as_bytes(desired)))
        assert isinstance(value, bytes)
        return value

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        limit = self._timeout if timeout is None else timeout
        deadline = time.monotonic() + limit.total_seconds()
        while not self.check(keys):
            if time.monotonic() > deadline:
                raise self._late(keys, limit)
            time.sleep(_POLL)

    def delete_key(self, key: str) -> bool:
        with self._opened() as file:
            if key not in self._values:
                return False
            self._write(file, _DELETE, key, b"")
            return True

    def num_keys(self) -> int:
        with self._opened():
            return len(self._values.keys() - {_OPENED, _CLOSED})

    def append(self, key: str, value: str | bytes) -> None:
        self._update(key, lambda table: table.append(key, as_bytes(value)))

    def list_keys(self) -> list[str]:
        with self._opened():
            return list(self._values.keys() - {_OPENED, _CLOSED})

    def clone(self) -> FileStore:
        made = FileStore(self.path)
        made._timeout = self._timeout
        return made
