"""Decorators for a tracer: those of compile, and hints, which change nothing."""

from flambeau.compat.unchanged import nothing
from flambeau.compiler import allow_in_graph, disable, set_stance, substitute_in_graph

__all__ = [
    "allow_in_graph", "disable", "mark_dynamic", "mark_static", "mark_static_address", "set_stance",
    "substitute_in_graph",
]  # fmt: skip

mark_dynamic = mark_static = mark_static_address = nothing
