"""Decorators that TorchScript's compiler reads: tracing needs none of them, so what they decorate is as it was."""

from __future__ import annotations

from typing import Any

from flambeau.core.state import get
from flambeau.export.tracer import Tracer


def unchanged(fn: Any = None, /, *args: Any, **options: Any) -> Any:  # Any: whatever is decorated comes back
    """A decorator, with or without arguments, that gives back what it decorates.

    >>> fb.jit.ignore(len) is len, fb.jit.ignore(drop=True)(len) is len
    (True, True)
    """
    return fn if fn is not None and (callable(fn) or not isinstance(fn, (str, bool))) else lambda found: found


ignore = unused = export = interface = script_method = script_if_tracing = unchanged


def is_scripting() -> bool:
    """Whether a compiler reads the source: never, programs are traced.

    >>> fb.jit.is_scripting()
    False
    """
    return False


def is_tracing() -> bool:
    """Whether the program runs to be written down.

    >>> seen = []
    >>> def f(x):
    ...     seen.append(fb.jit.is_tracing())
    ...     return x + 1
    >>> _ = fb.jit.trace(f, fb.ones(1)), f(fb.ones(1))
    >>> seen[0], seen[-1]
    (True, False)
    """
    state = get()
    return state is not None and any(isinstance(layer, Tracer) for layer in state.layers)


__all__ = [
    "export", "ignore", "interface", "is_scripting", "is_tracing", "script_if_tracing", "script_method", "unchanged",
    "unused",
]  # fmt: skip
