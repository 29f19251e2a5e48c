"""Kernels chosen by measuring: switched off, as the backend chooses its kernels itself."""

from __future__ import annotations

__all__ = ["enable", "is_enabled", "tuning_enable", "tuning_is_enabled"]


def enable(val: bool = True) -> None:
    """RuntimeError where it is to be switched on."""
    if val:
        raise RuntimeError("flambeau.cuda.tunable.enable: kernels are not chosen by measuring")


def is_enabled() -> bool:
    """Whether it is on; it is not.

    >>> fb.cuda.tunable.is_enabled()
    False
    """
    return False


tuning_enable, tuning_is_enabled = enable, is_enabled
