"""Indexing as users write it: every kind of index, read and written, with gradients and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as fb
from tests.errors import check_error

SHAPE = (3, 4, 5)
MASK = np.array([True, False, True])
MASK2 = np.random.default_rng(1).integers(0, 2, (3, 4)).astype(bool)
ROWS, COLUMNS = np.array([0, 2, -1]), np.array([[1], [3]])

#: Indices that numpy reads as torch does (they agree unless an int stands among index arrays).
INDICES: dict[str, Any] = {
    "int": 1,
    "negative int": -1,
    "numpy int": np.int64(2),
    "ints": (0, 1, 2),
    "slice": slice(1, None),
    "slices with steps": (slice(None), slice(1, 4, 2), slice(None, None, 3)),
    "slice beyond the end": slice(2, 99),
    "empty slice": slice(2, 1),
    "negative slice": (slice(-2, None), slice(None, -1)),
    "none": None,
    "nones": (None, slice(None), None, 0),
    "ellipsis": ...,
    "ellipsis in the middle": (0, ..., slice(1, 3)),
    "true": True,
    "false": False,
    "true and none": (True, None, 1),
    "mask": MASK,
    "mask of a later axis": (slice(None), np.array([True, False, True, True])),
    "mask of two axes": MASK2,
    "mask of two axes and a slice": (MASK2, slice(1, 3)),
    "mask of all": np.random.default_rng(2).integers(0, 2, SHAPE).astype(bool),
    "array": ROWS,
    "array of two dimensions": ROWS[:, None],
    "arrays that broadcast": (ROWS, COLUMNS),
    "arrays next to each other": (slice(None), ROWS, COLUMNS),
    "arrays apart": (ROWS, slice(None), ROWS),
    "arrays around a none": (ROWS, None, ROWS),
    "array and mask": (ROWS[:2], np.array([False, True, False, True])),
    "array after ellipsis": (..., ROWS),
    "array and slice": (slice(0, 2), ROWS),
    "list": [0, 2],
    "lists": ([0, 1], [1, 1]),
    "list of bools": [True, False, True],
    "empty list": [],
    "range": range(2),
    "repeated places": ([0, 0, 0],),
}


def ours(index: Any) -> Any:
    """The index with flambeau's tensors for numpy's arrays."""
    if isinstance(index, tuple):
        return tuple(ours(i) for i in index)
    return fb.tensor(index) if isinstance(index, np.ndarray) else index


each = pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())


# -- reading -----------------------------------------------------------------------------------------
@each
def test_reading(index: Any) -> None:
    data = np.random.default_rng(0).standard_normal(SHAPE)
    x = fb.tensor(data, requires_grad=True)
    found, wanted = x[ours(index)], data[index]
    assert found.shape == wanted.shape
    np.testing.assert_array_equal(found.detach().numpy(), wanted)
    weight = np.random.default_rng(3).standard_normal(wanted.shape)
    (found * fb.tensor(weight)).sum().backward()
    gradient = np.zeros(SHAPE)
    np.add.at(gradient, index, weight)
    np.testing.assert_allclose(x.grad.numpy(), gradient)


def test_ints_next_to_arrays_select_first_as_in_torch() -> None:
    """numpy would put the axis of the array in front: (2, 4)."""
    assert fb.zeros(SHAPE)[0, :, [0, 1]].shape == (4, 2)


def test_a_list_of_lists_is_a_tuple_as_in_torch() -> None:
    x = fb.arange(12).reshape(3, 4)
    assert x[[[0, 1], [1, 0]]].tolist() == [1, 4]


def test_basic_indices_are_views_and_others_copies() -> None:
    x = fb.zeros(3, 4)
    x[1][2] = 1
    x[2:, ::2].add_(5)
    x[fb.tensor(0)][0] = 7  # a 0-d integer tensor is an int
    assert x.tolist() == [[7, 0, 0, 0], [0, 0, 1, 0], [5, 0, 5, 0]]
    x[[0]].zero_()
    x[x > 1].zero_()
    assert x[0, 0].item() == 7


@pytest.mark.parametrize(
    ("read", "error", "words"),
    [
        (lambda x: x[3], IndexError, ("index 3", "dimension 0", "size 3")),
        (lambda x: x[0, -5], IndexError, ("index -5", "dimension 1", "size 4")),
        (lambda x: x[0, 0, 0, 0], IndexError, ("too many indices", "dimension 3", "(3, 4, 5)")),
        (lambda x: x[fb.tensor([0, 3])], IndexError, ("index 3", "dimension 0", "size 3")),
        (lambda x: x[:, fb.tensor([-5])], IndexError, ("index -5", "dimension 1", "size 4")),
        (lambda x: x[[0, 1], [0, 1, 2]], IndexError, ("shape mismatch", "[2]", "[3]")),
        (lambda x: x[fb.tensor([True, False])], IndexError, ("mask [2]", "[3, 4, 5]", "index 0")),
        (lambda x: x[fb.ones(2)], IndexError, ("integer or bool", "float32")),
        (lambda x: x[1.0], IndexError, ("only integers, slices", "got float")),
        (lambda x: x["a"], IndexError, ("only integers, slices", "got str")),
        (lambda x: x[::-1], ValueError, ("step", "-1", "flip")),
        (lambda x: x[1.0:2], TypeError, ("slice indices",)),
        (lambda x: fb.tensor(1.0)[0], IndexError, ("too many indices", "dimension 0")),
    ],
)
def test_wrong_indices(read: Callable[[Any], Any], error: type[Exception], words: tuple[str, ...]) -> None:
    check_error(lambda: read(fb.zeros(SHAPE)), error, words)


# -- writing -----------------------------------------------------------------------------------------
@each
def test_writing(index: Any) -> None:
    """Values, and the gradients of both the tensor and the value."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal(SHAPE)
    value = rng.standard_normal(data[index].shape)
    x, v = fb.tensor(data, requires_grad=True), fb.tensor(value, requires_grad=True)
    y = x * 1
    y[ours(index)] = v
    wanted = data.copy()
    wanted[index] = value
    np.testing.assert_array_equal(y.detach().numpy(), wanted)
    weight = rng.standard_normal(SHAPE)
    (y * fb.tensor(weight)).sum().backward()
    kept = weight.copy()
    kept[index] = 0
    np.testing.assert_allclose(x.grad.numpy(), kept)
    np.testing.assert_allclose(v.grad.numpy(), weight[index])


