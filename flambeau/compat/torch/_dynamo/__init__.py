"""torch's tracer of Python, which packages tell what to leave alone. Nothing is traced here."""

from __future__ import annotations

from typing import Any

from flambeau.compat.torch._dynamo import config
from flambeau.compat.torch._dynamo.eval_frame import OptimizedModule
from flambeau.compat.unchanged import no, nothing, unchanged

__all__ = [
    "OptimizedModule", "allow_in_graph", "assume_constant_result", "config", "disable", "disallow_in_graph",
    "forbid_in_graph", "graph_break", "is_compiling", "is_dynamo_supported", "list_backends", "mark_dynamic",
    "mark_static", "mark_static_address", "maybe_mark_dynamic", "optimize", "reset", "run",
]  # fmt: skip

allow_in_graph = assume_constant_result = disable = disallow_in_graph = forbid_in_graph = run = unchanged
graph_break = mark_dynamic = mark_static = mark_static_address = maybe_mark_dynamic = reset = nothing
is_compiling = is_dynamo_supported = no


def list_backends(exclude_tags: tuple[str, ...] = ("debug", "experimental")) -> list[str]:
    """No compilers."""
    return []


def optimize(*args: Any, **options: Any) -> Any:  # Any: not looked at
    """A decorator that changes nothing."""
    return unchanged
