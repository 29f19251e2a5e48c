"""Layout rules against numpy's views: same shape, and the same elements of the storage in the same places."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.backends import layout as lay

SIZE = 400
STORAGE = np.arange(SIZE)
ITEM = STORAGE.itemsize


def seen(layout: lay.Triple) -> np.ndarray:
    """The storage through a layout; each element of STORAGE is its own position."""
    shape, strides, offset = layout
    lay.check_bounds(shape, strides, offset, SIZE)
    assert 0 <= offset < SIZE
    if 0 in shape:
        return np.empty(shape, STORAGE.dtype)
    return np.lib.stride_tricks.as_strided(STORAGE[offset:], shape, [s * ITEM for s in strides])


@st.composite
def layouts(draw: st.DrawFn, max_ndim: int = 4) -> lay.Triple:
    """A strided window of the storage: gaps, permuted axes, negative steps, repeated axes, empty axes."""
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=max_ndim)))
    strides = [0] * len(shape)
    step = draw(st.sampled_from((1, 1, 2)))
    for axis in draw(st.permutations(range(len(shape)))):
        kind = draw(st.sampled_from(("plain", "plain", "plain", "gap", "back", "repeat")))
        strides[axis] = {"plain": step, "gap": step, "back": -step, "repeat": 0}[kind]
        step = step * max(shape[axis], 1) + (kind == "gap") if kind != "repeat" else step
    low = -sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s < 0 and n)
    high = sum((n - 1) * s for n, s in zip(shape, strides, strict=True) if s > 0 and n)
    span = SIZE - 1 - low - high
    if span < 0:
        return (2, 3), (1, 2), 5
    return shape, tuple(strides), low + draw(st.integers(0, min(span, 7)))


@st.composite
def indices(draw: st.DrawFn, shape: tuple[int, ...]) -> list[int | slice | None]:
    entries: list[int | slice | None] = []
    for n in shape:
        if draw(st.booleans()) and len(entries) < 6:
            entries.append(None)
        if n and draw(st.booleans()):
            entries.append(draw(st.integers(-n, n - 1)))
        else:
            entries.append(draw(st.slices(n)))
    return entries


@given(st.data(), layouts())
def test_basic_index(data: st.DataObject, layout: lay.Triple) -> None:
    index = data.draw(indices(layout[0]))
    found = lay.basic_index(*layout, index)
    np.testing.assert_array_equal(seen(found), seen(layout)[tuple(index)])
    assert lay.index_shape(layout[0], index) == found[0]


@pytest.mark.parametrize("index", [(4, 0), (0, -4), (0,), (0, 0, 0)])
def test_index_out_of_range(index: tuple[int, ...]) -> None:
    with pytest.raises(IndexError, match="basic_index"):
        lay.basic_index((4, 3), (3, 1), 0, index)


def test_empty_views_stay_inside_an_empty_storage() -> None:
    assert lay.basic_index((0, 2), (2, 1), 0, (slice(None), slice(1, 2)))[2] == 0
    assert lay.basic_index((4, 0), (1, 1), 0, (3, slice(None)))[2] == 0
    assert lay.basic_index((4,), (1,), 0, (slice(4, 4),))[2] == 0
    assert lay.diagonal((0, 3, 3), (9, 3, 1), 0, 1, 1, 2)[2] == 0
    assert lay.flip((0, 3), (3, 1), 0, (1,))[2] == 0


def test_new_axis_has_the_stride_of_unsqueeze() -> None:
    assert lay.basic_index((2, 3), (3, 1), 0, (None, slice(None), None, slice(None), None))[1] == (6, 3, 3, 1, 1)


@given(st.data(), layouts())
def test_permute(data: st.DataObject, layout: lay.Triple) -> None:
    axes = data.draw(st.permutations(range(len(layout[0]))))
    np.testing.assert_array_equal(seen(lay.permute(*layout, axes)), seen(layout).transpose(axes))


@given(st.data(), layouts())
def test_flip(data: st.DataObject, layout: lay.Triple) -> None:
    axes = data.draw(st.sets(st.sampled_from(range(len(layout[0]))))) if layout[0] else set()
    np.testing.assert_array_equal(seen(lay.flip(*layout, tuple(axes))), np.flip(seen(layout), tuple(axes)))


@st.composite
def regroupings(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Another shape with as many elements: axes joined, split, or of size 1."""
    new: list[int] = []
    for n in shape:
        if new and draw(st.booleans()):
            new[-1] *= n
        elif n == 4 and draw(st.booleans()):
            new += [2, 2]
        else:
            new.append(n)
        if draw(st.integers(0, 3)) == 0:
            new.append(1)
    return tuple(new)


