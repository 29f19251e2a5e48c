"""Switches of libraries: for the length of a ``with`` block, and those that would make a library talk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Self


@contextmanager
def switched(module: str, **values: Any) -> Iterator[None]:  # Any: each switch has a type of its own
    """Other values of variables of ``module`` inside the block; those that are None stay."""
    there = vars(sys.modules[module])
    before = {name: there[name] for name, value in values.items() if value is not None}
    there.update({name: values[name] for name in before})
    try:
        yield
    finally:
        there.update(before)


class Silent(AbstractContextManager["Silent"]):
    """A block in which a library would tell what it does; RuntimeError at its begin unless the level is 0."""

    library: ClassVar[str]

    def __init__(self, level: int):
        self.level = level

    def __enter__(self) -> Self:
        if self.level != 0:
            where = type(self).__module__.removeprefix("flambeau.compat.")
            raise RuntimeError(f"{where}.verbose: {self.library} is not used, and cannot tell anything")
        return self

    __exit__ = nullcontext.__exit__
