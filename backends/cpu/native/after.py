"""What follows a product or a convolution while its results are in the cache: a line of elementwise steps.

Where a chunk of a job has its results, the line (:func:`~flambeau.backends.cpu.native.walk.write_lines`) goes over
them, and over the places of other arrays that lie like them. The line is told by its address, so that one job serves
all steps on numbers of some sizes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from flambeau.backends.cpu.native import walk
from flambeau.backends.cpu.native.pack import prefetch
from flambeau.backends.llvm.ir import Value
from flambeau.backends.llvm.jobs import JobFunction
from flambeau.backends.llvm.types import I64, PTR, Type

#: Bytes of a line of the cache, and how many pieces before its own one is fetched.
_LINE: Final = 64
AHEAD: Final = 3


class After(NamedTuple):
    """The arrays of a line: how many bytes their numbers have, and how many of the last ones are results."""

    sizes: tuple[int, ...]
    results: int

    @property
    def parameters(self) -> list[Type]:
        """Of a job: the line's address, its step; of each array its address, and 1, or 0 where all rows are one."""
        return [PTR, I64, *[PTR] * len(self.sizes), *[I64] * len(self.sizes)]


class Applied(NamedTuple):
    """An :class:`After` and the values of its parameters."""

    after: After
    values: tuple[int, ...]


#: What a job without a line has.
NOTHING = Applied(After((), 0), ())


class Follow:
    """Writes the calls of a job's line."""

    def __init__(self, f: JobFunction, after: After):
        self.f, self.sizes, count = f, after.sizes, len(after.sizes)
        self.reads = count - after.results
        self.line, self.step, *rest = f.values[len(f.values) - 2 - 2 * count :]
        self.pointers, self.moving = rest[:count], rest[count:]
        self.piece = walk.piece(f.module, after.sizes, after.results)

    def __call__(self, place: Value, column: Value, count: Value) -> None:
        """Go over ``count`` results from ``place`` on; arrays whose rows are all one are read from ``column`` on."""
        f, here = self.f, self._places(place, column)
        strides = [f.constant(I64, size) for size in self.sizes]
        f.call(self.piece, self.line, f.constant(PTR, 0), self.step, *here, *strides, count)

    def fetch(self, place: Value, column: Value, count: Value) -> None:
        """Ask for what a call that comes soon reads and writes: pieces so short are nothing that a processor foresees.

        ``count`` may be 0 or less.
        """
        f = self.f
        for k, (p, size) in enumerate(zip(self._places(place, column), self.sizes, strict=True)):
            for i in f.range(0, count * size, _LINE):
                prefetch(f, p + i, write=k >= self.reads, near=True)

    def _places(self, place: Value, column: Value) -> list[Value]:
        return [
            p + (column + moves * (place - column)) * size
            for p, moves, size in zip(self.pointers, self.moving, self.sizes, strict=True)
        ]
