"""Matrix products against numpy: every form of kernel, transposed operands, batches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from flambeau.backends.launched import linalg
from flambeau.core import dtype as dt
from flambeau.core.cache import Cache
from tests.backends.launched.conftest import Bench

pytestmark = pytest.mark.device("opencl")

SHAPES = [
    ((3, 4), (4, 5)), ((1, 1), (1, 1)), ((70, 33), (33, 100)), ((129, 200), (200, 65)), ((5, 20, 30), (30, 7)),
    ((4, 64, 64), (4, 64, 64)), ((2, 1, 30, 40), (3, 40, 50)), ((1, 500), (500, 300)), ((300, 500), (500, 1)),
    ((3, 0), (0, 2)), ((2, 60, 70), (70, 80)), ((0, 3), (3, 2)), ((8, 300), (300, 16)), ((2, 3, 9, 20), (3, 20, 1)),
    ((4, 20, 30), (30, 1)),
]  # fmt: skip
DTYPES = [dt.float32, dt.float64, dt.int64, dt.int8, dt.float16, dt.bfloat16, dt.complex64]


def placed(bench, x, turned):
    """``x`` on the device, as it is or as the transpose of its transpose."""
    dtype = dt.from_numpy(x.dtype)
    if not turned:
        return bench.put(x)
    axes = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    return bench.op("permute", dtype)(bench.put(np.ascontiguousarray(np.swapaxes(x, -1, -2))), axes=axes)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize(("left", "right"), SHAPES, ids=str)
def test_matmul(bench, rng, dtype, left, right):
    x, y = (rng.normal(scale=3, size=s) for s in (left, right))
    if dtype.category == dt.COMPLEX:
        x, y = x + 1j * rng.normal(size=left), y - 1j * rng.normal(size=right)
    x, y = x.astype(dtype.numpy), y.astype(dtype.numpy)
    wide = {dt.FLOATING: np.float64, dt.COMPLEX: np.complex128}.get(dtype.category, dtype.numpy)
    expected = x.astype(wide) @ y.astype(wide)
    for first in (False, True):
        for second in (False, True):
            got = bench.get(bench.op("matmul", dtype)(placed(bench, x, first), placed(bench, y, second)))
            assert got.shape == expected.shape
            close = 1e-2 if dtype.itemsize == 2 else 1e-4
            np.testing.assert_allclose(got.astype(wide), expected, rtol=close, atol=20 * close)


@pytest.mark.parametrize("form", ["direct", "packed", "plain"])
def test_every_form_for_processors(opencl, bench, rng, monkeypatch, form):
    """The forms by themselves, on sizes around their blocks, whatever the sizes at which they take turns."""
    if not opencl.device(0).target.cpu:
        pytest.skip("these are the forms for processors")
    monkeypatch.setattr(linalg, "_DIRECT", 1 << 40 if form == "direct" else 0)
    monkeypatch.setattr(linalg, "_PACKED", 0 if form == "packed" else 1 << 40)
    sizes = [8, 9, 16, 31, 33, 130]
    for m, k, n in [*((a, b, c) for a in sizes for b in (1, 129) for c in sizes), (700, 260, 520)]:
        x, y = rng.normal(size=(2, m, k)).astype(np.float32), rng.normal(size=(2, k, n)).astype(np.float32)
        for first, second in ((False, False), (True, True)):
            got = bench.get(bench.op("matmul", dt.float32)(placed(bench, x, first), placed(bench, y, second)))
            np.testing.assert_allclose(got, x @ y, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_blocks_for_vectors_of_every_width(opencl, rng, monkeypatch, lanes):
    """What a processor with other registers computes, to the bit: a sum has its terms in the same order."""
    device, shape = opencl.device(0), (2, 37, 131, 41)
    if not device.target.cpu:
        pytest.skip("blocks are for processors")
    bench = Bench(opencl)
    batches, m, k, n = shape
    x, y = rng.normal(size=(batches, m, k)).astype("f4"), rng.normal(size=(batches, k, n)).astype("f4")
    for form, limit in (("direct", 1 << 40), ("packed", 0)):
        monkeypatch.setattr(linalg, "_DIRECT", limit)
        found = []
        for target in (device.target, dataclasses.replace(device.target, lanes=lanes)):
            with monkeypatch.context() as patch:
                patch.setattr(device, "target", target)
                patch.setattr(device, "_programs", {})
                patch.setattr(device, "products", Cache(limit=8))
                found.append(bench.get(bench.op("matmul", dt.float32)(bench.put(x), placed(bench, y, True))))
        np.testing.assert_array_equal(*found, err_msg=form)
        np.testing.assert_allclose(found[0], x @ y, rtol=1e-4, atol=1e-3)
