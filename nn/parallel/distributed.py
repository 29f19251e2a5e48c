"""Data parallel training over processes, which needs a process group."""

from __future__ import annotations

from typing import Any

from flambeau.nn.module import Module


class DistributedDataParallel(Module):
    """A module whose gradients are averaged over processes: only with ``flambeau.distributed``, which is not there yet.

    The class is here for ``isinstance``; making one raises ValueError.

    >>> isinstance(fb.nn.Linear(2, 2), fb.nn.parallel.DistributedDataParallel)
    False
    """

    def __init__(self, module: Module, *args: Any, **kwargs: Any):  # Any: torch's options, which nothing reads yet
        super().__init__()
        raise ValueError(
            "DistributedDataParallel: the default process group has not been initialized; this build has no "
            "flambeau.distributed (is_available() is False), so train in one process"
        )
