"""Functions and layers over one, two or three axes of space, each family written once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from flambeau.core.blame import Options, explained
from flambeau.nn.functional.guard import like_input

P = ParamSpec("P")
R = TypeVar("R")
Three = tuple[Callable[P, R], Callable[P, R], Callable[P, R]]
_AXES = ("", "S", "H, W", "D, H, W")
_KERNEL = ("", "K", "KH, KW", "KD, KH, KW")


class _Repeated:
    """``{s:8}`` in a text: an 8 for each axis, as in ``(1, 3, 8, 8)``."""

    def __init__(self, n: int):
        self.n = n

    def __format__(self, size: str) -> str:
        return f", {size}" * self.n


def filled(text: str, n: int, name: str) -> str:
    """A docstring for ``n`` axes: ``{n}``, ``{name}``, ``{axes}`` ("H, W"), ``{kernel}`` ("KH, KW"), ``{s:8}``."""
    return text.format(n=n, name=name, axes=_AXES[n], kernel=_KERNEL[n], s=_Repeated(n))


def family(body: Callable[Concatenate[int, P], R]) -> Three[P, R]:
    """The members of ``<name>_nd``, whose first argument is the number of axes, for 1, 2 and 3 of them."""
    signature = inspect.signature(body)
    signature = signature.replace(parameters=list(signature.parameters.values())[1:])

    def member(n: int) -> Callable[P, R]:
        name = body.__name__.replace("_nd", f"{n}d")

        options: Options | None = None

        def call(*args: P.args, **kwargs: P.kwargs) -> R:  # Any: where the body's result is
            nonlocal options
            try:
                found: R = like_input(body(n, *args, **kwargs), args)
                if options is None:
                    options = Options(name, call)
                if kwargs or len(args) > options.first:
                    options.check(args, kwargs)
                return found
            except Exception as error:
                if clear := explained(error, name, call, args, kwargs):
                    raise clear from clear.__cause__
                raise

        call.__name__ = call.__qualname__ = name
        call.__module__, call.__doc__ = body.__module__, filled(body.__doc__ or "", n, name)
        call.__wrapped__ = body  # type: ignore[attr-defined]
        call.__signature__, call.guarded = signature, True  # type: ignore[attr-defined]
        return call

    return member(1), member(2), member(3)
