"""Where downloads are kept."""

from __future__ import annotations

import os
import re
from urllib.parse import urlparse

__all__ = ["ENV_TORCH_HOME", "HASH_REGEX", "urlparse"]

ENV_TORCH_HOME = "TORCH_HOME"
HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")  # the digest in the name of a file of weights


def _get_torch_home() -> str:
    """The folder that the variable TORCH_HOME names, else ``torch`` in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.expanduser(os.environ.get(ENV_TORCH_HOME) or os.path.join(cache, "torch"))
