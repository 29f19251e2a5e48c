"""A call as plain data: what a rank asks of an engine, so that it can be told, compared and run again.

A recording of a step (:func:`flambeau.compile`) keeps the plan of each call and runs it anew on the arrays of the
replay; the check of all ranks compares :attr:`Plan.mark`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flambeau.core.keys import Key
from flambeau.core.tensor import Tensor
from flambeau.distributed.staging import Host, Staged, joined, split
from flambeau.distributed.work import Steps


class Plan(NamedTuple):
    """One call. The arrays stand beside it: those that are read, those that are written, those that are both."""

    name: str  #: as the program calls it
    method: str  #: of the engine
    params: tuple[Any, ...]  #: what the method takes after what is given and what is filled
    sizes: tuple[int, int, int]  #: how many arrays are read, written, and both
    keys: tuple[Key, ...]  #: of the arrays
    detail: str = ""  #: the rest, for messages
    mark: str = ""  #: what every rank must have said the same
    message: bool = False  #: whether it is between two ranks, and waits for no other call

    def text(self, arrays: Sequence[Any]) -> str:
        """The call as messages tell it."""
        shown = [f"{k.dtype.name} {list(a.shape)}" for k, a in zip(self.keys, arrays, strict=True)]
        parts = [*shown[:3], *(["..."] if len(shown) > 3 else []), *([self.detail] if self.detail else [])]
        return f"{self.name}({', '.join(parts)})"

    def steps(self, engine: Any, arrays: Sequence[Any]) -> Steps:  # Any: an engine, and arrays of its kind
        """Do it: bring the arrays to the engine, run its method, bring the results back."""
        if engine.staging is Host:
            given, taken, flat, out = self._staged(Host, arrays)
            yield from getattr(engine, self.method)(flat, out, *self.params)
            self._back(taken, out)
            return
        with engine.enqueueing() as marks:
            given, taken, flat, out = self._staged(engine.staging, arrays)
            getattr(engine, self.method)(flat, out, *self.params)
            self._back(taken, out)
        yield from marks
        del given  # a device reads them until now

    def _staged(self, staging: type[Staged], arrays: Sequence[Any]) -> tuple[list[Staged], list[Staged], Any, Any]:
        """What is given and what is filled, and both as the one array that an engine takes; None for none."""
        reads, writes, _ = self.sizes
        staged = [
            staging(key, array, reads=i < reads or i >= reads + writes, writes=i >= reads)
            for i, (key, array) in enumerate(zip(self.keys, arrays, strict=True))
        ]
        given, taken = staged[:reads], staged[reads:]
        flat = None if not given else given[0].array if len(given) == 1 else joined(given, filled=True)
        out = None if not taken else taken[0].array if len(taken) == 1 else joined(taken, filled=not writes)
        return given, taken, flat, out

    @staticmethod
    def _back(taken: Sequence[Staged], out: Any) -> None:
        if len(taken) > 1:
            split(out, taken)
        for part in taken:
            part.back()


def plan(
    name: str, method: str, params: tuple[Any, ...] = (), *, reads: Sequence[Tensor] = (),
    writes: Sequence[Tensor] = (), both: Sequence[Tensor] = (), detail: str = "", mark: str = "",
    message: bool = False,
) -> tuple[Plan, list[Tensor]]:  # fmt: skip
    """A plan, and the tensors in its order."""
    tensors = [*reads, *writes, *both]
    sizes = len(reads), len(writes), len(both)
    return Plan(name, method, params, sizes, tuple(t._key for t in tensors), detail, mark, message), tensors
