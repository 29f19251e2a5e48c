"""An in-order command queue that hands short work to the driver's threads in bursts, and does not run far ahead."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from flambeau.backends.launched.device import Raw, patiently

#: Launches that wait for company at most.
BURST: Final = 48
#: Weight of the launches between two marks at most; then marks that are not reached yet.
_STRIDE: Final = 64
_MARKS: Final = 2
#: Seconds between two marks that are many; then those that are few.
_LONG: Final = 0.05
_SHORT: Final = 0.005


def wait_for(cl: Raw, event: Raw) -> None:
    """Wait for an event so that Ctrl-C comes through, which OpenCL's own wait holds up."""
    patiently(lambda: event.command_execution_status <= cl.command_execution_status.COMPLETE)
    event.wait()  # raises what went wrong


def weight(nbytes: int) -> int:
    """What a launch on so much memory counts for."""
    return 1 + (nbytes >> 16)


class Queue:
    """A command queue; the caller holds the device's lock.

    Waking a sleeping thread for a kernel of a microsecond costs several, and then the thread fights over the driver's
    locks with the one that enqueues. So with ``bursts`` (a driver whose threads are those of the host), what one
    work-item does waits for a *gate*, a user event: until there is a longer kernel, or a burst of short ones, or
    somebody asks for results. Everything that waits for this queue has to :meth:`flush` it first.

    Nor may the host enqueue without bound: a loop of launches would otherwise be done in no time, and the next read
    wait for minutes. Every so many launches, large ones counted for more, there is a mark, and whoever sets one waits,
    without the lock, until an earlier one is reached (:meth:`catch_up`). How many follows from how long they take.
    """

    __slots__ = ("_ahead", "_cl", "_context", "_gate", "_held", "_launch", "_marks", "_stride", "bursts", "late", "raw")

    def __init__(self, cl: Raw, context: Raw, device: Raw, bursts: bool):
        self._cl = cl
        self._launch = cl._cl.enqueue_nd_range_kernel
        self._context, self.bursts = context, bursts
        self.raw = cl.CommandQueue(context, device)
        self._gate: Raw = None
        self._held = self._ahead = 0
        self._stride = _STRIDE
        self._marks: deque[Raw] = deque()
        self.late = False  # whether somebody should catch up

    def launch(self, kernel: Raw, size: tuple[int], group: tuple[int], weight: int = 1) -> None:
        """Enqueue a kernel whose arguments are set; then, without the lock, :meth:`catch_up` if it is ``late``."""
        self._ahead += weight
        if self._ahead >= self._stride:
            self.late = True
        if self._gate is not None:
            self._launch(self.raw, kernel, size, group, None, None, False)
            self._held += 1
            if size != (1,) or self._held >= BURST:
                self.open()
        elif self.bursts and size == (1,):
            gate = self._cl.UserEvent(self._context)
            self._launch(self.raw, kernel, size, group, None, [gate], False)
            self._gate, self._held = gate, 1
        else:
            self._launch(self.raw, kernel, size, group, None, None, False)

    def mark(self) -> Raw:
        """Set a mark; an earlier one to wait for, if there are several."""
        self.late, self._ahead = False, 0
        self.open()
        self._marks.append(self._cl.enqueue_marker(self.raw))
        self.raw.flush()
        return self._marks.popleft() if len(self._marks) > _MARKS else None

    def catch_up(self, mark: Raw) -> None:
        """Wait for a mark, and see whether such waits are too long or too many."""
        start = time.perf_counter()
        wait_for(self._cl, mark)
        took = time.perf_counter() - start
        if took > _LONG:
            self._stride = max(1, self._stride // 2)
        elif took < _SHORT:
            self._stride = min(_STRIDE, 2 * self._stride)

    def open(self) -> None:
        """Let what was held back run."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.set_status(self._cl.command_execution_status.COMPLETE)

    def flush(self) -> None:
        """See to it that everything enqueued will run."""
        self.open()
        self.raw.flush()

    def __del__(self) -> None:
        if getattr(self, "_gate", None) is not None:
            self.open()
            self.raw.finish()
