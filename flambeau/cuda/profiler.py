"""The driver's own profiler, as in a build without it: it can be asked for, and records nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["init", "profile", "start", "stop"]


def init(output_file: str, flags: list[str] | None = None, output_mode: str = "key_value") -> None:
    """Where it would write."""


def start() -> None:
    """Begin to record."""


def stop() -> None:
    """Record no more."""


@contextlib.contextmanager
def profile() -> Iterator[None]:
    """A block that would be recorded; :func:`flambeau.profiler.profile` records.

    >>> with fb.cuda.profiler.profile():
    ...     pass
    """
    start()
    try:
        yield
    finally:
        stop()
