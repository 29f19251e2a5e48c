"""Training in which processes have different numbers of batches: who is done takes part in what the others share."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Final, NamedTuple

from flambeau.core.creation import ones, zeros
from flambeau.core.device import device as Device
from flambeau.core.dtype import int32
from flambeau.core.tensor import Tensor
from flambeau.nn.parallel.processes import Group, collectives

#: After so many iterations of the others somebody is told that the batches are very uneven.
MANY: Final = 1000


class JoinHook:
    """What a :class:`Joinable` does in a process that has no batches any more."""

    def main_hook(self) -> None:
        """Take part in the collectives of one iteration of the processes that go on."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """After all processes have ended; ``is_last_joiner`` where this one was among the last."""


class _Config(NamedTuple):
    """What a Join has told a Joinable."""

    enable: bool = False
    throw_on_early_termination: bool = False
    is_first_joinable: bool = False


class Joinable(ABC):
    """Something with collectives in each iteration, which :class:`Join` can take part in: a DistributedDataParallel."""

    _join_config: _Config = _Config()

    @abstractmethod
    def join_hook(self, **kwargs: Any) -> JoinHook:  # Any: what Join was given
        """What to do in a process without batches."""

    @property
    @abstractmethod
    def join_device(self) -> Device:
        """Where the tensors are that Join reduces."""

    @property
    @abstractmethod
    def join_process_group(self) -> Group:
        """The processes that take part."""


class Counted:
    """The number of processes that go on, under way."""

    def __init__(self, number: Tensor, work: Any):
        self.number, self.work = number, work

    def wait(self, timeout: Any = None) -> bool:  # Any: a timedelta
        """Wait until it is there."""
        return True if self.work is None else bool(self.work.wait() is not False)

    def value(self) -> int:
        """The number, once it is there."""
        self.wait()
        return int(self.number.item())


class Join:
    """A context for a training loop over batches whose number differs between processes.

    ``joinables`` are what shares something in each iteration, all of one group and device; ``kwargs`` go to their
    ``join_hook``. Within it a process that has ended its loop goes on with the collectives of the others.
    ``throw_on_early_termination``: RuntimeError everywhere when the first process has ended. ``enable=False`` does
    nothing. ValueError for no joinables, or some of different groups or devices.
    """

    def __init__(
        self, joinables: list[Joinable], enable: bool = True, throw_on_early_termination: bool = False, **kwargs: Any
    ):
        if not joinables:
            raise ValueError("Join: needs at least one joinable")
        self._joinables = list(joinables)
        self._hooks = [joinable.join_hook(**kwargs) for joinable in self._joinables]
        self._enable, self._throws = enable, throw_on_early_termination
        places = {(id(j.join_process_group), str(j.join_device)) for j in self._joinables}
        if len(places) > 1:
            raise ValueError("Join: the joinables are to have one process group and one device")
        self._group, self._device = joinables[0].join_process_group, joinables[0].join_device
        for i, joinable in enumerate(self._joinables):
            joinable._join_config = _Config(enable, throw_on_early_termination, i == 0)

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._enable or kind is not None:
            return
        last, others, iterations = True, self._others(), 0
        while others:
            if self._throws:
                self._terminate()
            iterations += 1
            if iterations == MANY:
                warnings.warn(
                    f"Join: this process has ended its batches {MANY} iterations before others; consider more even "
                    "inputs",
                    stacklevel=2,
                )
            last = False
            for hook in self._hooks:
                hook.main_hook()
            others = self._others()
        for hook in self._hooks:
            hook.post_hook(last)
        for joinable in self._joinables:
            joinable._join_config = _Config()

    def _others(self) -> int:
        """How many processes go on."""
        number = zeros(1, dtype=int32, device=self._device)
        collectives("Join").all_reduce(number, group=self._group)
        return int(number.item())

    def _terminate(self) -> None:
        talk = collectives("Join")
        talk.all_reduce(ones(1, dtype=int32, device=self._device), group=self._group)
        raise RuntimeError(f"Join: process {talk.get_rank(self._group)} has exhausted all inputs")

    @staticmethod
    def notify_join_context(joinable: Joinable) -> Counted | None:
        """Tell those that have ended that this process goes on; the first joinable calls it before its collectives.

        It gives the number of processes that go on, under way; None for other joinables and outside a Join.
        RuntimeError where another process has ended and the Join is to raise then.
        """
        config = joinable._join_config
        if not config.is_first_joinable or not config.enable:
            return None
        talk, group, where = collectives("Join"), joinable.join_process_group, joinable.join_device
        number = ones(1, dtype=int32, device=where)
        work = talk.all_reduce(number, group=group, async_op=True)
        if config.throw_on_early_termination:
            ended = zeros(1, dtype=int32, device=where)
            talk.all_reduce(ended, group=group)
            if ended.item():
                raise RuntimeError(
                    "Join: at least one process has exhausted its inputs, so this one ends too; set "
                    "throw_on_early_termination=False to go on"
                )
        return Counted(number, work)


__all__ = ["Counted", "Join", "JoinHook", "Joinable"]
