"""Functions of sizes that might be symbols: sizes are plain numbers here, and these compute with them.

``SymInt``, ``SymFloat`` and ``SymBool`` are the classes that a tracing compiler would give; nothing makes one yet, and
``isinstance(n, (int, SymInt))`` has its answer.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

N = TypeVar("N", int, float)
T = TypeVar("T")


class _Symbolic:
    """A number that a compiler knows by a node; what is asked of it is asked of the node."""

    def __init__(self, node: Any):  # Any: a node of a compiler; flambeau makes none
        self.node = node

    def __hash__(self) -> int:
        return hash(self.node)


class SymInt(_Symbolic):
    """A size that is not known yet; here every size is, and no number is one of these."""

    def __int__(self) -> int:
        return int(self.node.guard_int("", 0))

    __index__ = __int__

    def as_integer_ratio(self) -> tuple[SymInt, int]:
        """Itself, over 1."""
        return self, 1


class SymFloat(_Symbolic):
    """A float that is not known yet; no number is one of these."""

    def __float__(self) -> float:
        return float(self.node.guard_float("", 0))

    def is_integer(self) -> bool:
        """Whether it is whole."""
        return float(self).is_integer()

    def as_integer_ratio(self) -> tuple[int, int]:
        """Two integers whose quotient it is."""
        return float(self).as_integer_ratio()

    def conjugate(self) -> SymFloat:
        """Itself."""
        return self

    def hex(self) -> str:
        """Its digits to the base 16, as text."""
        return float(self).hex()


class SymBool(_Symbolic):
    """A condition that is not known yet; no bool is one of these."""

    def __bool__(self) -> bool:
        return bool(self.node.guard_bool("", 0))


def sym_int(a: float) -> int:
    """``int(a)``.

    >>> fb.sym_int(2.5)
    2
    """
    return _as_number("sym_int", a, int)


def sym_float(a: float) -> float:
    """``float(a)``.

    >>> fb.sym_float(2)
    2.0
    """
    return _as_number("sym_float", a, float)


def _as_number(name: str, a: object, kind: Callable[[Any], T]) -> T:
    try:
        return kind(a)
    except TypeError:
        raise TypeError(f"{name}: argument 'a' must be a number, got {type(a).__name__}") from None


def sym_max(a: N, b: N) -> N:
    """The larger number; a float where one of them is.

    >>> fb.sym_max(1, 2)
    2
    """
    _need_numbers("sym_max", a=a, b=b)
    return _alike(a, b, builtins.max(a, b))


def sym_min(a: N, b: N) -> N:
    """The smaller number; a float where one of them is.

    >>> fb.sym_min(1, 2)
    1
    """
    _need_numbers("sym_min", a=a, b=b)
    return _alike(a, b, builtins.min(a, b))


def _need_numbers(name: str, **given: object) -> None:
    for argument, value in given.items():
        if not isinstance(value, (builtins.int, builtins.float, SymInt, SymFloat)):
            raise TypeError(f"{name}: argument {argument!r} must be a number, got {value!r} ({type(value).__name__})")


def _alike(a: N, b: N, chosen: N) -> N:
    return type(a + b)(chosen)  # a float where one of them is


def sym_not(a: bool) -> bool:
    """``not a``.

    >>> fb.sym_not(True)
    False
    """
    return not a


def sym_ite(b: bool, t: T, f: T) -> T:
    """``t if b else f``, both of one type.

    >>> fb.sym_ite(True, 1, 2)
    1
    """
    if not isinstance(b, bool):
        raise TypeError(f"sym_ite: b must be a bool, got {type(b).__name__}")
    if type(t) is not type(f):
        raise TypeError(f"sym_ite: both values must be of one type, got {type(t).__name__} and {type(f).__name__}")
    return t if b else f


def sym_sqrt(a: float) -> float:
    """The square root.

    >>> fb.sym_sqrt(4)
    2.0
    """
    return math.sqrt(a)


def sym_sum(args: Iterable[int]) -> int:
    """The sum.

    >>> fb.sym_sum([1, 2])
    3
    """
    if isinstance(args, (str, bytes)) or not isinstance(args, Iterable):
        raise TypeError(f"sym_sum: argument 'args' must be several numbers, got {type(args).__name__}")
    numbers = [*args]
    _need_numbers("sym_sum", **{f"args[{i}]": n for i, n in enumerate(numbers)})
    return builtins.sum(numbers)


def sym_fresh_size(expr: int) -> int:
    """``expr``: there is no symbol to make anew.

    >>> fb.sym_fresh_size(3)
    3
    """
    return expr


def sym_constrain_range(size: int, *, min: int | None = None, max: int | None = None) -> None:
    """RuntimeError where ``size`` is not from ``min`` to ``max``.

    >>> fb.sym_constrain_range(3, min=0, max=5)
    """
    _need_numbers("sym_constrain_range", size=size, min=min or 0, max=max or 0)
    if min is not None and size < min or max is not None and size > max:
        raise RuntimeError(f"sym_constrain_range: {size} is not in the range from {min} to {max}")


def sym_constrain_range_for_size(size: int, *, min: int | None = None, max: int | None = None) -> None:
    """:func:`sym_constrain_range` of a size.

    >>> fb.sym_constrain_range_for_size(3, min=0)
    """
    sym_constrain_range(size, min=min, max=max)
