"""Schedules that go up and down within a training, with the momentum the other way round."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from flambeau.optim.lr_scheduler.base import Anneal, Choices, LRScheduler, PerGroup, per_group, set_option
from flambeau.optim.optimizer import Group, Optimizer

Mode = Literal["triangular", "triangular2", "exp_range"]


class _WithMomentum(LRScheduler):
    """Sets the momentum, or Adam's first beta, together with the rate."""

    cycle_momentum: bool
    _choices: ClassVar[Choices] = {
        "mode": ("triangular", "triangular2", "exp_range"), "scale_mode": ("cycle", "iterations"),
        "_anneal_func_type": ("cos", "linear"),
    }  # fmt: skip
    _may_lack = LRScheduler._may_lack | {"base_momentums", "max_momentums", "use_beta1"}  # where it is left alone

    def _use_momentum(self, name: str) -> None:
        """Find out what the optimizer calls its momentum; ValueError when it has none."""
        defaults = self.optimizer.defaults
        if self.cycle_momentum and "momentum" not in defaults and "betas" not in defaults:
            raise ValueError(f"{name}: optimizer must support momentum or beta1 with `cycle_momentum` option enabled")
        self.use_beta1 = "betas" in defaults

    def _set_momentum(self, group: Group, value: float) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            set_option(group, "momentum", value)


class CyclicLR(_WithMomentum):
    """Up from ``base_lr`` to ``max_lr`` and down again, over and over; step after each batch.

    Modes: "triangular", "triangular2" (half the height each cycle), "exp_range" (times gamma ** step), or a
    ``scale_fn`` of the cycle or the iteration. Smith, arXiv:1506.01186.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.CyclicLR(optimizer, 0.1, 1.0, step_size_up=4)
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [0.325]
    """

    def __init__(
        self, optimizer: Optimizer, base_lr: PerGroup[float], max_lr: PerGroup[float], step_size_up: int = 2000,
        step_size_down: int | None = None, mode: Mode = "triangular", gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None, scale_mode: Literal["cycle", "iterations"] = "cycle",
        cycle_momentum: bool = True, base_momentum: PerGroup[float] = 0.8, max_momentum: PerGroup[float] = 0.9,
        last_epoch: int = -1,
    ):  # fmt: skip
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError(f"CyclicLR: mode is invalid and scale_fn is None: {mode!r}")
        self.optimizer, self.mode, self.gamma, self._scale_fn_custom = optimizer, mode, gamma, scale_fn
        self.scale_mode = scale_mode if scale_fn is not None else "iterations" if mode == "exp_range" else "cycle"
        lows = per_group(optimizer, "base_lr", base_lr)
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, lows, strict=True):
                set_option(group, "lr", lr)
        self.max_lrs = per_group(optimizer, "max_lr", max_lr)
        up = float(step_size_up)
        down = up if step_size_down is None else float(step_size_down)
        self.total_size, self.step_ratio, self.cycle_momentum = up + down, up / (up + down), cycle_momentum
        self._use_momentum("CyclicLR")
        self.base_momentums = per_group(optimizer, "base_momentum", base_momentum)
        self.max_momentums = per_group(optimizer, "max_momentum", max_momentum)
        if cycle_momentum and last_epoch == -1:
            for group, value in zip(optimizer.param_groups, self.max_momentums, strict=True):
                self._set_momentum(group, value)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = [float(v) for v in lows]

    def scale_fn(self, x: float) -> float:
        """The height of the cycle or iteration ``x``, as a share of the first."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "exp_range":
            return float(self.gamma**x)
        return 1 / 2.0 ** (x - 1) if self.mode == "triangular2" else 1.0

    def get_lr(self) -> list[float]:
        """The rates at this batch; the momentum is set on the way."""
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        x = 1.0 + self.last_epoch / self.total_size - cycle
        height = x / self.step_ratio if x <= self.step_ratio else (x - 1) / (self.step_ratio - 1)
        height *= self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            bounds = zip(self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True)
            for group, low, high in bounds:
                self._set_momentum(group, high - (high - low) * height)
        return [low + (high - low) * height for low, high in zip(self.base_lrs, self.max_lrs, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer and the function."""
        return {k: v for k, v in super().state_dict().items() if k != "_scale_fn_custom"}


