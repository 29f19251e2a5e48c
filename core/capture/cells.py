"""Numbers of the host while a program is recorded: their arithmetic is recorded, and a look at one is a branch.

A cell stands where eager code has a float, an int or a bool, and ``isinstance`` takes it for one. It is no instance of
them in C, so that whatever asks for its value (a comparison in ``if``, ``math.sqrt``, an index, a format) has to come
by here, where the recorder learns that the program depends on that value. When nothing records any more, a cell is the
number that it was.
"""

from __future__ import annotations

import gc
import math
import operator
from collections.abc import Callable
from typing import Any, Protocol

from flambeau.core.capture.trace import Value

Number = bool | int | float | complex


class Numbers(Protocol):
    """What cells ask of their recorder."""

    def compute(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any: ...  # Any: numbers, or cells
    def look(self, cell: Cell) -> None: ...


class Cell:
    """A number of the program that is recorded."""

    __slots__ = ("__weakref__", "_number", "_recorder", "_value")

    def __init__(self, number: Number, value: Value, recorder: Numbers):
        self._number, self._value, self._recorder = number, value, recorder

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # what isinstance goes by
        return type(self._number)

    def __hash__(self) -> int:
        return hash(seen(self))

    def __bool__(self) -> bool:
        return bool(branch(self, operator.truth))

    def __float__(self) -> float:
        return float(seen(self))  # type: ignore[arg-type]

    def __int__(self) -> int:
        return int(seen(self))  # type: ignore[arg-type]

    def __complex__(self) -> complex:
        return complex(seen(self))

    def __index__(self) -> int:
        if isinstance(self._number, int):
            return int(seen(self))  # type: ignore[arg-type]
        raise TypeError(f"{type(self._number).__name__!r} object cannot be interpreted as an integer")

    def __repr__(self) -> str:
        return repr(seen(self))

    def __str__(self) -> str:
        return str(seen(self))

    def __format__(self, spec: str) -> str:
        return format(seen(self), spec)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return seen(self).__reduce_ex__(protocol)

    def __copy__(self) -> Cell:
        return self

    def __deepcopy__(self, memo: object) -> Cell:
        return self

    def __getattr__(self, name: str) -> Any:  # the methods of numbers: is_integer, bit_length, real, ...
        if not hasattr(type(self._number), name):
            raise AttributeError(f"{type(self._number).__name__!r} object has no attribute {name!r}")
        return getattr(seen(self), name)


def seen(cell: Cell) -> Number:
    """The number of a cell; the recording holds for this number alone from here on."""
    cell._recorder.look(cell)
    return cell._number


def plain(value: Any) -> Any:
    """A cell's number without a look at it, as a kernel gets it; lists and tuples of them; what is no cell as it is."""
    kind = type(value)
    if kind is Cell:
        return value._number
    if kind is list or kind is tuple:
        return kind(map(plain, value))
    return value


def let_go(cells: list[Cell]) -> None:
    """Put numbers in the place of cells that the program has kept in lists, dicts and objects."""
    if not cells:
        return
    ids = {id(c) for c in cells}
    for holder in gc.get_referrers(*cells):
        if holder is cells:
            continue
        if isinstance(holder, list):
            holder[:] = [v._number if id(v) in ids else v for v in holder]
            continue
        found = holder if isinstance(holder, dict) else getattr(holder, "__dict__", None)
        if isinstance(found, dict) and type(holder) is not Cell:
            for k, v in list(found.items()):
                if id(v) in ids:
                    found[k] = v._number


def branch(cell: Cell, question: Callable[..., Any], *others: Any) -> Any:
    """The answer to a question about a cell, on which the program may branch."""
    answer = cell._recorder.compute(question, (cell, *others))
    return seen(answer) if type(answer) is Cell else answer


def _arithmetic(fn: Callable[..., Any], name: str, reflected: bool) -> Callable[..., Any]:
    def run(self: Cell, *others: Any) -> Any:
        if not all(isinstance(o, (bool, int, float, complex)) for o in others):
            return NotImplemented  # a tensor has the last word on its own arithmetic
        return self._recorder.compute(fn, (*others, self) if reflected else (self, *others))

    run.__name__ = name
    return run


def _comparison(fn: Callable[..., Any], name: str) -> Callable[..., Any]:
    def run(self: Cell, other: Any) -> Any:
        if not isinstance(other, (bool, int, float, complex)):
            return NotImplemented
        return self._recorder.compute(fn, (self, other))

    run.__name__ = name
    return run


_BINARY = "add sub mul truediv floordiv mod pow divmod and or xor lshift rshift"
_ROUNDING: dict[str, Callable[..., Any]] = {
    "__round__": round, "__trunc__": math.trunc, "__floor__": math.floor, "__ceil__": math.ceil,
}  # fmt: skip
for _stem in _BINARY.split():
    _fn: Callable[..., Any] = getattr(operator, f"__{_stem}__", divmod)
    setattr(Cell, f"__{_stem}__", _arithmetic(_fn, f"__{_stem}__", False))
    setattr(Cell, f"__r{_stem}__", _arithmetic(_fn, f"__r{_stem}__", True))
for _stem in ("neg", "pos", "abs", "invert"):
    setattr(Cell, f"__{_stem}__", _arithmetic(getattr(operator, f"__{_stem}__"), f"__{_stem}__", False))
for _name, _rounding in _ROUNDING.items():
    setattr(Cell, _name, _arithmetic(_rounding, _name, False))
for _stem in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Cell, f"__{_stem}__", _comparison(getattr(operator, f"__{_stem}__"), f"__{_stem}__"))
