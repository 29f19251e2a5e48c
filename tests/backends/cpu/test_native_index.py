"""Indexing as machine code against the numpy kernels, at every width, in all layouts, with indices outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.backends.base import OutOfRangeError
from flambeau.backends.cpu.native import gather, groups, scatter
from flambeau.backends.cpu.native.gather import KERNELS as READ
from flambeau.backends.cpu.native.scatter import KERNELS as WRITE
from flambeau.backends.llvm.compiler import Compiler
from flambeau.backends.llvm.target import ELSEWHERE, Target, host, runnable
from flambeau.backends.xp import index as xp_index
from flambeau.core import config
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import close, kernel, layouts, same, values

SHAPES = ((40,), (6, 50), (50, 6), (4, 9, 35), (3, 4, 5, 6))
ADDED = [dt.float32, dt.float64, dt.float16, dt.bfloat16, dt.int32, dt.int64, dt.uint8]
every_width = pytest.mark.parametrize("target", runnable(), ids=lambda t: t.name)


def places(shape: tuple[int, ...], size: int, low: int = 0) -> Any:
    return np.random.default_rng([*shape, size]).integers(low, size, shape)


def along(shape: tuple[int, ...], axis: int, length: int) -> tuple[int, ...]:
    return (*shape[:axis], length, *shape[axis + 1 :])


def tolerance(dtype: DType) -> float:
    return {dt.float16: 2e-3, dt.bfloat16: 2e-2, dt.float32: 1e-5}.get(dtype, 1e-12)


# -- reading ---------------------------------------------------------------------------------------
@every_width
@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_reading_along_each_axis(target: Target, dtype: DType) -> None:
    for shape in SHAPES:
        x = values(shape, dtype)
        for axis, n in enumerate(shape):
            index = places(along(shape, axis, 7), n)
            same(READ["gather"](target, x, index, axis=axis), np.take_along_axis(x, index, axis))
            some = places((2, 9), n, -n)
            same(READ["index_get"](target, x, some, axis=axis), np.take(x, some % n, axis))
            same(READ["index_select"](target, x, some[0] % n, axis=axis), np.take(x, some[0] % n, axis))


def test_reading_in_all_layouts() -> None:
    for shape in SHAPES:
        x = values(shape, dt.float32)
        for axis, n in enumerate(shape):
            index = places(along(shape, axis, 7), n)
            expected = np.take_along_axis(x, index, axis)
            for view in layouts(x):
                for at in layouts(index):
                    found = READ["gather"](host(), view, at, axis=axis)
                    if found is None:  # much would be copied for little
                        assert x.size > 4 * index.size
                        found = kernel("gather", dt.float32)(view, at, axis=axis)
                    same(found, expected)
                same(
                    READ["index_select"](host(), view, index.reshape(-1), axis=axis),
                    np.take(x, index.reshape(-1), axis),
                )


def test_an_index_smaller_than_what_it_reads_or_repeated() -> None:
    x = values((9, 8, 7), dt.float32)
    for axis in range(3):
        index = places((5, 4, 3), (9, 8, 7)[axis])
        expected = xp_index.gather(np, x, index, axis=axis)
        same(READ["gather"](host(), x, index, axis=axis), expected)
        wide = np.broadcast_to(index[:, :, :1], (5, 4, 7))
        same(READ["gather"](host(), x, wide, axis=axis), xp_index.gather(np, x, wide, axis=axis))
    broadcast = np.broadcast_to(np.float32(3), (4, 1 << 40))
    same(READ["index_select"](host(), broadcast, np.array([5, (1 << 40) - 1]), axis=1), np.full((4, 2), 3))


# -- writing ---------------------------------------------------------------------------------------
@every_width
@pytest.mark.parametrize("dtype", ADDED, ids=lambda d: d.name)
@pytest.mark.parametrize("reduce", ["add", "prod", "amax", "amin"])
def test_combining_along_each_axis(target: Target, dtype: DType, reduce: str) -> None:
    for shape in SHAPES:
        x = values(shape, dtype)
        for axis, n in enumerate(shape):
            index, src = places(along(shape, axis, 11), n), values(along(shape, axis, 11), dtype, 1)
            found = WRITE["scatter"](target, x, index, src, axis=axis, reduce=reduce)
            if dtype in dt.LOW_PRECISION and (reduce != "add" or not target.half):
                assert found is None or dtype is dt.bfloat16
                continue
            expected = xp_index.scatter(np, x, index, src, axis=axis, reduce=reduce)
            close(found, expected, tolerance(dtype), tolerance(dtype))
            same(x, values(shape, dtype))


@every_width
@pytest.mark.parametrize("dtype", ADDED, ids=lambda d: d.name)
def test_adding_slices_along_each_axis(target: Target, dtype: DType) -> None:
    for shape in SHAPES:
        x = values(shape, dtype)
        for axis, n in enumerate(shape):
            src, index = values(along(shape, axis, 70), dtype, 1), places((70,), n)
            found = WRITE["index_add"](target, x, index, src, axis=axis)
            if found is None:
                assert dtype is dt.float16
                assert not target.half
                continue
            close(found, xp_index.index_add(np, x, index, src, axis=axis), tolerance(dtype), 10 * tolerance(dtype))
            repeated = np.broadcast_to(index.reshape(along((1,) * len(shape), axis, 70)), src.shape)
            same(WRITE["scatter"](target, x, repeated, src, axis=axis, reduce="add"), found)


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_setting_along_each_axis(dtype: DType) -> None:
    for shape in SHAPES:
        x = values(shape, dtype)
        for axis, n in enumerate(shape):
            index = np.argsort(values(shape, dt.float64), axis)[(slice(None),) * axis + (slice(n // 2 + 1),)]
            src, expected = values(index.shape, dtype, 1), x.copy()
            np.put_along_axis(expected, index, src, axis)
            for view, at, new in zip(layouts(x), layouts(index), layouts(src), strict=True):
                same(WRITE["scatter"](host(), view, at, new, axis=axis), expected)
            row = np.random.default_rng(axis).permutation(n)[: n // 2 + 1]
            expected = x.copy()
            expected[(slice(None),) * axis + (row,)] = src
            same(WRITE["index_put"](host(), x, src, row - n, axis=axis, accumulate=False), expected)


def test_writing_in_all_layouts() -> None:
    for shape in SHAPES:
        x = values(shape, dt.float32)
        for axis, n in enumerate(shape):
            index, src = places(along(shape, axis, 11), n), values(along(shape, axis, 11), dt.float32, 1)
            expected = xp_index.scatter(np, x, index, src, axis=axis, reduce="add")
            slices = xp_index.index_add(np, x, index.reshape(-1)[:11], src, axis=axis)
            for view, at, new in zip(layouts(x), layouts(index), layouts(src), strict=True):
                close(WRITE["scatter"](host(), view, at, new, axis=axis, reduce="add"), expected, 1e-5, 1e-5)
                close(WRITE["index_add"](host(), view, index.reshape(-1)[:11], new, axis=axis), slices, 1e-5, 1e-5)


def test_an_index_smaller_than_what_it_writes_to() -> None:
    x, src, served = values((9, 8, 7), dt.float32), values((9, 8, 7), dt.float32, 1), 0
    for axis in range(3):
        for cut in ((9, 4, 7), (9, 8, 3), (4, 8, 7), (5, 4, 3)):
            index = places(cut, (9, 8, 7)[axis])
            for reduce in ("add", "amax"):
                found = WRITE["scatter"](host(), x, index, src, axis=axis, reduce=reduce)
                if found is not None:  # what is written to cannot always be told in three dimensions
                    close(found, xp_index.scatter(np, x, index, src, axis=axis, reduce=reduce), 1e-5, 1e-5)
                    served += 1
            close(
                kernel("scatter", dt.float32)(np.tile(x, (9, 9, 9)), index, src, axis=axis, reduce="add"),
                xp_index.scatter(np, np.tile(x, (9, 9, 9)), index, src, axis=axis, reduce="add"), 1e-5, 1e-5,
            )  # fmt: skip
    assert served >= 12, f"machine code served {served} of 24"


@pytest.mark.parametrize("accumulate", [False, True])
def test_by_several_arrays_and_in_place(accumulate: bool) -> None:
    x = values((5, 6, 7), dt.float32)
    first, second = places((90, 1), 6, -6), places((1, 3), 7, -7)
    if not accumulate:
        first, second = np.arange(6)[:, None], np.array([[0, 2, 5]])
    src = values((5, *np.broadcast_shapes(first.shape, second.shape)), dt.float32, 1)
    expected = x.copy()
    if accumulate:
        np.add.at(expected, (slice(None), first, second), src)
        close(WRITE["index_put"](host(), x, src, first, second, axis=1, accumulate=True), expected, 1e-5, 1e-5)
    else:
        expected[:, first, second] = src
    for view in list(layouts(x.copy())):
        kernel("put_at", dt.float32)(view, src, first, second, axis=1, accumulate=accumulate)
        close(view, expected, 1e-5, 1e-5)


def test_slices_set_in_place() -> None:
    for shape in SHAPES[1:]:
        x = values(shape, dt.float32)
        for axis, n in enumerate(shape):
            index = np.random.default_rng(axis).permutation(n)[: n // 2 + 1] - n
            src, expected = values(along(shape, axis, len(index)), dt.float32, 1), x.copy()
            expected[(slice(None),) * axis + (index,)] = src
            for view in list(layouts(x.copy())):
                if WRITE["put_at"](host(), view, src, index, axis=axis, accumulate=False) is None:
                    assert not view.flags.c_contiguous
                    continue
                same(view, expected)
            for view in list(layouts(x.copy())):
                two = np.full((), 2, np.float32)
                expected[(slice(None),) * axis + (index,)] = two
                if WRITE["put_at"](host(), view, two, index, axis=axis, accumulate=False) is None:
                    assert not view.flags.c_contiguous
                    continue
                same(view, expected)
    x = values((90, 8), dt.float32)
    expected = x[::-1].copy()
    kernel("put_at", dt.float32)(x, x, np.arange(89, -1, -1), axis=0, accumulate=False)
    same(x, expected)
    x.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        kernel("put_at", dt.float32)(x, expected, np.arange(90), axis=0, accumulate=False)


def test_infinities_and_nan_stay_where_they_are() -> None:
    x = values((20, 30), dt.float32)
    x[3], x[4, 4] = np.inf, -0.0
    src = values((64, 30), dt.float32, 1)
    src[7, 7] = np.nan
    index = places((64,), 20)
    index[index == 4] = 5
    found = WRITE["index_add"](host(), x, index, src, axis=0)
    same(np.isnan(found), np.isnan(xp_index.index_add(np, x, index, src, axis=0)))
    assert np.signbit(found[4, 4])
    spread = np.broadcast_to(index[:, None], src.shape)
    for reduce in ("amax", "amin", "prod"):
        expected = xp_index.scatter(np, x, spread, src, axis=0, reduce=reduce)
        close(WRITE["scatter"](host(), x, spread, src, axis=0, reduce=reduce), expected, 1e-4, 1e-4)


@pytest.mark.parametrize("width", [1, 3, 16])
def test_many_that_meet_lose_nothing(width: int) -> None:
    src = np.full((3_000_000 // width, width), 0.1, np.float32)
    index = np.zeros(len(src), np.int64)
    found = WRITE["index_add"](host(), np.zeros((2, width), np.float32), index, src, axis=0)
    close(found[0], np.full(width, len(src) * np.float64(np.float32(0.1))).astype(np.float32), 1e-6)


# -- embeddings ------------------------------------------------------------------------------------
@every_width
@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
@pytest.mark.parametrize("width", [1, 5, 64, 100])
def test_embedding_and_its_gradient(target: Target, dtype: DType, width: int) -> None:
    weight, index = values((50, width), dtype), places((6, 40), 50)
    same(READ["embedding"](target, weight, index, padding_idx=-1), weight[index])
    grad = values((6, 40, width), dtype, 1)
    for padding in (-1, 3):
        for view in layouts(grad):
            found = WRITE["embedding_grad"](target, view, index, rows=50, padding_idx=padding)
            if found is None:
                assert dtype is dt.float16
                continue
            expected = xp_index.embedding_grad(np, grad, index, rows=50, padding_idx=padding)
            close(found, expected, tolerance(dtype), 10 * tolerance(dtype))


@every_width
@pytest.mark.parametrize("dtype", dt.FLOATS, ids=lambda d: d.name)
def test_sums_of_bags(target: Target, dtype: DType) -> None:
    for width in (1, 7, 64, 130):
        x, source = values((50, width), dtype), places((600,), 50)
        to = np.sort(places((600,), 11))
        expected = xp_index.sum_rows(np, x, source, to, size=12)
        for at in (to, to[::-1]):
            for view in layouts(x):
                found = WRITE["sum_rows"](target, view, source[:: 1 if at is to else -1], at, size=12)
                if found is None:
                    assert dtype is dt.float16
                    continue
                close(found, expected, tolerance(dtype), 20 * tolerance(dtype))


# -- what is outside -------------------------------------------------------------------------------
@pytest.mark.parametrize("bad", [-1, 40, 1 << 62, -(1 << 62)])
@pytest.mark.parametrize("at", [0, 2047, 2999])
def test_an_index_outside_is_named_and_nothing_is_written(bad: int, at: int) -> None:
    x, flat, wide = values((40, 3), dt.float32), places((3000,), 40), values((3000, 3), dt.float32, 1)
    flat[at] = bad
    index = np.ascontiguousarray(np.broadcast_to(flat[:, None], (3000, 3)))
    before = x.copy()
    calls = [
        ("gather", x, index), ("scatter", x, index, wide), ("index_select", x, flat), ("index_add", x, flat, wide),
        ("index_get", x, flat * (1 if bad != -1 else 41)), ("put_at", x, wide, flat * (1 if bad != -1 else 41)),
    ]  # fmt: skip
    for name, *operands in calls:
        params = {"accumulate": True} if name == "put_at" else {}
        with pytest.raises(OutOfRangeError, match="out of bounds for dimension 0 with size 40"):
            kernel(name, dt.float32)(*operands, axis=0, **params)
    with pytest.raises(OutOfRangeError, match=f"embedding_grad: index {bad} is out of bounds"):
        kernel("embedding_grad", dt.float32)(wide, flat, rows=40, padding_idx=-1)
    for bags in ((flat, np.zeros_like(flat)), (np.zeros_like(flat), flat)):
        with pytest.raises(OutOfRangeError, match=f"sum_rows: index {bad} is out of bounds"):
            kernel("sum_rows", dt.float32)(x, *bags, size=40)
    with pytest.raises(OutOfRangeError, match=f"embedding: index {bad} is out of bounds"):
        kernel("embedding", dt.float32)(x, flat, padding_idx=-1)
    for reduce in ("add", "amax"):
        with pytest.raises(OutOfRangeError, match=f"scatter: index {bad} is out of bounds"):
            kernel("scatter", dt.float32)(x, index, wide, axis=0, reduce=reduce)
    same(x, before)


def test_nothing_to_read_and_nothing_to_write() -> None:
    none = np.zeros(0, np.int64)
    x = values((5, 4), dt.float32)
    assert kernel("index_select", dt.float32)(x, none, axis=1).shape == (5, 0)
    same(kernel("index_add", dt.float32)(x, none, x[:, :0], axis=1), x)
    same(kernel("embedding_grad", dt.float32)(x[:0], none, rows=3, padding_idx=-1), np.zeros((3, 4)))
    with pytest.raises(OutOfRangeError, match="with size 0"):
        kernel("gather", dt.float32)(x[:0], np.zeros((900, 4), np.int64), axis=0)
    with pytest.raises(OutOfRangeError, match="with size 0"):
        kernel("embedding_grad", dt.float32)(
            np.ones((900, 4), np.float32), np.zeros(900, np.int64), rows=0, padding_idx=-1
        )


def test_read_only_and_misaligned_operands() -> None:
    raw = np.zeros(40 * 4 + 1, np.uint8)[1:].view(np.float32)
    raw[:] = np.arange(40)
    index = places((700,), 40)
    same(kernel("index_select", dt.float32)(raw, index, axis=0), raw[index])
    raw.flags.writeable = False
    same(kernel("index_select", dt.float32)(raw, index, axis=0), raw[index])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.data())
def test_any_shape_and_axis(shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    cut = tuple(data.draw(st.integers(1, 20 if i == axis else n)) for i, n in enumerate(shape))
    x, index, src = values(tuple(shape), dt.float64), places(cut, shape[axis]), values(cut, dt.float64, 1)
    whole = all(i == axis or n == m for i, (n, m) in enumerate(zip(shape, cut, strict=True)))
    found = READ["gather"](host(), x, index, axis=axis)
    assert found is not None or not whole
    if found is not None:  # else the part that is read cannot be told in three dimensions
        same(found, xp_index.gather(np, x, index, axis=axis))
    for reduce in ("set", "add", "amin"):
        found = WRITE["scatter"](host(), x, index, src, axis=axis, reduce=reduce)
        assert found is not None or not whole
        if found is not None:
            close(found, xp_index.scatter(np, x, index, src, axis=axis, reduce=reduce))


# -- threads and other machines --------------------------------------------------------------------
def test_same_bits_for_any_number_of_threads() -> None:
    x, src = values((300, 400), dt.float32), values((2000, 400), dt.float32, 1)
    index, each = places((2000,), 300), places((2000, 400), 300)

    def results() -> list[bytes]:
        made = [
            kernel("index_add", dt.float32)(x, index, src, axis=0),
            kernel("scatter", dt.float32)(x, each, src, axis=0, reduce="add"),
            kernel("scatter", dt.float32)(x, each, src, axis=0, reduce="set"),
            kernel("scatter", dt.float32)(x.T, each.T, src.T, axis=1, reduce="add"),
            kernel("embedding_grad", dt.float32)(src, index, rows=300, padding_idx=-1),
            kernel("gather", dt.float32)(x, each, axis=0),
        ]
        return [v.tobytes() for v in made]

    found = []
    for count in (1, 2, 3):
        with config.override(num_threads=count):
            found.append(results())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("target", ELSEWHERE, ids=lambda t: t.name)
def test_elsewhere_it_compiles(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for module in (gather, scatter, groups):
        monkeypatch.setattr(module, "jobs", lambda *fs: [made.append(Compiler(target).compile(fs[0].module.text()))])
    for kind in ("flat", "rows", "each"):
        gather._take.__wrapped__(target, kind, 16, True)
        scatter._put.__wrapped__(target, kind, "amax", "float32", False)
    scatter._add.__wrapped__(target, "each", "bfloat16", False)
    groups._order.__wrapped__(target, True)
    groups._add.__wrapped__(target, "float16", True)
    assert len(made) == 9
