"""An optimizer whose parameters are averaged over the ranks now and then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flambeau.distributed.algorithms.model_averaging.averagers import ModelAverager
from flambeau.optim.optimizer import Group, Optimizer

T = TypeVar("T")


class PostLocalSGDOptimizer(Optimizer):
    """Steps of ``optim`` on this rank's gradients, after which ``averager`` averages the parameters when it is time.

    Gradients must not be averaged by DistributedDataParallel then: register its ``post_localSGD_hook``.
    Lin et al., Don't Use Large Mini-Batches, Use Local SGD, arXiv:1808.07217.
    """

    def __init__(self, optim: Optimizer, averager: ModelAverager):
        self.optim, self.averager = optim, averager
        self.param_groups = optim.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The state of the inner optimizer."""
        return self.optim.state

    def __repr__(self) -> str:
        return repr(self.optim)

    def step(self, closure: Callable[[], T] | None = None) -> T | None:  # type: ignore[override]
        """One step of the inner optimizer, and an average if it is time."""
        found = self.optim.step() if closure is None else self.optim.step(closure)
        self.averager.average_parameters(self.optim.param_groups)
        return found

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As the inner optimizer."""
        self.optim.zero_grad(set_to_none)

    def add_param_group(self, param_group: Group) -> None:
        """As the inner optimizer."""
        self.optim.add_param_group(param_group)

    def state_dict(self) -> Any:
        """The inner optimizer's state, and the averager's count of steps as ``"step"``."""
        return {**self.optim.state_dict(), "step": self.averager.step}

    def load_state_dict(self, state_dict: Any) -> None:
        """Take both back; a state without ``"step"`` lets the averager count from 0."""
        own: Any = {k: v for k, v in state_dict.items() if k != "step"}
        self.optim.load_state_dict(own)
        self.averager.step = state_dict.get("step", 0)
