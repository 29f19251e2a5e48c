"""Schedules by a formula of the epoch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

from flambeau.core.events import host
from flambeau.optim.loading import like, mapping, shown
from flambeau.optim.lr_scheduler.base import LRScheduler, PerGroup, per_group
from flambeau.optim.optimizer import Optimizer


class _ByFunction(LRScheduler):
    """A schedule by a function of the epoch for each group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: PerGroup[Callable[[int], float]], last_epoch: int = -1):
        self.lr_lambdas = per_group(optimizer, "lr_lambda", lr_lambda)
        super().__init__(optimizer, last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; functions only where they are objects with state of their own."""
        return super().state_dict() | {"lr_lambdas": [_state_of(f) for f in self.lr_lambdas]}

    def _checked_value(self, key: str, own: Any, value: Any, what: str) -> Any:
        if key != "lr_lambdas":
            return super()._checked_value(key, own, value, what)
        like([None] * len(own), value, what)
        for i, (f, state) in enumerate(zip(self.lr_lambdas, value, strict=True)):
            if state is not None and (
                not hasattr(f, "__dict__") or not all(type(k) is str for k in mapping(state, what))
            ):
                raise ValueError(f"{what}[{i}] must be None or the attributes of its function, got {shown(state)}")
        return value

    def _take_over(self, state: dict[str, Any]) -> None:
        for f, attributes in zip(self.lr_lambdas, state.pop("lr_lambdas"), strict=True):
            if attributes is not None:
                vars(f).update(attributes)
        super()._take_over(state)


def _state_of(f: Callable[[int], float]) -> dict[str, Any] | None:
    return None if isinstance(f, FunctionType) or not hasattr(f, "__dict__") else dict(vars(f))


class LambdaLR(_ByFunction):
    """The first rate times ``lr_lambda(epoch)``.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=0.5)
    >>> schedule = LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> optimizer.step()
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def get_lr(self) -> list[float]:
        return [base * f(self.last_epoch) for base, f in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class MultiplicativeLR(_ByFunction):
    """The rate before times ``lr_lambda(epoch)``.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 0.9)
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [0.9]
    """

    def get_lr(self) -> list[float]:
        if self._is_initial:
            return self._lrs
        return [lr * f(self.last_epoch) for lr, f in zip(self._lrs, self.lr_lambdas, strict=True)]


class _ByFactor(LRScheduler):
    """A schedule of one factor for all groups: from the rate before, and from the first rate."""

    def _step_factor(self, epoch: int) -> float:
        """By what the rate of the epoch before is multiplied."""
        raise NotImplementedError

    def _factor(self, epoch: int) -> float:
        """By what the first rate is multiplied."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        factor = self._step_factor(self.last_epoch)
        return [lr * factor for lr in self._lrs]

    def _get_closed_form_lr(self) -> list[float]:
        factor = self._factor(self.last_epoch)
        return [base * factor for base in self.base_lrs]


class StepLR(_ByFactor):
    """The rate times ``gamma`` every ``step_size`` epochs.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.StepLR(optimizer, step_size=1)
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [0.1]
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def _step_factor(self, epoch: int) -> float:
        return 1 if epoch == 0 or epoch % self.step_size else self.gamma

    def _factor(self, epoch: int) -> float:
        return float(self.gamma ** (epoch // self.step_size))


class MultiStepLR(_ByFactor):
    """The rate times ``gamma`` at each of ``milestones``.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3])
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [0.1]
    """

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1, last_epoch: int = -1):
        self.milestones, self.gamma = Counter(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def _step_factor(self, epoch: int) -> float:
        times = self.milestones.get(epoch, 0)
        return float(self.gamma**times) if times else 1

    def _factor(self, epoch: int) -> float:
        return float(self.gamma ** sum(n for m, n in self.milestones.items() if m <= epoch))


class ConstantLR(_ByFactor):
    """The rate times ``factor`` until ``total_iters`` epochs have passed.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=1)
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [1.0]
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1):
        if not 0 <= factor <= 1:
            raise ValueError(f"ConstantLR: the factor must be between 0 and 1, got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _step_factor(self, epoch: int) -> float:
        return self.factor if epoch == 0 else 1.0 / self.factor if epoch == self.total_iters else 1

    def _factor(self, epoch: int) -> float:
        return 1 if epoch >= self.total_iters else self.factor


class LinearLR(_ByFactor):
    """The rate times a factor that goes from ``start_factor`` to ``end_factor`` in ``total_iters`` epochs.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=4)
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [0.625]
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3, end_factor: float = 1.0, total_iters: int = 5,
        last_epoch: int = -1,
    ):  # fmt: skip
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise ValueError(
                f"LinearLR: the factors must be between 0 and 1, the first not 0, got {start_factor} and {end_factor}"
            )
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def _step_factor(self, epoch: int) -> float:
        if epoch == 0:
            return self.start_factor
        if self._is_initial or epoch > self.total_iters:
            return 1
        rise = self.end_factor - self.start_factor
        return 1 + rise / (self.total_iters * self.start_factor + (epoch - 1) * rise)

    def _factor(self, epoch: int) -> float:
        passed = min(self.total_iters, epoch) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * passed


class ExponentialLR(_ByFactor):
    """The rate times ``gamma`` every epoch.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [0.9]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _step_factor(self, epoch: int) -> float:
        return 1 if self._is_initial else self.gamma

    def _factor(self, epoch: int) -> float:
        return float(self.gamma**epoch)


class PolynomialLR(_ByFactor):
    """The first rate times (1 - epoch / total_iters) ** power, 0 at the end.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=4)
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [0.75]
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0, last_epoch: int = -1):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def _step_factor(self, epoch: int) -> float:
        if self._is_initial or epoch > self.total_iters:
            return 1
        return float(((1.0 - epoch / self.total_iters) / (1.0 - (epoch - 1) / self.total_iters)) ** self.power)

    def _factor(self, epoch: int) -> float:
        return float((1.0 - min(self.total_iters, epoch) / self.total_iters) ** self.power)


