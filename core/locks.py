"""Locks that a child of a fork finds open: the thread that held one stayed with the parent."""

from __future__ import annotations

import os
from typing import Any, TypeVar

L = TypeVar("L")  # threading.Lock and RLock, which are no classes to type checkers


def fork_safe(lock: L) -> L:
    """A module's lock, which is open in every child of a fork.

    What it guards must be whole at any moment: made aside, and put in its place by one assignment.

    >>> import threading
    >>> with fork_safe(threading.RLock()):
    ...     pass
    """
    renewable: Any = lock  # CPython's locks have a method for this, by which `threading` and `logging` renew theirs
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renewable._at_fork_reinit)
    return lock
