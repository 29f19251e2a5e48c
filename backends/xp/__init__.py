"""Kernels written once over an array namespace ``xp``: numpy for the CPU; of some modules cupy for CUDA.

A body is ``fn(xp, *arrays, **params)``; :meth:`Bodies.bind` enters a module's bodies in a backend's
table with its namespace. Elementwise ones are made per dtype instead (``make(xp, dtype) -> kernel``),
so that constants are at hand and a call costs no more than the namespace's own function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from flambeau.backends.base import Kernel, KernelTable
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType

Namespace = Any  # a module of array functions: numpy, or what brings cupy
Array = Any  # of whichever namespace


class Bodies:
    """The kernels of one module, before they know their namespace."""

    def __init__(self) -> None:
        self._bodies: list[tuple[str, Callable[..., Any], tuple[DType, ...] | None]] = []
        self._makers: list[tuple[str, Callable[[Namespace, DType], Kernel], tuple[DType, ...]]] = []

    def kernel(self, name: str, dtypes: Iterable[DType] | None = None) -> Callable[[Kernel], Kernel]:
        """Register ``fn(xp, *arrays, **params)``."""

        def add(fn: Kernel) -> Kernel:
            self._bodies.append((name, fn, None if dtypes is None else tuple(dtypes)))
            return fn

        return add

    def maker(self, name: str, dtypes: Iterable[DType]) -> Callable[[Callable[..., Kernel]], Callable[..., Kernel]]:
        """Register ``make(xp, dtype) -> kernel``, called once for each dtype."""

        def add(make: Callable[..., Kernel]) -> Callable[..., Kernel]:
            self._makers.append((name, make, tuple(dtypes)))
            return make

        return add

    def names(self) -> set[str]:
        """The ops that have a body here."""
        return {name for name, *_ in (*self._bodies, *self._makers)}

    def bind(self, table: KernelTable, xp: Namespace, dtypes: Iterable[DType] = dt.ALL) -> None:
        """Enter every body in ``table``, for those of its dtypes that are in ``dtypes``."""
        served = frozenset(dtypes)
        for name, fn, wanted in self._bodies:
            table.register(name, partial(fn, xp), served.intersection(wanted or served))
        for name, make, wanted in self._makers:
            for d in wanted:
                if d in served:
                    table.register(name, make(xp, d), (d,))


def write(out: Array | None, result: Array) -> Array:
    """``result``, or ``out`` with the result written to it."""
    if out is None:
        return result
    out[...] = result
    return out
