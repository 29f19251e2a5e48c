"""Failures on demand, for tests of what a program does when its device fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flambeau.backends.strict.backend import instance
from flambeau.backends.strict.faults import Faults, Health


@contextmanager
def inject(
    *,
    out_of_memory_after: int | None = None,
    lose_device: bool = False,
    late_error: str | BaseException | None = None,
    index: int = 0,
) -> Iterator[Health]:
    """Let the device ``strict:index`` fail inside the ``with``; afterwards it is sound again.

    ``out_of_memory_after``: so many allocations succeed, the others raise OutOfMemoryError.
    ``lose_device``: whatever touches the device raises DeviceLostError.
    ``late_error``: the next kernel seems to succeed, and the next read by the host (``check`` or
    ``synchronize``) raises this: an exception, or the text of a RuntimeError.

    Blocks may be nested; the inner one counts. An error that nobody has read at the end is dropped.

    >>> from flambeau.core.dtype import float32
    >>> with inject(out_of_memory_after=1, index=1):
    ...     first = instance().empty((2,), float32, 1)
    ...     instance().empty((2,), float32, 1)
    Traceback (most recent call last):
    flambeau.backends.base.OutOfMemoryError: strict:1: out of memory (injected); free tensors or use smaller batches
    """
    if out_of_memory_after is not None and out_of_memory_after < 0:
        raise ValueError(f"inject: out_of_memory_after must not be negative, got {out_of_memory_after}")
    health = instance().health(index)
    before = health.faults
    error = RuntimeError(f"{health.device}: {late_error}") if isinstance(late_error, str) else late_error
    health.faults = Faults(out_of_memory_after, lose_device, error)
    try:
        yield health
    finally:
        health.faults = before
        if error is not None:
            health.forget_late_errors()
