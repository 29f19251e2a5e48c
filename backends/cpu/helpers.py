"""What kernels do around their work, by numpy or, once there is machine code, by built-ins: the same to the bit."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from flambeau.backends.llvm.target import Target  # lazy for start-up

Array = np.ndarray[Any, Any]

#: Calls after which the compiler is worth its loading.
CALLS: Final = 2000
_tick = count(1).__next__


def address(x: Array) -> int:
    """The address of the first element in index order."""
    return _address(x)


def add_rows(x: Array, row: Array) -> Array:
    """Add a row to each row of a small matrix, in place."""
    return _add_rows(x, row)


def _by_interface(x: Array) -> int:
    found: int = x.__array_interface__["data"][0]
    return found


def _by_numpy(x: Array, row: Array) -> Array:
    """Its addition takes 0.6 us more to set up where it broadcasts."""
    spread = np.empty(x.shape, x.dtype)
    spread[...] = row
    return np.add(x, spread, x)


def _by_numpy_so_far(x: Array, row: Array) -> Array:
    if _tick() == CALLS:
        for start in _starts:
            start()
    return _by_numpy(x, row)


def started_by(start: Callable[[], object]) -> None:
    """Have what calls :func:`make` called once the compiler is worth its loading."""
    _starts.append(start)


_starts: list[Callable[[], object]] = []


_address: Callable[[Array], int] = _by_interface
_add_rows: Callable[[Array, Array], Array] = _by_numpy_so_far


def make(target: Target) -> None:
    """Let built-ins do it from now on, where there can be any."""
    global _address, _add_rows
    from flambeau.backends.llvm import cpython  # what small programs do not need

    if cpython.unsuited() is None:
        from flambeau.backends.llvm import pieces  # likewise

        made = pieces.built(target, _by_interface, _by_numpy)
        _address, _add_rows = made
