"""Under which name flambeau's objects show themselves: their own, or that of the library they stand in for.

``repr`` of dtypes, sizes and memory formats, ``Tensor.type()`` and the home of classes all ask here, so that
:func:`show_as` is the one switch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

C = TypeVar("C", bound=type)

#: What stands before names.
_prefix = "flambeau"
#: Classes of which users see the home, and their names where they stand in for another library's.
_CLASSES: Final[list[tuple[type, str, str, tuple[str, str]]]] = []


#: Where such a class is defined, whatever it says.
HOMES: Final[dict[type, str]] = {}


def prefix() -> str:
    """What stands before the names of dtypes and sizes.

    >>> prefix()
    'flambeau'
    """
    return _prefix


def typename(obj: object, /) -> str:
    """The name of a type, of an object's type, or of what a tensor is: "flambeau.FloatTensor".

    >>> fb.typename(3), fb.typename(fb.ones(1))
    ('int', 'flambeau.FloatTensor')
    """
    if hasattr(obj, "_key") and not isinstance(obj, type):
        return str(obj.type())  # type: ignore[attr-defined]  # a tensor, whose class stands above
    kind = obj if isinstance(obj, type) else type(obj)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def shown(name: str = "", home: str = "", own: str = "flambeau") -> Callable[[C], C]:
    """Have a class say that it is at home in flambeau, as ``name`` in ``home`` where that shows as another library.

    ``own`` is its home in flambeau, "" for where it is defined.
    """

    def enter(cls: C) -> C:
        HOMES[cls] = cls.__module__
        if own:
            cls.__module__ = own
        _CLASSES.append((cls, name or cls.__name__, home, (cls.__module__, cls.__name__)))
        _show(*_CLASSES[-1])
        return cls

    return enter


def _show(cls: type, name: str, home: str, own: tuple[str, str]) -> None:
    if _prefix == "flambeau":
        cls.__module__, cls.__name__ = own
    else:
        cls.__module__, cls.__name__ = f"{_prefix}{home}", name
    cls.__qualname__ = cls.__name__


def show_as(name: str = "flambeau") -> None:
    """Show dtypes, sizes, devices, classes and types of tensors under another library's name, or again their own.

    >>> show_as("torch")
    >>> fb.float32, fb.ones(2).shape, fb.Tensor, fb.ones(1).type()
    (torch.float32, torch.Size([2]), <class 'torch.Tensor'>, 'torch.FloatTensor')
    >>> show_as()
    >>> fb.float32
    flambeau.float32
    """
    global _prefix
    _prefix = name
    for entry in _CLASSES:
        _show(*entry)