@each
def test_writing_a_number(index: Any) -> None:
    data = np.random.default_rng(0).standard_normal(SHAPE)
    y, wanted = fb.tensor(data), data.copy()
    y[ours(index)] = 2
    wanted[index] = 2
    np.testing.assert_array_equal(y.numpy(), wanted)


def test_the_value_broadcasts_and_is_cast() -> None:
    y = fb.zeros(2, 3)
    y[0] = fb.tensor([[[1.0, 2.0, 3.0]]], dtype=fb.float64)  # leading ones fall away
    y[:, [0, 2]] = fb.tensor([[9], [8]])
    y[1, 1] = [7]
    assert y.tolist() == [[9, 2, 9], [8, 7, 8]]
    whole = fb.zeros(2, dtype=fb.int64)
    whole[0] = 2.9
    assert whole.tolist() == [2, 0]


def test_arithmetic_on_an_index() -> None:
    x = fb.ones(4, requires_grad=True)
    y = x * 1
    y[:3] *= 10
    y[[0, 1]] += fb.tensor([1.0, 2.0])
    y[y > 11] = 0
    y.sum().backward()
    assert y.tolist() == [11, 0, 10, 1]
    assert x.grad.tolist() == [10, 0, 10, 1]


def test_a_written_view_of_a_view_reaches_the_base() -> None:
    x = fb.zeros(3, 4, requires_grad=True)
    y = x * 1
    row = y[1]
    row[1:3][fb.tensor([True, False])] = 5
    assert y[1].tolist() == [0, 5, 0, 0]
    (y * y).sum().backward()
    assert x.grad.tolist() == [[0] * 4] * 3


