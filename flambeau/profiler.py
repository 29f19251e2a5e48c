"""Time, calls and bytes by op, device and module."""

from flambeau.core.profiling import Event, Row, profile

__all__ = ["Event", "Row", "profile"]
