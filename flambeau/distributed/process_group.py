"""A group of ranks that communicate: which engine serves which device, and how a call becomes work."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from flambeau.core import events
from flambeau.core.box import mark_written
from flambeau.core.device import device as Device
from flambeau.core.errors import not_a_tensor
from flambeau.core.tensor import Tensor
from flambeau.distributed.errors import DistBackendError
from flambeau.distributed.mpi import MpiEngine
from flambeau.distributed.staging import Host, bound
from flambeau.distributed.work import Lane, Mail, Steps, Work

#: What an engine does for a call: it gets the arrays of the tensors that are read, and of those that are written.
Body: TypeAlias = Callable[[Any, list[Any], list[Any]], Steps]  # Any: an engine; the arrays are of its kind

BOTH: Final = "both"


class Call:
    """What a rank asks for, as messages and the check of all ranks tell it."""

    __slots__ = ("detail", "name", "same", "tensors")

    def __init__(self, name: str, tensors: Sequence[Tensor], detail: str = "", same: bool = True):
        self.name, self.tensors, self.detail, self.same = name, tensors, detail, same

    def __str__(self) -> str:
        shapes = ", ".join(f"{t.dtype.name} {list(t.shape)}" for t in self.tensors[:3])
        more = ", ..." if len(self.tensors) > 3 else ""
        inside = "; ".join(part for part in (shapes + more, self.detail) if part)
        return f"{self.name}({inside})"


class ProcessGroup:
    """Some of the ranks, which communicate among themselves; made by init_process_group and new_group."""

    def __init__(
        self, ranks: Sequence[int], rank: int, engines: Mapping[str, str], host: MpiEngine, timeout: float,
        name: str, store: Any = None, desc: str = "undefined",
    ):  # fmt: skip
        self.ranks: Final = tuple(ranks)  # by their numbers in the whole job, in the order of their ranks here
        self._rank, self.engines, self.host, self.timeout = rank, dict(engines), host, timeout
        self.group_name, self.group_desc, self.store = name, desc, store
        self.bound_device_id: Device | None = None
        self.sequence = 0
        self.dead = ""
        self.lane, self.mail = Lane(f"flambeau.distributed {name}"), Mail(f"flambeau.distributed {name} messages")

    # -- who is in it ---------------------------------------------------------------------------
    def rank(self) -> int:
        """This process's rank in the group."""
        return self._rank

    def size(self) -> int:
        """How many ranks it has."""
        return len(self.ranks)

    def name(self) -> str:
        """The engine of the host's tensors."""
        return self.engines.get("cpu", self.host.name)

    def rank_of(self, global_rank: int, call: str, argument: str) -> int:
        """The rank in this group of a rank of the job; ValueError where it is not in it."""
        try:
            return self.ranks.index(global_rank)
        except ValueError:
            raise ValueError(
                f"{call}: {argument}={global_rank} is not a rank of group {self.group_name!r}, which has the ranks "
                f"{list(self.ranks)}"
            ) from None

    def __repr__(self) -> str:
        return f"<ProcessGroup {self.group_name!r}: rank {self._rank} of {list(self.ranks)}>"

    # -- calls ----------------------------------------------------------------------------------
    def start(
        self, call: Call, body: Body, reads: Sequence[Tensor] = (), writes: Sequence[Tensor] = (),
        both: Sequence[Tensor] = (), *, async_op: bool = False, message: bool = False, timeout: float | None = None,
    ) -> Work | None:  # fmt: skip
        """Run a call in its turn. ``both`` are read and written; the body gets them last among what is written.

        A message between two ranks waits for no other call.
        """
        if self.dead:
            raise DistBackendError(f"group {self.group_name!r} cannot be used any more: {self.dead}")
        if not message:
            self.sequence += 1
        what = f"rank {self._rank} of {self.size()}: {call} #{self.sequence} in group {self.group_name!r}"
        events.refuse(f"{call.name}() communicates with other processes")
        for t in (*reads, *writes, *both):
            bound(call.name, t, agreed=self.engines.get(t.device.type) == "mpi" and t.device.type != "cpu")
            if not t._key.backend.has("shares_host"):
                t._key.backend.synchronize(t.device.number)  # another thread may read it
        for t in (*writes, *both):
            mark_written(t, call.name)
        result = [*writes, *both]
        steps = self._steps(call, body, reads, writes, both)
        work = Work(what, steps, timeout or self.timeout, result, self._fail)
        lane = self.mail if message else self.lane
        if async_op:
            lane.put(work)
            return work
        lane.run(work)
        work.wait()
        return None

    def _steps(
        self, call: Call, body: Body, reads: Sequence[Tensor], writes: Sequence[Tensor], both: Sequence[Tensor]
    ) -> Steps:
        given = [Host(t, writes=False) for t in reads]
        taken = [*(Host(t, reads=False) for t in writes), *(Host(t) for t in both)]
        yield from body(self.host, [h.array for h in given], [h.array for h in taken])
        for host in taken:
            host.back()

    def _fail(self, why: str) -> None:
        self.dead = why
        sys.stderr.write(f"flambeau.distributed: {why}\n")
        sys.stderr.flush()

    # -- its end --------------------------------------------------------------------------------
    def shutdown(self) -> None:
        """Finish what is under way and give the engine back."""
        self.lane.close()
        self.mail.close()
        if not self.dead:
            self.host.close()
        self.dead = "it was destroyed"

    def abort(self) -> None:
        """Give up what is under way."""
        self.dead = self.dead or "it was aborted"


class Store(Protocol):
    """What groups need of a store."""

    def set(self, key: str, value: str | bytes) -> None: ...
    def get(self, key: str) -> bytes: ...


def tensor(call: str, argument: str, value: object) -> Tensor:
    """``value``, which must be a plain tensor with data."""
    if not isinstance(value, Tensor):
        raise not_a_tensor(call, argument, value)
    if value._in_parts or value._key.level is not None or value._key.backend.has("no_data"):
        kind = "sparse" if value._in_parts else "meta" if value._key.level is None else "transformed"
        raise TypeError(f"{call}: {argument} must be a dense tensor with data, got a {kind} one")
    return value
