"""What is wrong with a strict device: by injection, late errors that wait for the host, and forks."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from flambeau.backends.base import DeviceLostError, OutOfMemoryError
from flambeau.core.locks import fork_safe


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
        self._lock = fork_safe(threading.RLock())

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
