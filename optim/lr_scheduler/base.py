"""The base of schedules: one learning rate for each group of an optimizer, changed step by step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Literal, TypeAlias, TypeVar

from flambeau.core.blame import users_level
from flambeau.core.events import host
from flambeau.core.tensor import Tensor
from flambeau.optim.loading import like, mapping, shown
from flambeau.optim.optimizer import Group, Optimizer
from flambeau.optim.options import number

T = TypeVar("T")
_HERE: Final = "flambeau.optim."
#: What PyTorch keeps in the state of schedules, and this one elsewhere or not at all.
_OF_PYTORCH: Final = frozenset({
    "_get_lr_called_within_step", "_scale_fn_custom", "_scale_fn_ref", "anneal_func", "mode_worse", "verbose",
})  # fmt: skip
Anneal = Literal["cos", "linear"]
#: The texts that an attribute may be.
Choices = Mapping[str, tuple[str, ...]]
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


_NO_STATE: Final = frozenset({"optimizer", "_steps_at_start", "_get_lr_called_within_step"})


class _enable_get_lr_call:
    """Inside, ``_get_lr_called_within_step`` of a schedule is True."""

    def __init__(self, o: LRScheduler):
        self.o = o

    def __enter__(self) -> _enable_get_lr_call:
        self.o._get_lr_called_within_step = True
        return self

    def __exit__(self, *exc: object) -> None:
        self.o._get_lr_called_within_step = False


class LRScheduler:
    """A schedule: call ``step()`` after each epoch (or each optimizer step, as the schedule wants).

    A subclass defines ``get_lr()``, one rate for each group at ``last_epoch``, in most cases from the rate before,
    so that schedules can be chained.
    """

    #: What some attributes may be, and those that older state may lack.
    _choices: ClassVar[Choices] = {}
    _may_lack: ClassVar[frozenset[str]] = frozenset({"_is_initial"})
    #: Whether the step under way is the one that the schedule begins with, which must not take a rate further.
    _is_initial = False
    #: Whether get_lr is called by a step: in torch it warns if not, and asks for this name.
    _get_lr_called_within_step = False

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
        self._steps_at_start = optimizer._step_count
        self._initial_step()

    def _initial_step(self) -> None:
        """The step that sets the first rates."""
        self._step_count, self._is_initial = 0, True
        try:
            self.step()
        finally:
            self._is_initial = False

    def _take_back(self) -> None:
        """Before the first epoch again, for a schedule of schedules that takes the first step itself."""
        self.last_epoch -= 1

    def _begin(self) -> None:
        """The rates of epoch 0, when a schedule of schedules comes to this one."""
        self._update(0)

    @property
    def _lrs(self) -> list[float]:
        """The rates as they are now."""
        return [number(g["lr"]) for g in self.optimizer.param_groups]

    def get_lr(self) -> list[float]:
        """The rates at ``last_epoch``."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr()")

    def _closed_form(self) -> list[float]:
        """The rates at ``last_epoch``, whatever they were before; a class may give them as ``_get_closed_form_lr``."""
        own: Callable[[], list[float]] | None = getattr(self, "_get_closed_form_lr", None)
        return self.get_lr() if own is None else own()

    def get_last_lr(self) -> list[float]:
        """The rates that the last step set."""
        return self._last_lr

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch (or to a given one) and set its rates."""
        host(self._advance, epoch)

    def _advance(self, epoch: int | None) -> None:
        """The step itself: numbers of the host, and again in a recording that runs anew."""
        self._step_count += 1
        if self._step_count == 2 and self.optimizer._step_count == self._steps_at_start:
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`: call them in the opposite order, "
                "or the first value of the schedule is skipped",
                UserWarning,
                stacklevel=users_level(),
            )
        self._update(epoch)

    def _update(self, epoch: int | None = None) -> None:
        """A step that is not counted."""
        with _enable_get_lr_call(self):
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
        return {k: v for k, v in self.__dict__.items() if k not in _NO_STATE}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave.

        Raises:
            TypeError, ValueError: something is missing, too much or of the wrong kind; nothing has changed then.
        """
        self._take_over(self._checked(state_dict))

    def _checked(self, state: object) -> dict[str, Any]:
        """What :meth:`load_state_dict` was given, if it can be taken over."""
        name = f"{type(self).__name__}.load_state_dict"
        own = self.state_dict()
        given = mapping(state, f"{name}: state_dict", [key for key in own if key not in self._may_lack])
        found = {}
        for key, value in given.items():
            what = f"{name}: {shown(key) if not isinstance(key, str) else repr(key)}"
            if key in own:
                found[key] = self._checked_value(key, own[key], value, what)
            elif key not in _OF_PYTORCH:
                if not isinstance(key, str) or hasattr(type(self), key) or type(self).__module__.startswith(_HERE):
                    raise ValueError(f"{what} is no part of its state, which has {', '.join(own)}")
                found[key] = value  # of a class with attributes that are made later
        return found

    def _checked_value(self, key: str, own: Any, value: Any, what: str) -> Any:
        if own in self._choices.get(key, ()) and value not in self._choices[key]:
            raise ValueError(f"{what} must be one of {', '.join(self._choices[key])}, got {shown(value)}")
        found = like(own, value, what, infinite=key == "best")
        if key in ("last_epoch", "_step_count") and (not isinstance(found, int) or found < -1):
            raise ValueError(f"{what} must be an int, -1 or more, got {shown(value)}")
        return found

    def _take_over(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
