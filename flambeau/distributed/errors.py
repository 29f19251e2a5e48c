"""What goes wrong between processes, as torch.distributed names it.

::

    RuntimeError
    └── DistError
        ├── DistBackendError    a collective or its engine failed
        ├── DistNetworkError    another process cannot be reached
        └── DistStoreError      a store did not answer, or not in time
            └── QueueEmptyError
"""

from __future__ import annotations

__all__ = ["DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "QueueEmptyError"]


class DistError(RuntimeError):
    """Something went wrong between processes."""


class DistBackendError(DistError):
    """A collective, or the engine that does it, failed."""


class DistNetworkError(DistError):
    """Another process cannot be reached."""


class DistStoreError(DistError):
    """A store did not answer, or not in time."""


class QueueEmptyError(DistStoreError):
    """A queue of a store has nothing to give."""
