"""Several processes that work as one: torch.distributed's names on MPI and NCCL."""

from __future__ import annotations

from flambeau.distributed.errors import (
    DistBackendError,
    DistError,
    DistNetworkError,
    DistStoreError,
    QueueEmptyError,
)
from flambeau.distributed.stores import FileStore, HashStore, PrefixStore, Store, TCPStore

__all__ = [
    "DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "FileStore", "HashStore", "PrefixStore",
    "QueueEmptyError", "Store", "TCPStore",
]  # fmt: skip
