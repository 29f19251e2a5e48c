"""The states of an optimizer that a scaler knows."""

import enum

from flambeau.compat.amp import GradScaler

__all__ = ["GradScaler", "OptState"]


class OptState(enum.Enum):
    """What a scaler has done for an optimizer in this step."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2
