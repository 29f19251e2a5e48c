"""Memory that the loader's process and a worker share, for the arrays of batches.

The loader asks for every batch with the number of a block. The worker makes that block, or writes into it again, and
sends its descriptor once. When the last array of a batch is gone, the loader may give the number anew, so that a few
blocks serve a whole training. They have no names: nothing is left of them, however the processes end. Linux has such
memory, memfd_create(2); on other systems, and where the kernel refuses it, arrays travel through the pipe.
"""

from __future__ import annotations

import itertools
import mmap
import os
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.utils.host import HostArray

AVAILABLE: Final = hasattr(os, "memfd_create")
#: Bytes of a batch's arrays from which a block is worth its bookkeeping.
LEAST: Final = 1 << 15
#: Batches of one worker that the program may hold in blocks; those beyond are copied, or a list of all batches would
#: take a block, and with it a descriptor, for each.
HELD: Final = 4
_ALIGNMENT: Final = 64

_forks = 0  # a child that was forked sees the batches that its parent held, until they are gone there


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_count_fork)


class Offer(NamedTuple):
    """To a worker: the number of the block to use, and whether to write into the one that it made under it before."""

    number: int
    reuse: bool


class Place(NamedTuple):
    """Where the bytes of an array stand in a block."""

    offset: int
    size: int


# -- in a worker -------------------------------------------------------------------------------------
class Room:
    """The block of one batch, which may have to be made yet; :attr:`descriptor` is that of a new one, to be sent."""

    def __init__(self, blocks: Blocks, number: int, memory: HostArray | None):
        self._blocks, self.number, self._memory = blocks, number, memory
        self._used, self._thread = 0, threading.get_ident()
        self.descriptor: int | None = None
        self.size = 0 if memory is None else memory.nbytes

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostArray | None:
        """An array in the block; None if that has no room, or another thread asks."""
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if self._memory is None or threading.get_ident() != self._thread:
            return None
        start = self._next(size)
        return None if start is None else self._memory[start : start + size].view(dtype).reshape(shape)

    def _next(self, size: int) -> int | None:
        start = -(-self._used // _ALIGNMENT) * _ALIGNMENT
        if size == 0 or start + size > self.size:
            return None
        self._used = start + size
        return start

    def places(self, arrays: Sequence[HostArray]) -> list[Place] | None:
        """Where in the block arrays of bytes stand, after those that are elsewhere were copied into it.

        None where they are too few bytes, or where the system has no memory to share.
        """
        total = sum(a.nbytes + _ALIGNMENT for a in arrays)
        found: list[Place | None] = [None]
        if total >= LEAST and AVAILABLE:
            found = [self._place(a) for a in arrays]
            if None in found and self._make(total + total // 2):  # pages that are never written take no memory
                found = [self._place(a) for a in arrays]
        self._memory = None  # from here on, whoever reads the block is somebody else
        return None if None in found else [place for place in found if place is not None]

    def _place(self, array: HostArray) -> Place | None:
        size = array.nbytes
        if size == 0:
            return Place(0, 0)
        if self._memory is None:
            return None
        start = _address(array) - _address(self._memory)
        if 0 <= start <= self.size - size:
            return Place(start, size)
        free = self._next(size)
        if free is None:
            return None
        self._memory[free : free + size] = array
        return Place(free, size)

    def _make(self, size: int) -> bool:
        """Take a new block under the same number."""
        try:
            self.descriptor = os.memfd_create("flambeau-data", os.MFD_CLOEXEC)
            os.ftruncate(self.descriptor, size)
            mapped = mmap.mmap(self.descriptor, size)
        except OSError:
            self.sent()
            return False
        self._blocks.made[self.number] = mapped
        self._memory, self._used, self.size = np.frombuffer(mapped, np.uint8), 0, size
        return True

    def sent(self) -> None:
        """The loader has the descriptor."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _address(array: HostArray) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


class Blocks:
    """What a worker has made."""

    def __init__(self) -> None:
        self.made: dict[int, mmap.mmap] = {}
        self._seen: dict[int, weakref.ref[HostArray]] = {}

    def room(self, offer: Offer) -> Room:
        """For the next batch. A block that something in this process still reads is left to it."""
        seen = self._seen.pop(offer.number, None)
        if not offer.reuse or (seen is not None and seen() is not None):
            self.made.pop(offer.number, None)
        mapped = self.made.get(offer.number)
        memory = None if mapped is None else np.frombuffer(mapped, np.uint8)
        if memory is not None:
            self._seen[offer.number] = weakref.ref(memory)
        return Room(self, offer.number, memory)


_room: Room | None = None


def use(room: Room | None) -> None:
    """Let the arrays of the next batch be made in ``room``."""
    global _room
    _room = room


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> HostArray:
    """Memory for an array of a batch: in a worker where it need not be copied to travel."""
    found = None if _room is None else _room.empty(shape, dtype)
    return np.empty(shape, dtype) if found is None else found


# -- where the loader is -----------------------------------------------------------------------------
class Leases:
    """The blocks of one worker as the loader's process sees them."""

    def __init__(self) -> None:
        self._free: deque[int] = deque()
        self._numbers = itertools.count()
        self._mapped: dict[int, mmap.mmap] = {}
        self._leased: dict[int, weakref.ref[HostArray]] = {}

    def offer(self) -> Offer:
        """A block for the next batch: the one that was written last, which the caches still know."""
        number = self._free.pop() if self._free else next(self._numbers)
        return Offer(number, number in self._mapped)

    def unused(self, number: int) -> None:
        """Nothing came in this block."""
        self._free.append(number)

    def made(self, number: int, memory: mmap.mmap) -> None:
        """The worker has made the block anew."""
        self._mapped[number] = memory

    def buffers(self, number: int, places: Sequence[Place]) -> list[HostArray]:
        """The bytes that a worker has put into a block, which is free again when all of them are gone."""
        memory = np.frombuffer(self._mapped[number], np.uint8)
        found = [memory[start : start + count] for start, count in places]
        if len(self._leased) >= HELD:
            self.unused(number)
            return [a.copy() for a in found]
        self._leased[number] = weakref.ref(memory, partial(_give_back, weakref.ref(self), number, _forks))
        return found

    def forget(self) -> None:
        """The worker is gone; what the program holds stays until it is gone too."""
        self._mapped.clear()


def _give_back(owner: weakref.ref[Leases], number: int, forks: int, _: object) -> None:
    leases = owner()
    if leases is None:
        return
    if forks != _forks:
        leases._mapped.pop(number, None)
    leases._leased.pop(number, None)
    leases.unused(number)
