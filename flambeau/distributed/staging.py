"""The memory of a tensor as an engine in host memory takes it: itself where it can, else a copy.

A tensor of a device that shares host memory, in row-major order, is given as it is. A strided one is copied there and
back. One of a device with other memory is staged through the host, which counts as a fallback.
"""

from __future__ import annotations

import warnings
from typing import Any, TypeAlias

import numpy as np

from flambeau.core import config
from flambeau.core.dispatch import fallbacks
from flambeau.core.errors import MissingKernelError
from flambeau.core.tensor import Tensor

HostArray: TypeAlias = np.ndarray[Any, Any]


class Host:
    """The values of a tensor in host memory, contiguous.

    ``array`` is what the engine reads and writes; :meth:`back` brings what was written to the tensor.
    """

    __slots__ = ("_into", "_key", "array", "own")

    def __init__(self, tensor: Tensor, reads: bool = True, writes: bool = True):
        key, found = tensor._key, tensor._array
        self._key = self._into = None
        if key.backend.has("shares_host"):
            self.own = found.flags.c_contiguous and (found.flags.writeable or not writes)
            self.array: HostArray = found if self.own else _copy(found, reads)
        else:
            self.own = False
            values = key.peek(found) if reads else np.empty(tuple(found.shape), key.dtype.numpy)
            self.array = np.array(values, order="C", copy=True) if writes else np.asarray(values, order="C")
            self._key = key
        if writes and not self.own:
            self._into = found

    def back(self) -> None:
        """Bring what was written to the tensor."""
        if self._into is None:
            return
        if self._key is None:
            self._into[...] = self.array
        else:
            self._key.backend.copy_into(self._into, self._key._sent(self.array, False))


def _copy(array: HostArray, reads: bool) -> HostArray:
    return np.array(array, order="C", copy=True) if reads else np.empty(array.shape, array.dtype)


def bound(call: str, tensor: Tensor, agreed: bool) -> None:
    """Count a tensor that is staged through the host; MissingKernelError where the fallback policy forbids it.

    With ``agreed`` the program named the engine for this type of device, which allows it.
    """
    if tensor._key.backend.has("shares_host"):
        return
    where = str(tensor.device)
    policy = "allow" if agreed else config.get("fallback")
    if policy == "error":
        kind = tensor.device.type
        raise MissingKernelError(
            f"{call}: device {where!r} has no collectives of its own, and host memory may not stand in. Name it in "
            f"init_process_group(backend='{kind}:mpi,cpu:mpi'), or set FLAMBEAU_FALLBACK=warn"
        )
    counts = fallbacks.setdefault((where, call), [0, 0])
    counts[0] += 1
    counts[1] += tensor.nbytes
    if policy == "warn" and counts[0] == 1:
        warnings.warn(
            f"{call}: {where!r} has no collectives of its own; its tensors go through host memory "
            f"({tensor.nbytes} bytes in this call). FLAMBEAU_FALLBACK=allow silences this",
            RuntimeWarning,
            stacklevel=4,
        )
