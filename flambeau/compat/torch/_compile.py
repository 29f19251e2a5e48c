"""``torch.compile`` where every program runs eagerly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.compat.unchanged import unchanged

__all__ = ["compile"]


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None,
    backend: str | Callable[..., Any] = "inductor", mode: str | None = None,
    options: dict[str, Any] | None = None, disable: bool = False,
) -> Any:  # fmt: skip  # Any: the function or module itself
    """The function or module itself: flambeau runs eagerly, with the results that a compiled program has.

    RuntimeError for ``mode`` and ``options`` at once, as in torch.
    """
    if mode is not None and options is not None:
        raise RuntimeError("compile: only one of mode and options may be given")
    return unchanged(model)
