"""The version of torch that this is, a text that compares as versions do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

__all__ = ["TorchVersion"]

_FORM = re.compile(
    r"\s*v?(?:(\d+)!)?(\d+(?:\.\d+)*)(?:[-_.]?(a|alpha|b|beta|c|rc|pre|preview)[-_.]?(\d*))?"
    r"(?:-(\d+)|[-_.]?(post|rev|r)[-_.]?(\d*))?(?:[-_.]?(dev)[-_.]?(\d*))?(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*",
    re.IGNORECASE,
)
_PHASES = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_NEVER = 3  # after any phase before a release


@cache
def key(text: str) -> tuple[Any, ...] | None:  # Any: numbers, and tuples of them
    """What versions are compared by, in the order of PEP 440; None for a text that is no version."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    epoch, release, phase, count, implied, post, number, dev, built, local = found.groups()
    numbers = [int(n) for n in release.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    has_post = implied is not None or post is not None
    before = (_PHASES[phase.lower()], int(count or 0)) if phase else (_NEVER, 0)
    if dev and not phase and not has_post:
        before = (-1, 0)
    after = int(implied or number or 0) if has_post else -1
    made = (0, int(built or 0)) if dev else (1, 0)
    parts = [(1, int(p), "") if p.isdigit() else (0, 0, p.lower()) for p in re.split(r"[-_.]", local or "") if p]
    return int(epoch or 0), tuple(numbers), before, after, made, tuple(parts)


def _text(value: Any) -> str:  # Any: a text, numbers in a row, or an object whose text is a version
    if isinstance(value, str):
        return str(value)  # no subclass, which the cache of keys would compare by them
    if isinstance(value, Iterable):
        return ".".join(map(str, value))
    if type(value).__name__ in ("Version", "TorchVersion"):
        return str(value)
    raise ValueError(f"a version cannot be compared with {type(value).__name__}")


def _compared(name: str) -> Callable[[TorchVersion, object], Any]:
    plain = getattr(str, name)

    def compare(self: TorchVersion, other: object) -> Any:
        try:
            text = _text(other)
        except ValueError:
            return plain(self, other)
        mine, others = key(str(self)), key(text)
        return plain(self, text) if mine is None or others is None else getattr(mine, name)(others)

    compare.__name__, compare.__doc__ = name, None
    return compare


class TorchVersion(str):
    """A version as text, which compares with texts, tuples of numbers and ``packaging``'s versions by their order.

    A text that is no version compares as text.

    >>> TorchVersion("1.10.0a") > "1.9", TorchVersion("2.13.0+x") > (2, 13), TorchVersion("2.13.0") == "2.13"
    (True, True, True)
    """

    __slots__ = ()
    __lt__, __le__, __gt__, __ge__, __eq__ = (_compared(f"__{n}__") for n in ("lt", "le", "gt", "ge", "eq"))
    __hash__ = str.__hash__

    def __ne__(self, other: object) -> bool:
        return not self == other
