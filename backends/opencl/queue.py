"""An in-order command queue that hands short work to the driver's threads in bursts."""

from __future__ import annotations

from typing import Final

from flambeau.backends.launched.device import Raw

#: Launches that wait for company at most.
BURST: Final = 48


class Queue:
    """A command queue; the caller holds the device's lock.

    Waking a sleeping thread for a kernel of a microsecond costs several, and then the thread fights over the driver's
    locks with the one that enqueues. So with ``bursts`` (a driver whose threads are those of the host), what one
    work-item does waits for a *gate*, a user event: until there is a longer kernel, or a burst of short ones, or
    somebody asks for results. Everything that waits for this queue has to :meth:`flush` it first.
    """

    __slots__ = ("_cl", "_context", "_gate", "_held", "_launch", "bursts", "raw")

    def __init__(self, cl: Raw, context: Raw, device: Raw, bursts: bool):
        self._cl = cl
        self._launch = cl._cl.enqueue_nd_range_kernel
        self._context, self.bursts = context, bursts
        self.raw = cl.CommandQueue(context, device)
        self._gate: Raw = None
        self._held = 0

    def launch(self, kernel: Raw, size: tuple[int], group: tuple[int]) -> None:
        """Enqueue a kernel whose arguments are set."""
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