class OneCycleLR(_WithMomentum):
    """From max_lr / div_factor up to ``max_lr`` and down to nearly 0, once; step after each batch.

    Give ``total_steps``, or ``epochs`` and ``steps_per_epoch``. Smith and Topin, arXiv:1708.07120.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> optimizer.step()
    >>> schedule.step()
    >>> [round(lr, 4) for lr in schedule.get_last_lr()]
    [0.52]
    """

    def __init__(
        self, optimizer: Optimizer, max_lr: PerGroup[float], total_steps: int | None = None,
        epochs: int | None = None, steps_per_epoch: int | None = None, pct_start: float = 0.3,
        anneal_strategy: Anneal = "cos", cycle_momentum: bool = True, base_momentum: PerGroup[float] = 0.85,
        max_momentum: PerGroup[float] = 0.95, div_factor: float = 25.0, final_div_factor: float = 1e4,
        three_phase: bool = False, last_epoch: int = -1,
    ):  # fmt: skip
        self.optimizer, self.cycle_momentum = optimizer, cycle_momentum
        self.total_steps = self._count(total_steps, epochs, steps_per_epoch)
        if not 0 <= pct_start <= 1 or not isinstance(pct_start, float):
            raise ValueError(f"OneCycleLR: expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: anneal_strategy must be one of 'cos' or 'linear', got {anneal_strategy!r}")
        self._anneal_func_type = anneal_strategy
        peak = float(pct_start * self.total_steps) - 1
        last = self.total_steps - 1
        self._schedule_phases = [(peak, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
        if three_phase:
            self._schedule_phases += [
                (2 * pct_start * self.total_steps - 2, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
                (last, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
            ]
        else:
            self._schedule_phases.append((last, "max_lr", "min_lr", "base_momentum", "max_momentum"))
        self._use_momentum("OneCycleLR")
        if last_epoch == -1:
            self._prepare(max_lr, div_factor, final_div_factor, base_momentum, max_momentum)
        super().__init__(optimizer, last_epoch)

    @staticmethod
    def _count(total: int | None, epochs: int | None, each: int | None) -> int:
        found = total if total is not None else None if epochs is None or each is None else epochs * each
        if found is None:
            raise ValueError("OneCycleLR: you must define either total_steps OR (epochs AND steps_per_epoch)")
        if found <= 0 or not isinstance(found, int):
            raise ValueError(f"OneCycleLR: expected a positive integer number of steps, but got {found}")
        return found

    def _prepare(
        self, max_lr: PerGroup[float], div: float, final_div: float, base_momentum: PerGroup[float],
        max_momentum: PerGroup[float],
    ) -> None:  # fmt: skip
        for group, high in zip(self.optimizer.param_groups, per_group(self.optimizer, "max_lr", max_lr), strict=True):
            set_option(group, "lr", high / div)
            group["initial_lr"], group["max_lr"], group["min_lr"] = high / div, high, high / div / final_div
        if not self.cycle_momentum:
            return
        lows, highs = (per_group(self.optimizer, "momentum", m) for m in (base_momentum, max_momentum))
        for group, low, high in zip(self.optimizer.param_groups, lows, highs, strict=True):
            self._set_momentum(group, high)
            group["base_momentum"], group["max_momentum"] = low, high

    def _anneal(self, start: float, end: float, share: float) -> float:
        if self._anneal_func_type == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)

    def _checked_value(self, key: str, own: Any, value: Any, what: str) -> Any:
        if key == "_schedule_phases" and isinstance(value, (list, tuple)):  # PyTorch's are dicts
            value = [tuple(phase.values()) if isinstance(phase, Mapping) else phase for phase in value]
        return super()._checked_value(key, own, value, what)

    def _initial_step(self) -> None:
        initial = [g["initial_lr"] for g in self.optimizer.param_groups]
        super()._initial_step()
        self.base_lrs = initial

    def get_lr(self) -> list[float]:
        """The rates at this batch; the momentum is set on the way."""
        if self.last_epoch > self.total_steps:
            raise ValueError(
                f"OneCycleLR: tried to step {self.last_epoch} times. The specified number of total steps is "
                f"{self.total_steps}"
            )
        start = 0.0
        phases = self._schedule_phases
        for i, (end, *_) in enumerate(phases):
            if self.last_epoch <= end or i == len(phases) - 1:
                break
            start = end
        end, lr_from, lr_to, momentum_from, momentum_to = phases[i]
        share = (self.last_epoch - start) / (end - start)
        lrs = []
        for group in self.optimizer.param_groups:
            lrs.append(self._anneal(group[lr_from], group[lr_to], share))
            if self.cycle_momentum:
                self._set_momentum(group, self._anneal(group[momentum_from], group[momentum_to], share))
        return lrs
