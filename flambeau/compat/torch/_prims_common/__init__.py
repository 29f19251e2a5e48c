"""Questions that torch's own Python kernels ask."""

from __future__ import annotations

from flambeau.core.tensor import Tensor

__all__ = ["alert_not_deterministic", "is_contiguous_or_false"]


def alert_not_deterministic(caller: str) -> None:
    """Nothing: flambeau's kernels give the same bits each time."""


def is_contiguous_or_false(a: Tensor) -> bool:
    """Whether the elements lie in row-major order."""
    return a.is_contiguous()