@pytest.mark.parametrize(
    ("write", "error", "words"),
    [
        (lambda x: x.__setitem__(3, 1), IndexError, ("index 3", "size 3")),
        (lambda x: x.__setitem__(fb.tensor([5]), 1), IndexError, ("index 5", "size 3")),
        (lambda x: x.__setitem__(0, fb.ones(2)), RuntimeError, ("(2,)", "(4,)")),
        (lambda x: x.__setitem__([0, 1], fb.ones(3)), RuntimeError, ("index_put", "[3]", "[2, 4]")),
        (lambda x: x.__setitem__(0, 1j), RuntimeError, ("1j", "float32")),
        (lambda x: x.__setitem__(0, "a"), TypeError, ("str", "float32")),
        (lambda x: x.expand(2, 3, 4).__setitem__((slice(None), 0), 1), RuntimeError,
         ("single memory location", "clone")),
        (lambda x: x.requires_grad_().__setitem__(0, 1), RuntimeError, ("leaf",)),
    ],
)  # fmt: skip
def test_wrong_writes(write: Callable[[Any], Any], error: type[Exception], words: tuple[str, ...]) -> None:
    check_error(lambda: write(fb.zeros(3, 4)), error, words)


# -- the public functions ----------------------------------------------------------------------------
def test_in_place_forms_write_where_they_should() -> None:
    x = fb.zeros(3)
    assert x.scatter_(0, fb.tensor([2]), fb.tensor([1.0])) is x
    x.scatter_add_(0, fb.tensor([2, 2]), fb.tensor([1.0, 1.0]))
    x.index_add_(0, fb.tensor([0]), fb.tensor([2.0]), alpha=2)
    x.masked_fill_(x == 0, 9)
    assert x.tolist() == [4, 9, 3]
    x.index_copy_(0, fb.tensor([0]), fb.tensor([1.0])).index_fill_(0, fb.tensor([1]), 2.0)
    x.put_(fb.tensor([-1]), fb.tensor([5.0]), accumulate=True)
    assert x.tolist() == [1, 2, 8]
    x.index_put_((fb.tensor([0, 0]),), fb.tensor([1.0, 1.0]), accumulate=True)
    x.scatter_reduce_(0, fb.tensor([1, 1]), fb.tensor([7.0, 3.0]), "amax")
    x.masked_scatter_(x > 7, fb.tensor([6.0, 5.0]))
    assert x.tolist() == [3, 7, 6]
    assert fb.tensor(1.0).scatter_(0, fb.tensor(0), fb.tensor(4.0)).item() == 4


def test_in_place_forms_have_gradients() -> None:
    x, v = fb.ones(3, requires_grad=True), fb.tensor([5.0, 7.0], requires_grad=True)
    y = x * 1
    y.index_put_((fb.tensor([0, 2]),), v)
    y.scatter_reduce_(0, fb.tensor([0]), fb.tensor([2.0]), "prod")
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 0] and v.grad.tolist() == [2, 1]


def test_scatter_of_a_number_and_its_old_reductions() -> None:
    x, index = fb.full((3,), 2.0), fb.tensor([1])
    assert x.scatter(0, index, 5.0).tolist() == [2, 5, 2]
    assert x.scatter(0, index, value=5.0, reduce="add").tolist() == [2, 7, 2]
    assert x.scatter(0, index, 5.0, reduce="multiply").tolist() == [2, 10, 2]
    with pytest.raises(ValueError, match=r"reduce must be.*'xyz'"):
        x.scatter_reduce(0, index, fb.ones(1), "xyz")
    with pytest.raises(RuntimeError, match=r"scatter.*float64.*float32"):
        x.scatter(0, index, fb.ones(1, dtype=fb.float64))


def test_take_and_its_relatives() -> None:
    x = fb.arange(6).reshape(2, 3)
    assert fb.take(x, fb.tensor([[0, -1]])).tolist() == [[0, 5]]
    assert fb.take_along_dim(x, x.argsort(1, descending=True), 1).tolist() == [[2, 1, 0], [5, 4, 3]]
    assert fb.take_along_dim(x, fb.tensor([[1]]), 1).tolist() == [[1], [4]]
    assert fb.index_select(x, -1, fb.tensor(2)).tolist() == [[2], [5]]
    assert fb.gather(fb.tensor(7), 0, fb.tensor(0)).item() == 7


