"""What the processor can do."""

from __future__ import annotations

__all__ = ["get_cpu_capability"]


def get_cpu_capability() -> str:
    """ "DEFAULT": kernels of flambeau choose no instructions of their own, numpy's do."""
    return "DEFAULT"
