"""The version, as texts that compare: ``flambeau.version``.

>>> Version("2.13.0") > "2.9", Version("2.13.0") >= (2, 13), Version("2.13.0+x") == "2.13.0+x"
(True, True, True)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from importlib import metadata
from typing import Any

__all__ = ["Version"]


def _parts(text: object) -> tuple[tuple[int, ...], bool, str]:
    """(the numbers, whether it is a final release, what follows them) of a version, as PEP 440 orders them."""
    if isinstance(text, (tuple, list)):
        text = ".".join(map(str, text))
    public, _, _ = str(text).partition("+")
    found = re.match(r"v?(\d+(?:\.\d+)*)(.*)", public)
    if found is None:
        raise ValueError(f"version: {text!r} is no version")
    numbers = [int(n) for n in found[1].split(".")]
    while len(numbers) > 1 and not numbers[-1]:
        numbers.pop()
    rest = found[2].strip(".-_")
    return tuple(numbers), not rest or rest.startswith("post"), rest


class Version(str):
    """A version as a text that is compared by its numbers, with texts and with tuples of numbers.

    >>> Version("2.10.0") < Version("2.9.1"), Version("2.0.0a1") < "2.0.0"
    (False, True)
    """

    def _compare(self, other: object, by: Callable[[Any, Any], bool]) -> bool:
        try:
            theirs = _parts(other)
        except ValueError:
            return by(str(self), str(other))
        return by(_parts(self), theirs)

    def __lt__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a < b)

    def __le__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a <= b)

    def __gt__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a > b)

    def __ge__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a >= b)

    def __eq__(self, other: object) -> bool:
        return self._compare(other, lambda a, b: a == b)

    __hash__ = str.__hash__


@functools.cache
def _installed() -> str:
    try:
        return metadata.version("flambeau")
    except metadata.PackageNotFoundError:  # run from a folder
        return "0.1.0"


__version__ = Version(_installed())
cuda = hip = rocm = xpu = None
debug = False
git_version: str | None = None
