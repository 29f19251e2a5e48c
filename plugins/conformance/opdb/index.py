"""Samples, references and error inputs of indexing, gather and scatter, masks and searches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flambeau.plugins.conformance.opdb import Maker, Sample, error_rows, reference, sample_rows, samples

Array = np.ndarray[Any, Any]


def _different(m: Maker, rows: int, columns: int, high: int) -> Array:
    """Indices (rows, columns) no two of which are equal in one row."""
    return np.stack([m.permutation(high)[:columns] for _ in range(rows)])


# -- samples -----------------------------------------------------------------------------------------
sample_rows({
    "gather": lambda m: [
        (m(3, 4), m.index(3, 2, high=4), 1), (m(3, 4), m.index(5, 4, high=3), 0), (m(3, 4), m.index(2, 3, high=4), -1),
        (m(3), m.index(0, high=3), 0),
    ],
    "scatter": lambda m: [
        (m(2, 5), _different(m, 2, 3, 5), m(2, 3), 1), (m(3, 4), m.index(2, 4, high=3), m(2, 5), 0, "add"),
        (m(3, 4), m.index(3, 6, high=4), m(3, 6), 1, "add"), (m(5), m.index(0, high=5), m(2), 0, "add"),
    ],
    "index_select": lambda m: [
        (m(3, 4), m.index(5, high=4), 1), (m(3, 2, 2), m.index(2, high=3), 0), (m(4), m.index(0, high=4), 0),
    ],
    "index_add": lambda m: [(m(3, 4), m.index(5, high=4), m(3, 5), 1), (m(3), m.index(2, high=3), m(2), 0)],
    "masked_fill": lambda m: [(m(3, 4), m.bools(3, 4), 1), (m(3, 4), m.bools(4), m()), (m(2, 1), m.bools(2, 3), 0)],
    "index_get": lambda m: [
        (m(3, 4), [m.index(5, high=3, low=-3)]), (m(3, 4, 2), [m.index(2, 1, high=4), m.index(3, high=2)], 1),
        (m(3, 4), [m.index(2, high=3), m.index(2, high=4, low=-4)]), (m(3, 2), [m.index(0, high=3)]),
    ],
    "index_put": lambda m: [
        (m(5, 2), m(3, 2), [m.permutation(5)[:3]]), (m(3, 4), m(), [m.permutation(3), m.index(3, high=4)]),
        (m(3, 4), m(6), [m.index(6, high=4, low=-4)], 1, True),
        (m(2, 3, 2), m(2, 4), [m.index(4, high=3), m.index(4, high=2)], 1, True),
    ],
    "searchsorted": lambda m: [
        (np.sort(m(7)), m(3, 4)), (np.sort(m(7)), m(5), True), (np.sort(m(2, 6)), m(2, 3), True), (m(0), m(3)),
    ],
})  # fmt: skip


@samples("scatter_reduce")
def _combinations(m: Maker) -> Iterator[Sample]:
    for reduce in ("sum", "prod", "mean", "amax", "amin"):
        if m.is_complex and reduce in ("amax", "amin"):
            continue
        if m.is_bool and reduce != "amax":
            continue
        whole = m.distinct(2, 3 + 7) if not m.is_complex else m(2, 10)
        yield Sample(whole[:, :3].copy(), m.index(2, 7, high=3), whole[:, 3:].copy(), 1, reduce)
        yield Sample(whole[:, :3].copy(), m.index(2, 5, high=3), whole[:, 3:].copy(), 1, reduce, False)


@samples("nonzero")
def _nonzeros(m: Maker) -> Iterator[Sample]:
    x = m(3, 4)
    x[m.bools(3, 4)] = 0
    yield Sample(x)
    yield Sample(m(2, 2, 2))
    yield Sample(m())
    yield Sample(m(0, 2))


# -- references --------------------------------------------------------------------------------------
def _gather(x: Array, index: Array, dim: int) -> Array:
    out = np.empty(index.shape, x.dtype)
    for place in np.ndindex(*index.shape):
        source = list(place)
        source[dim] = index[place]
        out[place] = x[tuple(source)]
    return out


_BY_NAME: dict[str, Callable[[Any, Any], Any]] = {
    "set": lambda old, new: new,
    "add": lambda old, new: old | new if isinstance(old, np.bool_) else old + new,
    "sum": lambda old, new: old | new if isinstance(old, np.bool_) else old + new,
    "prod": lambda old, new: old * new,
    "amax": max,
    "amin": min,
}


def _scatter(x: Array, index: Array, src: Array, dim: int, reduce: str = "set") -> Array:
    out = x.copy()
    for place in np.ndindex(*index.shape):
        target = list(place)
        target[dim] = index[place]
        out[tuple(target)] = _BY_NAME[reduce](out[tuple(target)], src[place])
    return out


def _scatter_reduce(x: Array, index: Array, src: Array, dim: int, reduce: str, include_self: bool = True) -> Array:
    """All values that meet at one place, listed, then combined."""
    lists: dict[tuple[int, ...], list[Any]] = {}
    for place in np.ndindex(*index.shape):
        slot = (*place[:dim], int(index[place]), *place[dim + 1 :])
        lists.setdefault(slot, []).append(src[place])
    out = x.copy()
    fns: dict[str, Callable[..., Any]] = {"sum": np.sum, "prod": np.prod, "amax": np.max, "amin": np.min}
    for target, values in lists.items():
        met = np.array([x[target], *values] if include_self else values)
        if reduce == "mean":
            found = np.mean(met) if x.dtype.kind not in "iu" else np.floor_divide(met.sum(dtype=x.dtype), len(met))
        else:
            found = fns[reduce](met) if reduce in ("amax", "amin") else fns[reduce](met, dtype=x.dtype)
        out[target] = found
    return out


def _index_get(x: Array, indices: list[Array], axis: int = 0) -> Array:
    return x[(slice(None),) * axis + tuple(indices)]


def _index_put(x: Array, values: Array, indices: list[Array], axis: int = 0, accumulate: bool = False) -> Array:
    out = x.copy()
    where: Any = (slice(None),) * axis + tuple(indices)
    if not accumulate:
        out[where] = values
    elif x.dtype == bool:
        np.logical_or.at(out, where, values)
    else:
        np.add.at(out, where, values)
    return out


def _index_add(x: Array, index: Array, src: Array, dim: int) -> Array:
    return _index_put(x, src, [index], dim, True)


def _searchsorted(x: Array, values: Array, right: bool = False) -> Array:
    side: Any = "right" if right else "left"
    if x.ndim == 1:
        return np.searchsorted(x, values, side)
    return np.stack([np.searchsorted(row, v, side) for row, v in zip(x, values, strict=True)])


reference("gather", _gather)
reference("scatter", _scatter)
reference("scatter_reduce", _scatter_reduce)
reference("index_select", lambda x, index, dim: np.take(x, index, dim))
reference("index_add", _index_add)
reference("masked_fill", lambda x, mask, value: np.where(mask, np.asarray(value).astype(x.dtype), x))
reference("nonzero", lambda x: np.argwhere(x) if x.ndim else np.zeros((int(x != 0), 0), np.int64))
reference("index_get", _index_get)
reference("index_put", _index_put)
reference("searchsorted", _searchsorted)


# -- errors ------------------------------------------------------------------------------------------
error_rows({
    "gather": lambda m: [
        (IndexError, ("index 4", "size 4"), m(3, 4), np.array([[0, 4]]), 1),
        (IndexError, ("index -1", "size 4"), m(3, 4), np.array([[0, -1]]), 1),
        (RuntimeError, ("gather", "same number of dimensions", "(2,)", "(3, 4)"), m(3, 4), np.array([0, 1]), 1),
        (RuntimeError, ("gather", "dimension 0", "(4, 1)", "(3, 4)"), m(3, 4), m.index(4, 1, high=1), 1),
        (TypeError, ("gather", "index", "integer", "float"), m(3, 4), np.ones((3, 4), "f4"), 1),
    ],
    "scatter": lambda m: [
        (IndexError, ("index 9", "size 3"), m(3), np.array([9]), m(1), 0),
        (RuntimeError, ("scatter", "src", "(2,)", "(1,)"), m(3), np.array([0, 1]), m(1), 0),
        (RuntimeError, ("scatter", "dimension 1"), m(3, 2), m.index(1, 3, high=2), m(1, 3), 0),
    ],
    "index_select": lambda m: [
        (IndexError, ("index 3", "size 3"), m(3), np.array([3]), 0),
        (IndexError, ("index_select", "vector", "(1, 1)"), m(3), np.array([[0]]), 0),
    ],
    "index_add": lambda m: [(RuntimeError, ("index_add", "src (4,)", "index (2,)"), m(3), np.array([0, 1]), m(4), 0)],
    "index_get": lambda m: [
        (IndexError, ("out of bounds", "size"), m(3, 2), [np.array([3])]),
        (IndexError, ("shape mismatch", "[2]", "[3]"), m(3, 2), [np.array([0, 1]), np.array([0, 1, 1])]),
    ],
    "index_put": lambda m: [
        (IndexError, ("out of bounds", "size"), m(3, 2), m(2), [np.array([-4])]),
        (RuntimeError, ("index_put", "[3]", "[1, 2]"), m(3, 2), m(3), [np.array([0])]),
    ],
    "masked_fill": lambda m: [
        (RuntimeError, ("masked_fill", "0-d", "(2,)"), m(3, 2), m.bools(3, 2), m(2)),
        (RuntimeError, ("masked_fill", "1j"), m(3), m.bools(3), 1j),
    ],
    "searchsorted": lambda m: [(RuntimeError, ("searchsorted", "(2, 3)", "(3, 3)"), m(2, 3), m(3, 3))],
})  # fmt: skip
