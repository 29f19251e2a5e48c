"""``freeze``: a module whose parameters are part of its program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.export.folding import frozen
from flambeau.jit.scripting import ScriptModule
from flambeau.jit.tracing import TopLevelTracedModule


def freeze(
    mod: ScriptModule, preserved_attrs: Sequence[str] | None = None, optimize_numerics: bool = True
) -> TopLevelTracedModule:
    """A module without parameters: they are constants of the program, and what follows from them alone is worked out.

    Args:
        mod: a scripted or traced module in evaluation mode.
        preserved_attrs, optimize_numerics: for PyTorch's sake: the program has nothing but what it computes.

    Raises:
        RuntimeError: for a module in training mode, or one that is not scripted or traced.

    >>> frozen = fb.jit.freeze(fb.jit.trace(fb.nn.Linear(2, 1).eval(), fb.ones(3, 2)))
    >>> list(frozen.parameters()), frozen(fb.ones(3, 2)).shape
    ([], flambeau.Size([3, 1]))
    """
    if not isinstance(mod, ScriptModule):
        raise RuntimeError(f"freeze: mod must be scripted or traced, got {type(mod).__name__}")
    if mod.training:
        raise RuntimeError("freeze: mod is in training mode; call eval() before")
    return TopLevelTracedModule(frozen(mod.program), False, mod.original_name)


def optimize_for_inference(mod: ScriptModule, other_methods: Sequence[str] | None = None) -> ScriptModule:
    """:func:`freeze`, where ``mod`` is not frozen yet."""
    return freeze(mod) if list(mod.parameters()) else mod


def run_frozen_optimizations(mod: Any, *args: Any, **options: Any) -> None:  # Any: not looked at
    """Nothing: a frozen program is optimised when it is made."""


__all__ = ["freeze", "optimize_for_inference", "run_frozen_optimizations"]
