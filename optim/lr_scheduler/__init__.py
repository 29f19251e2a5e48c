"""Learning rate schedules, as in torch.optim.lr_scheduler."""

from __future__ import annotations

from flambeau.core.blame import check_constructors as _check_constructors
from flambeau.core.blame import explain_methods as _explain_methods
from flambeau.optim.lr_scheduler.base import LRScheduler
from flambeau.optim.lr_scheduler.base import _enable_get_lr_call as _enable_get_lr_call
from flambeau.optim.lr_scheduler.combined import ChainedScheduler, SequentialLR
from flambeau.optim.lr_scheduler.cyclic import CyclicLR, OneCycleLR
from flambeau.optim.lr_scheduler.formula import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)  # fmt: skip
from flambeau.optim.lr_scheduler.plateau import ReduceLROnPlateau

#: What torch says of ``step(epoch)``.
EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` is not necessary: `scheduler.step()` goes to the next one by itself."
)

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR",
    "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "OneCycleLR", "PolynomialLR",
    "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip


class _LRScheduler(LRScheduler):
    """The base under its old name: a class below it, so that no schedule of ours is an instance of it, as in torch."""


_check_constructors(*[v for n, v in list(globals().items()) if n in __all__ and isinstance(v, type)])
_explain_methods(LRScheduler)
