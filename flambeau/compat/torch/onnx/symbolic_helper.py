"""The decorator by which packages say how they would export an op."""

from __future__ import annotations

from typing import Any

from flambeau.compat.unchanged import unchanged

__all__ = ["parse_args"]


def parse_args(*arg_descriptors: str) -> Any:  # Any: a decorator
    """A decorator that changes nothing: nothing is exported."""
    return unchanged()
