"""Samples of the op database at sizes that take time: their shapes are multiplied until the arrays are large enough."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np

from flambeau.core.dtype import DType
from flambeau.plugins.conformance.opdb import Maker, Sample, Samples

Array = np.ndarray[Any, Any]
#: What grows: every size, the first of every array that has two, or the first of the first array alone. The first way
#: that an op takes is used: parameters, such as the shape of a view, stay as they are.
WAYS = ("all sizes", "all batches", "one batch")
TRIES = 2  # sizes in each way


class GrownMaker(Maker):
    """Makes arrays ``factor`` times as large, in one of the WAYS.

    Those that would have more than ``limit`` elements stay small, and are remembered in ``capped``.
    """

    def __init__(self, dtype: DType, way: str, factor: int, limit: int):
        super().__init__(dtype)
        self.way, self.factor, self.limit = way, factor, limit
        self.capped: list[Any] = []
        self.made = 0

    def __call__(
        self, *shape: int, low: float | None = None, high: float | None = None, dtype: DType | None = None
    ) -> Array:
        sizes = self._grown(shape)
        fits = np.prod(sizes, dtype=float) <= self.limit
        made = np.asarray(super().__call__(*(sizes if fits else shape), low=low, high=high, dtype=dtype))
        if not fits:
            self.capped.append(made)
        return made

    def distinct(self, *shape: int, low: float = -2.0, high: float = 2.0) -> Array:
        order = self(*shape, dtype=None).reshape(-1)
        values = super().distinct(order.size, low=low, high=high) if self.is_float else order
        return values.reshape(self._grown(shape) if values.size != np.prod(shape) else shape)

    def index(self, *shape: int, high: int, low: int = 0) -> Array:
        sizes = self._grown(shape)
        if np.prod(sizes, dtype=float) > self.limit:
            self.capped.append(made := super().index(*shape, high=high, low=low))
            return made
        top = high * self.factor if self.way == WAYS[0] and high > 1 else high
        return super().index(*sizes, high=top, low=low)

    def permutation(self, n: int) -> Array:
        return super().permutation(n * self.factor if self.way == WAYS[0] else n)

    def _grown(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        self.made += 1
        if self.way == WAYS[0]:
            return tuple(n * self.factor if n > 1 else n for n in shape)
        if len(shape) < 2 or (self.way == WAYS[2] and self.made > 1):
            return shape
        return (shape[0] * self.factor, *shape[1:])


def arrays(value: Any) -> Iterator[Array]:
    """Those in the arguments of a sample."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from arrays(part)
    elif isinstance(value, Sample):
        yield from arrays([*value.args, *value.kwargs.values()])


def elements(sample: Sample) -> int:
    """Of its largest array; 0 without one."""
    return max((a.size for a in arrays(sample)), default=0)


def plainest(samples: Samples, m: Maker) -> Sample | None:
    """The first sample of arrays that are not empty and not of a single number; None where there is none."""
    found = [s for s in samples(m) if elements(s) > 1 and all(a.size for a in arrays(s))]
    return found[0] if found else None


def candidates(samples: Sequence[Samples], dtype: DType, limit: int) -> Iterator[Sample]:
    """Samples whose largest array has up to ``limit`` elements, and at least a sixteenth of that, best first.

    Some will not do for the op, since not all of their sizes fit together.
    """
    for made in samples:
        for way in WAYS:
            yield from islice(_grown(made, dtype, way, limit), TRIES)


def _grown(samples: Samples, dtype: DType, way: str, limit: int) -> Iterator[Sample]:
    """The plainest sample, the largest first. One that combines arrays of which some were capped may be among them."""
    factor = limit
    while factor:
        m = GrownMaker(dtype, way, factor, limit)
        try:
            sample = plainest(samples, m)
        except (ValueError, IndexError, TypeError):  # from numpy, where grown sizes meet fixed ones
            return
        if sample is None:
            return
        if not any(a is c for a in arrays(sample) for c in m.capped) and limit <= 16 * elements(sample) <= 16 * limit:
            yield sample
        factor //= 2
