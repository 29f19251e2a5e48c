"""Where downloads are kept."""

from __future__ import annotations

import os

__all__ = ["ENV_TORCH_HOME"]

ENV_TORCH_HOME = "TORCH_HOME"


def _get_torch_home() -> str:
    """The folder that the variable TORCH_HOME names, else ``torch`` in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.expanduser(os.environ.get(ENV_TORCH_HOME) or os.path.join(cache, "torch"))
