"""In which order, and over how few axes, a kernel walks arrays of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from flambeau.backends import layout as lay

Layouts = tuple[tuple[int, ...], ...]


@lru_cache(4096)
def _walked(shape: tuple[int, ...], *strides: tuple[int, ...]) -> tuple[tuple[int, ...], Layouts]:
    """The axes in an order in which the output, and then the operands, are read along memory; then merged."""

    def weight(axis: int) -> tuple[int, ...]:
        return (*(-abs(s[axis]) for s in reversed(strides)), axis)

    order = sorted(range(len(shape)), key=weight)
    turned = [tuple(s[a] for a in order) for s in strides]
    return lay.coalesce(tuple(shape[a] for a in order), *turned)


def walked(shape: tuple[int, ...], strides: Sequence[tuple[int, ...]]) -> tuple[tuple[int, ...], Layouts]:
    """Fewest axes that walk all elements of several arrays of one shape, the output (last) in memory order."""
    return _walked(shape, *strides)
