"""The base of schedules: one learning rate for each group of an optimizer, changed step by step."""

from __future__ import annotations

import warnings
from typing import Any, Literal, TypeAlias, TypeVar

from flambeau.core.blame import users_level
from flambeau.core.tensor import Tensor
from flambeau.optim.optimizer import Group, Optimizer
from flambeau.optim.options import number

T = TypeVar("T")
Anneal = Literal["cos", "linear"]
#: One for every group, or a list of one for each.
PerGroup: TypeAlias = T | list[T] | tuple[T, ...]


def set_option(group: Group, name: str, value: float) -> None:
    """Set an option of a group; a tensor is written to."""
    if isinstance(group.get(name), Tensor):
        group[name].fill_(number(value))
    else:
        group[name] = value


def per_group(optimizer: Optimizer, name: str, value: PerGroup[T]) -> list[T]:
    """One value for each group, from one for all or a sequence of them."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups: expected {count}, got {len(value)}"
        )
    return list(value)


class LRScheduler:
    """A schedule: call ``step()`` after each epoch (or each optimizer step, as the schedule wants).

    A subclass defines ``get_lr()``, one rate for each group at ``last_epoch``, in most cases from the rate before,
    so that schedules can be chained.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: {type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        if last_epoch == -1:
            for group in optimizer.param_groups:
                group.setdefault("initial_lr", number(group["lr"]))
        for i, group in enumerate(optimizer.param_groups):
            if "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with last_epoch "
                    ">= 0; load the optimizer's state first"
                )
        self.base_lrs: list[float] = [number(g["initial_lr"]) for g in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = [number(g["lr"]) for g in optimizer.param_groups]
        self._steps_at_start = optimizer._steps_taken
        self._initial_step()

    def _initial_step(self) -> None:
        """The step that sets the first rates."""
        self._step_count = 0
        self.step()

    @property
    def _lrs(self) -> list[float]:
        """The rates as they are now."""
        return [number(g["lr"]) for g in self.optimizer.param_groups]

    def get_lr(self) -> list[float]:
        """The rates at ``last_epoch``."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr()")

    def _closed_form(self) -> list[float]:
        """The rates at ``last_epoch``, whatever they were before."""
        return self.get_lr()

    def get_last_lr(self) -> list[float]:
        """The rates that the last step set."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch (or to a given one) and set its rates."""
        self._step_count += 1
        if self._step_count == 2 and self.optimizer._steps_taken == self._steps_at_start:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`: call them in the opposite order, "
                "or the first value of the schedule is skipped",
                UserWarning,
                stacklevel=users_level(),
            )
        if epoch is None:
            self.last_epoch += 1
            values = self.get_lr()
        else:
            self.last_epoch = epoch
            values = self._closed_form()
        self._set(values)

    def _set(self, values: list[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, values, strict=True):
            set_option(group, "lr", lr)
        self._last_lr = self._lrs

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "_steps_at_start")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave."""
        self.__dict__.update(state_dict)
