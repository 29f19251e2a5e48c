"""A store within one process, and one that is a part of another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

from flambeau.core.locks import fork_safe
from flambeau.distributed.errors import QueueEmptyError
from flambeau.distributed.stores.base import Store, Table, as_bytes

__all__ = ["HashStore", "PrefixStore"]


class HashStore(Store):
    """A store within one process, for its threads.

    >>> store = fb.distributed.HashStore()
    >>> store.set("epoch", "3")
    >>> store.get("epoch"), store.add("steps", 2), store.num_keys()
    (b'3', 2, 2)
    """

    def __init__(self) -> None:
        self._table = Table()
        self._changed = threading.Condition(fork_safe(threading.RLock()))

    def _until(self, there: Callable[[], bool], keys: Sequence[str], timeout: timedelta | None) -> None:
        limit = self._timeout if timeout is None else timeout
        if not self._changed.wait_for(there, limit.total_seconds()):
            raise self._late(keys, limit)

    def set(self, key: str, value: str | bytes) -> None:
        with self._changed:
            self._table.values[key] = as_bytes(value)
            self._changed.notify_all()

    def get(self, key: str) -> bytes:
        with self._changed:
            self.wait([key])
            return self._table.values[key]

    def add(self, key: str, amount: int) -> int:
        with self._changed:
            total = self._table.add(key, amount)
            self._changed.notify_all()
            return total

    def check(self, keys: Sequence[str]) -> bool:
        with self._changed:
            return self._table.has(keys)

    def compare_set(self, key: str, expected: str | bytes, desired: str | bytes) -> bytes:
        with self._changed:
            value = self._table.compare_set(key, as_bytes(expected), as_bytes(desired))
            self._changed.notify_all()
            return value

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        with self._changed:
            self._until(lambda: self._table.has(keys), keys, timeout)

    def delete_key(self, key: str) -> bool:
        with self._changed:
            return self._table.delete(key)

    def num_keys(self) -> int:
        return len(self._table.values)

    def append(self, key: str, value: str | bytes) -> None:
        with self._changed:
            self._table.append(key, as_bytes(value))
            self._changed.notify_all()

    def list_keys(self) -> list[str]:
        with self._changed:
            return list(self._table.values)

    def clone(self) -> HashStore:
        made = HashStore()
        made._table, made._changed, made._timeout = self._table, self._changed, self._timeout
        return made

    def queue_push(self, key: str, value: str | bytes) -> None:
        with self._changed:
            self._table.push(key, as_bytes(value))
            self._changed.notify_all()

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        with self._changed:
            if block:
                self._until(lambda: bool(self._table.queues.get(key)), [key], None)
            value = self._table.pop(key)
        if value is None:
            raise QueueEmptyError(f"queue {key} is empty")
        return value

    def queue_len(self, key: str) -> int:
        with self._changed:
            return len(self._table.queues.get(key, ()))


class PrefixStore(Store):
    """A store whose keys are those of another one behind a prefix.

    >>> store = fb.distributed.HashStore()
    >>> fb.distributed.PrefixStore("data", store).set("seed", "1")
    >>> store.get("data/seed")
    b'1'
    """

    def __init__(self, prefix: str, store: Store):
        self.prefix, self.underlying_store = prefix, store

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}"

    def _keys(self, keys: Sequence[str]) -> list[str]:
        return [self._key(key) for key in keys]

    @property
    def timeout(self) -> timedelta:
        return self.underlying_store.timeout

    def set_timeout(self, timeout: timedelta) -> None:
        self.underlying_store.set_timeout(timeout)

    def set(self, key: str, value: str | bytes) -> None:
        self.underlying_store.set(self._key(key), value)

    def get(self, key: str) -> bytes:
        return self.underlying_store.get(self._key(key))

    def add(self, key: str, amount: int) -> int:
        return self.underlying_store.add(self._key(key), amount)

    def check(self, keys: Sequence[str]) -> bool:
        return self.underlying_store.check(self._keys(keys))

    def compare_set(self, key: str, expected: str | bytes, desired: str | bytes) -> bytes:
        return self.underlying_store.compare_set(self._key(key), expected, desired)

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        self.underlying_store.wait(self._keys(keys), timeout)

    def delete_key(self, key: str) -> bool:
        return self.underlying_store.delete_key(self._key(key))

    def num_keys(self) -> int:
        return self.underlying_store.num_keys()

    def append(self, key: str, value: str | bytes) -> None:
        self.underlying_store.append(self._key(key), value)

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        return self.underlying_store.multi_get(self._keys(keys))

    def multi_set(self, keys: Sequence[str], values: Sequence[str | bytes]) -> None:
        self.underlying_store.multi_set(self._keys(keys), values)

    def list_keys(self) -> list[str]:
        begin = f"{self.prefix}/"
        return [key.removeprefix(begin) for key in self.underlying_store.list_keys() if key.startswith(begin)]

    def clone(self) -> PrefixStore:
        return PrefixStore(self.prefix, self.underlying_store.clone())

    def queue_push(self, key: str, value: str | bytes) -> None:
        self.underlying_store.queue_push(self._key(key), value)

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        return self.underlying_store.queue_pop(self._key(key), block)

    def queue_len(self, key: str) -> int:
        return self.underlying_store.queue_len(self._key(key))
