"""How this flambeau was made, and with how many threads it computes."""

from __future__ import annotations

import os
import platform

import numpy as np

from flambeau.core.registry import known_types
from flambeau.core.threads import get_num_threads

__all__ = ["parallel_info", "show"]


def show() -> str:
    """Its parts as text.

    >>> "numpy" in fb.__config__.show()
    True
    """
    return (
        f"flambeau built with:\n  - Python {platform.python_version()} on {platform.machine()}\n"
        f"  - numpy {np.__version__}\n  - device types: {', '.join(known_types())}\n"
    )


def parallel_info() -> str:
    """Its threads as text.

    >>> "threads" in fb.__config__.parallel_info()
    True
    """
    return f"flambeau parallel info:\n  threads of the cpu backend: {get_num_threads()}\n  cores: {os.cpu_count()}\n"
