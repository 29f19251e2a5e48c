"""Samples, references and error inputs of the reductions, scans, sorts, moments and norms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flambeau.plugins.conformance.opdb import Maker, Sample, error_rows, reference, sample_rows, samples

Array = np.ndarray[Any, Any]


# -- reductions --------------------------------------------------------------------------------------
sample_rows({
    "sum mean any all": lambda m: [
        (m(3, 4),), (m(3, 4), 1), (m(2, 3, 2), (0, -1), True), (m(),), (m(3, 1), 0), Sample.rough(m(0, 3), 0),
        Sample.rough(m(2, 0)), Sample.rough(m.special(7), 0, True),
    ],
    "max min": lambda m: [
        (m.distinct(3, 4),), (m.distinct(3, 4), 1), (m.distinct(2, 3, 2), (0, -1), True), (m(),),
        Sample.rough(m.special(7)), Sample.rough(m(0, 3), 1),
    ],
    "argmax argmin": lambda m: [(m(3, 4), 1), (m(3, 4), -2, True), (m.special(8), 0), (m(0, 3), 1)],
    "var std": lambda m: [
        (m(3, 4),), (m(3, 4), 1), (m(3, 4), (0, 1), 0.0, True), Sample.rough(m(1, 3), 0),
        Sample(m(2, 3), 0, keepdim=True),
    ],
})  # fmt: skip


@samples("prod")
def _products(m: Maker) -> Iterator[Sample]:
    yield Sample(m(5, low=0.5, high=2))
    yield Sample(m(3, 4), 1)
    yield Sample(m(2, 3, 2), (0, 2), True)
    yield Sample(m())
    yield Sample.rough(m(0, 3), 0)
    zeros = m(3, 4)
    zeros[0, 1] = zeros[1, 0] = zeros[1, 3] = 0
    yield Sample(zeros, 1)


@samples("logsumexp")
def _log_sums(m: Maker) -> Iterator[Sample]:
    yield Sample(m(3, 4), 1)
    large = 1 if m.is_integer else 400
    yield Sample(m(3, 4) * large if not m.is_complex else m(3, 4) + large * m(3, 4).real, (0, 1), True)
    if not m.is_complex:
        yield Sample.rough(m(0, 3), 0)
    yield Sample.rough(np.full((2, 2), -np.inf) if m.is_float else m(2, 2), 0)
    yield Sample(m(), 0)


@samples("vector_norm")
def _norms(m: Maker) -> Iterator[Sample]:
    x = m.distinct(3, 4, low=0.5, high=2) * np.where(m.bools(3, 4), 1, -1) if m.is_float else m(3, 4)
    x = x.astype(m.dtype.numpy)
    for ord in (2.0, 1.0, 3.0, 0.5, 0.0, np.inf, -np.inf):
        yield Sample(x, ord, 1)
    yield Sample(x)
    yield Sample(m(3, 4), 2.0, (0, 1), True)
    yield Sample.rough(np.zeros((2, 3), m.dtype.numpy), 2.0, 1)


def _over(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim=None, keepdim=False: fn(x, axis=dim, keepdims=keepdim)


def _arg(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim, keepdim=False: fn(x, axis=dim, keepdims=keepdim)


def _moment(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim=None, correction=1, keepdim=False: fn(x, axis=dim, ddof=correction, keepdims=keepdim)


def _norm(x: Array, ord: float = 2, dim: Any = None, keepdim: bool = False) -> Array:
    """By numpy for vectors, one row at a time."""
    axes = tuple(range(x.ndim)) if dim is None else tuple(np.atleast_1d(dim))
    rows = np.moveaxis(x, axes, range(-len(axes), 0)).reshape(*[n for i, n in enumerate(x.shape) if i not in axes], -1)
    found = np.apply_along_axis(lambda row: np.linalg.norm(row, ord), -1, rows)
    return np.expand_dims(found, axes) if keepdim else found


def _logsumexp(x: Array, dim: Any, keepdim: bool = False) -> Any:
    from scipy.special import logsumexp  # optional: the extra dev has it

    if x.ndim == 0:
        return x.copy()
    if x.dtype.kind == "c":  # scipy takes them only in its newer versions
        largest = x.real.max(dim, keepdims=True, initial=-np.inf)
        largest = np.where(np.isfinite(largest), largest, 0)
        found = np.log(np.exp(x - largest).sum(dim, keepdims=True)) + largest
        return found if keepdim else found.squeeze(dim)
    if x.shape[dim if isinstance(dim, int) else 0] == 0:
        return np.full(x.sum(axis=dim, keepdims=keepdim).shape, -np.inf)
    return logsumexp(x, axis=dim, keepdims=keepdim)


reference("sum", _over(np.sum))
reference("mean", _over(np.mean))
reference("any", _over(np.any))
reference("all", _over(np.all))
reference("prod", _over(np.prod), tolerance=2)
reference("max", _over(np.max))
reference("min", _over(np.min))
reference("argmax", _arg(np.argmax))
reference("argmin", _arg(np.argmin))
reference("logsumexp", _logsumexp)
reference("var", _moment(np.var), tolerance=2)
reference("std", _moment(np.std), tolerance=2)
reference("vector_norm", _norm, tolerance=2)


# -- scans -------------------------------------------------------------------------------------------
@samples("logcumsumexp")
def _log_scans(m: Maker) -> Iterator[Sample]:
    """Complex numbers near the real axis: which logarithm of a sum it is depends on how the sum is taken."""
    for sample in _scans(m):
        x = sample.args[0]
        near = x.real + 0.3j * x.imag if m.is_complex else x
        yield Sample(near.astype(x.dtype), *sample.args[1:])


@samples("cumsum", "cumprod")
def _scans(m: Maker) -> Iterator[Sample]:
    yield Sample(m(5), 0)
    yield Sample(m(3, 4), -1)
    yield Sample(m(4, 3), 0)
    yield Sample(m(0, 3), 0)
    zeros = m(6)
    zeros[2:4] = 0
    yield Sample(zeros, 0)


sample_rows({
    "cummax cummin": lambda m: [
        (m.distinct(7), 0), (m.distinct(3, 4), -1), Sample.rough(m(4, 3), 0), Sample.rough(m.special(9), 0),
    ],
    "affine_scan": lambda m: [(m(6, low=-1, high=1), m(6), 0), (m(2, 3, low=-1, high=1), m(2, 3), 1)],
})  # fmt: skip


def _running_reference(better: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def run(x: Array, dim: int) -> tuple[Array, Array]:
        values, places = np.moveaxis(x, dim, -1).copy(), np.zeros(np.moveaxis(x, dim, -1).shape, np.int64)
        for row, place in zip(values.reshape(-1, values.shape[-1]), places.reshape(-1, values.shape[-1]), strict=True):
            best = 0
            for i in range(1, len(row)):
                if better(row[i], row[best]) or row[i] != row[i]:
                    best = i
                row[i], place[i] = row[best], best
        return np.moveaxis(values, -1, dim), np.moveaxis(places, -1, dim)

    return run


def _affine_reference(a: Array, b: Array, dim: int) -> Array:
    a, out = np.moveaxis(a, dim, 0), np.moveaxis(b.copy(), dim, 0)
    for t in range(1, len(out)):
        out[t] += a[t] * out[t - 1]
    return np.moveaxis(out, 0, dim)


reference("cumsum", lambda x, dim: np.cumsum(x, axis=dim), tolerance=2)
reference("cumprod", lambda x, dim: np.cumprod(x, axis=dim), tolerance=4)


def _logcumsumexp(x: Array, dim: int) -> Any:
    if x.dtype.kind == "c":
        return np.log(np.exp(x).cumsum(dim))
    return np.logaddexp.accumulate(x, axis=dim) if x.size else x


reference("logcumsumexp", _logcumsumexp, tolerance=4)
reference("cummax", _running_reference(lambda new, old: new >= old))
reference("cummin", _running_reference(lambda new, old: new <= old))
reference("affine_scan", _affine_reference, tolerance=4)


# -- sorting -----------------------------------------------------------------------------------------
sample_rows({
    "argsort": lambda m: [(m(7),), (m(3, 5), 0), (m(3, 5), -1, True), (m.special(9), 0, True), (m(0),)],
    "sort": lambda m: [
        (m.distinct(7),), (m.distinct(3, 4), 0, True), Sample.rough(m(3, 4)), Sample.rough(m.special(9)),
    ],
    "topk": lambda m: [
        (m.distinct(7), 3), (m.distinct(3, 4), 2, 0, False), Sample.rough(m.special(9), 4, 0, True), (m.distinct(3), 0),
    ],
    "median nanmedian": lambda m: [(m.distinct(3, 3),), (m.distinct(4),), Sample.rough(m.special(8))],
})  # fmt: skip


def _argsort(x: Array, dim: int = -1, descending: bool = False) -> Array:
    """Stable; nan last ascending, first descending."""
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    n = x.shape[dim]
    order: Array = n - 1 - np.flip(np.argsort(np.flip(x, dim), axis=dim, kind="stable"), dim)
    return order


def _sort(x: Array, dim: int = -1, descending: bool = False) -> tuple[Array, Array]:
    order = _argsort(x, dim, descending)
    return np.take_along_axis(x, order, dim), order


def _topk(x: Array, k: int, dim: int = -1, largest: bool = True) -> tuple[Array, ...]:
    return tuple(np.take(a, range(k), dim) for a in _sort(x, dim, largest))


def _lower_median(x: Array) -> Any:
    return np.sort(x, axis=None)[(x.size - 1) // 2] if not np.isnan(x).any() else np.nan


reference("argsort", _argsort)
reference("sort", _sort)
reference("topk", _topk)
reference("median", _lower_median)
reference("nanmedian", lambda x: _lower_median(x[~np.isnan(x)]))


# -- errors ------------------------------------------------------------------------------------------
error_rows({
    "sum mean any all prod max min var std": lambda m: [
        (IndexError, ("out of range", "dim=2", "2 dimension"), m(2, 3), 2),
        (RuntimeError, ("multiple times", "(0, 0)"), m(2, 3), (0, 0)),
        (TypeError, ("dim must be an int", "'x'"), m(2, 3), "x"),
    ],
    "argmax argmin": lambda m: [
        (IndexError, ("size 0", "dim 0", "(0, 3)"), m(0, 3), 0), (IndexError, ("out of range", "dim=-3"), m(2, 3), -3),
    ],
    "cumsum cumprod logcumsumexp cummax cummin argsort sort": lambda m: [
        (IndexError, ("out of range", "dim=1", "1 dimension"), m(3), 1),
    ],
    "topk": lambda m: [
        (RuntimeError, ("topk", "k=4", "(2, 3)", "dim 1"), m(2, 3), 4), (RuntimeError, ("topk", "k=-1"), m(2, 3), -1),
    ],
})  # fmt: skip
