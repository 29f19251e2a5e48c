"""A pretend ``cupy.cuda.nccl``: the ranks are threads of one process, each with a device of the pretend machine.

A call waits for the same call of all ranks and then works on their memory, which it finds by the addresses that it is
given: a wrong count, type or address shows in the values, and a call too early in values that are not there yet.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from typing import Any

import ml_dtypes
import numpy as np

TIMEOUT = 5.0
TYPES = {
    "NCCL_INT8": np.int8, "NCCL_UINT8": np.uint8, "NCCL_INT32": np.int32, "NCCL_UINT32": np.uint32,
    "NCCL_INT64": np.int64, "NCCL_UINT64": np.uint64, "NCCL_FLOAT16": np.float16, "NCCL_FLOAT32": np.float32,
    "NCCL_FLOAT64": np.float64, "NCCL_BFLOAT16": ml_dtypes.bfloat16,
}  # fmt: skip
FOLDS = {"NCCL_SUM": np.add, "NCCL_PROD": np.multiply, "NCCL_MAX": np.maximum, "NCCL_MIN": np.minimum}


class World:
    """The ranks of one unique id."""

    def __init__(self, size: int):
        self.barrier = threading.Barrier(size, timeout=TIMEOUT)
        self.said: list[Any] = [None] * size
        self.mail: dict[tuple[int, int], np.ndarray[Any, Any]] = {}
        self.sent = threading.Condition()


class Nccl:
    """The module."""

    def __init__(self, fake: Any):
        self.fake = fake
        self._ids, self._worlds, self._lock = itertools.count(200), dict[bytes, World](), threading.Lock()
        self._local = threading.local()
        for number, name in enumerate([*TYPES, *FOLDS]):
            setattr(self, name, number)
        self.types = dict(enumerate(TYPES.values()))
        self.folds = {getattr(self, name): fn for name, fn in FOLDS.items()}
        nccl = self

        class NcclCommunicator(Communicator):
            module = nccl

        self.NcclCommunicator = NcclCommunicator

    def get_unique_id(self) -> bytes:
        return next(self._ids).to_bytes(128, "little")

    def world(self, comm_id: bytes, size: int) -> World:
        with self._lock:
            return self._worlds.setdefault(comm_id, World(size))

    def groupStart(self) -> None:
        self._local.waiting = []

    def groupEnd(self) -> None:
        waiting, self._local.waiting = self._local.waiting, None
        for is_receive in (False, True):  # sends first: none of the group waits for another
            for receives, work in waiting:
                if receives is is_receive:
                    work()

    def message(self, receives: bool, work: Any) -> None:
        waiting = getattr(self._local, "waiting", None)
        work() if waiting is None else waiting.append((receives, work))


class Communicator:
    """``NcclCommunicator``."""

    module: Nccl

    def __init__(self, ndev: int, commId: bytes, rank: int):
        assert isinstance(commId, bytes) and len(commId) == 128
        self.size, self.rank, self.closed = ndev, rank, ""
        self._world = self.module.world(commId, ndev)
        self._world.barrier.wait()

    def _array(self, pointer: int, count: int, datatype: int) -> np.ndarray[Any, Any]:
        kind = np.dtype(self.module.types[datatype])
        raw = (ctypes.c_ubyte * (count * kind.itemsize)).from_address(pointer) if count else b""
        return np.frombuffer(raw, np.uint8).view(kind)

    def _arrived(self, stream: int) -> None:
        """What stands on the stream is done before the call."""
        here = self.module.fake.stream()
        assert here.ptr == stream, "the call is for another stream than the current one"
        here.synchronize()

    def _together(self, stream: int, said: Any) -> list[Any]:
        """What every rank says, and all are here."""
        self._arrived(stream)
        world = self._world
        world.said[self.rank] = said
        world.barrier.wait()
        found = list(world.said)
        world.barrier.wait()
        return found

    def _folded(self, stream: int, given: np.ndarray[Any, Any], op: int) -> np.ndarray[Any, Any]:
        parts = self._together(stream, given.copy())
        whole = parts[0]
        for part in parts[1:]:
            whole = self.module.folds[op](whole, part)
        return np.asarray(whole).astype(given.dtype)

    def allReduce(self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, stream: int) -> None:
        self._arrived(stream)
        self._array(recvbuf, count, datatype)[:] = self._folded(stream, self._array(sendbuf, count, datatype), op)

    def reduce(self, sendbuf: int, recvbuf: int, count: int, datatype: int, op: int, root: int, stream: int) -> None:
        self._arrived(stream)
        whole = self._folded(stream, self._array(sendbuf, count, datatype), op)
        if self.rank == root:
            self._array(recvbuf, count, datatype)[:] = whole

    def reduceScatter(self, sendbuf: int, recvbuf: int, recvcount: int, datatype: int, op: int, stream: int) -> None:
        self._arrived(stream)
        whole = self._folded(stream, self._array(sendbuf, recvcount * self.size, datatype), op)
        self._array(recvbuf, recvcount, datatype)[:] = whole[self.rank * recvcount : (self.rank + 1) * recvcount]

    def bcast(self, buff: int, count: int, datatype: int, root: int, stream: int) -> None:
        self._arrived(stream)
        mine = self._array(buff, count, datatype)
        mine[:] = self._together(stream, mine.copy())[root]

    def allGather(self, sendbuf: int, recvbuf: int, count: int, datatype: int, stream: int) -> None:
        self._arrived(stream)
        parts = self._together(stream, self._array(sendbuf, count, datatype).copy())
        self._array(recvbuf, count * self.size, datatype)[:] = np.concatenate(parts)

    def send(self, sendbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._arrived(stream)

        def work() -> None:
            world, values = self._world, self._array(sendbuf, count, datatype).copy()
            with world.sent:
                assert world.sent.wait_for(lambda: (self.rank, peer) not in world.mail, TIMEOUT)
                world.mail[self.rank, peer] = values
                world.sent.notify_all()

        self.module.message(False, work)

    def recv(self, recvbuf: int, count: int, datatype: int, peer: int, stream: int) -> None:
        self._arrived(stream)

        def work() -> None:
            world = self._world
            with world.sent:
                assert world.sent.wait_for(lambda: (peer, self.rank) in world.mail, TIMEOUT)
                self._array(recvbuf, count, datatype)[:] = world.mail.pop((peer, self.rank))
                world.sent.notify_all()

        self.module.message(True, work)

    def abort(self) -> None:
        self.closed = "aborted"

    def destroy(self) -> None:
        self.closed = "destroyed"
