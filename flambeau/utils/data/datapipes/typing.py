"""The checks of types of datapipes, which change nothing, and whether one gives the same each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar

__all__ = [
    "argument_validation", "guaranteed_datapipes_determinism", "non_deterministic", "runtime_validation",
    "runtime_validation_disabled",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])
_guaranteed: ContextVar[bool] = ContextVar("flambeau_datapipes_determinism", default=False)


class guaranteed_datapipes_determinism:
    """Inside the block, datapipes that do not give the same each time raise when they are made.

    >>> with guaranteed_datapipes_determinism():
    ...     pass
    """

    def __enter__(self) -> None:
        self._token = _guaranteed.set(True)

    def __exit__(self, *exc: object) -> None:
        _guaranteed.reset(self._token)


class non_deterministic:
    """A decorator for a class of datapipes, or with a function of its arguments that tells when it is so.

    >>> @non_deterministic
    ... class Rolls: ...
    >>> with guaranteed_datapipes_determinism():
    ...     Rolls()
    Traceback (most recent call last):
    TypeError: Can't instantiate non-deterministic 'Rolls' here: the block guarantees determinism
    """

    registry: ClassVar[list[type]] = []

    def __new__(cls, arg: Any) -> Any:  # Any: a class, or a function of its arguments
        if isinstance(arg, type):
            return cls._marked(arg, lambda *args, **kwargs: True)
        return lambda kind: cls._marked(kind, arg)

    @classmethod
    def _marked(cls, kind: Any, is_so: Callable[..., bool]) -> Any:
        make = kind.__init__

        def checked(self: Any, *args: Any, **kwargs: Any) -> None:
            if _guaranteed.get() and is_so(*args, **kwargs):
                raise TypeError(
                    f"Can't instantiate non-deterministic {kind.__name__!r} here: the block guarantees determinism"
                )
            make(self, *args, **kwargs)

        kind.__init__ = checked
        cls.registry.append(kind)
        return kind


def argument_validation(f: F) -> F:
    """The function: annotations of its arguments are for type checkers.

    >>> argument_validation(len)([1])
    1
    """
    return f


def runtime_validation(f: F) -> F:
    """The function: annotations of what it yields are for type checkers.

    >>> runtime_validation(len)([1])
    1
    """
    return f


@contextmanager
def runtime_validation_disabled() -> Iterator[None]:
    """A block without the checks that are not made anyway.

    >>> with runtime_validation_disabled():
    ...     pass
    """
    yield
