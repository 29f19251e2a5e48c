"""Which functions blame an argument that is no tensor themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def quick(fn: F) -> F:
    """Mark a function, most often of one op, that needs no guard around it.

    A call more would cost time, and hide from warnings whose line they are about.
    """
    fn.guarded = True  # type: ignore[attr-defined]
    return fn
