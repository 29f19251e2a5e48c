"""Schedules of schedules."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from flambeau.optim.loading import like
from flambeau.optim.lr_scheduler.base import LRScheduler, set_option
from flambeau.optim.lr_scheduler.plateau import ReduceLROnPlateau
from flambeau.optim.optimizer import Optimizer


class _OfSchedules(LRScheduler):
    """A schedule of others for one optimizer, which it saves with itself."""

    def _take(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer) -> None:
        name = type(self).__name__
        for i, scheduler in enumerate(schedulers):
            if not hasattr(scheduler, "optimizer") or scheduler.optimizer is not optimizer:
                raise ValueError(f"{name}: scheduler {i} belongs to another optimizer")
            if isinstance(scheduler, ReduceLROnPlateau):
                raise ValueError(f"{name}: ReduceLROnPlateau steps by a measure, it cannot be among others")
        self.optimizer, self._schedulers = optimizer, list(schedulers)

    def _take_back(self) -> None:
        for scheduler in self._schedulers:
            scheduler._take_back()

    def _begin(self) -> None:
        for group in self.optimizer.param_groups:
            set_option(group, "lr", group["initial_lr"])
        self._first_steps()
        self._last_lr = self._lrs

    def _first_steps(self) -> None:
        """The first step of every schedule that begins at epoch 0."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer, with the states of the schedules."""
        return super().state_dict() | {"_schedulers": [s.state_dict() for s in self._schedulers]}

    def _checked_value(self, key: str, own: Any, value: Any, what: str) -> Any:
        if key != "_schedulers":
            return super()._checked_value(key, own, value, what)
        like([None] * len(own), value, what)
        return [s._checked(state) for s, state in zip(self._schedulers, value, strict=True)]

    def _take_over(self, state: dict[str, Any]) -> None:
        for scheduler, own in zip(self._schedulers, state.pop("_schedulers"), strict=True):
            scheduler._take_over(own)
        super()._take_over(state)


class SequentialLR(_OfSchedules):
    """Schedules one after another: the next begins at each of ``milestones``."""

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int], last_epoch: int = -1
    ):
        self._take(schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"SequentialLR: expected {len(schedulers) - 1} milestones for {len(schedulers)} schedulers, got "
                f"{len(milestones)}"
            )
        self._milestones, self.last_epoch = list(milestones), last_epoch + 1
        for group in optimizer.param_groups:  # every schedule took a first step; only that of the first counts
            set_option(group, "lr", group["initial_lr"])
        self._take_back()
        self._first._initial_step()
        self._last_lr = self._first.get_last_lr()

    def recursive_undo(self, sched: LRScheduler | None = None) -> None:
        """Take back the first step of this and of every schedule below; ``sched``: of that schedule."""
        (self if sched is None else sched)._take_back()

    @property
    def _first(self) -> LRScheduler:
        return self._schedulers[bisect_right(self._milestones, 0)]

    def _first_steps(self) -> None:
        self.last_epoch = 0
        self._first._begin()

    def _advance(self, epoch: int | None) -> None:
        """Step the schedule whose turn it is."""
        self.last_epoch += 1
        i = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[i]
        if i > 0 and self._milestones[i - 1] == self.last_epoch:
            scheduler._begin()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_OfSchedules):
    """Schedules that all step together, each from what the one before it made of the rate."""

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None):
        if not schedulers:
            raise ValueError("ChainedScheduler: expected at least one scheduler")
        self._take(schedulers, optimizer or schedulers[0].optimizer)
        self._last_lr = self._lrs

    def _first_steps(self) -> None:
        for scheduler in self._schedulers:
            if isinstance(scheduler, _OfSchedules):
                scheduler._first_steps()
            else:
                scheduler.last_epoch = -1
                scheduler._initial_step()

    def _advance(self, epoch: int | None) -> None:
        """Step every schedule."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = self._lrs
