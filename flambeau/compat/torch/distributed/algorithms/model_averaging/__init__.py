"""torch.distributed.algorithms.model_averaging: parameters averaged now and then."""

from __future__ import annotations

from flambeau.distributed.algorithms.model_averaging.averagers import ModelAverager, PeriodicModelAverager

__all__ = ["ModelAverager", "PeriodicModelAverager"]
