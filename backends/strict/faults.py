"""What is wrong with a strict device: by injection, late errors that wait for the host, and forks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flambeau.backends.base import DeviceLostError, OutOfMemoryError


@dataclass
class Faults:
    """The failures that are switched on for a device."""

    allocations_left: int | None = None  # None: as many as there is memory
    lost: bool = False
    late_error: BaseException | None = None  # the next kernel will have failed with it


class Health:
    """The state of one device. Every storage call and kernel asks it first."""

    def __init__(self, device: str):
        self.device = device
        self.faults = Faults()
        self.forked = False
        self._late: list[BaseException] = []
        self._lock = threading.RLock()

    def alive(self) -> None:
        """DeviceLostError when the device does not answer."""
        if self.forked:
            raise DeviceLostError(
                f"{self.device}: the device belongs to the process before the fork; start workers with 'spawn' "
                "or 'forkserver', and send them numpy arrays"
            )
        if self.faults.lost:
            raise DeviceLostError(
                f"{self.device}: the device was lost (injected); its arrays are gone, restart the process"
            )

    def allocating(self) -> None:
        """Count one allocation against those that are left."""
        self.alive()
        with self._lock:
            left = self.faults.allocations_left
            if left is None:
                return
            if left == 0:
                raise OutOfMemoryError(f"{self.device}: out of memory (injected); free tensors or use smaller batches")
            self.faults.allocations_left = left - 1

    def launching(self) -> None:
        """A kernel starts; an injected late error becomes its own."""
        self.alive()
        with self._lock:
            error, self.faults.late_error = self.faults.late_error, None
            if error is not None:
                self._late.append(error)

    def fail_later(self, error: BaseException) -> None:
        """Keep an error for the next check."""
        with self._lock:
            self._late.append(error)

    def check(self) -> None:
        """Raise the first error since the last check, and forget the others, which may follow from it."""
        self.alive()
        with self._lock:
            if not self._late:
                return
            first = self._late[0]
            self._late.clear()
        raise first

    def forget_late_errors(self) -> None:
        with self._lock:
            self._late.clear()


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
    >>> from flambeau.backends.strict import instance
    >>> with inject(out_of_memory_after=1, index=1):
    ...     first = instance().empty((2,), float32, 1)
    ...     instance().empty((2,), float32, 1)
    Traceback (most recent call last):
    flambeau.backends.base.OutOfMemoryError: strict:1: out of memory (injected); free tensors or use smaller batches
    """
    from flambeau.backends.strict.backend import instance

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
