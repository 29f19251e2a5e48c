"""What a backend with the capability ``collectives`` offers: devices of several processes that communicate."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol, TypeAlias

#: How values of several devices become one.
Fold: TypeAlias = Literal["sum", "prod", "min", "max"]


class Communicator(Protocol):
    """The devices of a group of processes, one each; every one makes the same calls in the same order.

    Arrays are contiguous, of the backend's class, and on the communicator's device; both arrays of a call have one
    dtype. A call enqueues its work on the thread's current stream and may return before it is done.
    """

    def folds(self, op: Fold, dtype: Any) -> bool:  # Any: a DType, whose class stands beside this
        """Whether values of a dtype are reduced by ``op``."""

    def all_reduce(self, array: Any, op: Fold) -> None:
        """Reduce in place, on every device."""

    def reduce(self, array: Any, op: Fold, root: int) -> None:
        """Reduce in place on the device of ``root``; the others keep their values."""

    def broadcast(self, array: Any, root: int) -> None:
        """The values of ``root`` into the array of every device."""

    def all_gather(self, array: Any, out: Any) -> None:
        """The arrays of all devices, of one size, one after the other into ``out``."""

    def reduce_scatter(self, array: Any, out: Any, op: Fold) -> None:
        """Reduce, and give each device its part, of one size, of the result."""

    def send(self, array: Any, to: int) -> None:
        """Send to one device."""

    def recv(self, array: Any, source: int) -> None:
        """Receive from one device."""

    def together(self) -> AbstractContextManager[None]:
        """The messages inside begin together, so that none waits for another."""

    def abort(self) -> None:
        """Give up what is under way."""

    def close(self) -> None:
        """Give back what it holds."""
