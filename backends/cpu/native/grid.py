"""Sampling at given positions: the places and weights of a vector of positions once, for all channels.

A chunk is an example, so that what its gradient adds up is added in the order of the positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import prod
from typing import Any, Final

import numpy as np

from flambeau.backends.cpu.native import folds
from flambeau.backends.cpu.native.lanes import Lanes, dtype_name, lanes
from flambeau.backends.cpu.native.nn import dense, fit
from flambeau.backends.cpu.native.resample import gather
from flambeau.backends.cpu.storage import address
from flambeau.backends.llvm.ir import Function, Value
from flambeau.backends.llvm.jobs import Job, JobFunction, jobs
from flambeau.backends.llvm.module import Module
from flambeau.backends.llvm.target import Target
from flambeau.backends.llvm.types import I32, I64, PTR

Array = np.ndarray[Any, Any]
_MOST: Final = 1 << 30  # elements of an image, whose places are counted in 32 bits


@dataclass(frozen=True)
class Kind:
    """What a kernel is made for."""

    source: str
    n: int
    mode: str
    padding: str
    corner: bool


@dataclass
class _Tap:
    """An element for each position: its place in the image, whether it is inside, its weight, and that's slopes."""

    place: Value
    inside: Value
    weight: Value
    slopes: list[Value]


class _Positions:
    """Vectors of positions, in elements of each axis."""

    def __init__(self, f: Function, kind: Kind, sizes: list[Value]):
        self.f, self.kind, self.read = f, kind, lanes(kind.source)
        self.sizes = sizes  # as counts
        self.type = self.read.vector
        self.reals = [self._all(s.convert("sitofp", self.read.compute)) for s in sizes]
        self.wholes = [f.splat(s.trunc(I32), self.read.count) for s in sizes]

    def _all(self, x: Value) -> Value:
        return self.f.splat(x, self.read.count)

    def place(self, g: Value, i: int) -> tuple[Value, Value]:
        """A position of axis ``i`` in elements, inside as the padding has it, and its slope by ``g``."""
        size, corner = self.reals[i], self.kind.corner
        slope = (size - 1.0) * 0.5 if corner else size * 0.5
        p = (g + 1.0) * slope
        p = p if corner else p - 0.5
        if self.kind.padding == "border":
            return self._border(p, slope, i)
        if self.kind.padding == "reflection":
            return self._reflected(p, slope, i)
        return p, slope

    def _border(self, p: Value, slope: Value, i: int) -> tuple[Value, Value]:
        f, last = self.f, self.reals[i] - 1.0
        free = (p > 0.0) & (p < last)
        low = f.select(p < 0.0, 0.0, p)
        return f.select(low > last, last, low), f.select(free, slope, 0.0)

    def _reflected(self, p: Value, slope: Value, i: int) -> tuple[Value, Value]:
        f, corner = self.f, self.kind.corner
        span = self.reals[i] - 1.0 if corner else self.reals[i]
        low = 0.0 if corner else -0.5
        flat = span.eq(0.0)  # one element
        safe = f.select(flat, 1.0, span)
        q = p - low
        slope = f.select(q < 0.0, -slope, slope)
        q = f.select(q < 0.0, -q, q)
        turns = f.apply("floor", q / safe)
        rest = q - turns * safe
        even = (turns - f.apply("floor", turns * 0.5) * 2.0).eq(0.0)
        found, slope = self._border(
            f.select(even, rest + low, safe - rest + low), f.select(even, slope, -slope), i
        )  # fmt: skip
        return f.select(flat, p * 0.0, found), f.select(flat, 0.0, slope)

    def along(self, g: Value, i: int) -> list[tuple[Value, Value, Value]]:
        """The elements of axis ``i``: their places, as they are computed with, weights, and slopes of those by g."""
        f = self.f
        p, slope = self.place(g, i)
        if self.kind.mode == "nearest":
            one = f.select(p.is_nan(), p, 1.0)
            return [(f.apply("rint", p), one, f.constant(self.type, 0.0))]
        low = f.apply("floor", p)
        return [(low, low + 1.0 - p, -slope), (low + 1.0, p - low, slope)]

    def taps(self, gs: list[Value]) -> list[_Tap]:
        """The elements of positions, ``gs`` being that of each axis."""
        f, found = self.f, []
        for chosen in product(*(self.along(g, i) for i, g in enumerate(gs))):
            place, inside = None, None
            for i, (p, _, _) in enumerate(chosen):
                ok = (p >= 0.0) & (p < self.reals[i])
                whole = f.select(ok, p, 0.0).convert("fptosi", I32)
                inside = ok if inside is None else inside & ok
                place = whole if place is None else place * self.wholes[i] + whole
            weights = [w for _, w, _ in chosen]
            slopes = [_product([*weights[:i], s, *weights[i + 1 :]]) for i, (_, _, s) in enumerate(chosen)]
            assert place is not None and inside is not None
            found.append(_Tap(place, inside, _product(weights), slopes))
        return found


