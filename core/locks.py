"""Locks that a forked child finds free.

A thread of the parent that held one at the fork is not there in the child, and would never give it back. So every
lock of flambeau is made here, but for those whose owner is remade in the child as a whole.
"""

from __future__ import annotations

import os
import threading
from typing import Any
from weakref import WeakSet

_made: WeakSet[Any] = WeakSet()


def lock() -> threading.Lock:
    """A ``threading.Lock`` that is free in a forked child."""
    made = threading.Lock()
    _made.add(made)
    return made


def rlock() -> threading.RLock:
    """A ``threading.RLock`` that in a forked child is free, or held by the thread that forked."""
    made = threading.RLock()
    _made.add(made)
    return made


def _free() -> None:
    for made in list(_made):
        if not (hasattr(made, "_is_owned") and made._is_owned()):
            made._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free)
