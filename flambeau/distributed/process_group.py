"""A group of ranks that communicate: which engine serves which device, and how a call becomes work."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from flambeau.core import config, events
from flambeau.core.box import mark_written
from flambeau.core.device import device as Device
from flambeau.core.errors import not_a_tensor
from flambeau.core.tensor import Tensor
from flambeau.distributed import checking
from flambeau.distributed.checking import DebugLevel, Notes
from flambeau.distributed.errors import DistBackendError
from flambeau.distributed.mpi import MpiEngine
from flambeau.distributed.plans import Plan
from flambeau.distributed.staging import bound
from flambeau.distributed.waiting import linger
from flambeau.distributed.work import Lane, Mail, Recorded, Steps, Timeout, Work, seconds


class ProcessGroup:
    """Some of the ranks, which communicate among themselves; made by init_process_group and new_group."""

    def __init__(
        self, ranks: Sequence[int], host: MpiEngine, engines: Mapping[str, str], timeout: float, name: str,
        *, level: DebugLevel = DebugLevel.OFF, store: Notes | None = None, desc: str = "undefined",
    ):  # fmt: skip
        self.ranks = tuple(ranks)  # by their numbers in the whole job, in the order of their ranks here
        self.host, self.engines, self.timeout, self.level = host, dict(engines), timeout, level
        self.group_name, self.group_desc, self.store = name, desc, store
        self.bound_device_id: Device | None = None
        self.sequence = self.splits = 0
        self.dead = ""
        self.own: dict[Device, Any] = {}  # engines of devices; Any: their class stands above
        self.collecting: list[tuple[Plan, Sequence[Tensor]]] | None = None  # calls of a block that begin at its end
        self._pending: dict[tuple[Any, ...], deque[Work]] = {}
        self._lane = Lane(f"flambeau.distributed {name}")
        self._mail = Mail(f"flambeau.distributed {name}, messages")

    # -- who is in it ---------------------------------------------------------------------------
    def rank(self) -> int:
        """This process's rank in the group."""
        return self.host.rank

    def size(self) -> int:
        """How many ranks it has."""
        return len(self.ranks)

    def name(self) -> str:
        """The engine of host tensors."""
        return self.engines.get("cpu") or next(iter(self.engines.values()))

    def get_group_store(self) -> Notes | None:
        """The store of the job."""
        return self.store

    def set_timeout(self, timeout: Timeout) -> None:
        """Set how long a call may wait for other ranks."""
        self.timeout = seconds(timeout, self.timeout)

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
        return f"<ProcessGroup {self.group_name!r}: rank {self.rank()} of {list(self.ranks)}>"

    # -- calls ----------------------------------------------------------------------------------
    def start(
        self, plan: Plan, tensors: Sequence[Tensor], async_op: bool = False, timeout: float | None = None
    ) -> Work | None:
        """Begin a call on its tensors, in its turn; without ``async_op`` it is over when this returns."""
        if self.collecting is not None and not plan.message:
            self.collecting.append((plan, tensors))
            return None
        return self.together([(plan, tensors)], async_op, timeout)

    def together(
        self, calls: Sequence[tuple[Plan, Sequence[Tensor]]], async_op: bool = False, timeout: float | None = None
    ) -> Work | None:
        """The same of several calls, one after the other, as one work."""
        for plan, tensors in calls:
            self._admit(plan, tensors)
        result = [t for plan, tensors in calls for t in tensors[plan.sizes[0] :]]
        plain = [(plan, [t._array for t in tensors]) for plan, tensors in calls]
        if events.recorder() is not None:
            work = self._record(plain, result)
        else:
            work = self._work(plain, result, timeout)
            self._lane_of(plain).put(work) if async_op else self._lane_of(plain).run(work)
        if async_op:
            return work
        work.wait()
        return None

    def _admit(self, plan: Plan, tensors: Sequence[Tensor]) -> None:
        if self.dead:
            raise DistBackendError(f"{plan.name}: group {self.group_name!r} cannot be used any more: {self.dead}")
        for t in tensors:
            kind = t.device.type
            engine = self._engine_of(t.device)
            if engine is None:
                raise RuntimeError(
                    f"{plan.name}: No backend type associated with device type {kind}: group {self.group_name!r} has "
                    + ", ".join(f"{k}:{e}" for k, e in self.engines.items())
                )
        for t in tensors[plan.sizes[0] :]:
            mark_written(t, plan.name)

    def _lane_of(self, calls: Sequence[tuple[Plan, Sequence[Any]]]) -> Lane:
        return self._mail if all(plan.message for plan, _ in calls) else self._lane

    def _settle(self, plan: Plan, arrays: Sequence[Any]) -> None:
        """What this thread has enqueued comes before a call, which another thread may do; staging must be allowed."""
        for key, array in zip(plan.keys, arrays, strict=True):
            if self._engine_of(key.device) != "mpi":
                self.own_engine(key.device).mark()
            elif not key.backend.has("shares_host"):
                bound(plan.name, key, array, agreed=key.device.type in self.engines)
                key.backend.synchronize(key.device.number)

    def _engine_of(self, device: Device) -> str | None:
        return self.engines.get(device.type, self.engines.get(""))

    def _work(self, calls: Sequence[tuple[Plan, Sequence[Any]]], result: list[Any], timeout: float | None) -> Work:
        plan, arrays = calls[0]
        for each, its in calls:
            self._settle(each, its)
        if not plan.message:
            self.sequence += 1
        number = self.sequence

        def told() -> str:
            count = "" if plan.message else f" #{number}"
            more = f" and {len(calls) - 1} more" if len(calls) > 1 else ""
            return f"rank {self.rank()} of {self.size()}: {plan.text(arrays)}{more}{count} in group {self.group_name!r}"

        work = Work(told, self._steps(number, calls, told), timeout or self.timeout, result, self._fail)
        work.linger = linger
        if self.level is not DebugLevel.OFF:
            work.patience = config.get("distributed_patience")
        return work

    def _steps(self, number: int, calls: Sequence[tuple[Plan, Sequence[Any]]], told: Any) -> Steps:
        for plan, arrays in calls:
            if self.level is not DebugLevel.OFF:
                checking.publish(self, told())
            if self.level is DebugLevel.DETAIL and not plan.message:
                yield from checking.agree(self, number, plan, arrays)
            yield from plan.steps(self.engine_for(plan), arrays)

    def engine_for(self, plan: Plan) -> Any:  # an engine of its arrays
        """The engine that serves the device of a call."""
        if not plan.keys:
            return self.host
        key = plan.keys[0]
        return self.host if self._engine_of(key.device) == "mpi" else self.own_engine(key.device)

    def own_engine(self, device: Device) -> Any:  # its class stands above
        """The engine of a device, which has collectives of its own."""
        found = self.own.get(device)
        if found is None:
            from flambeau.distributed.nccl import DeviceEngine  # lazy for start-up: few groups need it

            found = self.own[device] = DeviceEngine(device, self.host)
        return found

    def _fail(self, why: str) -> NoReturn:
        """A call has no answer: nothing more can be said in this group."""
        if self.dead:
            raise DistBackendError(self.dead)
        others = checking.whereabouts(self) if self.level is not DebugLevel.OFF else ""
        self.dead = f"{why}. {others}" if others else why
        sys.stderr.write(f"flambeau.distributed: {self.dead}\n")
        sys.stderr.flush()
        raise DistBackendError(self.dead)

    # -- recordings -----------------------------------------------------------------------------
    def _record(self, calls: Sequence[tuple[Plan, Sequence[Any]]], result: list[Any]) -> Work:
        """Begin calls of a step that is recorded, whose replay begins them anew."""
        plans, arrays = tuple(p for p, _ in calls), [list(a) for _, a in calls]
        devices = {key.device for plan in plans for key in plan.keys}
        if len(devices) != 1 or any(plan.method == "recv" for plan in plans):
            events.refuse(f"{plans[0].name}() is done on no or several devices, or its source is told to the program")
            work = self._work(calls, result, None)
            self._lane_of(calls).put(work)
            return work
        key = plans[0].keys[0]
        events.run(key, self.begin, plans, arrays, writes=True)
        return Recorded(lambda: events.run(key, self.complete, plans, arrays, writes=True), result)

    def begin(self, plans: tuple[Plan, ...], arrays: list[list[Any]]) -> bool:
        """Begin calls on arrays; :meth:`complete` of the same waits for them."""
        calls = list(zip(plans, arrays, strict=True))
        work = self._work(calls, [], None)
        self._lane_of(calls).put(work)
        self._pending.setdefault(_who(plans, arrays), deque()).append(work)
        return True

    def complete(self, plans: tuple[Plan, ...], arrays: list[list[Any]]) -> bool:
        """Wait for what :meth:`begin` began."""
        who = _who(plans, arrays)
        waiting = self._pending.get(who)
        if waiting:
            work = waiting.popleft()
            if not waiting:
                del self._pending[who]
            work.wait()
        return True

    # -- its end --------------------------------------------------------------------------------
    def shutdown(self) -> None:
        """Finish what is under way and give the engines back."""
        if self.dead:
            return
        self._lane.close()
        self._mail.close()
        for engine in self.own.values():
            engine.close()
        self.host.close()
        self.dead = "it was destroyed"

    def abort(self) -> None:
        """Give up what is under way; the group cannot be used any more."""
        self.dead = self.dead or "it was aborted"
        for engine in self.own.values():
            engine.abort()


def _who(plans: tuple[Plan, ...], arrays: list[list[Any]]) -> tuple[Any, ...]:
    return plans, tuple(id(a) for part in arrays for a in part)


def tensor(call: str, argument: str, value: object) -> Tensor:
    """``value``, which must be a plain tensor with data."""
    if not isinstance(value, Tensor):
        raise not_a_tensor(call, argument, value)
    if value._in_parts or value._key.level is not None or value._key.backend.has("no_data"):
        kind = "sparse" if value._in_parts else "meta" if value._key.level is None else "transformed"
        raise TypeError(f"{call}: {argument} must be a dense tensor with data, got a {kind} one")
    return value
