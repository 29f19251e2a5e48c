"""Sorting, selection and bisection as machine code against numpy, at every width, with nan and signed zeros."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from flambeau.backends.cpu.native import search, sort
from flambeau.backends.cpu.native.search import KERNELS as SEARCH
from flambeau.backends.cpu.native.sort import KERNELS
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from flambeau.backends.xp import sort as xp_sort
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import kernel, layouts, same, values

SHAPES = ((1,), (40, 5), (3, 300), (5000,), (7, 4, 33))
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)
every_dtype = pytest.mark.parametrize("dtype", dt.BOOLS + dt.REALS, ids=lambda d: d.name)


def special(shape: tuple[int, ...], dtype: DType) -> Any:
    """Values with many equal ones, and of floats with all that is special."""
    x = values(shape, dtype, low=-50, high=50)
    if dtype.is_floating_point:
        flat = x.reshape(-1)
        for step, value in ((7, np.nan), (5, 0.0), (10, -0.0), (11, np.inf), (13, -np.inf), (14, -np.nan)):
            flat[::step] = value
    return x


def alike(found: Any, expected: Any) -> None:
    """Values to the last bit, nan's too, and places."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert one.tobytes() == np.ascontiguousarray(other).tobytes()


@every_width
@every_dtype
@pytest.mark.parametrize("descending", [False, True])
def test_sorting_is_stable_along_each_axis(target: Target, dtype: DType, descending: bool) -> None:
    for shape in SHAPES:
        x = special(shape, dtype)
        for axis, n in enumerate(shape):
            expected = xp_sort.sort(np, x, axis=axis, descending=descending)
            alike(KERNELS["sort"](target, x, axis=axis, descending=descending), expected)
            same(KERNELS["argsort"](target, x, axis=axis, descending=descending), expected[1])
            for k in {1, min(n, 5), min(n, 20), n // 8, n // 3} - {0}:
                expected = xp_sort.topk(np, x, k=k, axis=axis, largest=descending)
                alike(KERNELS["topk"](target, x, k=k, axis=axis, largest=descending), expected)


def test_sorting_in_all_layouts() -> None:
    x = special((30, 40), dt.float32)
    for axis in range(2):
        for view in layouts(x):
            alike(
                KERNELS["sort"](host(), view, axis=axis, descending=False),
                xp_sort.sort(np, x, axis=axis, descending=False),
            )
    narrow = np.broadcast_to(x[:, :1], (30, 40))
    same(KERNELS["argsort"](host(), narrow, axis=1, descending=True), np.broadcast_to(np.arange(40), (30, 40)))


@pytest.mark.parametrize("order", [1, -1])
def test_the_few_best_of_what_is_in_order_already(order: int) -> None:
    x = np.arange(20_000, dtype=np.float32)[::order]
    for k in (3, 100, 2000):
        alike(KERNELS["topk"](host(), x, k=k, axis=0, largest=True), xp_sort.topk(np, x, k=k, axis=0, largest=True))
    equal = np.zeros(20_000, np.float32)
    same(KERNELS["topk"](host(), equal, k=100, axis=0, largest=True)[1], np.arange(100))
    nothing = np.full(5000, np.nan)
    same(KERNELS["topk"](host(), nothing, k=10, axis=0, largest=False)[1], np.arange(10))


@settings(max_examples=60, deadline=None)
@given(npst.arrays(np.float32, st.integers(1, 200), elements=st.floats(width=32)), st.booleans(), st.data())
def test_any_floats(x: Any, down: bool, data: st.DataObject) -> None:
    expected = xp_sort.sort(np, x, axis=0, descending=down)
    alike(KERNELS["sort"](host(), x, axis=0, descending=down), expected)
    k = data.draw(st.integers(1, len(x)))
    alike(KERNELS["topk"](host(), x, k=k, axis=0, largest=down), [v[:k] for v in expected])


def test_integers_to_their_limits() -> None:
    for dtype in (np.int64, np.uint64, np.int8):
        info = np.iinfo(dtype)
        x = np.array([info.max, info.min, 0, 1, info.max - 1, info.min + 1] * 50, dtype)
        for down in (False, True):
            alike(KERNELS["sort"](host(), x, axis=0, descending=down), xp_sort.sort(np, x, axis=0, descending=down))


def test_what_is_empty_or_unknown_goes_to_numpy() -> None:
    for x in (np.zeros((0, 3)), np.zeros((3, 0)), np.array(1.0), np.zeros(300, np.complex64)):
        assert KERNELS["argsort"](host(), x, axis=0, descending=False) is None or x.shape == (3, 0)
    assert KERNELS["topk"](host(), np.zeros(300), k=0, axis=0, largest=True) is None
    swapped = np.arange(300, 0, -1).astype(">i4")
    assert KERNELS["argsort"](host(), swapped, axis=0, descending=False) is None


def test_same_bits_for_any_number_of_threads() -> None:
    x = special((400, 300), dt.float32)
    found = []
    for count in (1, 2, 3):
        with config.override(num_threads=count):
            pairs = [kernel("sort", dt.float32)(x, axis=a, descending=False) for a in (0, 1)]
            pairs += [kernel("topk", dt.float32)(x, k=k, axis=1, largest=True) for k in (5, 30)]
            found.append([v.tobytes() for pair in pairs for v in pair])
    assert found[0] == found[1] == found[2]


# -- bisection -------------------------------------------------------------------------------------
@every_width
@every_dtype
@pytest.mark.parametrize("right", [False, True])
def test_bisection(target: Target, dtype: DType, right: bool) -> None:
    for n, m in ((1, 5), (77, 300), (500, 17)):
        x = np.sort(values((n,), dtype, low=-50, high=50))
        wanted = values((m,), dtype, 1, low=-60, high=60)
        if dtype.is_floating_point:
            x[-2:] = np.nan
            wanted[:3] = np.nan, np.inf, -np.inf
        expected = xp_sort.searchsorted(np, x, wanted, right=right)
        found = SEARCH["searchsorted"](target, x, wanted, right=right)
        if found is None:
            assert dtype is dt.float16
            assert not target.half
            continue
        same(found, expected)
        if not dtype.is_floating_point:
            same(found, np.searchsorted(x, wanted, "right" if right else "left"))


def test_bisection_of_rows_and_in_all_layouts() -> None:
    x, wanted = np.sort(values((5, 33), dt.float64)), values((5, 50), dt.float64, 1)
    expected = np.stack([np.searchsorted(a, b) for a, b in zip(x, wanted, strict=True)])
    for view, new in zip(layouts(x), layouts(wanted), strict=True):
        same(kernel("searchsorted")(view, new, right=False), expected)
    same(kernel("searchsorted")(x[0], wanted[0][:7], right=False), np.searchsorted(x[0], wanted[0][:7]))
    same(kernel("searchsorted")(x[0], np.array(0.5), right=False), np.searchsorted(x[0], 0.5))
    same(kernel("searchsorted")(x[0, :0], wanted, right=False), np.zeros((5, 50)))


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_elsewhere_it_compiles(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for module in (sort, search):
        monkeypatch.setattr(module, "jobs", lambda *fs: [made.append(Compiler(target).compile(fs[0].module.text()))])
    sort._sort.__wrapped__(target, "float16", True, True)
    sort._select.__wrapped__(target, "int8", False)
    sort._few.__wrapped__(target, "float64", True, False)
    search._search.__wrapped__(target, "float32", True)
    search._search.__wrapped__(target, "uint8", False)
    assert len(made) == 5