def _product(values: list[Value]) -> Value:
    found = values[0]
    for v in values[1:]:
        found = found * v
    return found


def _grid(f: Function, read: Lanes, n: int, grid: Value, at: Value, count: Value) -> list[Value]:
    """The positions from number ``at`` on, of each axis; those after the last are that."""
    wide = f.splat(at.trunc(I32), read.count) + f.lanes(I32.vector(read.count))
    index = folds.least(f, wide, f.splat((count - 1).trunc(I32), read.count)) * n
    return [gather(f, read.compute, grid, index + (n - 1 - i)) for i in range(n)]


@cache
def forward(target: Target, kind: Kind) -> Job:
    """(x, grid, out, sizes of the image, channels, positions)."""
    f = JobFunction(Module(target), f"grid_sample_{kind.source}", [PTR] * 3 + [I64] * (kind.n + 2))
    x, grid, out, *sizes, channels, count = f.values
    positions, read = _Positions(f, kind, sizes), lanes(kind.source)
    pixels, bytes_ = _product(sizes), read.memory.bytes
    x, out = x + f.chunk * channels * pixels * bytes_, out + f.chunk * channels * count * bytes_
    grid = grid + f.chunk * count * kind.n * bytes_
    for at in f.range(0, count, read.count):
        taps = positions.taps(_grid(f, read, kind.n, grid, at, count))
        mask = f.below(count - at, read.count)
        for c in f.range(0, channels):
            total = f.constant(read.vector, 0.0)
            for tap in taps:
                v = gather(f, read.compute, x + c * pixels * bytes_, tap.place)
                total = total + f.select(tap.inside, v, 0.0) * tap.weight
            read.store(f, total, out, c * count + at, mask)
    f.ret()
    return jobs(f)[0]