def test_masks() -> None:
    x = fb.tensor([[1.0, 0.0], [3.0, 4.0]])
    assert fb.masked_select(x, fb.tensor([True, False])).tolist() == [1, 3]
    assert fb.masked_fill(x, x > 2, -1).tolist() == [[1, 0], [-1, -1]]
    assert fb.nonzero(x).tolist() == [[0, 0], [1, 0], [1, 1]]
    assert [t.tolist() for t in fb.where(x > 2)] == [[1, 1], [0, 1]]
    assert fb.argwhere(fb.tensor(3)).shape == (1, 0)
    with pytest.raises(RuntimeError, match=r"mask must be a bool.*int64"):
        fb.masked_select(x, fb.tensor([1, 0]))


# -- searching and counting --------------------------------------------------------------------------
def test_searchsorted_and_bucketize() -> None:
    edges = fb.tensor([1.0, 3.0, 3.0, 5.0])
    wanted = fb.tensor([3.0, 0.0, 9.0, float("nan")])
    assert fb.searchsorted(edges, wanted).tolist() == [1, 0, 4, 4]
    assert fb.searchsorted(edges, wanted, side="right").tolist() == [3, 0, 4, 4]
    assert fb.bucketize(wanted, edges, out_int32=True).dtype is fb.int32
    assert fb.searchsorted(edges, 4).item() == 3
    assert fb.searchsorted(fb.tensor([5.0, 1.0]), fb.tensor([2.0]), sorter=fb.tensor([1, 0])).tolist() == [1]


def test_bincount_and_histc() -> None:
    x = fb.tensor([1, 3, 1])
    assert fb.bincount(x).tolist() == [0, 2, 0, 1]
    assert fb.bincount(x, fb.tensor([0.5, 1.0, 2.0]), minlength=6).tolist() == [0, 2.5, 0, 1, 0, 0]
    assert fb.bincount(fb.empty(0, dtype=fb.int64)).shape == (0,)
    data = np.random.default_rng(0).standard_normal(100)
    assert fb.histc(fb.tensor(data), 7, -1, 1).tolist() == np.histogram(data, 7, (-1, 1))[0].tolist()
    assert fb.histc(fb.tensor(data), 5).tolist() == np.histogram(data, 5)[0].tolist()
    with pytest.raises(ValueError, match=r"smallest element is -1"):
        fb.bincount(fb.tensor([-1]))


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_unique(axis: int | None) -> None:
    data = np.random.default_rng(4).integers(0, 2, (6, 3))
    values, inverse, counts = fb.unique(fb.tensor(data), return_inverse=True, return_counts=True, dim=axis)
    wanted = np.unique(data, return_inverse=True, return_counts=True, axis=axis)
    assert values.tolist() == wanted[0].tolist() and counts.tolist() == wanted[2].tolist()
    assert inverse.reshape(-1).tolist() == wanted[1].reshape(-1).tolist()
    assert inverse.shape == (data.shape if axis is None else (data.shape[axis],))


def test_unique_consecutive() -> None:
    values, inverse, counts = fb.unique_consecutive(fb.tensor([2, 2, 1, 2]), return_inverse=True, return_counts=True)
    assert values.tolist() == [2, 1, 2] and inverse.tolist() == [0, 0, 1, 2] and counts.tolist() == [2, 1, 1]
    assert fb.unique(fb.empty(0)).shape == (0,)


# -- inside transforms -------------------------------------------------------------------------------
def test_indexing_inside_vmap() -> None:
    x, i = fb.arange(12.0).reshape(3, 4), fb.tensor([3, 0, 1])
    assert fb.func.vmap(lambda row, k: row[k])(x, i).tolist() == [3, 4, 9]

    def write(row: Any, k: Any) -> Any:
        out = row.clone()
        out[k] = -1.0
        out[row > 10] = 0.0
        return out

    assert fb.func.vmap(write)(x, i).tolist() == [[0, 1, 2, -1], [-1, 5, 6, 7], [8, -1, 10, 0]]
    with pytest.raises((RuntimeError, TypeError), match=r"vmap"):
        fb.func.vmap(fb.nonzero)(x)
