"""NNPACK: it is not used. The switch is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flambeau.compat.unchanged import no

__all__ = ["flags", "is_available", "set_flags"]

is_available = no
_enabled = [True]


def set_flags(_enabled_now: bool) -> tuple[bool]:
    """Keep the switch; what it was before."""
    before = (_enabled[0],)
    _enabled[0] = bool(_enabled_now)
    return before


@contextmanager
def flags(enabled: bool = False) -> Iterator[None]:
    """Another switch inside a ``with`` block."""
    before = set_flags(enabled)
    try:
        yield
    finally:
        set_flags(*before)
