"""The public face of the ops: what is true of a function is said at the function, by the decorator :func:`public`.

A function made from a record is public by the record's own fields; a function with a body of its own, by this
decorator. :mod:`flambeau.core.methods` puts both into the flambeau namespace and on Tensor.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Face:
    """A function, where it is public, and what its public form takes beside the function's own arguments."""

    function: Callable[..., Any]
    names: tuple[str, ...]
    as_function: bool
    as_method: bool
    as_property: bool
    setter: Callable[[Any, Any], None] | None
    inplace: bool | Literal["function"]
    out: bool
    guard: bool | Literal["function"]
    more: Mapping[str, str]


#: Every decorated function, in the order of declaration.
FACES: Final[list[Face]] = []


def public(
    name: str | None = None,
    *,
    aliases: Sequence[str] = (),
    function: bool | None = None,
    method: bool = True,
    property: bool = False,
    setter: Callable[[Any, Any], None] | None = None,
    inplace: bool | Literal["function"] = False,
    out: bool = False,
    more: Mapping[str, str] | None = None,
    guard: bool | Literal["function"] = True,
) -> Callable[[F], F]:
    """Make the decorated function public: in the flambeau namespace and as a method of Tensor.

    ``name`` is for a function that is defined under another one: a private one, or one that would hide a builtin,
    gets it. ``aliases`` are more public names. ``function`` and ``method`` say where it is public: a name that ends in
    ``_`` is a method alone, unless ``function`` is True; a ``property`` is one of Tensor, and with a ``setter`` a
    function too. With ``inplace`` its in-place form, ``<name>_``, is a method, with "function" a function too. With
    ``out`` the public function takes ``out=``. ``more`` has more names of arguments, to the ones they stand for.
    Without ``guard`` the function itself says which argument was wrong: a call more would cost users time; with
    "function" that is so of the method, whose first argument is a tensor.
    """

    def declare(fn: F) -> F:
        title = name or fn.__name__
        if isinstance(fn, FunctionType) and (
            fn.__name__.startswith("_") or title[:2] == "__" or hasattr(builtins, title)
        ):
            fn.__name__ = fn.__qualname__ = title
        if guard is False and isinstance(fn, FunctionType):
            fn.guarded = True  # type: ignore[attr-defined]
        as_function = not (property or title.endswith("_")) if function is None else function
        as_property = property or setter is not None
        names = (title, *aliases)
        FACES.append(Face(fn, names, as_function, method, as_property, setter, inplace, out, guard, more or {}))
        return fn

    return declare
