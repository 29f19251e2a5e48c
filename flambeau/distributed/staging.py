"""The memory of a tensor as an engine takes it: itself where it can, else a copy.

An engine of the host (MPI) takes a tensor of a device that shares host memory, in row-major order, as it is. A strided
one is copied there and back. One of a device with other memory is staged through the host, which counts as a fallback.
An engine of a device (NCCL) takes arrays of its device, and copies strided ones there.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from flambeau.core import config
from flambeau.core.dispatch import fallbacks
from flambeau.core.errors import MissingKernelError
from flambeau.core.keys import Key

HostArray: TypeAlias = np.ndarray[Any, Any]


class Staged:
    """The values of an array where an engine reads and writes them, contiguous: ``array``."""

    __slots__ = ("_into", "array", "key")

    def __init__(self, key: Key, array: Any, reads: bool, writes: bool):  # Any: an array of the key's backend
        self.key = key
        self._into: Any = None  # where results go back to
        self.array: Any = array

    def back(self) -> None:
        """Bring what was written to the tensor."""
        raise NotImplementedError

    def empty(self, count: int) -> Any:
        """Room for ``count`` numbers of this dtype."""
        raise NotImplementedError

    def part(self, flat: Any, start: int) -> Any:
        """The part of ``flat`` from ``start`` on, in the shape of this."""
        raise NotImplementedError

    def copy(self, to: Any, from_: Any) -> None:
        """Copy values of one shape."""
        raise NotImplementedError


class Host(Staged):
    """In host memory, as a numpy array."""

    __slots__ = ()

    def __init__(self, key: Key, array: Any, reads: bool = True, writes: bool = True):
        super().__init__(key, array, reads, writes)
        if key.backend.has("shares_host"):
            if array.flags.c_contiguous and (array.flags.writeable or not writes):
                return
            self.array = np.array(array, order="C") if reads else np.empty(array.shape, array.dtype)
        else:
            values = key.peek(array) if reads else np.empty(tuple(array.shape), key.dtype.numpy)
            self.array = np.array(values, order="C") if writes and reads else np.asarray(values, order="C")
        if writes:
            self._into = array

    def back(self) -> None:
        if self._into is None:
            return
        if self.key.backend.has("shares_host"):
            self._into[...] = self.array
        else:
            self.key.backend.copy_into(self._into, self.key._sent(self.array, False))

    def empty(self, count: int) -> HostArray:
        return np.empty(count, self.array.dtype)

    def part(self, flat: HostArray, start: int) -> HostArray:
        return flat[start : start + self.array.size].reshape(self.array.shape)

    def copy(self, to: HostArray, from_: HostArray) -> None:
        to[...] = from_


class OnDevice(Staged):
    """In the device's own memory."""

    __slots__ = ()

    def __init__(self, key: Key, array: Any, reads: bool = True, writes: bool = True):
        super().__init__(key, array, reads, writes)
        backend, layout = key.backend, key.backend.layout(array)
        dense = backend.empty(tuple(layout.shape), key.stored, key.device.number)
        if tuple(backend.layout(dense).strides) == tuple(layout.strides):
            return
        self.array = dense
        if reads:
            backend.copy_into(dense, array)
        if writes:
            self._into = array

    def back(self) -> None:
        if self._into is not None:
            self.key.backend.copy_into(self._into, self.array)

    def empty(self, count: int) -> Any:
        return self.key.backend.empty((count,), self.key.stored, self.key.device.number)

    def part(self, flat: Any, start: int) -> Any:
        layout = self.key.backend.layout(self.array)
        return self.key.backend.as_strided(flat, tuple(layout.shape), tuple(layout.strides), start)

    def copy(self, to: Any, from_: Any) -> None:
        self.key.backend.copy_into(to, from_)


def _places(parts: Sequence[Staged]) -> Iterator[tuple[Staged, int]]:
    start = 0
    for part in parts:
        yield part, start
        start += math.prod(part.array.shape)


def joined(parts: Sequence[Staged], filled: bool) -> Any:
    """One flat array of the values of several, or with room for them."""
    flat = parts[0].empty(sum(math.prod(p.array.shape) for p in parts))
    if filled:
        for part, start in _places(parts):
            part.copy(part.part(flat, start), part.array)
    return flat


def split(flat: Any, parts: Sequence[Staged]) -> None:
    """The values of a flat array to those that it was made for."""
    for part, start in _places(parts):
        part.copy(part.array, part.part(flat, start))


def bound(call: str, key: Key, array: Any, agreed: bool) -> None:  # Any: of the key's backend
    """Count an array that is staged through the host; MissingKernelError where the fallback policy forbids it.

    With ``agreed`` the program named the engine for this type of device, which allows it.
    """
    where, moved = str(key.device), math.prod(array.shape) * key.dtype.itemsize
    policy = "allow" if agreed else config.get("fallback")
    if policy == "error":
        kind = key.device.type
        raise MissingKernelError(
            f"{call}: device {where!r} has no collectives of its own, and host memory may not stand in. Name it in "
            f"init_process_group('cpu:mpi,{kind}:mpi'), or set FLAMBEAU_FALLBACK=warn"
        )
    counts = fallbacks.setdefault((where, call), [0, 0])
    counts[0] += 1
    counts[1] += moved
    if policy == "warn" and counts[0] == 1:
        warnings.warn(
            f"{call}: {where!r} has no collectives of its own; its tensors go through host memory "
            f"({moved} bytes in this call). FLAMBEAU_FALLBACK=allow silences this",
            RuntimeWarning,
            stacklevel=6,
        )
