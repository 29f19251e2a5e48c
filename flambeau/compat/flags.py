"""Switches of one module for the length of a ``with`` block."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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
