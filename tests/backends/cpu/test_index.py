"""Reading and writing by index, against loops and numpy; every index outside is named."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import close, kernel, layouts, same, values

SHAPES = [(6,), (4, 5), (3, 4, 5)]


def places(shape: Any, axis: Any, length: Any, size: Any, seed: Any = 0) -> Any:
    """Indices of ``shape`` but ``length`` along ``axis``, in [0, size)."""
    wanted = (*shape[:axis], length, *shape[axis + 1 :])
    return np.random.default_rng([seed, axis]).integers(0, size, wanted)


def scattered(x: Any, index: Any, src: Any, axis: Any, combine: Any) -> Any:
    out = x.copy()
    for at in np.ndindex(index.shape):
        to = (*at[:axis], index[at], *at[axis + 1 :])
        out[to] = combine(out[to], src[at])
    return out


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_gather(dtype: DType) -> None:
    for shape in SHAPES:
        x = values(shape, dtype)
        for axis in range(len(shape)):
            index = places(shape, axis, 7, shape[axis])
            smaller = index[tuple(slice(0, n) if i == axis else slice(0, n - 1) for i, n in enumerate(index.shape))]
            for view in layouts(x):
                same(kernel("gather", dtype)(view, index, axis=axis), np.take_along_axis(x, index, axis))
                expected = np.take_along_axis(x, index, axis)[tuple(slice(n) for n in smaller.shape)]
                same(kernel("gather", dtype)(view, smaller, axis=axis), expected)


@pytest.mark.parametrize("dtype", [*dt.FLOATS, dt.int32, dt.uint8, dt.complex64], ids=lambda d: d.name)
@pytest.mark.parametrize(
    ("reduce", "combine"), [("add", np.add), ("prod", np.multiply), ("amax", np.maximum), ("amin", np.minimum)]
)
def test_scatter_combines_what_meets(dtype: DType, reduce: str, combine: Any) -> None:
    if dtype.is_complex and reduce.startswith("a") and reduce != "add":
        return
    rtol = {dt.float16: 1e-2, dt.bfloat16: 0.1}.get(dtype, 1e-5)
    for shape in SHAPES:
        x = values(shape, dtype)
        for axis in range(len(shape)):
            index = places(shape, axis, 9, shape[axis])
            src = values(tuple(n + 1 for n in index.shape), dtype, 1)
            for view, at in zip(layouts(x), layouts(index), strict=True):
                found = kernel("scatter", dtype)(view, at, src, axis=axis, reduce=reduce)
                close(found, scattered(x, index, src, axis, combine), rtol, rtol)
                same(view, x)


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_scatter_sets(dtype: DType) -> None:
    x, src = values((3, 5), dtype), values((3, 4), dtype, 1)
    index = np.argsort(values((3, 5), dt.float64), axis=1)[:, :4]
    expected = x.copy()
    np.put_along_axis(expected, index, src, 1)
    for view in layouts(x):
        same(kernel("scatter", dtype)(view, index, src, axis=1, reduce="set"), expected)


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("reduce", ["sum", "mean", "prod", "amax", "amin"])
@pytest.mark.parametrize("dtype", [dt.float64, dt.int32], ids=lambda d: d.name)
def test_scatter_reduce(dtype: DType, reduce: str, include_self: bool) -> None:
    x, src = values((5, 4), dtype), values((9, 4), dtype, 1)
    index = places((5, 4), 0, 9, 4)
    expected = x.copy()
    for row, column in np.ndindex(x.shape):
        met = [v for i, v in enumerate(src[:, column]) if index[i, column] == row]
        if met:
            met = np.array(([x[row, column]] if include_self else []) + met)
            name = {"amax": "max", "amin": "min"}.get(reduce, reduce)
            value = getattr(met, name)()
            expected[row, column] = np.floor(value) if dtype is dt.int32 else value
    options = dict(axis=0, reduce=reduce, include_self=include_self)
    close(kernel("scatter_reduce", dtype)(x, index, src, **options), expected)


@pytest.mark.parametrize("dtype", [dt.float32, dt.bfloat16, dt.int64, dt.bool_], ids=lambda d: d.name)
def test_along_an_axis_by_a_vector(dtype: DType) -> None:
    for shape in SHAPES:
        x = values(shape, dtype)
        for axis in range(len(shape)):
            index = np.random.default_rng(axis).integers(0, shape[axis], 7)
            for view in layouts(x):
                same(kernel("index_select", dtype)(view, index, axis=axis), np.take(x, index, axis))
            src = values((*shape[:axis], 7, *shape[axis + 1 :]), dtype, 1)
            expected = x.astype(bool if dtype is dt.bool_ else np.float64)
            np.add.at(expected, (slice(None),) * axis + (index,), src.astype(expected.dtype))
            rtol = 0.05 if dtype is dt.bfloat16 else 1e-5
            close(kernel("index_add", dtype)(x, index, src, axis=axis), expected.astype(dtype.numpy), rtol, rtol)


def test_low_precision_adds_up_in_float32() -> None:
    x, index = np.zeros(1, np.float16), np.zeros(5000, np.int64)
    found = kernel("index_add", dt.float16)(x, index, np.ones(5000, np.float16), axis=0)
    same(found, [5000])  # in float16 it would stop at 2048


ADVANCED = [
    (0, [(3, 2)]), (2, [(4,)]), (1, [(3, 1), (1, 2)]), (0, [(3,), (3,), (3,)]), (0, [(2, 1), ()]), (1, [(0,)]),
]  # fmt: skip


@pytest.mark.parametrize(("axis", "shapes"), ADVANCED)
def test_by_several_arrays(axis: int, shapes: Any) -> None:
    x = values((4, 5, 6), dt.float64)
    rng = np.random.default_rng(0)
    indices = [rng.integers(-n, n, s) for s, n in zip(shapes, x.shape[axis:], strict=False)]
    indices = [np.asarray(i, np.int64) for i in indices]
    where = (slice(None),) * axis + tuple(indices)
    for view in layouts(x):
        same(kernel("index_get")(view, *indices, axis=axis), x[where])
    src = values(x[where].shape, dt.float64, 1)
    expected = x.copy()
    np.add.at(expected, where, src)
    close(kernel("index_put")(x, src, *indices, axis=axis, accumulate=True), expected)
    one = np.array(7.0)
    expected = x.copy()
    expected[where] = 7
    same(kernel("index_put")(x, one, *indices, axis=axis, accumulate=False), expected)


def outside(name: Any, x: Any, index: Any, *others: Any, axis: Any = 0, **params: Any) -> Any:
    return lambda: kernel(name)(x, index, *others, axis=axis, **params)


@pytest.mark.parametrize("bad", [-1, 4, 2**40])
@pytest.mark.parametrize("place", [0, 3])
def test_every_index_outside_is_named(bad: int, place: int) -> None:
    x, src = np.zeros((4, 2)), np.zeros((5, 2))
    flat = np.zeros(5, np.int64)
    flat[place] = bad
    index = np.stack([flat, np.zeros_like(flat)], 1)
    for call in (
        outside("gather", x, index), outside("scatter", x, index, src), outside("scatter", x, index, src, reduce="add"),
        outside("scatter_reduce", x, index, src, reduce="sum"), outside("index_select", x, flat),
        outside("index_add", x, flat, src), lambda: kernel("embedding")(x, flat, padding_idx=-1),
        lambda: kernel("embedding_grad")(src, flat, rows=4, padding_idx=-1),
    ):  # fmt: skip
        with pytest.raises(IndexError, match=f"index {bad} is out of bounds for dimension 0 with size 4"):
            call()


@pytest.mark.parametrize("bad", [-5, 4])
def test_indices_that_may_count_back_are_named_beyond_that(bad: int) -> None:
    x = np.zeros((3, 4))
    with pytest.raises(IndexError, match=f"index {bad} is out of bounds for dimension 1 with size 4"):
        kernel("index_get")(x, np.array([0, bad]), axis=1)
    with pytest.raises(IndexError, match=f"index {bad} is out of bounds for dimension 1 with size 4"):
        kernel("index_put")(x, np.zeros(2), np.array([0, 0]), np.array([0, bad]), axis=0, accumulate=False)


def test_of_no_dimensions_and_of_no_elements() -> None:
    same(kernel("gather")(np.array(3.0), np.array(0), axis=0), 3.0)
    same(kernel("scatter")(np.array(3.0), np.array(0), np.array(4.0), axis=0, reduce="add"), 7.0)
    none = np.zeros((0, 2), np.int64)
    same(kernel("gather")(np.zeros((3, 2)), none, axis=0), np.zeros((0, 2)))
    same(kernel("scatter")(np.ones((3, 2)), none, np.zeros((0, 2)), axis=0, reduce="add"), np.ones((3, 2)))


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_nonzero(dtype: DType) -> None:
    x = values((3, 4, 5), dtype, low=-1, high=1)
    x[:, ::2] = 0
    for view in layouts(x):
        same(kernel("nonzero", dtype)(view), np.argwhere(x.astype(bool)))
    assert kernel("nonzero", dtype)(np.ones((), dtype.numpy)).shape == (1, 0)


def test_embedding_and_its_gradient() -> None:
    weight, index = values((10, 4), dt.float64), np.random.default_rng(0).integers(0, 10, (3, 20))
    same(kernel("embedding")(weight, index, padding_idx=3), weight[index])
    grad = values((3, 20, 4), dt.float64)
    for padding in (-1, 3):
        expected = np.zeros((10, 4))
        for at in np.ndindex(index.shape):
            if index[at] != padding:
                expected[index[at]] += grad[at]
        close(kernel("embedding_grad")(grad, index, rows=10, padding_idx=padding), expected)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (3,)])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
def test_nll_loss_and_its_gradient(shape: tuple[int, ...], reduction: str, weighted: bool) -> None:
    x = values(shape, dt.float64)
    target = np.random.default_rng(1).integers(0, 3, shape[:1] + shape[2:] if len(shape) > 1 else ())
    target = np.asarray(target)
    if target.size > 1:
        target.reshape(-1)[1] = -100
        x[:, 0] = -np.inf if reduction == "none" else x[:, 0]
    weight = np.array([0.5, 2.0, 1.5]) if weighted else None
    rows = np.moveaxis(x, 1, -1) if len(shape) > 1 else x
    losses, weights = np.zeros(target.shape), np.zeros(target.shape)
    for at in np.ndindex(target.shape):
        if target[at] != -100:
            weights[at] = 1 if weight is None else weight[target[at]]
            losses[at] = -rows[at][target[at]] * weights[at]
    total = weights.sum()
    expected = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / total}[reduction]
    options = dict(ignore_index=-100, reduction=reduction)
    found, found_total = kernel("nll_loss")(x, target, weight, **options)
    close(found, expected)
    close(found_total, total)
    grad = values(np.shape(expected), dt.float64, 2)
    slope = np.zeros(rows.shape)
    for at in itertools.filterfalse(lambda at: target[at] == -100, np.ndindex(target.shape)):
        share = grad[at] if reduction == "none" else grad / (total if reduction == "mean" else 1)
        slope[(*at, target[at])] = -weights[at] * share
    slope = np.moveaxis(slope, -1, 1) if len(shape) > 1 else slope
    close(kernel("nll_loss_grad")(grad, target, weight, found_total, shape=shape, **options), slope)


def test_nll_loss_names_a_class_that_is_not_there() -> None:
    with pytest.raises(IndexError, match="nll_loss: index 3 is out of bounds"):
        kernel("nll_loss")(np.zeros((2, 3)), np.array([0, 3]), None, ignore_index=-100, reduction="mean")
