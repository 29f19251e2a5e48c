"""Rows turned around and triangles as machine code against numpy, for elements of every size."""

from __future__ import annotations

import numpy as np
import pytest

from flambeau.backends.cpu.native import moves
from flambeau.backends.cpu.native.moves import KERNELS
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.target import ELSEWHERE, Target, runnable
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import kernel, layouts, same, values

SHAPES = ((1,), (300,), (5, 3), (40, 70), (70, 40), (3, 4, 65), (2, 3, 9, 128))
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
every_dtype = pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)


@every_width
@every_dtype
def test_turned_around(target: Target, dtype: DType) -> None:
    for shape in SHAPES:
        x = values(shape, dtype)
        for axes in ((len(shape) - 1,), tuple(range(len(shape))), tuple({0, len(shape) - 1})):
            found = KERNELS["flip"](target, x, axes=axes)
            if found is None:
                assert x.itemsize == 16 or len(shape) > 2
                continue
            same(found, np.flip(x, axes))
            for view in layouts(x):
                same(kernel("flip", dtype)(view, axes=axes), np.flip(x, axes))


@every_width
@every_dtype
@pytest.mark.parametrize("name", ["tril", "triu"])
def test_triangles(target: Target, dtype: DType, name: str) -> None:
    for shape in SHAPES[2:]:
        x = values(shape, dtype)
        for diagonal in (0, 1, -1, 30, -30, 128, -128):
            found = KERNELS[name](target, x, diagonal=diagonal)
            if found is None:
                assert abs(diagonal) > max(shape)
                continue
            same(found, getattr(np, name)(x, diagonal))
            assert found.dtype == x.dtype
        for view in layouts(x):
            same(kernel(name, dtype)(view, diagonal=1 << 62), getattr(np, name)(x, max(shape)))


def test_large_ones_in_all_layouts() -> None:
    x = values((700, 100), dt.float32)
    x[3, 3] = np.nan
    for view in layouts(x):
        same(kernel("tril", dt.float32)(view, diagonal=2), np.tril(x, 2))
        same(kernel("flip", dt.float32)(view, axes=(1,)), x[:, ::-1])
    wide = np.broadcast_to(x[0], (800, 100))
    same(kernel("flip", dt.float32)(wide, axes=(0, 1)), wide[:, ::-1])
    same(kernel("triu", dt.float32)(np.zeros((0, 9000), np.float32)), np.zeros((0, 9000)))


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_elsewhere_it_compiles(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(moves, "jobs", lambda *fs: [made.append(Compiler(target).compile(fs[0].module.text()))])
    moves._reverse.__wrapped__(target, 1)
    moves._triangle.__wrapped__(target, True, 16)
    moves._triangle.__wrapped__(target, False, 2)
    assert len(made) == 3
