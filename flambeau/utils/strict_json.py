"""JSON that may be hostile: nothing stands twice, nothing is guessed, and a long text is read piece by piece."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

_SPACE: Final = re.compile(r"[ \t\n\r]*")
_PIECES: Final = (512, 8192)  # characters in which a value must end: most do in the first


def parse(text: str) -> object:
    """Parse JSON; ValueError also for a key that stands twice in an object, and for NaN and Infinity."""
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)


def shortened(value: object) -> str:
    """The ``repr`` of a value for an error, where the value may be of any length."""
    try:
        text = repr(value[:100] if isinstance(value, str) else value)
    except (ValueError, RecursionError):  # an int too long to write, or nesting too deep
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _twice(name)
            seen.add(name)
    return found


def _twice(name: str) -> ValueError:
    return ValueError(f"the key {shortened(name)} stands twice")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


class Reader:
    """Reads objects of a long text member by member, so that what is wrong is found before all of it is made.

    >>> reader = Reader('{"a": {"x": 1}, "b": "text"}')
    >>> [(name, reader.value()) for name in reader.names()]
    [('a', {'x': 1}), ('b', 'text')]
    """

    def __init__(self, text: str):
        self._text, self._at = text, 0

    def peek(self) -> str:
        """The next character that is no space; an empty text at the end."""
        self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
        return self._text[self._at : self._at + 1]

    def names(self) -> Iterator[str]:
        """The keys of an object; after each, :meth:`value` or another ``names`` must take what it stands for."""
        self._take("{")
        seen: set[str] = set()
        if self.peek() == "}":
            return self._take("}")
        while True:
            name = self._string()
            if name in seen:
                raise _twice(name)
            seen.add(name)
            self._take(":")
            yield name
            if self.peek() != ",":
                return self._take("}")
            self._take(",")

    def value(self) -> Any:
        """A string of any length, or another value that is not long."""
        if self.peek() == '"':
            return self._string()
        for size in _PIECES:
            piece = self._text[self._at : self._at + size]
            try:
                found, end = _DECODER.raw_decode(piece)
            except ValueError:
                if len(piece) < size:
                    raise
                continue
            if end < size:  # else a number may go on
                self._at += end
                return found
        raise ValueError(f"the value at character {self._at} is wrong, or longer than {_PIECES[-1]} characters")

    def end(self) -> None:
        """ValueError unless the text ends here."""
        if self.peek():
            raise ValueError(f"more follows at character {self._at}")

    def _take(self, expected: str) -> None:
        found = self.peek()
        if found != expected:
            raise ValueError(f"{expected!r} is expected at character {self._at}, got {found!r}")
        self._at += 1

    def _string(self) -> str:
        if self.peek() != '"':
            raise ValueError(f"a string is expected at character {self._at}, got {self.peek()!r}")
        found, self._at = _DECODER.raw_decode(self._text, self._at)
        return str(found)