class CosineAnnealingLR(LRScheduler):
    """From the first rate down to ``eta_min`` in ``T_max`` epochs along half a cosine, and back.

    Loshchilov and Hutter, arXiv:1608.03983.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [0.8536]
    """

    def __init__(self, optimizer: Optimizer, T_max: float, eta_min: float = 0.0, last_epoch: int = -1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        n, length, least = self.last_epoch, self.T_max, self.eta_min
        if self._is_initial:
            return self._lrs
        if self._step_count == 1 and n > 0:
            return self._get_closed_form_lr()
        if (n - 1 - length) % (2 * length) == 0:  # the turn: the recursion would divide by zero
            rise = (1 - math.cos(math.pi / length)) / 2
            return [lr + (base - least) * rise for base, lr in zip(self.base_lrs, self._lrs, strict=True)]
        ratio = (1 + math.cos(math.pi * n / length)) / (1 + math.cos(math.pi * (n - 1) / length))
        return [ratio * (lr - least) + least for lr in self._lrs]

    def _get_closed_form_lr(self) -> list[float]:
        share = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine of ``T_0`` epochs, then again from the start, each time ``T_mult`` times as long.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=4)
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [0.8536]
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0, last_epoch: int = -1):
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        self.T_0, self.T_i, self.T_mult, self.eta_min, self.T_cur = T_0, T_0, T_mult, eta_min, float(last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        share = (1 + math.cos(math.pi * self.T_cur / self.T_i)) / 2
        return [self.eta_min + (base - self.eta_min) * share for base in self.base_lrs]

    def step(self, epoch: float | None = None) -> None:
        """Go to the next epoch, or to any point in time, fractions of epochs too."""
        host(self._advance, epoch)

    def _advance(self, epoch: float | None) -> None:
        self._step_count += 1
        if epoch is None:
            epoch = self.last_epoch + 1 if self.last_epoch >= 0 else 0
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur %= self.T_i
                self.T_i *= self.T_mult
        elif epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        else:
            self._place(epoch)
        self.last_epoch = math.floor(epoch)
        self._set(self.get_lr())

    def _place(self, epoch: float) -> None:
        """Which period ``epoch`` is in, and where."""
        if epoch < self.T_0:
            self.T_i, self.T_cur = self.T_0, epoch
        elif self.T_mult == 1:
            self.T_i, self.T_cur = self.T_0, epoch % self.T_0
        else:
            n = int(math.log(epoch / self.T_0 * (self.T_mult - 1) + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / (self.T_mult - 1)
            self.T_i = self.T_0 * self.T_mult**n
