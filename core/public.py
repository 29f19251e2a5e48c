"""The public face of the ops: what is true of a function is said at the function, by the decorator :func:`public`.

A function made from a record is public by the record's own fields; a function with a body of its own, by this
decorator. :mod:`flambeau.core.methods` puts both into the flambeau namespace and on Tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Face:
    """A function, where it is public, and what its public form takes beside the function's own arguments."""

    function: Callable[..., Any]
    names: tuple[str, ...]
    as_function: bool
    as_method: bool
    out: bool
    guard: bool
    inplace: bool
    more: Mapping[str, str]


#: Every decorated function, in the order of declaration.
FACES: Final[list[Face]] = []


def public(
    name: str | None = None,
    *,
    aliases: Sequence[str] = (),
    function: bool | None = None,
    method: bool = True,
    inplace: bool = False,
    out: bool = False,
    more: Mapping[str, str] | None = None,
    guard: bool = True,
) -> Callable[[F], F]:
    """Make the decorated function public: in the flambeau namespace and as a method of Tensor.

    ``name`` is for a function that cannot bear its public name where it is defined; ``aliases`` are more public
    names. ``function`` and ``method`` say where it is public (a name that ends in ``_`` is a method alone, unless
    ``function`` is True). With ``inplace`` its in-place form, ``<name>_``, is a method too. With ``out`` the public
    function takes ``out=``. ``more`` has more names of arguments, to the ones they stand for. Without ``guard`` the
    function itself blames an argument that is no tensor: a call more would cost its users time.
    """

    def declare(fn: F) -> F:
        title = name or fn.__name__
        if name is not None and isinstance(fn, FunctionType) and not hasattr(fn, "op"):
            fn.__name__ = fn.__qualname__ = name
        as_function = not title.endswith("_") if function is None else function
        FACES.append(Face(fn, (title, *aliases), as_function, method, out, guard, inplace, more or {}))
        return fn

    return declare