@given(st.data(), layouts())
@settings(max_examples=300)
def test_view_is_reshape_without_a_copy(data: st.DataObject, layout: lay.Triple) -> None:
    new = data.draw(regroupings(layout[0]))
    expected = seen(layout).reshape(new)
    try:
        found = lay.view(*layout, new)
    except lay.CopyNeededError:
        assert expected.size and not reachable(expected)
        return
    np.testing.assert_array_equal(seen(found), expected)


def reachable(positions: np.ndarray) -> bool:
    """Whether any strides reach exactly these positions."""
    for axis in range(positions.ndim):
        steps = np.diff(positions, axis=axis)
        if steps.size and (steps != steps.flat[0]).any():
            return False
    return True


def test_view_errors() -> None:
    with pytest.raises(lay.CopyNeededError, match=r"\(2, 3\) with strides \(1, 2\)"):
        lay.view((2, 3), (1, 2), 0, (6,))
    with pytest.raises(lay.LayoutError, match="has 5 elements"):
        lay.view((2, 3), (3, 1), 0, (5,))


@given(st.data(), layouts(max_ndim=3))
def test_expand(data: st.DataObject, layout: lay.Triple) -> None:
    front = data.draw(st.lists(st.integers(0, 3), max_size=2))
    new = (*front, *(data.draw(st.integers(0, 4)) if n == 1 else n for n in layout[0]))
    np.testing.assert_array_equal(seen(lay.expand(*layout, new)), np.broadcast_to(seen(layout), new))
    assert lay.expand_shape(layout[0], new) == new


@pytest.mark.parametrize("new", [(3,), (4, 3), (2, 4)])
def test_expand_errors(new: tuple[int, ...]) -> None:
    with pytest.raises(lay.LayoutError, match="expand"):
        lay.expand((2, 3), (3, 1), 0, new)


@given(st.data(), layouts().filter(lambda t: len(t[0]) >= 2), st.integers(-5, 5))
def test_diagonal(data: st.DataObject, layout: lay.Triple, k: int) -> None:
    first, second = data.draw(st.permutations(range(len(layout[0]))))[:2]
    found = lay.diagonal(*layout, k, first, second)
    np.testing.assert_array_equal(seen(found), np.diagonal(seen(layout), k, first, second))
    assert lay.diagonal_shape(layout[0], k, first, second) == found[0]


@given(st.data(), layouts().filter(lambda t: len(t[0]) > 0))
def test_unfold(data: st.DataObject, layout: lay.Triple) -> None:
    axis = data.draw(st.sampled_from(range(len(layout[0]))))
    size, step = data.draw(st.integers(0, layout[0][axis])), data.draw(st.integers(1, 3))
    x = seen(layout)
    starts = range(0, x.shape[axis] - size + 1, step)
    windows = [x.take(range(s, s + size), axis) for s in starts]
    expected = np.moveaxis(np.stack(windows, axis), axis + 1, -1)
    found = lay.unfold(*layout, axis, size, step)
    np.testing.assert_array_equal(seen(found), expected)
    assert lay.unfold_shape(layout[0], axis, size, step) == found[0]


def test_unfold_of_a_number_and_errors() -> None:
    assert lay.unfold((), (), 3, 0, 1, 1) == ((1,), (1,), 3)
    with pytest.raises(lay.LayoutError, match="size 4 does not fit"):
        lay.unfold((3,), (1,), 0, 0, 4, 1)
    with pytest.raises(lay.LayoutError, match="step must be positive"):
        lay.unfold((3,), (1,), 0, 0, 1, 0)


@pytest.mark.parametrize("old, new", list(itertools.product((np.int8, np.int16, np.int64), repeat=2)))
def test_view_dtype(old: type, new: type) -> None:
    storage = np.arange(96, dtype=old)
    x = storage[:64].reshape(4, 16)[1:]
    old_size, new_size = np.dtype(old).itemsize, np.dtype(new).itemsize
    shape, strides, offset = lay.view_dtype((3, 16), (16, 1), 16, old_size, new_size)
    expected = x.view(new)
    assert shape == expected.shape
    assert tuple(s * new_size for s in strides) == expected.strides
    assert offset * new_size == 16 * old_size


