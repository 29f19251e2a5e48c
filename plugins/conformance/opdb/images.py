"""Samples and references of resampling, along axes and at given positions."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from flambeau.core.ops.nn.resample import AxisTaps
from flambeau.plugins.conformance.opdb import Maker, Sample, reference, sample_rows
from flambeau.plugins.conformance.opdb.losses import by_complex_step

Array = Any  # numpy's

_LINEAR = AxisTaps.of(4, [[(-1, 0.25), (0, 0.75)], [(1, 0.5), (2, 0.5)], [(3, 1.0), (4, 0.0)]])
_RAGGED = AxisTaps.of(
    3, [[(0, 0.5), (1, 0.5)], [(2, 1.0), (0, 0.0)], [(1, -0.25), (2, 1.25)], [(0, 2.0), (0, 0.0)]], True
)


def resample(x: Array, taps: Any) -> Array:
    for axis, t in enumerate(taps, x.ndim - len(taps)):
        matrix = np.zeros((t.shape[0], t.size))
        for out, k in np.ndindex(*t.shape):
            if t.places[out, k] >= 0:
                matrix[out, t.places[out, k]] += t.weights[out, k]
        x = np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)
    return x


sample_rows({
    "resample": lambda m: [
        Sample(m(2, 4), taps=(_LINEAR,)), Sample(m(2, 4, 3), taps=(_LINEAR, _RAGGED)),
        Sample(m(1, 3, 3, 4), taps=(_RAGGED, _RAGGED.back.back, _LINEAR)), Sample(m(2, 3), taps=(_LINEAR.back,)),
        Sample(m(0, 4), taps=(_LINEAR,)),
    ],
})  # fmt: skip
reference("resample", resample, tolerance=10)


# -- at given positions ------------------------------------------------------------------------------
def _inside(p: Any, size: int, padding: str, corner: bool) -> Any:
    if padding == "reflection":
        low, high = (0.0, size - 1.0) if corner else (-0.5, size - 0.5)
        while high > low and not low <= p.real <= high:
            p = 2 * low - p if p.real < low else 2 * high - p
    if padding != "zeros":
        p = 0.0 if p.real <= 0 else size - 1.0 if p.real >= size - 1 else p
    return p


def grid_sample(x: Array, grid: Array, mode: str, padding: str, corner: bool) -> Array:
    sizes, n = x.shape[2:], x.ndim - 2
    out = np.zeros((*x.shape[:2], *grid.shape[1:-1]), np.result_type(x, grid))
    for at in np.ndindex(*grid.shape[:-1]):
        taps = []
        for i, size in enumerate(sizes):
            g = grid[(*at, n - 1 - i)]
            p = _inside((g + 1) * (size - 1) / 2 if corner else ((g + 1) * size - 1) / 2, size, padding, corner)
            low = np.floor(p.real)
            taps.append([(np.round(p.real), 1.0)] if mode == "nearest" else [(low, low + 1 - p), (low + 1, p - low)])
        for chosen in itertools.product(*taps):
            place = [int(v) for v, _ in chosen]
            if all(0 <= v < size for v, size in zip(place, sizes, strict=True)):
                out[(at[0], slice(None), *at[1:])] += x[(at[0], slice(None), *place)] * np.prod([w for _, w in chosen])
    return out


def grid_sample_grad(grad: Array, x: Array, grid: Array, **options: Any) -> tuple[Array, Array]:
    of_x = by_complex_step(lambda v: grid_sample(v, grid, **options), grad, x)
    return of_x, by_complex_step(lambda v: grid_sample(x, v, **options), grad, grid)


def _options(mode: str, padding: str, corner: bool) -> dict[str, Any]:
    return dict(mode=mode, padding=padding, corner=corner)


def _positions(m: Maker, *shape: int) -> Array:
    """In [-1.4, 1.4], none of them close to the middle or the edge of an element of 3, 4 or 5."""
    steps = m.rng.integers(0, 15, shape)
    return np.asarray(-1.4 + 0.2 * steps - 0.03).astype(m.dtype.numpy)


def _samples(m: Maker, graded: bool) -> list[Sample]:
    found = []
    for mode, padding, corner in itertools.product(
        ("bilinear", "nearest"), ("zeros", "border", "reflection"), (True, False)
    ):
        for shape, place in (((2, 2, 3, 4), (2, 2, 3, 2)), ((1, 2, 3, 3, 4), (1, 2, 2, 2, 3))):
            grad = [m(*shape[:2], *place[1:-1])] if graded else []
            sample = Sample if m.dtype.itemsize > 2 and mode == "bilinear" and not graded else Sample.rough
            found.append(sample(*grad, m(*shape), _positions(m, *place), **_options(mode, padding, corner)))
    return found


sample_rows({"grid_sample": lambda m: _samples(m, False), "grid_sample_grad": lambda m: _samples(m, True)})
reference("grid_sample", grid_sample, tolerance=100)
reference("grid_sample_grad", grid_sample_grad, tolerance=300)
