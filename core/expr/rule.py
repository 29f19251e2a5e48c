"""Rules: several expressions, one after another, that change lists of arrays in place."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_NAMES: Final = re.compile(r"[A-Za-z_]\w*")


class Rule(NamedTuple):
    """What happens to the n-th arrays of some lists, element by element.

    A line sets a column, or a name of the rule's own, to an expression of columns, numbers and names set before.

    >>> rule = Rule(("p", "g", "b"), ("lr", "momentum"), (("b", "b * momentum + g"), ("p", "p - lr * b")))
    >>> rule.written
    (True, False, True)

    Args:
        columns: the names of the lists.
        numbers: the names of numbers, which may be others at each call.
        lines: what is set to which expression, in this order.
    """

    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]

    @property
    def written(self) -> tuple[bool, ...]:
        """Which columns change."""
        names = {name for name, _ in self.lines}
        return tuple([name in names for name in self.columns])

    def operands(self, source: str) -> tuple[str, ...]:
        """The columns, numbers and names that a line's expression reads.

        >>> Rule(("p", "g"), ("lr",), (("p", "p - sqrt(lr * g)"),)).operands("p - sqrt(lr * g)")
        ('p', 'lr', 'g')
        """
        known = {*self.columns, *self.numbers, *(name for name, _ in self.lines)}
        return tuple(dict.fromkeys(name for name in _NAMES.findall(source) if name in known))
