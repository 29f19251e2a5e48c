"""Memory of a CUDA device: blocks of CuPy's pool with an account of them, and pinned memory of the host."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import numpy as np

from flambeau.backends.base import HostArray, MemoryStats, OutOfMemoryError
from flambeau.backends.launched.device import Raw
from flambeau.backends.strided import Ledger
from flambeau.core import config
from flambeau.core.locks import fork_safe

T = TypeVar("T")


class Source(Protocol):
    """The device that allocations are made on."""

    label: str
    cupy: Raw
    null: Raw
    has_streams: bool

    @property
    def is_current(self) -> bool:
        """Whether the thread can work on the device without more ado."""

    def current(self) -> AbstractContextManager[None]:
        """The device is the thread's current one inside."""

    def stream(self) -> Raw:
        """The stream on which this thread's work goes."""


class Block:
    """One storage: ``memory`` is CuPy's pointer to its first byte.

    CuPy's pool gives a freed block to the next taker on the stream that it was allocated on. ``others`` are the
    further streams that used it: that stream then first waits for them.
    """

    __slots__ = ("foreign", "memory", "nbytes", "others", "owner", "stream")

    def __init__(self, memory: Raw, nbytes: int, owner: Memory, stream: Raw):
        self.memory, self.nbytes, self.owner, self.stream = memory, nbytes, owner, stream
        self.others: list[Any] | None = None
        self.foreign = False  # another library's memory, which does not count

    def used_on(self, stream: Raw) -> None:
        """Note that work on ``stream`` reads or writes the block."""
        if stream != self.stream:
            others = self.others = self.others or []
            if stream not in others:
                others.append(stream)

    def __del__(self) -> None:
        if not self.foreign:
            self.owner.ledger.give(self.nbytes)
        if self.others:
            with contextlib.suppress(Exception), self.owner.device.current():  # at exit the driver may be gone
                event = self.owner.device.cupy.cuda.Event
                for stream in self.others:
                    self.stream.wait_event(stream.record(event(disable_timing=True)))


class Memory:
    """One device's allocations."""

    def __init__(self, device: Source):
        self.device = device
        limit: int | None = config.get("memory_limit")
        self.ledger = Ledger(device.label, limit)
        if limit is not None:
            self.set_limit(limit)

    @property
    def cupys(self) -> Raw:
        """CuPy's pool."""
        return self.device.cupy.get_default_memory_pool()

    def take(self, nbytes: int) -> Block:
        """A block of ``nbytes``; OutOfMemoryError, with the figures, when there is no room."""
        self.ledger.take(nbytes)
        try:
            if self.device.is_current:
                return self._made(nbytes)
            with self.device.current():
                return self._made(nbytes)
        except BaseException:
            self.ledger.give(nbytes)
            raise

    def _made(self, nbytes: int) -> Block:
        alloc = self.device.cupy.cuda.alloc
        try:
            memory = alloc(nbytes or 1)
        except MemoryError:
            memory = self.retried(lambda: alloc(nbytes or 1), nbytes)
        return Block(memory, nbytes, self, self._stream())

    def _stream(self) -> Raw:
        """The stream that new memory belongs to."""
        return self.device.stream() if self.device.has_streams else self.device.null

    def adopt(self, memory: Raw, foreign: bool = False) -> Block:
        """The block of an array that CuPy allocated, or has of another library: ``memory`` is its data's pointer."""
        nbytes = int(memory.mem.size)
        if not foreign:
            self.ledger.take(nbytes)
        block = Block(self.device.cupy.cuda.MemoryPointer(memory.mem, 0), nbytes, self, self._stream())
        block.foreign = foreign
        return block

    def retried(self, make: Callable[[], T], nbytes: int | None = None) -> T:
        """Call ``make``; when memory runs out, give the pool's free blocks back and try once more."""
        try:
            return make()
        except MemoryError:
            self.cupys.free_all_blocks()
        try:
            return make()
        except MemoryError as error:
            raise self._full(nbytes) from error

    def _full(self, nbytes: int | None) -> OutOfMemoryError:
        stats = self.stats()
        used = stats.allocated - (nbytes or 0)  # which counts what is asked for
        free, total = self.device.cupy.cuda.runtime.memGetInfo()
        asked = "" if nbytes is None else f"{nbytes} bytes asked for, "
        limit = "" if stats.limit is None else f", the limit is {stats.limit}"
        return OutOfMemoryError(
            f"{self.device.label}: out of memory: {asked}{used} in use by tensors, {stats.reserved} in the "
            f"pool, {free} of the device's {total} bytes free{limit}; free tensors, use smaller batches, or raise "
            "the memory limit"
        )

    def set_limit(self, limit: int | None) -> None:
        self.ledger.set_limit(limit)
        with self.device.current():
            self.cupys.set_limit(size=limit or 0)  # 0 is none; the account refuses at a limit of 0

    def stats(self) -> MemoryStats:
        found = self.ledger.stats()
        with self.device.current():
            found.reserved = int(self.cupys.total_bytes())
        return found


class Pinned:
    """Page-locked memory of the host, and the copies from it that are still under way."""

    def __init__(self, cupy: Raw):
        self._cupy = cupy
        self._going: deque[tuple[Raw, HostArray]] = deque()
        self._lock = fork_safe(threading.Lock())

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostArray:
        """A host array from which copies to a device need not wait."""
        count = int(np.prod(shape, dtype=np.int64))
        memory = self._cupy.cuda.alloc_pinned_memory(max(count * dtype.itemsize, 1))
        raw = np.frombuffer(memory, np.uint8, count * dtype.itemsize)
        found: HostArray = raw.view(dtype).reshape(shape)
        return found

    def holds(self, array: HostArray) -> bool:
        """Whether an array is (a view of) one made here."""
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, memoryview):
            base = base.obj
        return isinstance(base, self._cupy.cuda.PinnedMemoryPointer)

    def keep(self, host: HostArray, event: Raw) -> None:
        """Keep ``host`` alive, and its memory from being used again, until ``event`` is over."""
        with self._lock:
            self._going.append((event, host))
        self.sweep()

    def sweep(self) -> int:
        """Let go of what has been copied; how many copies are still under way."""
        with self._lock:
            self._going = deque((event, host) for event, host in self._going if not event.done)
            return len(self._going)
