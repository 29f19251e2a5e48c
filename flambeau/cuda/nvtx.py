"""Marks for a profiler of the driver's maker, as in a build without it: they are taken, and go nowhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["mark", "range", "range_end", "range_pop", "range_push", "range_start"]

_depth: list[str] = []


def mark(msg: str) -> None:
    """A point in time."""


def range_push(msg: str) -> int:
    """Begin a range; how many are open around it.

    >>> fb.cuda.nvtx.range_push("a"), fb.cuda.nvtx.range_pop()
    (0, 0)
    """
    _depth.append(msg)
    return len(_depth) - 1


def range_pop() -> int:
    """End the innermost range; how many are open around it, -1 where none was open."""
    if _depth:
        _depth.pop()
        return len(_depth)
    return -1


def range_start(msg: str) -> int:
    """Begin a range that may end anywhere; its number."""
    return len(_depth)


def range_end(range_id: int) -> None:
    """End it."""


@contextlib.contextmanager
def range(msg: str, *args: object, **kwargs: object) -> Iterator[None]:  # PyTorch's name
    """A range that is as long as the block."""
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
