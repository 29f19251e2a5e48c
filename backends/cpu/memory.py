"""The memory of large results: blocks that are kept when they are freed, given to the next arrays, and counted.

It is numpy's own memory that is kept, by a handler of :mod:`~flambeau.backends.llvm.blocks`: what any kernel makes, and
what a program makes with numpy itself in a thread that computes here. Arrays own their data as before. Without machine
code numpy's own handler stays.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from flambeau.backends.base import MemoryStats
from flambeau.core import config
from flambeau.core.locks import fork_safe

if TYPE_CHECKING:
    from flambeau.backends.llvm.blocks import Handler  # lazy for start-up
    from flambeau.backends.llvm.target import Target


class Memory:
    """The handler of this process, made when it is wanted first."""

    def __init__(self) -> None:
        self._lock = fork_safe(threading.RLock())
        self._handler: Handler | None = None
        self._capsule: Any = None  # what numpy knows the handler as
        self._made = False
        self._limits: list[int | None] = []  # as :meth:`set_limit` said, over the setting

    def start(self, target: Target) -> None:
        """Make the handler, if there can be one, and set it in this context."""
        with self._lock:
            if not self._made:
                self._make(target)
                self._made = True
        self.enter()

    def _make(self, target: Target) -> None:
        from flambeau.backends.llvm import blocks, handlers  # what small work does not need

        if handlers.unavailable() is None:
            self._handler = made = blocks.handler(target, handlers.functions(handlers.own()))
            made.write(blocks.KEEP, _word(config.get("cpu_cache")))
            made.write(blocks.LIMIT, _word(self.limit))
            self._capsule = handlers.new("flambeau", made.functions)

    def enter(self) -> None:
        """Set the handler in this context, if it was made; but not over one of the user's."""
        if self._made:
            _here.set(True)
        if self._capsule is not None:
            from flambeau.backends.llvm import handlers  # imported when it was made

            if handlers.current() is handlers.own():
                handlers.put(self._capsule)

    @property
    def limit(self) -> int | None:
        """The most bytes that large arrays may have, kept ones included."""
        found: int | None = self._limits[0] if self._limits else config.get("memory_limit")
        return found

    def set_limit(self, limit: int | None) -> None:
        """Let large arrays that are made from now on have so many bytes in all; ValueError for a negative number."""
        if limit is not None and limit < 0:
            raise ValueError(f"cpu: the memory limit must not be negative, got {limit}")
        self._limits = [limit]
        if self._handler is not None:
            from flambeau.backends.llvm import blocks  # imported when it was made

            self._handler.write(blocks.LIMIT, _word(limit))

    def stats(self) -> MemoryStats:
        """Bytes in large arrays, at most, and with what is kept."""
        if self._handler is None:
            return MemoryStats(limit=self.limit)
        from flambeau.backends.llvm import blocks  # imported when it was made

        used, kept, peak, made = map(self._handler.read, (blocks.USED, blocks.KEPT, blocks.PEAK, blocks.MADE))
        return MemoryStats(used, peak, used + kept, self.limit, made)

    def reset_peak(self) -> None:
        """Count the peak anew, from what is in use now."""
        if self._handler is not None:
            from flambeau.backends.llvm import blocks  # imported when it was made

            self._handler.write(blocks.PEAK, self._handler.read(blocks.USED))

    def trim(self) -> None:
        """Give back what is kept."""
        if self._handler is not None:
            self._handler.trim(0)


def _word(value: int | None) -> int:
    return -1 if value is None else min(value, 1 << 62)


#: Whether this context has the handler, or there can be none.
_here: ContextVar[bool] = ContextVar("flambeau_blocks", default=False)
is_here: Final = _here.get
memory: Final = Memory()