@cache
def backward(target: Target, kind: Kind) -> Job:
    """(grad, x, grid, of x, zeros before, of grid, sizes of the image, channels, positions)."""
    f = JobFunction(Module(target), f"grid_sample_grad_{kind.source}", [PTR] * 5 + [I64] * (kind.n + 2))
    grad, x, grid, of_x, of_grid, *sizes, channels, count = f.values
    positions, read = _Positions(f, kind, sizes), lanes(kind.source)
    pixels, bytes_ = _product(sizes), read.memory.bytes
    x, of_x = (p + f.chunk * channels * pixels * bytes_ for p in (x, of_x))
    grad = grad + f.chunk * channels * count * bytes_
    grid, of_grid = (p + f.chunk * count * kind.n * bytes_ for p in (grid, of_grid))
    room = 2**kind.n * read.count
    places, shares, lane = f.buffer(room * 4), f.buffer(room * read.compute.bytes), f.buffer(64 * kind.n)
    for at in f.range(0, count, read.count):
        taps = positions.taps(_grid(f, read, kind.n, grid, at, count))
        here, mask = folds.least(f, count - at, read.count), f.below(count - at, read.count)
        slopes = [f.variable(read.vector, 0.0) for _ in range(kind.n)]
        for t, tap in enumerate(taps):
            f.store(tap.place, places, t * read.count)
        for c in f.range(0, channels):
            g, image = read.load(f, grad, c * count + at, mask), x + c * pixels * bytes_
            for t, tap in enumerate(taps):
                f.store(f.select(tap.inside, g * tap.weight, 0.0), shares, t * read.count)
                if kind.mode != "nearest":
                    v = f.select(tap.inside, gather(f, read.compute, image, tap.place), 0.0) * g
                    for i, slope in enumerate(tap.slopes):
                        slopes[i].set(slopes[i].now + v * slope)
            _scatter(f, read, len(taps), of_x + c * pixels * bytes_, (places, shares), here)
        for i, total in enumerate(slopes):
            f.store(total.now, lane, i * read.count)
        for j in f.range(0, here):
            for i in range(kind.n):
                f.store(f.load(read.compute, lane, j + i * read.count), of_grid, (at + j) * kind.n + (kind.n - 1 - i))
    f.ret()
    return jobs(f)[0]


def _scatter(f: Function, read: Lanes, taps: int, out: Value, buffers: tuple[Value, Value], count: Value) -> None:
    """Add the shares of each position to its elements, one position after the other."""
    places, shares = buffers
    for j in f.range(0, count):
        for t in range(taps):
            place = f.load(I32, places, j + t * read.count).zext(I64)
            f.store(f.load(read.compute, out, place) + f.load(read.compute, shares, j + t * read.count), out, place)


# -- what is called --------------------------------------------------------------------------------
def _checked(target: Target, x: Array, grid: Array, mode: str, padding: str, corner: bool) -> Kind | None:
    n = x.ndim - 2
    if n not in (2, 3) or not fit(target, x, grid) or mode not in ("bilinear", "nearest"):
        return None
    if padding not in ("zeros", "border", "reflection") or grid.ndim != n + 2 or grid.shape[-1] != n:
        return None
    if grid.shape[0] != x.shape[0] or prod(x.shape[2:]) >= _MOST or not grid.size or prod(grid.shape[1:]) >= _MOST:
        return None
    return Kind(dtype_name(x.dtype), n, mode, padding, corner)


def grid_sample(target: Target, x: Array, grid: Array, *, mode: str, padding: str, corner: bool) -> Array | None:
    """The input (N, C, *S) at the positions (N, *L, 2 or 3)."""
    kind = _checked(target, x, grid, mode, padding, corner)
    if kind is None:
        return None
    x, grid = dense(x), dense(grid)
    out = np.empty((*x.shape[:2], *grid.shape[1:-1]), x.dtype)
    forward(target, kind)(
        len(x), *(address(v) for v in (x, grid, out)), *x.shape[2:], x.shape[1], prod(grid.shape[1:-1])
    )  # fmt: skip
    return out


def grid_sample_grad(
    target: Target, grad: Array, x: Array, grid: Array, *, mode: str, padding: str, corner: bool
) -> tuple[Array, Array] | None:
    """The gradients for the input and the positions."""
    kind = _checked(target, x, grid, mode, padding, corner)
    if kind is None or not fit(target, x, grad) or grad.shape != (*x.shape[:2], *grid.shape[1:-1]):
        return None
    grad, x, grid = dense(grad), dense(x), dense(grid)
    of_x, of_grid = np.zeros(x.shape, x.dtype), np.empty(grid.shape, x.dtype)
    backward(target, kind)(
        len(x), *(address(v) for v in (grad, x, grid, of_x, of_grid)), *x.shape[2:], x.shape[1],
        prod(grid.shape[1:-1]),
    )  # fmt: skip
    return of_x, of_grid


KERNELS: Final[dict[str, Callable[..., Any]]] = {"grid_sample": grid_sample, "grid_sample_grad": grid_sample_grad}
