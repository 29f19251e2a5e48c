"""torch's tracer of Python. What is told to it here is told to the recorder of compile, where it says anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.compat.torch._dynamo import config
from flambeau.compat.torch._dynamo.eval_frame import OptimizedModule
from flambeau.compat.unchanged import nothing, unchanged, yes
from flambeau.compiler import (
    allow_in_graph,
    assume_constant_result,
    compile,
    disable,
    is_compiling,
    list_backends,
    mark_dynamic,
    mark_static,
    maybe_mark_dynamic,
    reset,
    set_stance,
    substitute_in_graph,
)
from flambeau.compiler.explained import Explanation

__all__ = [
    "OptimizedModule", "allow_in_graph", "assume_constant_result", "config", "disable", "disallow_in_graph", "explain",
    "forbid_in_graph", "graph_break", "is_compiling", "is_dynamo_supported", "list_backends", "mark_dynamic",
    "mark_static", "mark_static_address", "maybe_mark_dynamic", "optimize", "optimize_assert", "reset", "run",
    "set_stance", "substitute_in_graph",
]  # fmt: skip

disallow_in_graph = forbid_in_graph = run = unchanged
graph_break = mark_static_address = nothing
is_dynamo_supported = yes
_CALLS = 3  # an eager call, and two that are recorded


def optimize(
    backend: str | Callable[..., Any] = "inductor", *, nopython: bool = False, **options: Any
) -> Any:  # Any: others are torch's own, and not looked at
    """The decorator that ``torch.compile(backend=backend, fullgraph=nopython)`` is."""
    known = {name: options[name] for name in ("dynamic", "disable", "recompile_limit") if name in options}
    return compile(backend=backend, fullgraph=nopython, **known)


def optimize_assert(backend: str | Callable[..., Any] = "inductor", **options: Any) -> Any:
    """:func:`optimize` of one graph."""
    return optimize(backend, nopython=True, **options)


def explain(f: Callable[..., Any], *extra_args: Any, **extra_kwargs: Any) -> Any:
    """A function that calls ``f`` three times, as often as a recording needs, and tells what came of it.

    With arguments of ``f`` it is called at once, the older form.
    """

    def inner(*args: Any, **kwargs: Any) -> Explanation:
        made = compile(f)
        for _ in range(_CALLS):
            made(*args, **kwargs)
        found: Explanation = made.explain()
        return found

    return inner(*extra_args, **extra_kwargs) if extra_args or extra_kwargs else inner
