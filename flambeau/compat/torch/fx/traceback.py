"""Notes for the nodes that a program makes while it is traced."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

__all__ = ["annotate", "annotate_fn", "get_current_meta"]

P = ParamSpec("P")
R = TypeVar("R")
_meta: dict[str, Any] = {}


def get_current_meta() -> dict[str, Any]:
    """The notes in force; under "custom" those of :func:`annotate`."""
    return _meta


@contextmanager
def annotate(annotation_dict: dict[str, Any]) -> Iterator[None]:  # Any: notes of any kind
    """Add notes inside a block, for tracers that look at :func:`get_current_meta`; symbolic tracing does not."""
    before = _meta.get("custom")
    _meta["custom"] = {**(before or {}), **annotation_dict}
    try:
        yield
    finally:
        if before is None:
            del _meta["custom"]
        else:
            _meta["custom"] = before


def annotate_fn(annotation_dict: dict[str, Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """:func:`annotate` around each call of a function, as a decorator."""

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(fn)
        def noted(*args: P.args, **kwargs: P.kwargs) -> R:
            with annotate(annotation_dict):
                return fn(*args, **kwargs)

        return noted

    return decorate
