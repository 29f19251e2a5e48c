"""Host memory that several processes see: a tensor is moved there, and its file descriptor goes to the others."""

from __future__ import annotations

import bisect
import mmap
import os
import sys
import weakref
from typing import Any, Final, NamedTuple

import numpy as np

from flambeau.core import events
from flambeau.core.box import box_of
from flambeau.core.dtype import DType
from flambeau.core.exchange import from_numpy
from flambeau.core.public import public
from flambeau.core.tensor import Tensor

_addresses: Final[list[int]] = []  # of all segments, in order
_segments: Final[dict[int, Segment]] = {}


class Segment(NamedTuple):
    """Memory that other processes can see by its file descriptor; it lives as long as an array over it."""

    descriptor: int
    address: int
    size: int


class Part(NamedTuple):
    """A tensor's place in a segment; strides and offset in bytes."""

    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


def _new_file(size: int) -> int:
    if sys.platform == "linux":
        descriptor = os.memfd_create("flambeau")
    else:
        import tempfile  # here, as it takes a tenth of the time that importing flambeau may take

        descriptor, path = tempfile.mkstemp()
        os.unlink(path)
    os.ftruncate(descriptor, max(size, 1))
    return descriptor


def mapped(descriptor: int, size: int) -> np.ndarray[Any, Any]:
    """The bytes of a shared file; the descriptor is closed with the last array over them."""
    memory = mmap.mmap(descriptor, max(size, 1))
    array = np.frombuffer(memory, np.uint8)
    address: int = array.__array_interface__["data"][0]
    _segments[address] = Segment(descriptor, address, size)
    bisect.insort(_addresses, address)

    def forget() -> None:
        _addresses.remove(address)
        del _segments[address]
        os.close(descriptor)

    weakref.finalize(memory, forget).atexit = False
    return array


def segment_of(tensor: Tensor) -> Segment | None:
    """The segment that a tensor's memory lies in; None if it is this process's own."""
    if not tensor._key.backend.has("shares_host") or tensor._key.level is not None:
        return None
    address: int = tensor._array.__array_interface__["data"][0]
    place = bisect.bisect_right(_addresses, address)
    if place == 0:
        return None
    found = _segments[_addresses[place - 1]]
    return found if address < found.address + max(found.size, 1) else None


def place_of(tensor: Tensor, segment: Segment) -> Part:
    """Where a tensor stands in its segment."""
    array = tensor._array
    offset = array.__array_interface__["data"][0] - segment.address
    return Part(tensor.dtype, tuple(array.shape), tuple(array.strides), offset)


def tensor_at(memory: np.ndarray[Any, Any], part: Part) -> Tensor:
    """A tensor over a part of a segment's bytes."""
    flat = np.ndarray(part.shape, part.dtype.numpy, memory.data, part.offset, part.strides)
    return from_numpy(flat)


@public(function=False)
def share_memory_(self: Tensor) -> Tensor:
    """Move the elements to memory that other processes can see; the tensor itself, also where they lie there already.

    Tensors that are views of the same memory keep the old one. Of a device whose memory is not the host's nothing is
    moved: it travels by copy.

    >>> fb.ones(2, device="cpu").share_memory_()
    tensor([1., 1.])
    """
    if not self._key.backend.has("shares_host") or segment_of(self) is not None:
        return self
    events.refuse("share_memory_() moves a tensor to other memory")
    host = self._array
    memory = mapped(_new_file(host.nbytes), host.nbytes)
    shared = np.ndarray(host.shape, host.dtype, memory.data)
    shared[...] = host
    self._array = shared
    self._box = None
    box_of(self)  # other names for this memory exist from now on
    return self
