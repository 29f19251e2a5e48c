"""What every store can do, and the table that most of them keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from datetime import timedelta

from flambeau.distributed.errors import DistStoreError

__all__ = ["LONGEST", "Store", "Table", "as_bytes"]

LONGEST = 1 << 26  # bytes of one key or value that travels or lies in a file
_DEFAULT = timedelta(seconds=300)


def as_bytes(value: str | bytes) -> bytes:
    """What a value is stored as."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"store: a value must be a str or bytes, got {type(value).__name__}")


class Table:
    """The values of a store, and what is done with them at once."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.queues: dict[str, deque[bytes]] = {}

    def has(self, keys: Sequence[str]) -> bool:
        """Whether each key has a value, or a queue that is not empty."""
        return all(key in self.values or self.queues.get(key) for key in keys)

    def add(self, key: str, amount: int) -> int:
        """Add to a counter, which begins at 0; the sum."""
        old = self.values.get(key, b"0")
        try:
            total = int(old) + amount
        except ValueError:
            raise DistStoreError(f"store: add: the value of {key!r} is no whole number") from None
        self.values[key] = str(total).encode()
        return total

    def append(self, key: str, value: bytes) -> None:
        """Put bytes behind the value."""
        self.values[key] = self.values.get(key, b"") + value

    def compare_set(self, key: str, expected: bytes, desired: bytes) -> bytes:
        """Set it if its value is the expected one, or if it has none and none is expected; the value from then on."""
        current = self.values.get(key)
        if current == expected or (current is None and not expected):
            self.values[key] = desired
            return desired
        return expected if current is None else current

    def delete(self, key: str) -> bool:
        """Forget a key; whether there was one."""
        return (self.values.pop(key, None) is not None) | (self.queues.pop(key, None) is not None)

    def push(self, key: str, value: bytes) -> None:
        """Put a value at the end of a queue."""
        self.queues.setdefault(key, deque()).append(value)

    def pop(self, key: str) -> bytes | None:
        """Take the first value of a queue; None where it is empty."""
        queue = self.queues.get(key)
        if not queue:
            return None
        value = queue.popleft()
        if not queue:
            del self.queues[key]
        return value


class Store(ABC):
    """What every store can do. Waits end after the store's timeout (300 s at first) with DistStoreError."""

    _timeout = _DEFAULT

    @property
    def timeout(self) -> timedelta:
        """How long waits take at most."""
        return self._timeout

    def set_timeout(self, timeout: timedelta) -> None:
        """Say how long waits take at most."""
        if not isinstance(timeout, timedelta):
            raise TypeError(f"store: set_timeout: expected a timedelta, got {type(timeout).__name__}")
        self._timeout = timeout

    @abstractmethod
    def set(self, key: str, value: str | bytes) -> None:
        """Give a key a value."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The value of a key, which is waited for."""

    @abstractmethod
    def add(self, key: str, amount: int) -> int:
        """Add to a counter, which begins at 0; the sum."""

    @abstractmethod
    def check(self, keys: Sequence[str]) -> bool:
        """Whether each key has a value by now."""

    @abstractmethod
    def compare_set(self, key: str, expected: str | bytes, desired: str | bytes) -> bytes:
        """Set a key if its value is the expected one, or if it has none and "" is expected; the value from then on."""

    @abstractmethod
    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until each key has a value."""

    @abstractmethod
    def delete_key(self, key: str) -> bool:
        """Forget a key; whether there was one."""

    @abstractmethod
    def num_keys(self) -> int:
        """How many keys have a value."""

    @abstractmethod
    def append(self, key: str, value: str | bytes) -> None:
        """Put bytes behind the value of a key."""

    @abstractmethod
    def list_keys(self) -> list[str]:
        """The keys that have a value, in no order."""

    @abstractmethod
    def clone(self) -> Store:
        """Another store on the same values, for use in another thread."""

    def queue_push(self, key: str, value: str | bytes) -> None:
        """Put a value at the end of a queue."""
        raise NotImplementedError(f"{type(self).__name__} has no queues")

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        """Take the first value of a queue, and wait for one with ``block``; otherwise QueueEmptyError."""
        raise NotImplementedError(f"{type(self).__name__} has no queues")

    def queue_len(self, key: str) -> int:
        """How many values a queue has."""
        raise NotImplementedError(f"{type(self).__name__} has no queues")

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """The values of several keys, which are waited for."""
        self.wait(keys)
        return [self.get(key) for key in keys]

    def multi_set(self, keys: Sequence[str], values: Sequence[str | bytes]) -> None:
        """Give several keys a value each."""
        _same_length(keys, values)
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)

    def has_extended_api(self) -> bool:
        """Whether append, multi_get and multi_set are there: always."""
        return True

    def _late(self, keys: Sequence[str], timeout: timedelta) -> DistStoreError:
        return DistStoreError(
            f"wait timeout after {timeout / timedelta(milliseconds=1):.0f}ms, keys: {', '.join(keys)}"
        )


def _same_length(keys: Sequence[str], values: Sequence[str | bytes]) -> None:
    if len(keys) != len(values):
        raise ValueError(f"store: multi_set: {len(keys)} keys but {len(values)} values")
