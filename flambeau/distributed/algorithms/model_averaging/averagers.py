"""Who averages parameters, and when."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any

from flambeau.core import events
from flambeau.distributed.algorithms.model_averaging.utils import Groups, average_parameters_or_parameter_groups
from flambeau.distributed.groups import world

__all__ = ["ModelAverager", "PeriodicModelAverager"]


class ModelAverager(ABC):
    """Averages parameters over a group (None: all processes); ``step`` counts its calls."""

    def __init__(self, process_group: Any = None):
        self.process_group = world() if process_group is None else process_group
        self.step = 0

    @abstractmethod
    def average_parameters(self, params: Groups) -> None:
        """Called after each step of the optimizer."""


class PeriodicModelAverager(ModelAverager):
    """Averages in every ``period``-th step, from step ``warmup_steps`` on. Lin et al., arXiv:1808.07217.

    ValueError for a negative number of warm-up steps or a period that is not positive.
    """

    def __init__(self, period: int, warmup_steps: int = 0, process_group: Any = None):
        if warmup_steps < 0:
            raise ValueError(f"PeriodicModelAverager: warmup_steps must be a non-negative number, got {warmup_steps}")
        if period <= 0:
            raise ValueError(f"PeriodicModelAverager: period must be a positive value, got {period}")
        if period == 1:
            warnings.warn(
                "PeriodicModelAverager: averaging in every step costs what DistributedDataParallel costs; use that",
                stacklevel=2,
            )
        super().__init__(process_group)
        self.period, self.warmup_steps = period, warmup_steps

    def average_parameters(self, params: Groups) -> None:
        """Average the parameters that have a gradient, if it is time."""
        events.refuse("a model averager counts its steps")
        if self.step >= self.warmup_steps and (self.step - self.warmup_steps) % self.period == 0:
            average_parameters_or_parameter_groups(params, self.process_group)
        self.step += 1
