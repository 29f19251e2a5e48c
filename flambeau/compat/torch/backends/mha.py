"""Torch's fused path of MultiheadAttention; flambeau has one path, and the switch is kept."""

from __future__ import annotations

__all__ = ["get_fastpath_enabled", "set_fastpath_enabled"]

_enabled = True


def get_fastpath_enabled() -> bool:
    """What :func:`set_fastpath_enabled` was told last; True at first."""
    return _enabled


def set_fastpath_enabled(value: bool) -> None:
    """Kept for :func:`get_fastpath_enabled`."""
    global _enabled
    _enabled = value
