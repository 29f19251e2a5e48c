"""How this torch was built: it was not."""

from __future__ import annotations

import flambeau
from flambeau.core.threads import get_num_threads

__all__ = ["parallel_info", "show"]


def show() -> str:
    """The version of flambeau, and that none of torch's libraries is in it."""
    return f"flambeau {flambeau.__version__} under the name torch\n  USE_MKL=OFF, USE_MKLDNN=OFF, USE_CUDA=OFF\n"


def parallel_info() -> str:
    """How many threads kernels use."""
    return f"flambeau's threads: get_num_threads() is {get_num_threads()}\n"
