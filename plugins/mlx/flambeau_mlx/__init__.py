"""flambeau's tensors on MLX: device ``mlx``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flambeau_mlx.backend import MlxBackend


def flambeau_backends() -> MlxBackend:
    """The hook: called when somebody first asks for the device ``mlx``."""
    from flambeau_mlx.backend import MlxBackend  # loads MLX's library

    return MlxBackend()
