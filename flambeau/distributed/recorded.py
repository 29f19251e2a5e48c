"""Collectives in what is recorded: each replay calls them again, at the same place and on its own arrays.

The recorder sees two functions on arrays, one that starts the call and one that waits for it, so that kernels between
them run beside the call. Both name all arrays of the call: none of them is given other values, or other use of its
memory, in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flambeau.core import events
from flambeau.core.box import mark_written
from flambeau.core.dispatch import tensor_of
from flambeau.core.tensor import Tensor
from flambeau.distributed.driven import driven

if TYPE_CHECKING:
    from flambeau.distributed.process_group import Body, Call, ProcessGroup
    from flambeau.distributed.work import Work
    from flambeau.futures import Future


class Repeated:
    """One place of a recording at which ranks communicate."""

    def __init__(
        self, group: ProcessGroup, call: Call, body: Body, tensors: Sequence[Sequence[Tensor]], timeout: float | None
    ):
        self.group, self.call, self.body, self.timeout = group, call, body, timeout
        self.keys = [t._key for part in tensors for t in part]
        self.ends = [len(part) for part in tensors]
        self.work: Work | None = None

    def begin(self, *arrays: Any) -> bool:  # Any: of the backends
        """Start the call on these arrays."""
        tensors = [tensor_of(a, k) for a, k in zip(arrays, self.keys, strict=True)]
        reads, writes = self.ends[0], self.ends[0] + self.ends[1]
        self.work = events.untold(
            self.group.start, self.call, self.body, tensors[:reads], tensors[reads:writes], tensors[writes:],
            async_op=True, timeout=self.timeout,
        )  # fmt: skip
        return True

    def end(self, *arrays: Any) -> bool:  # Any: of the backends
        """Wait until it is over."""
        work, self.work = self.work, None
        if work is not None:
            work.wait()
        return True


class RecordedWork:
    """A collective that was started while something records: what waits for it is recorded too."""

    def __init__(self, place: Repeated, tensors: Sequence[Tensor], result: Sequence[Tensor]):
        self._place, self._tensors, self._result = place, tensors, list(result)

    def wait(self, timeout: timedelta | float | None = None) -> bool:
        """Wait until it is over."""
        arrays = [t._array for t in self._tensors]
        events.run(self._place.keys[0], self._place.end, *arrays, writes=True)
        return True

    def synchronize(self) -> None:
        """Wait until it is over."""
        self.wait()

    def result(self) -> list[Tensor]:
        """The tensors that it writes to, once it is over."""
        self.wait()
        return self._result

    def get_future(self) -> Future[list[Tensor]]:
        """A Future of the tensors that it writes to; who waits for it waits for the call, and does what follows."""
        return driven(self.wait, self._result)

    def is_completed(self) -> bool:
        """Whether it is over, which another replay would answer in another way: nothing is recorded then."""
        events.refuse("whether a collective is over is asked")
        work = self._place.work
        return work is None or work.is_completed()


def start(
    group: ProcessGroup, call: Call, body: Body, reads: Sequence[Tensor], writes: Sequence[Tensor],
    both: Sequence[Tensor], async_op: bool, timeout: float | None,
) -> Work | RecordedWork | None:  # fmt: skip
    """Run a call now, and again in each replay."""
    tensors = [*reads, *writes, *both]
    if not tensors:
        events.refuse(f"{call.name}() communicates, and of no tensor")
        return events.untold(group.start, call, body, async_op=async_op, timeout=timeout)
    place = Repeated(group, call, body, (reads, writes, both), timeout)
    for t in (*writes, *both):
        mark_written(t, call.name)
    events.run(tensors[0]._key, place.begin, *[t._array for t in tensors], writes=True)
    work = RecordedWork(place, tensors, [*writes, *both])
    if async_op:
        return work
    work.wait()
    return None