def test_view_dtype_errors() -> None:
    with pytest.raises(lay.LayoutError, match="0-d"):
        lay.view_dtype((), (), 0, 4, 8)
    with pytest.raises(lay.LayoutError, match="not a multiple of 2"):
        lay.view_dtype((3,), (1,), 0, 4, 8)
    with pytest.raises(lay.CopyNeededError, match="stride 1"):
        lay.view_dtype((4,), (2,), 0, 4, 8)
    with pytest.raises(lay.CopyNeededError, match="multiples of 2"):
        lay.view_dtype((2, 4), (5, 1), 0, 4, 8)
    with pytest.raises(lay.CopyNeededError, match="multiples of 2"):
        lay.view_dtype((4,), (1,), 1, 4, 8)


@given(layouts(max_ndim=3))
def test_complex_views(layout: lay.Triple) -> None:
    real = lay.view_as_real(*layout)
    assert lay.view_as_complex(*real) == layout
    assert lay.complex_shape(real[0]) == layout[0]


@pytest.mark.parametrize(
    "layout", [((3,), (1,), 0), ((), (), 0), ((3, 2), (2, 2), 0), ((3, 2), (3, 1), 0), ((2,), (1,), 1)]
)
def test_view_as_complex_errors(layout: lay.Triple) -> None:
    with pytest.raises(lay.LayoutError, match="view_as_complex"):
        lay.view_as_complex(*layout)


@given(st.lists(st.lists(st.sampled_from((0, 1, 2, 3)), max_size=4).map(tuple), min_size=1, max_size=3))
def test_broadcast_shapes(shapes: list[tuple[int, ...]]) -> None:
    try:
        expected = np.broadcast_shapes(*shapes)
    except ValueError:
        with pytest.raises(lay.LayoutError, match="do not broadcast: the size of tensor a"):
            lay.broadcast_shapes(*shapes)
        return
    assert lay.broadcast_shapes(*shapes) == expected


@given(st.data(), layouts())
def test_reduced_shape(data: st.DataObject, layout: lay.Triple) -> None:
    shape = layout[0]
    axes = data.draw(st.none() | st.sets(st.sampled_from(range(len(shape)))).map(tuple)) if shape else None
    keepdims = data.draw(st.booleans())
    assert lay.reduced_shape(shape, axes, keepdims) == np.sum(np.zeros(shape), axes, keepdims=keepdims).shape


#: Shape, strides, whether torch 2.13 calls them contiguous, and the strides of its clone.
TORCH = [
    ((2, 3), (3, 1), True, (3, 1)),
    ((2, 3), (1, 2), False, (1, 2)),
    ((2, 3), (0, 1), False, (3, 1)),
    ((2, 3), (6, 2), False, (3, 1)),
    ((2, 3), (2, 6), False, (1, 2)),
    ((2, 3, 4), (1, 8, 2), False, (1, 8, 2)),
    ((2, 3, 4), (24, 0, 2), False, (12, 4, 1)),
    ((3, 2), (1, 0), False, (2, 1)),
    ((1, 3), (5, 1), True, (5, 1)),
    ((2, 1, 3), (3, 7, 1), True, (3, 7, 1)),
    ((0, 3), (5, 2), True, (5, 2)),
    ((4, 4), (1, 1), False, (4, 1)),
    ((2, 2, 2), (4, 4, 1), False, (4, 2, 1)),
    ((3,), (5,), False, (1,)),
    ((), (), True, ()),
]


@pytest.mark.parametrize("shape, strides, contiguous, cloned", TORCH)
def test_contiguity_and_clones_as_in_torch(
    shape: tuple[int, ...], strides: tuple[int, ...], contiguous: bool, cloned: tuple[int, ...]
) -> None:
    assert lay.is_contiguous(shape, strides) == contiguous
    assert lay.dense_strides(shape, strides) == cloned


