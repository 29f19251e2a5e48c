"""Reading and writing by integer arrays. Every index is checked: IndexError names it, the size and the axis."""

from __future__ import annotations

from typing import Any

from flambeau.backends.base import KernelTable
from flambeau.backends.xp import Array, Bodies

bodies = Bodies()


def bind(table: KernelTable, xp: Any) -> None:
    bodies.bind(table, xp)


def check_index(xp: Any, op: str, index: Array, size: int, axis: int) -> None:
    """IndexError unless every element is in [0, size)."""
    if index.size and (index.dtype.itemsize == 8 and index.view("u8").max() >= size or _outside(index, size)):
        bad = index[(index < 0) | (index >= size)].flat[0]
        raise IndexError(f"{op}: index {int(bad)} is out of bounds for dimension {axis} with size {size}")


def _outside(index: Array, size: int) -> bool:
    return index.dtype.itemsize != 8 and bool((index < 0).any() or (index >= size).any())


def positions(xp: Any, shape: tuple[int, ...], index: Array, axis: int) -> Array:
    """Where along the flat memory of a row-major array of ``shape`` the elements of ``index`` point."""
    step, found = 1, None
    for i in range(len(shape) - 1, -1, -1):
        along = index if i == axis else _open(xp, index.shape, i)
        term = along * step if step != 1 else along
        found = term if found is None else found + term
        step *= shape[i]
    return found


def _open(xp: Any, shape: tuple[int, ...], i: int) -> Array:
    return xp.arange(shape[i]).reshape((-1,) + (1,) * (len(shape) - 1 - i))


@bodies.kernel("gather")
def gather(xp: Any, x: Array, index: Array, *, axis: int) -> Array:
    """out[.., j, ..] = x[.., index[.., j, ..], ..]; ``index`` may be smaller than ``x`` along the other axes."""
    if x.ndim == 0:
        check_index(xp, "gather", index, 1, axis)
        return xp.broadcast_to(x, index.shape).copy()
    check_index(xp, "gather", index, x.shape[axis], axis)
    return xp.take(x.reshape(-1), positions(xp, x.shape, index, axis))


@bodies.kernel("scatter")
def scatter(xp: Any, x: Array, index: Array, src: Array, *, axis: int, reduce: str = "set") -> Array:
    """A copy of ``x`` with ``src`` written, added, multiplied, or kept if larger or smaller, where ``index`` points."""
    if x.ndim == 0:
        x, index, src = x.reshape(1), index.reshape(-1), src.reshape(-1)
        return scatter(xp, x, index, src, axis=0, reduce=reduce).reshape(())
    check_index(xp, "scatter", index, x.shape[axis], axis)
    if src.shape != index.shape:
        src = src[tuple([slice(n) for n in index.shape])]
    out = x.copy("C")
    place = positions(xp, x.shape, index, axis)
    combine(xp, out.reshape(-1), place.reshape(-1), src.reshape(-1), reduce)
    return out


def combine(xp: Any, flat: Array, place: Array, src: Array, reduce: str) -> None:
    """Write ``src`` to ``flat`` at ``place``, by the way that ``reduce`` names."""
    if reduce == "set":
        flat[place] = src
        return
    ufuncs = {"add": xp.add, "prod": xp.multiply, "amax": xp.maximum, "amin": xp.minimum}
    ufuncs[reduce].at(flat, place, src)
