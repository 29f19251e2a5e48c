"""cuSPARSELt: it is not used."""

from __future__ import annotations

from flambeau.compat.unchanged import no

__all__ = ["get_max_alg_id", "is_available", "version"]

is_available = no


def version() -> int | None:
    """None: there is none."""
    return None


def get_max_alg_id() -> int | None:
    """None: there is none."""
    return None