@given(layouts())
def test_contiguous_strides(layout: lay.Triple) -> None:
    shape = layout[0]
    strides = lay.contiguous_strides(shape)
    assert lay.is_contiguous(shape, strides)
    if 0 not in shape:
        assert strides == tuple(s // ITEM for s in np.empty(shape, STORAGE.dtype).strides)


@given(layouts())
def test_dense_strides_have_no_gaps(layout: lay.Triple) -> None:
    shape, strides, _ = layout
    dense = lay.dense_strides(shape, strides)
    assert lay.reach(shape, dense, 0) in (None, (0, prod(shape) - 1))
    assert not lay.has_internal_overlap(shape, dense)


@given(layouts())
def test_coalesce_walks_the_same_elements(layout: lay.Triple) -> None:
    shape, strides, offset = layout
    other = lay.contiguous_strides(shape)
    joined, (a, b) = lay.coalesce(shape, strides, other)
    np.testing.assert_array_equal(seen((joined, a, offset)).ravel(), seen(layout).ravel())
    np.testing.assert_array_equal(seen((joined, b, 0)).ravel(), seen((shape, other, 0)).ravel())
    assert 1 not in joined


def test_coalesce_of_contiguous_arrays_is_one_axis() -> None:
    assert lay.coalesce((2, 3, 1, 4), (12, 4, 4, 1), (12, 4, 9, 1)) == ((24,), ((1,), (1,)))
    assert lay.coalesce((), ()) == ((), ((),))


# -- memory ------------------------------------------------------------------------------------------
@given(layouts())
def test_reach(layout: lay.Triple) -> None:
    x = seen(layout)
    assert lay.reach(*layout) == ((x.min(), x.max()) if x.size else None)


@pytest.mark.parametrize("layout", [((3,), (1,), -1), ((3,), (1,), 6), ((3,), (-1,), 1), ((3, 2), (4, 1), 0)])
def test_check_bounds(layout: lay.Triple) -> None:
    with pytest.raises(lay.LayoutError, match="outside of a storage of 8"):
        lay.check_bounds(*layout, 8)


def test_check_bounds_of_the_description() -> None:
    lay.check_bounds((0, 3), (100, 100), 0, 8)
    with pytest.raises(lay.LayoutError, match="differ in length"):
        lay.check_bounds((3,), (), 0, 8)
    with pytest.raises(lay.LayoutError, match="negative size"):
        lay.check_bounds((-1,), (1,), 0, 8)


free_strides = st.lists(st.tuples(st.integers(0, 4), st.integers(-7, 7)), max_size=4)


@given(free_strides)
@settings(max_examples=300)
def test_internal_overlap_is_exact(axes: list[tuple[int, int]]) -> None:
    shape, strides = tuple(n for n, _ in axes), tuple(s for _, s in axes)
    x = seen((shape, strides, 150))
    assert lay.has_internal_overlap(shape, strides) == (np.unique(x).size != x.size)


@given(free_strides, free_strides, st.integers(-12, 12))
@settings(max_examples=300)
def test_sharing_is_exact(first: list[tuple[int, int]], second: list[tuple[int, int]], shift: int) -> None:
    a: lay.Triple = (tuple(n for n, _ in first), tuple(s for _, s in first), 150)
    b: lay.Triple = (tuple(n for n, _ in second), tuple(s for _, s in second), 150 + shift)
    assert lay.may_share(a, b) == bool(np.intersect1d(seen(a), seen(b)).size)


def test_the_search_gives_up_on_the_safe_side(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = ((50, 50), (60, 7), 0), ((50, 50), (62, 11), 3)
    monkeypatch.setattr(lay, "SEARCH_LIMIT", 0)
    assert lay.may_share(a, b)


@pytest.mark.parametrize(
    "a, b, expected",
    [
        (((7,), (1,), 1), ((7,), (1,), 0), True),  # x[1:] += x[:-1]
        (((7,), (1,), 0), ((7,), (1,), 0), False),  # x += x
        (((4,), (2,), 0), ((4,), (2,), 1), False),  # x[::2] += x[1::2]
        (((8,), (1,), 0), ((8,), (-1,), 7), True),  # x += x.flip
        (((3, 3), (3, 1), 0), ((3, 3), (1, 3), 0), True),  # x += x.T
        (((3, 3), (3, 1), 0), ((3, 3), (0, 1), 0), True),  # x += x[0]
        (((1, 3), (3, 1), 0), ((1, 3), (9, 1), 0), False),  # an axis of size 1 does not count
    ],
)
def test_partial_overlap(a: lay.Triple, b: lay.Triple, expected: bool) -> None:
    assert lay.partially_overlaps(a, b) is expected
