"""The package opt_einsum, which torch's einsum asks for an order of products; flambeau's finds one of its own."""

from __future__ import annotations

from contextlib import AbstractContextManager

from flambeau.compat.flags import switched
from flambeau.compat.unchanged import no

__all__ = ["enabled", "flags", "get_opt_einsum", "is_available", "set_flags", "strategy"]

enabled = False
strategy: str | None = None
is_available = no


def get_opt_einsum() -> None:
    """None: the package is not used."""


def set_flags(_enabled: bool | None = None, _strategy: str | None = None) -> tuple[bool, str | None]:
    """Set the switches that are given, and give those that there were."""
    global enabled, strategy
    before = enabled, strategy
    enabled, strategy = enabled if _enabled is None else _enabled, _strategy or strategy
    return before


def flags(enabled: bool | None = None, strategy: str | None = None) -> AbstractContextManager[None]:
    """Other switches inside a ``with`` block."""
    return switched(__name__, enabled=enabled, strategy=strategy)
