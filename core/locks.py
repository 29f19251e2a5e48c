"""Locks that a child of a fork finds open: the thread that held one stayed with the parent.

Every lock of flambeau is one of these, those of objects too. Those of libraries can be held over forks instead.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar
from weakref import WeakSet

L = TypeVar("L")  # threading.Lock and RLock, which are no classes to type checkers

_alive: WeakSet[Any] = WeakSet()
_held: list[Any] = []


def fork_safe(lock: L) -> L:
    """The lock, which is open in every child of a fork; that of the thread that forked stays its own.

    What it guards must be whole at any moment: made aside, and put in its place by one assignment.

    >>> import threading
    >>> with fork_safe(threading.RLock()):
    ...     pass
    """
    _alive.add(lock)
    return lock


def held_over_forks(lock: L) -> L:
    """A lock that each fork waits for: that of a library, whose state must be whole in the child, for good."""
    _held.append(lock)
    return lock


def _hold() -> None:
    for lock in _held:
        lock.acquire()


def _let_go() -> None:
    for lock in reversed(_held):
        lock.release()


def _open() -> None:
    for lock in list(_alive):
        if not (hasattr(lock, "_is_owned") and lock._is_owned()):
            lock._at_fork_reinit()  # CPython's, by which `threading` and `logging` renew theirs


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_let_go)
    os.register_at_fork(after_in_child=_open)
