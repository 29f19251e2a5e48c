"""The rule of an optimizer, written with tensors, as a rule of expressions: all parameters then change in one call.

The rule is run once on symbols that write down what is done to them, and gives the lines of a
:class:`~flambeau.core.expr.Rule`; every number that it uses, which may be another in the next step, becomes a number of
the rule, so that the steps of an optimizer have few rules between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flambeau.core.events import is_told

if TYPE_CHECKING:
    from flambeau.core.expr import Rule  # lazy for start-up


class Trace:
    """What was done to symbols so far."""

    def __init__(self) -> None:
        self.columns: list[str] = []
        self.lines: list[tuple[str, str]] = []
        self.values: list[float] = []

    def column(self) -> Symbol:
        """A symbol for a list of tensors."""
        self.columns.append(f"x{len(self.columns)}")
        return Symbol(self, self.columns[-1])

    def set(self, name: str, source: str) -> Symbol:
        """A line of the rule."""
        self.lines.append((name, source))
        return Symbol(self, name)

    def text(self, value: Any) -> str:
        """An operand in a line: a number gets a name."""
        if isinstance(value, Symbol):
            return value.name
        if not isinstance(value, (int, float)):
            raise TypeError(f"a rule has tensors and numbers, not a {type(value).__name__}")
        told = is_told(value)  # to a recorder, which hears of arithmetic, where float() is a look at the value
        self.values.append(float(value) if not told else value if isinstance(value, float) else value * 1.0)
        return f"n{len(self.values) - 1}"

    @property
    def rule(self) -> Rule:
        """All of it."""
        from flambeau.core.expr import Rule  # lazy for start-up

        return Rule(tuple(self.columns), tuple([f"n{i}" for i in range(len(self.values))]), tuple(self.lines))


def _infix(op: str) -> tuple[Callable[..., Symbol], Callable[..., Symbol]]:
    def left(self: Symbol, other: Symbol | float) -> Symbol:
        return self.new(f"{self.name} {op} {self.trace.text(other)}")

    def right(self: Symbol, other: float) -> Symbol:
        return self.new(f"{self.trace.text(other)} {op} {self.name}")

    return left, right


class Symbol:
    """Stands for the tensors of a list, or for what is computed of them; its methods are those of tensors."""

    __slots__ = ("name", "trace")
    requires_grad = False

    def __init__(self, trace: Trace, name: str):
        self.trace, self.name = trace, name

    def new(self, source: str) -> Symbol:
        """Something computed, under a name of its own."""
        return self.trace.set(f"t{len(self.trace.lines)}", source)

    def write(self, source: str) -> Symbol:
        """The same, in place."""
        return self.trace.set(self.name, source)

    __add__, __radd__ = _infix("+")
    __sub__, __rsub__ = _infix("-")
    __mul__, __rmul__ = _infix("*")
    __truediv__, __rtruediv__ = _infix("/")

    def __neg__(self) -> Symbol:
        return self.new(f"-{self.name}")

    def abs(self) -> Symbol:
        return self.new(f"abs({self.name})")

    def sqrt(self) -> Symbol:
        return self.new(f"sqrt({self.name})")

    def maximum(self, other: Symbol) -> Symbol:
        return self.new(f"maximum({self.name}, {self.trace.text(other)})")

    def add_(self, other: Symbol | float, *, alpha: float = 1) -> Symbol:
        factor = "" if alpha == 1 else f"{self.trace.text(alpha)} * "
        return self.write(f"{self.name} + {factor}{self.trace.text(other)}")

    def mul_(self, other: Symbol | float) -> Symbol:
        return self.write(f"{self.name} * {self.trace.text(other)}")

    def copy_(self, other: Symbol) -> Symbol:
        return self.write(other.name)

    def lerp_(self, end: Symbol, weight: float) -> Symbol:
        if abs(weight) < 0.5:
            return self.write(f"{self.name} + {self.trace.text(weight)} * ({end.name} - {self.name})")
        return self.write(f"{end.name} - ({end.name} - {self.name}) * {self.trace.text(1 - weight)}")
