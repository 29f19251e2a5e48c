"""What compilers of PyTorch are told by decorators and context managers, where every program runs eagerly."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from flambeau.accelerator.absent import absent


def unchanged(fn: Any = None, /, *args: Any, **options: Any) -> Any:  # Any: whatever is decorated comes back
    """A decorator, with or without arguments, that gives back what it decorates.

    >>> from flambeau.compat.unchanged import unchanged
    >>> unchanged(len) is len, unchanged(recursive=False)(len) is len
    (True, True)
    """
    return fn if fn is not None and (callable(fn) or not isinstance(fn, (str, bool))) else _same


def _same(fn: Any) -> Any:
    return fn


def no(*args: Any, **options: Any) -> bool:  # Any: the arguments are not looked at
    """False: the question is whether a compiler, a tracer or an exporter is at work."""
    return False


def yes(*args: Any, **options: Any) -> bool:  # Any: the arguments are not looked at
    """True: the question is whether something can be compiled."""
    return True


def nothing(*args: Any, **options: Any) -> None:  # Any: the arguments are not looked at
    """Does nothing: a hint to a compiler."""


class Unchanged(contextlib.ContextDecorator):
    """A context manager and decorator that changes nothing."""

    def __init__(self, *args: Any, **options: Any):  # Any: the arguments are not looked at
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def lacking(what: str, why: str) -> Callable[..., Any]:
    """A function that raises RuntimeError: torch's ``what`` is no part of this build."""
    return absent(f"torch.{what}", why)
