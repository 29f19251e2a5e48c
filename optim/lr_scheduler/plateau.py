"""A schedule by a measure of progress."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, SupportsFloat

from flambeau.core.events import host
from flambeau.core.tensor import Tensor
from flambeau.optim.loading import finite
from flambeau.optim.lr_scheduler.base import Choices, LRScheduler, PerGroup, per_group, set_option
from flambeau.optim.optimizer import Optimizer
from flambeau.optim.options import number


class ReduceLROnPlateau(LRScheduler):
    """The rate times ``factor`` when a measure has not improved for more than ``patience`` epochs.

    Call ``step(measure)`` after each epoch; ``mode`` says whether "min" or "max" is better.

    >>> optimizer = fb.optim.SGD([fb.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = fb.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
    >>> for loss in (1.0, 1.0):
    ...     schedule.step(loss)
    >>> optimizer.param_groups[0]["lr"]
    0.1
    """

    _choices: ClassVar[Choices] = {"mode": ("min", "max"), "threshold_mode": ("rel", "abs")}

    def __init__(
        self, optimizer: Optimizer, mode: Literal["min", "max"] = "min", factor: float = 0.1, patience: int = 10,
        threshold: float = 1e-4, threshold_mode: Literal["rel", "abs"] = "rel", cooldown: int = 0,
        min_lr: PerGroup[float] = 0, eps: float = 1e-8,
    ):  # fmt: skip
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor should be < 1.0, got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"ReduceLROnPlateau: mode must be 'min' or 'max' and threshold_mode 'rel' or 'abs', got {mode!r} and "
                f"{threshold_mode!r}"
            )
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"ReduceLROnPlateau: {type(optimizer).__name__} is not an Optimizer")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.min_lrs = per_group(optimizer, "min_lr", min_lr)
        self.default_min_lr = min_lr if not isinstance(min_lr, (list, tuple)) else None
        self.last_epoch = 0
        self._last_lr = self._lrs
        self._reset()

    def _checked_value(self, key: str, own: Any, value: Any, what: str) -> Any:
        if key in ("min_lrs", "_last_lr") and isinstance(value, (list, tuple)):  # groups may have been added
            return [finite(v, f"{what}[{i}]") for i, v in enumerate(value)]
        return super()._checked_value(key, own, value, what)

    def _reset(self) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.cooldown_counter = self.num_bad_epochs = 0

    def step(self, metrics: SupportsFloat, epoch: int | None = None) -> None:  # type: ignore[override]
        """Look at a measure, and lower the rates if it is time."""
        host(self._look, metrics.item() if isinstance(metrics, Tensor) else metrics, epoch)

    def _look(self, metrics: SupportsFloat, epoch: int | None) -> None:
        current = float(metrics)
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self.is_better(current, self.best):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.in_cooldown:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._lrs

    def _reduce(self) -> None:
        count = len(self.optimizer.param_groups)
        if len(self.min_lrs) != count:  # groups were added since
            if self.default_min_lr is None:
                raise RuntimeError(
                    f"ReduceLROnPlateau: min_lr was given for {len(self.min_lrs)} parameter groups, the optimizer has "
                    f"{count} now; add to the schedule's min_lrs when you add a group"
                )
            self.min_lrs = [self.default_min_lr] * count
        for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            old = number(group["lr"])
            new = max(old * self.factor, least)
            if old - new > self.eps:
                set_option(group, "lr", new)

    @property
    def in_cooldown(self) -> bool:
        """Whether the rates were lowered a short time ago."""
        return self.cooldown_counter > 0

    def is_better(self, a: float, best: float) -> bool:
        """Whether ``a`` improves on ``best`` by more than the threshold."""
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "abs":
            return a > best + self.threshold if sign > 0 else a < best - self.threshold
        return a > best * (1 + self.threshold) if sign > 0 else a < best * (1 - self.threshold)

    _is_better = is_better
