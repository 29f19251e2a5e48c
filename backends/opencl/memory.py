"""Pooled device memory: blocks with an account of the queues that used them, and free lists for each queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flambeau.backends.base import MemoryStats, OutOfMemoryError

if TYPE_CHECKING:
    from flambeau.backends.opencl.device import Device

_SMALLEST: Final = 256


class Block:
    """Device memory of one storage. ``users`` has a bit for each queue that used it since ``writer`` last wrote it."""

    __slots__ = ("_pool", "_size", "memory", "nbytes", "users", "writer")

    def __init__(self, memory: Any, nbytes: int, size: int, pool: Pool, users: int, writer: int):
        self.memory, self.nbytes, self._size, self._pool = memory, nbytes, size, pool
        self.users, self.writer = users, writer

    def __del__(self) -> None:
        self._pool.give(self)


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

    def __init__(self, device: Device, limit: int):
        self.device, self.limit = device, limit
        self._lock = device.lock
        self._free: dict[tuple[int, int], list[tuple[Any, int]]] = {}  # (size, queue): (buffer, users)
        self._allocated = self._peak = self._reserved = self._count = 0

    def take(self, nbytes: int, queue: int) -> Block:
        """A block of at least ``nbytes`` for work on ``queue``; OutOfMemoryError past the limit."""
        with self._lock:
            return self.block(nbytes, rounded(nbytes), queue)

    def block(self, nbytes: int, size: int, queue: int) -> Block:
        """:meth:`take` for a caller that holds the lock and knows the size class."""
        found = self._free.get((size, queue))
        if found:
            memory, users = found.pop()
        else:
            memory, users = self._other(size, queue) or (self._new(size), 0)
        self._count += 1
        self._allocated += nbytes
        if self._allocated > self._peak:
            self._peak = self._allocated
        return Block(memory, nbytes, size, self, users, queue)

    def give(self, block: Block) -> None:
        """Take back a block; its next user on another queue waits for the queues that still use it."""
        with self._lock:
            self._allocated -= block.nbytes
            key = (block._size, block.writer)
            found = self._free.get(key)
            if found is None:
                found = self._free[key] = []
            found.append((block.memory, block.users))

    def _other(self, size: int, queue: int) -> tuple[Any, int] | None:
        """A free block that other queues used."""
        for other in range(len(self.device.queues)):
            found = self._free.get((size, other))
            if found and other != queue:
                return found.pop()
        return None

    def _new(self, size: int) -> Any:
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
        for (size, _), found in self._free.items():
            for memory, _users in found:
                memory.release()
                self._reserved -= size
            found.clear()

    def trim(self) -> None:
        """Give free blocks back to the driver."""
        with self._lock:
            self._trim()

    def stats(self) -> MemoryStats:
        with self._lock:
            return MemoryStats(self._allocated, self._peak, self._reserved, self.limit, self._count)
