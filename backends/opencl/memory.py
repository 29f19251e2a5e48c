"""Pooled device memory: blocks with an account of the queues that used them, and free lists for each queue."""

from __future__ import annotations

import threading
from typing import Final, Protocol

from flambeau.backends.base import MemoryStats, OutOfMemoryError
from flambeau.backends.launched.device import Raw

_SMALLEST: Final = 256


class Source(Protocol):
    """The device that a pool takes its memory from."""

    label: str
    lock: threading.RLock
    largest_block: int

    def new_buffer(self, nbytes: int) -> Raw:
        """Memory from the driver,; MemoryError when there is none."""

    def synchronize(self) -> None:
        """Wait for all work on its memory."""


class Block:
    """Device memory of one storage. ``users`` has a bit for each queue that used it since ``writer`` last wrote it."""

    __slots__ = ("_pool", "_shelf", "memory", "nbytes", "users", "writer")

    def __init__(self, memory: Raw, nbytes: int, shelf: Shelf, pool: Pool, users: int, writer: int):
        self.memory, self.nbytes, self._shelf, self._pool = memory, nbytes, shelf, pool
        self.users, self.writer = users, writer

    def __del__(self) -> None:
        """Back to the pool; the next user on another queue waits for the queues that still use the memory."""
        pool = self._pool
        with pool._lock:
            pool._allocated -= self.nbytes
            self._shelf.free[self.writer].append((self.memory, self.users))


class Shelf:
    """The free memory of one size: for each queue what it wrote last, as (buffer, users)."""

    __slots__ = ("free", "size")

    def __init__(self, size: int, queues: int):
        self.size = size
        self.free: list[list[tuple[Raw, int]]] = [[] for _ in range(queues)]


def rounded(nbytes: int) -> int:
    """The size class of an allocation: a power of two, or one of the seven steps between two of them.

    >>> rounded(1), rounded(1025), rounded(1 << 20)
    (256, 1152, 1048576)
    """
    if nbytes <= _SMALLEST:
        return _SMALLEST
    step = 1 << max((nbytes - 1).bit_length() - 4, 0)
    return -(-nbytes // step) * step


class Pool:
    """One device's memory. What is freed stays with the queue that used it, whose order makes reuse safe."""

    def __init__(self, device: Source, queues: int, limit: int):
        self.device, self.queues, self.limit = device, queues, limit
        self._lock = device.lock
        self._shelves: dict[int, Shelf] = {}
        self._allocated = self._peak = self._reserved = self._count = 0

    def shelf(self, nbytes: int) -> Shelf:
        """Where blocks of at least ``nbytes`` come from."""
        size = rounded(nbytes)
        found = self._shelves.get(size)
        return self._shelves.setdefault(size, Shelf(size, self.queues)) if found is None else found

    def take(self, nbytes: int, queue: int) -> Block:
        """A block of at least ``nbytes`` for work on ``queue``; OutOfMemoryError past the limit."""
        with self._lock:
            return self.block(nbytes, self.shelf(nbytes), queue)

    def block(self, nbytes: int, shelf: Shelf, queue: int) -> Block:
        """:meth:`take` for a caller that holds the lock and knows the shelf."""
        own = shelf.free[queue]
        memory, users = own.pop() if own else self._other(shelf)
        self._count += 1
        self._allocated += nbytes
        if self._allocated > self._peak:
            self._peak = self._allocated
        return Block(memory, nbytes, shelf, self, users, queue)

    def _other(self, shelf: Shelf) -> tuple[Raw, int]:
        """Memory that other queues used, or new memory."""
        for free in shelf.free:
            if free:
                return free.pop()
        return self._new(shelf.size), 0

    def _new(self, size: int) -> Raw:
        if size > self.device.largest_block:
            raise self._full(size, f"its driver gives at most {self.device.largest_block} bytes in one piece")
        if self._reserved + size > self.limit:
            self._trim()
        if self._reserved + size > self.limit:
            raise self._full(size, f"the limit is {self.limit} bytes")
        try:
            memory = self.device.new_buffer(size)
        except MemoryError:
            self._trim()
            try:
                memory = self.device.new_buffer(size)
            except MemoryError as error:
                raise self._full(size, "its driver has no more") from error
        self._reserved += size
        return memory

    def _full(self, size: int, why: str) -> OutOfMemoryError:
        return OutOfMemoryError(
            f"{self.device.label}: out of memory: {size} bytes asked for, {self._allocated} in use, and {why}; "
            "free tensors, use smaller batches, or raise the memory limit"
        )

    def _trim(self) -> None:
        self.device.synchronize()  # what is released may be the host's own memory, with work on it under way
        for shelf in self._shelves.values():
            for free in shelf.free:
                while free:
                    free.pop()[0].release()
                    self._reserved -= shelf.size

    def trim(self) -> None:
        """Give free blocks back to the driver."""
        with self._lock:
            self._trim()

    def reset_peak(self) -> None:
        """Count the peak anew, from what is allocated now."""
        with self._lock:
            self._peak = self._allocated

    def stats(self) -> MemoryStats:
        with self._lock:
            return MemoryStats(self._allocated, self._peak, self._reserved, self.limit, self._count)
