"""Hints to a tracer, which change nothing."""

from flambeau.compat.unchanged import nothing, unchanged

__all__ = ["allow_in_graph", "disable", "mark_dynamic", "mark_static", "mark_static_address"]

allow_in_graph = disable = unchanged
mark_dynamic = mark_static = mark_static_address = nothing
