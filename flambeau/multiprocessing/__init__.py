"""Python's ``multiprocessing``, with tensors that travel through shared memory rather than as bytes.

Importing it registers how tensors of the host are sent through its queues and pipes and to its processes: the memory
is moved to a shared segment once, and from then on all processes see the same elements. Tensors of a device travel by
copy.
"""

from __future__ import annotations

from multiprocessing import *  # noqa: F403  # all of its names are PyTorch's too

from flambeau.core.sharing import segment_of
from flambeau.core.tensor import Tensor
from flambeau.multiprocessing import reductions as reductions
from flambeau.multiprocessing.spawn import (
    ProcessContext,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)  # fmt: skip

__all__ = [
    "ProcessContext", "ProcessExitedException", "ProcessRaisedException", "SpawnContext", "get_all_sharing_strategies",
    "get_sharing_strategy", "is_shared", "set_sharing_strategy", "spawn", "start_processes",
]  # fmt: skip

_STRATEGIES = frozenset({"file_descriptor", "file_system"})
_strategy = "file_descriptor"


def get_all_sharing_strategies() -> set[str]:
    """The names of the ways in which memory is shared.

    >>> sorted(fb.multiprocessing.get_all_sharing_strategies())
    ['file_descriptor', 'file_system']
    """
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """The name of the way that was chosen.

    >>> fb.multiprocessing.get_sharing_strategy()
    'file_descriptor'
    """
    return _strategy


def set_sharing_strategy(new_strategy: str) -> None:
    """Choose one by name; under both, a segment is known to other processes by its descriptor.

    >>> fb.multiprocessing.set_sharing_strategy("file_descriptor")
    """
    global _strategy
    if new_strategy not in _STRATEGIES:
        raise AssertionError(f"set_sharing_strategy: expected one of {sorted(_STRATEGIES)}, got {new_strategy!r}")
    _strategy = new_strategy


def is_shared(tensor: Tensor) -> bool:
    """Whether other processes can see a tensor's memory: it lies in a shared segment, or on a device.

    >>> x = fb.ones(2, device="cpu")
    >>> fb.multiprocessing.is_shared(x), fb.multiprocessing.is_shared(x.share_memory_())
    (False, True)
    """
    return segment_of(tensor) is not None or not tensor._key.backend.has("shares_host")


reductions.init_reductions()
