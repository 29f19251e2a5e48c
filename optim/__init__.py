"""Optimizers and learning rate schedules, as in torch.optim."""

from __future__ import annotations

from flambeau.optim.adam import Adam, AdamW
from flambeau.optim.optimizer import Optimizer
from flambeau.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
