"""A module of LLVM IR: functions that are compiled together, their constants, and the names outside that they need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import Type, literal

#: Metadata that instructions point to: stores past the caches, branches that are nearly always or never taken.
_NOTES = (
    "!0 = !{i32 1}",
    '!1 = !{!"branch_weights", i32 2000, i32 1}',
    '!2 = !{!"branch_weights", i32 1, i32 2000}',
)


class Defined(Protocol):
    """A function of a module."""

    def text(self) -> str:
        """Its definition."""


class Module:
    """What is compiled together, for a target. ``externals`` are bound at loading: no address stands in the text."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.functions: dict[str, Defined] = {}
        self.externals: dict[str, int] = {}
        self._declared: dict[str, None] = {}
        self._tables: list[str] = []

    def add(self, name: str, function: Defined) -> None:
        """Enter a function under a name that nothing else has."""
        if name in self.functions or name in self.externals:
            raise ValueError(f"there is a {name} already")
        self.functions[name] = function

    def declare(self, text: str) -> None:
        """A declaration, once however often it is said."""
        self._declared[text] = None

    def external(self, name: str, address: int) -> str:
        """Something of this process by a name, as the text that stands for its address."""
        if name in self.functions or self.externals.setdefault(name, address) != address:
            raise ValueError(f"{name} stands for something else already")
        self.declare(f"@{name} = external global i8")
        return f"@{name}"

    def table(self, type: Type, values: Sequence[bool | int | float], align: int = 64) -> str:
        """Constants in memory, as the text of their address."""
        name = f"@table{len(self._tables)}"
        items = ", ".join(f"{type} {literal(type, v)}" for v in values)
        self._tables.append(f"{name} = internal constant [{len(values)} x {type}] [{items}], align {align}")
        return name

    def text(self) -> str:
        """The whole of it; the same for the same functions written in the same order."""
        defined = (function.text() for function in self.functions.values())
        return "\n".join([*self._tables, *sorted(self._declared), *defined, *_NOTES]) + "\n"
