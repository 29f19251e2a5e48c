"""Small values that tools take from the profiler."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

__all__ = ["Interval", "Kernel", "StringTable"]


class Interval:
    """A time, in microseconds."""

    def __init__(self, start: float, end: float):
        self.start, self.end = start, end

    def elapsed_us(self) -> float:
        """How long it is."""
        return self.end - self.start


class Kernel(NamedTuple):
    """A kernel that ran on a device, and for how long."""

    name: str
    device: int
    duration: float


class StringTable(defaultdict[str, str]):
    """Names by themselves; kernels here have readable ones."""

    def __missing__(self, key: str) -> str:
        self[key] = key
        return key
