"""The errors of communication between processes.

::

    RuntimeError
    └── DistError
        ├── DistBackendError    an engine failed: no answer in time, a rank that is gone, a mismatched collective
        ├── DistNetworkError    no connection
        ├── DistStoreError      a store has no answer
        └── QueueEmptyError     a queue of a store has nothing in it
"""

from __future__ import annotations

__all__ = ["DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "QueueEmptyError"]


class DistError(RuntimeError):
    """What goes wrong between processes."""


class DistBackendError(DistError):
    """An engine failed, or a rank did not do its part in time."""


class DistNetworkError(DistError):
    """A connection could not be made, or broke."""


class DistStoreError(DistError):
    """A store did not answer."""


class QueueEmptyError(DistStoreError):
    """A queue of a store has nothing in it."""
