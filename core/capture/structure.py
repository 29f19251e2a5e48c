"""A number that moves whenever the structure of some module does: what a recording of its forward may depend on.

Modules tell :func:`moved` of attributes, parameters, buffers, children and hooks that become others, and so of
``train`` and ``eval``. As long as :data:`count` stands still, no module needs to be looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Container
from typing import Any

#: What it is called does not matter: another number than before says that something changed.
count = 0

#: The same, of all but attributes that are neither parameters, buffers nor modules.
registered = 0

#: When an attribute of this name last became another one, the latest at the end.
attributes: dict[str, int] = {}

#: The hooks on every module.
everywhere: dict[int, Any] = {}

_numbers = itertools.count(1)
#: The types of plain values.
PLAIN = frozenset({type(None), bool, int, str, bytes, float, complex})


def moved() -> None:
    """The structure of a module changed."""
    global count, registered
    count = registered = next(_numbers)  # a number of its own in each thread, where += 1 may lose one


def moved_attribute(name: str) -> None:
    """An attribute of a module became another one."""
    global count
    count = number = next(_numbers)
    attributes.pop(name, None)
    attributes[name] = number


def moved_in(names: Container[str], since: int, since_registered: int) -> bool:
    """Whether anything moved since these numbers that is more than attributes of other names."""
    if registered != since_registered:
        return True
    for name in reversed(list(attributes)):
        if attributes.get(name, 0) <= since:
            return False
        if name in names:
            return True
    return False


def same(one: Any, other: Any) -> bool:  # Any: values of attributes
    """Whether two values of an attribute are the same to every program: one object, or plain values of equal bits.

    >>> from flambeau.core.capture.structure import same
    >>> same(2, 2), same(2, 2.0), same(0.0, -0.0), same(float("nan"), float("nan")), same([], [])
    (True, False, False, True, False)
    """
    if one is other:
        return True
    kind = one.__class__
    if kind is not other.__class__ or kind not in PLAIN:
        return False
    if kind is float or kind is complex:
        return repr(one) == repr(other)  # it tells the zeros apart, and takes nan for nan
    return bool(one == other)


def put(registry: dict[str, Any], name: str, value: Any) -> None:  # Any: parameters, buffers, modules, None
    """Enter ``value``, which moves the number if it is another than before."""
    if registry.get(name, registry) is not value:
        moved()
    registry[name] = value


def remove(registry: dict[Any, Any], name: Any) -> None:  # Any: names, or the numbers of hooks
    """Remove an entry of a module's."""
    moved()
    del registry[name]
