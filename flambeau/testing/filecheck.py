"""Whether a text has certain pieces in a certain order."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["FileCheck"]


@dataclass(frozen=True)
class _Check:
    """One thing to look for."""

    kind: str
    text: str
    count: int = 1
    exactly: bool = False


class FileCheck:
    """Looks for pieces of a text one after the other; each method adds one and gives the same object back.

    >>> fb.testing.FileCheck().check("conv").check_not("add").check_next("relu").run("x = conv(y)\\nz = relu(x)")
    """

    def __init__(self) -> None:
        self._checks: list[_Check] = []

    def _add(self, check: _Check) -> FileCheck:
        self._checks.append(check)
        return self

    def check(self, text: str) -> FileCheck:
        """It stands after what was found so far."""
        return self._add(_Check("CHECK", text))

    def check_not(self, text: str) -> FileCheck:
        """It does not stand between what was found before and what is found next."""
        return self._add(_Check("CHECK-NOT", text))

    def check_same(self, text: str) -> FileCheck:
        """It stands further on the same line."""
        return self._add(_Check("CHECK-SAME", text))

    def check_next(self, text: str) -> FileCheck:
        """It stands on the next line."""
        return self._add(_Check("CHECK-NEXT", text))

    def check_count(self, text: str, count: int, exactly: bool = False) -> FileCheck:
        """It stands there so many times; ``exactly``: and no more."""
        return self._add(_Check("CHECK-COUNT", text, count, exactly))

    def check_dag(self, text: str) -> FileCheck:
        """As :meth:`check`, but neighbours of this kind may stand in any order."""
        return self._add(_Check("CHECK-DAG", text))

    def check_regex(self, text: str) -> FileCheck:
        """What the pattern describes stands after what was found so far."""
        return self._add(_Check("CHECK-REGEX", text))

    def check_source_highlighted(self, text: str) -> FileCheck:
        """It is underlined by ``~`` or ``^`` on the line below."""
        return self._add(_Check("CHECK-SOURCE-HIGHLIGHTED", text))

    def run(self, test_file: str) -> None:
        """Look through the text; RuntimeError says what is not as it should be."""
        _Run(test_file).all(self._checks)


class _Run:
    """One text, and how far it has been looked through."""

    def __init__(self, text: str):
        self.text, self.place = text, 0

    def all(self, checks: list[_Check]) -> None:
        forbidden: list[_Check] = []
        i = 0
        while i < len(checks):
            if checks[i].kind == "CHECK-NOT":
                forbidden.append(checks[i])
                i += 1
                continue
            before = self.place
            if checks[i].kind == "CHECK-DAG":
                group = [c for c in checks[i:] if c.kind == "CHECK-DAG"]
                group = checks[i : i + next((n for n, c in enumerate(checks[i:]) if c.kind != "CHECK-DAG"), len(group))]
                found = [self._find(c, self.text.find(c.text, before), len(c.text)) for c in group]
                begins, self.place = min(found), max(f + len(c.text) for f, c in zip(found, group, strict=True))
                i += len(group)
            else:
                begins = self._one(checks[i])
                i += 1
            self._none_of(forbidden, before, begins)
            forbidden = []
        self._none_of(forbidden, self.place, len(self.text))

    def _one(self, check: _Check) -> int:
        """Go on behind what one check looks for, and say where that begins."""
        rules: dict[str, Callable[[_Check], int]] = {
            "CHECK-COUNT": self._counted, "CHECK-SAME": self._same, "CHECK-NEXT": self._next,
            "CHECK-REGEX": self._pattern, "CHECK-SOURCE-HIGHLIGHTED": self._highlighted,
        }  # fmt: skip
        return rules.get(check.kind, self._plain)(check)

    def _plain(self, check: _Check) -> int:
        begins = self._find(check, self.text.find(check.text, self.place), len(check.text))
        self.place = begins + len(check.text)
        return begins

    def _counted(self, check: _Check) -> int:
        begins = [self._plain(check) for _ in range(check.count)]
        if check.exactly and self.text.find(check.text, self.place) >= 0:
            raise self._error(check, f"stands there more than {check.count} times")
        return begins[0] if begins else self.place

    def _same(self, check: _Check) -> int:
        start, begins = self.place, self._plain(check)
        if "\n" in self.text[start:begins]:
            raise self._error(check, "stands on a later line")
        return begins

    def _next(self, check: _Check) -> int:
        start, begins = self.place, self._plain(check)
        if self.text.count("\n", start, begins) != 1:
            raise self._error(check, "does not stand on the next line")
        return begins

    def _pattern(self, check: _Check) -> int:
        match = re.compile(check.text).search(self.text, self.place)
        if match is None:
            raise self._error(check, "is not there")
        self.place = match.end()
        return match.start()

    def _highlighted(self, check: _Check) -> int:
        begins = self._plain(check)
        line_begins = self.text.rfind("\n", 0, begins) + 1
        line_ends = self.text.find("\n", begins)
        below = self.text[line_ends + 1 :].split("\n", 1)[0] if line_ends >= 0 else ""
        at = begins - line_begins
        if not below or set(below[at : at + len(check.text)].ljust(len(check.text))) - set("~^"):
            raise self._error(check, "is not underlined")
        return begins

    def _none_of(self, forbidden: list[_Check], start: int, stop: int) -> None:
        for check in forbidden:
            if self.text.find(check.text, start, stop) >= 0:
                raise self._error(check, "stands there")

    def _find(self, check: _Check, begins: int, length: int) -> int:
        if begins < 0:
            raise self._error(check, "is not there")
        return begins

    def _error(self, check: _Check, what: str) -> RuntimeError:
        return RuntimeError(
            f"FileCheck: {check.kind}: {check.text!r} {what}, from character {self.place} of\n{self.text}"
        )
