"""Strided arrays, storage over flat memory, and the adapter from plain kernels to the contract."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.backends import layout as lay
from flambeau.backends.adapter import RESULTS, broadcast, elementwise
from flambeau.backends.base import OutOfMemoryError
from flambeau.backends.strided import StridedArray, partly_overlaps
from flambeau.core import config
from flambeau.core import dtype as dt
from tests.backends.flat import FlatBackend, on_views, seen
from tests.backends.hosts import floats, put


@pytest.fixture
def backend() -> FlatBackend:
    return FlatBackend()


# -- storage -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)])
def test_values_go_there_and_back(backend: FlatBackend, dtype: dt.DType, shape: tuple[int, ...]) -> None:
    host = (np.arange(int(np.prod(shape))).reshape(shape) % 2).astype(dtype.numpy)
    array = backend.from_host(host, dtype, 1)
    assert (array.shape, array.dtype, array.index) == (shape, dtype, 1)
    back = backend.to_host(array)
    assert back.dtype == dtype.numpy and back.flags.writeable
    np.testing.assert_array_equal(back, host)


def test_from_host_takes_any_strides(backend: FlatBackend) -> None:
    host = floats(4, 6)[::2, ::-3].T
    np.testing.assert_array_equal(backend.to_host(put(backend, host)), host)


def test_to_host_reads_views(backend: FlatBackend) -> None:
    x = put(backend, floats(4, 6))
    view = x.viewed(*lay.flip(*lay.permute(*lay.basic_index(*x.layout, (slice(1, 4, 2), slice(1, 5))), (1, 0)), (0,)))
    np.testing.assert_array_equal(backend.to_host(view), floats(4, 6)[1:4:2, 1:5].T[::-1])


SLICES = [
    (slice(None), slice(None)),
    (slice(1, 3), slice(None)),
    (slice(None, None, -1), slice(1, 5)),
    (slice(None), slice(None, None, -2)),
    (slice(2, 3), slice(0, 6, 3)),
]


@pytest.mark.parametrize("at", SLICES)
@pytest.mark.parametrize("target", [dt.float32, dt.int16, dt.bool_, dt.complex64, dt.bfloat16], ids=lambda d: d.name)
def test_copy_into_casts_and_keeps_what_lies_between(backend: FlatBackend, at: Any, target: dt.DType) -> None:
    expected = np.zeros((4, 6), target.numpy)
    dst = put(backend, expected)
    view = dst.viewed(*lay.basic_index(*dst.layout, at))
    values = floats(*view.shape) - 2
    backend.copy_into(view, put(backend, values))
    expected[at] = values.astype(target.numpy)
    np.testing.assert_array_equal(backend.to_host(dst), expected)


def test_copy_into_broadcasts_and_drops_the_imaginary_part(backend: FlatBackend) -> None:
    dst = put(backend, floats(3, 2))
    backend.copy_into(dst, put(backend, np.array([1 + 2j, 3], np.complex64)))
    np.testing.assert_array_equal(backend.to_host(dst), [[1, 3]] * 3)
    with pytest.raises(lay.LayoutError, match="expand"):
        backend.copy_into(dst, put(backend, floats(3)))


def test_copy_into_itself_shifted(backend: FlatBackend) -> None:
    x = put(backend, floats(9))
    backend.copy_into(x.viewed((8,), (1,), 1), x.viewed((8,), (1,), 0))
    np.testing.assert_array_equal(backend.to_host(x), [1, 1, 2, 3, 4, 5, 6, 7, 8])


def test_a_backends_own_copy_is_used_and_sees_no_overlap() -> None:
    class Copying(FlatBackend):
        calls = 0

        def copy(self, dst: StridedArray, src: StridedArray) -> None:
            self.calls += 1
            assert dst.shape == src.shape and not partly_overlaps(dst, src)
            for at in np.ndindex(dst.shape):
                seen(dst)[at] = seen(src)[at]

    backend = Copying()
    x = put(backend, floats(5))
    backend.copy_into(x.viewed((4,), (1,), 1), x.viewed((4,), (1,), 0))
    np.testing.assert_array_equal(backend.to_host(x), [1, 1, 2, 3, 4])
    assert backend.calls == 2


def test_identity_of_storage(backend: FlatBackend) -> None:
    x, y = put(backend, floats(4)), put(backend, floats(4))
    view = backend.as_strided(x, (2,), (2,), 1)
    assert backend.storage_id(view) == backend.storage_id(x) != backend.storage_id(y)
    assert backend.storage_nbytes(view) == 16
    assert backend.layout(view) == ((2,), (2,), 1)
    assert backend.as_strided(x, (2,), (1,), 1, dt.complex64).dtype is dt.complex64


def test_arrays_do_not_pass_for_numpys(backend: FlatBackend) -> None:
    x = put(backend, floats(2))
    with pytest.raises(TypeError, match="to_host"):
        np.asarray(x)
    with pytest.raises(TypeError):
        np.float32(1) + x  # type: ignore[operator]
    assert "shape=(2,)" in repr(x)


def test_constants_wrap_around(backend: FlatBackend) -> None:
    """An expression's -1 stands for all ones, whatever the integer."""
    assert backend.to_host(backend.constant(-1, dt.uint8)).item() == 255
    assert backend.to_host(backend.constant(2.5, dt.bfloat16)).item() == 2.5


# -- memory ------------------------------------------------------------------------------------------
def test_memory_is_counted_and_given_back(backend: FlatBackend) -> None:
    x = put(backend, floats(10), 1)
    view = backend.as_strided(x, (2,), (1,), 0)
    del x
    stats = backend.memory_stats(1)
    assert (stats.allocated, stats.peak, stats.allocations) == (40, 40, 1)
    del view
    gc.collect()
    stats = backend.memory_stats(1)
    assert (stats.allocated, stats.peak) == (0, 40)
    assert backend.memory_stats(0).allocations == 0


def test_an_array_beyond_the_largest_is_refused(backend: FlatBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "largest_array", lambda index=0: 40)
    assert backend.empty((10,), dt.float32, 1).size == 10
    with pytest.raises(OutOfMemoryError, match="flat:1: an array can have 40 bytes at most, 44 are asked for"):
        backend.empty((11,), dt.float32, 1)
    assert backend.memory_stats(1).allocated == 0


def test_the_limit_is_a_clear_error_and_the_device_goes_on(backend: FlatBackend) -> None:
    backend.set_memory_limit(100)
    x = put(backend, floats(20))
    with pytest.raises(OutOfMemoryError, match="flat:0: out of memory: 40 bytes asked for, 80 of 100 are in use"):
        put(backend, floats(10))
    assert backend.memory_stats().allocated == 80
    put(backend, floats(5))
    del x
    put(backend, floats(20))
    with pytest.raises(ValueError, match="negative"):
        backend.set_memory_limit(-1)


def test_the_setting_limits_each_device() -> None:
    with config.override(memory_limit=50):
        backend = FlatBackend()
        x, y = put(backend, floats(10)), put(backend, floats(10), 1)
        with pytest.raises(OutOfMemoryError, match="40 of 50"):
            put(backend, floats(3), 1)
        backend.set_memory_limit(None, 1)
        put(backend, floats(3), 1)
    assert x.size == y.size


def test_a_failing_driver_is_out_of_memory_too() -> None:
    class Full(FlatBackend):
        def allocate(self, nbytes: int, index: int) -> bytearray:
            raise MemoryError

    backend = Full()
    with pytest.raises(OutOfMemoryError, match="8 bytes could not be allocated"):
        backend.empty((2,), dt.float32)
    assert backend.memory_stats().allocated == 0


def test_threads_keep_the_account_straight(backend: FlatBackend) -> None:
    def work() -> None:
        for _ in range(300):
            backend.empty((3,), dt.float32)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    stats = backend.memory_stats()
    assert (stats.allocated, stats.allocations) == (0, 1200)


# -- overlap -----------------------------------------------------------------------------------------
def test_sharing_across_dtypes_counts_bytes(backend: FlatBackend) -> None:
    x = put(backend, floats(4))
    last = backend.as_strided(x, (2,), (1,), 14, dt.bool_)
    assert partly_overlaps(x.viewed((1,), (1,), 3), last)
    assert not partly_overlaps(x.viewed((3,), (1,), 0), last)
    assert not partly_overlaps(x, put(backend, floats(4)))


# -- the adapter, elementwise ------------------------------------------------------------------------
def adding(backend: FlatBackend, **how: Any) -> Any:
    backend.kernels.add("add", on_views(np.add), **how)
    return backend.kernels.find("add", dt.float32)


def test_operands_broadcast(backend: FlatBackend) -> None:
    add = adding(backend)
    out = add(put(backend, floats(3, 1), 1), put(backend, floats(2), 1))
    assert out.index == 1 and out.is_contiguous
    np.testing.assert_array_equal(backend.to_host(out), floats(3, 1) + floats(2))


@pytest.mark.parametrize("contiguous", [True, False, ("out",), ("out", "y")])
def test_kernels_get_contiguous_what_they_declared(backend: FlatBackend, contiguous: Any) -> None:
    dense: list[bool] = []

    def add(out: StridedArray, x: StridedArray, y: StridedArray) -> None:
        dense[:] = [a.is_contiguous for a in (out, x, y)]
        seen(out)[...] = seen(x) + seen(y)

    backend.kernels.add("add", add, contiguous=contiguous)
    kernel = backend.kernels.find("add", dt.float32)
    x = put(backend, floats(3, 2))
    turned = x.viewed(*lay.permute(*x.layout, (1, 0)))
    target = put(backend, floats(3, 2))
    out = target.viewed(*lay.permute(*target.layout, (1, 0)))
    kernel(turned, turned, out=out)
    np.testing.assert_array_equal(backend.to_host(target), 2 * floats(3, 2))
    names = {True: ("out", "x", "y"), False: ()}.get(contiguous, contiguous)
    assert dense == [n in names for n in ("out", "x", "y")]


def test_declaring_an_unknown_argument(backend: FlatBackend) -> None:
    with pytest.raises(TypeError, match=r"contiguous names \['z'\], its parameters are"):
        backend.kernels.add("neg", lambda out, x: None, contiguous=("z",))


def one_by_one(out: StridedArray, a: StridedArray, b: StridedArray) -> None:
    """An addition that goes through the memory forwards: numpy's own would notice an overlap."""
    o, p, q = seen(out), seen(a), seen(b)
    for i in range(len(o)):
        o[i] = p[i] + q[i]


@given(st.data())
def test_out_may_overlap_operands(data: st.DataObject) -> None:
    backend = FlatBackend()
    backend.kernels.add("add", one_by_one, contiguous=data.draw(st.booleans()))
    host = floats(24)
    x = put(backend, host)
    views = st.tuples(st.sampled_from((1, 2, 3, -1, -2)), st.integers(0, 8))

    def window(step: int, start: int) -> slice:
        first = start if step > 0 else start + 5 * -step
        last = first + 6 * step
        return slice(first, last if last >= 0 else None, step)

    out, a, b = (window(*data.draw(views)) for _ in range(3))
    expected = host.copy()
    expected[out] = host[a] + host[b]
    arrays = [x.viewed(*lay.basic_index(*x.layout, (w,))) for w in (a, b, out)]
    result = backend.kernels.find("add", dt.float32)(*arrays[:2], out=arrays[2])
    assert result is arrays[2]
    np.testing.assert_array_equal(backend.to_host(x), expected)


def test_adding_to_itself_shifted_over_thousands(backend: FlatBackend) -> None:
    x = put(backend, floats(8192))
    backend.kernels.add("add", one_by_one, contiguous=False)
    low, high = x.viewed((8191,), (1,), 0), x.viewed((8191,), (1,), 1)
    backend.kernels.find("add", dt.float32)(high, low, out=high)
    expected = floats(8192)
    expected[1:] += floats(8192)[:-1]
    np.testing.assert_array_equal(backend.to_host(x), expected)


def test_out_of_another_dtype_or_shape(backend: FlatBackend) -> None:
    add = adding(backend)
    out = backend.empty((2,), dt.float64)
    add(put(backend, floats(2)), put(backend, floats(2)), out=out)
    np.testing.assert_array_equal(backend.to_host(out), [2, 4])
    with pytest.raises(lay.LayoutError, match=r"add: out has shape \(2,\), the result \(3,\)"):
        add(put(backend, floats(3)), put(backend, floats(3)), out=out)


def test_results_have_the_dtype_of_the_op(backend: FlatBackend) -> None:
    table = backend.kernels
    table.add("abs", on_views(np.abs))
    table.add("lt", on_views(np.less))
    table.add("where", on_views(np.where))
    z, x = put(backend, np.array([3 + 4j], np.complex64)), put(backend, floats(1))
    absolute = table.find("abs", dt.complex64)(z)
    smaller = table.find("lt", dt.float32)(x, absolute)
    chosen = table.find("where", dt.float32)(smaller, x, absolute)
    assert [a.dtype for a in (absolute, smaller, chosen)] == [dt.float32, dt.bool_, dt.float32]
    assert backend.to_host(chosen).tolist() == [1]


def test_empty_results_need_no_kernel(backend: FlatBackend) -> None:
    def never(out: StridedArray, x: StridedArray) -> None:
        raise AssertionError("called for nothing")

    backend.kernels.add("neg", never)
    assert backend.kernels.find("neg", dt.float32)(put(backend, floats(0))).shape == (0,)


def test_a_result_rule_of_the_authors_own(backend: FlatBackend) -> None:
    backend.kernels.add(
        "outer", on_views(np.multiply.outer), result=lambda x, y: ((*x.shape, *y.shape), x.dtype), contiguous=False
    )
    out = backend.kernels.find("outer", dt.float32)(put(backend, floats(2)), put(backend, floats(3)))
    np.testing.assert_array_equal(backend.to_host(out), np.multiply.outer(floats(2), floats(3)))


def test_the_decorator(backend: FlatBackend) -> None:
    @backend.kernels.plain("neg", dt.FLOATS, contiguous=False)
    def neg(out: StridedArray, x: StridedArray) -> None:
        seen(out)[...] = -seen(x)

    assert backend.kernels.find("neg", dt.int8) is None
    assert backend.to_host(backend.kernels.find("neg", dt.float32)(put(backend, floats(2)))).tolist() == [-1, -2]


# -- the adapter, rows -------------------------------------------------------------------------------
SHAPES_AND_AXES = [((), None), ((), 0), ((5,), 0), ((2, 3), None), ((2, 3), (0,)), ((2, 3, 4), (0, 2)), ((2, 3, 4), 1)]


@pytest.mark.parametrize(
    "shape, axis", [*SHAPES_AND_AXES, ((0, 3), 0), ((0, 3), (1,)), ((2, 0), None), ((2, 0, 3), (0, 1))]
)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_reductions_over_rows(backend: FlatBackend, shape: Any, axis: Any, keepdims: bool, turned: bool) -> None:
    def total(out: StridedArray, x: StridedArray) -> None:
        assert out.ndim == 1 and x.ndim == 2 and x.is_contiguous
        seen(out)[...] = seen(x).sum(1)

    backend.kernels.add("sum", total, rows=True)
    host = floats(*shape)
    x = put(backend, host)
    if turned:
        x, host = x.viewed(*lay.permute(*x.layout, range(len(shape))[::-1])), host.T
    if axis == 0 and not shape:
        expected: Any = host
    else:
        expected = host.sum(axis, keepdims=keepdims)
    out = backend.kernels.find("sum", dt.float32)(x, axis=axis, keepdims=keepdims)
    assert out.shape == expected.shape
    np.testing.assert_array_equal(backend.to_host(out), expected)


@pytest.mark.parametrize("shape, axis", [((), 0), ((5,), 0), ((3, 4), 0), ((2, 3, 4), 1), ((0, 3), 1)])
def test_sorting_along_an_axis(backend: FlatBackend, shape: Any, axis: int) -> None:
    def argsort(out: StridedArray, x: StridedArray, descending: bool) -> None:
        assert x.ndim == 2 and x.is_contiguous and not descending
        seen(out)[...] = np.argsort(seen(x), 1, kind="stable")

    backend.kernels.add("argsort", argsort, rows=True)
    host = np.sin(floats(*shape))
    out = backend.kernels.find("argsort", dt.float32)(put(backend, host), axis=axis, descending=False)
    assert out.dtype is dt.int64 and out.is_contiguous
    np.testing.assert_array_equal(backend.to_host(out), np.argsort(host, axis if shape else None).reshape(shape))


def register_indexing(backend: FlatBackend) -> None:
    def gather(out: StridedArray, x: StridedArray, index: StridedArray) -> None:
        seen(out)[...] = np.take_along_axis(seen(x), seen(index), 1)

    def scatter(out: StridedArray, index: StridedArray, src: StridedArray, reduce: str) -> None:
        rows = np.arange(index.shape[0])[:, None]
        if reduce == "set":
            seen(out)[rows, seen(index)] = seen(src)
        else:
            np.add.at(seen(out), (rows, seen(index)), seen(src))

    backend.kernels.add("gather", gather, rows=True)
    backend.kernels.add("scatter", scatter, rows=True)


CASES = [
    ((), (), 0),
    ((4,), (3,), 0),
    ((3, 4), (2, 4), 0),
    ((3, 4), (2, 3), 1),
    ((3, 2, 4), (2, 5, 3), 1),
    ((3, 2), (0, 2), 0),
]


@pytest.mark.parametrize("shape, places, axis", CASES)
def test_gather_and_scatter(backend: FlatBackend, shape: Any, places: Any, axis: int) -> None:
    register_indexing(backend)
    host, size = floats(*shape), shape[axis] if shape else 1
    index = np.arange(int(np.prod(places))).reshape(places) % size
    source = -floats(*(n + 1 for n in places))
    x, where, src = put(backend, host), put(backend, index), put(backend, source)
    gathered = backend.to_host(backend.kernels.find("gather", dt.float32)(x, where, axis=axis))
    scatter = backend.kernels.find("scatter", dt.float32)
    added = backend.to_host(scatter(x, where, src, axis=axis, reduce="add"))
    written = backend.to_host(scatter(x, where, src, axis=axis, reduce="set"))
    sums, last, picked = host.copy(), host.copy(), np.empty(places, np.float32)
    for at in np.ndindex(places):
        to = (*at[:axis], index[at], *at[axis + 1 :]) if shape else ()
        picked[at] = host[to]
        sums[to] += source[at]
        last[to] = source[at]
    np.testing.assert_array_equal(gathered, picked)
    np.testing.assert_array_equal(added, sums)
    np.testing.assert_array_equal(written, last)
    np.testing.assert_array_equal(backend.to_host(x), host)


@pytest.mark.parametrize(
    "x, y", [((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 1, 2, 3), (4, 3, 2)), ((0, 3), (3, 2)), ((2, 0), (0, 3))]
)
def test_matmul_in_batches(backend: FlatBackend, x: Any, y: Any) -> None:
    def matmul(out: StridedArray, a: StridedArray, b: StridedArray) -> None:
        assert out.ndim == a.ndim == b.ndim == 3 and a.is_contiguous and b.is_contiguous
        np.matmul(seen(a), seen(b), out=seen(out))

    backend.kernels.add("matmul", matmul, rows=True)
    kernel = backend.kernels.find("matmul", dt.float32)
    out = kernel(put(backend, floats(*x)), put(backend, floats(*y)))
    np.testing.assert_array_equal(backend.to_host(out), floats(*x) @ floats(*y))
    with pytest.raises(lay.LayoutError, match="matmul: shapes"):
        kernel(put(backend, floats(2, 3)), put(backend, floats(2, 3)))


# -- the adapter, arrays from nothing ----------------------------------------------------------------
def test_makers_get_the_result_alone(backend: FlatBackend) -> None:
    def arange(out: StridedArray, start: float, step: float) -> None:
        seen(out)[...] = start + step * np.arange(out.size)

    backend.kernels.add("arange", arange)
    out = backend.kernels.find("arange", dt.int16)(3, 2, length=4, dtype=dt.int16, index=1)
    assert (out.dtype, out.index) == (dt.int16, 1)
    assert backend.to_host(out).tolist() == [3, 5, 7, 9]
    backend.kernels.add("random_bits", lambda out, seed, offset: seen(out).fill(seed + offset))
    assert backend.to_host(backend.kernels.find("random_bits", dt.uint32)(2, 3, length=2, index=0)).tolist() == [5, 5]


RULES: list[tuple[str, list[tuple[int, ...]], dict[str, Any], tuple[tuple[int, ...], dt.DType]]] = [
    ("exp", [(2, 3)], {}, ((2, 3), dt.float32)),
    ("add", [(2, 3), (3,)], {}, ((2, 3), dt.float32)),
    ("eq", [(2, 3), ()], {}, ((2, 3), dt.bool_)),
    ("sum", [(2, 3)], dict(axis=(0,), keepdims=True), ((1, 3), dt.float32)),
    ("argmax", [(2, 3)], dict(axis=1), ((2,), dt.int64)),
    ("argsort", [(2, 3)], dict(axis=0, descending=True), ((2, 3), dt.int64)),
    ("matmul", [(4, 2, 3), (3, 2)], {}, ((4, 2, 2), dt.float32)),
    ("gather", [(2, 3), (1, 3)], dict(axis=0), ((1, 3), dt.float32)),
    ("scatter", [(2, 3), (1, 3), (1, 3)], dict(axis=0, reduce="add"), ((2, 3), dt.float32)),
]


@pytest.mark.parametrize("name, shapes, params, expected", RULES)
def test_result_rules(backend: FlatBackend, name: str, shapes: Any, params: Any, expected: Any) -> None:
    assert RESULTS.get(name, broadcast)(*[put(backend, floats(*s)) for s in shapes], **params) == expected


# -- generated kernels ---------------------------------------------------------------------------------
def generated(backend: FlatBackend, contiguous: bool = True) -> Any:
    """x * 2 + y as float64, from a plain kernel that notes what it gets."""

    def plain(out: StridedArray, x: StridedArray, y: StridedArray) -> None:
        plain_calls.append((out, x, y))
        seen(out)[...] = seen(x) * 2.0 + seen(y)

    return elementwise(backend, "axpy", plain, dt.float64, contiguous=contiguous)


plain_calls: list[tuple[StridedArray, ...]] = []


@pytest.mark.parametrize("contiguous", [True, False])
def test_a_generated_kernel_broadcasts_and_has_the_dtype_that_was_said(backend: FlatBackend, contiguous: bool) -> None:
    plain_calls.clear()
    x, y = put(backend, floats(3, 4).T), put(backend, floats(3))
    found = generated(backend, contiguous)(x, y)
    np.testing.assert_array_equal(backend.to_host(found), floats(3, 4).T * 2.0 + floats(3))
    assert found.dtype is dt.float64 and {a.shape for a in plain_calls[0]} == {(4, 3)}
    assert all(a.is_contiguous for a in plain_calls[0]) is contiguous


def test_a_generated_kernel_writes_to_out_and_reads_first_what_overlaps_it(backend: FlatBackend) -> None:
    host = np.arange(10.0)
    x = put(backend, host)
    part, shifted = x.viewed((9,), (1,), 1), x.viewed((9,), (1,), 0)
    assert generated(backend)(shifted, part, out=part) is part
    np.testing.assert_array_equal(backend.to_host(x), [0, *(host[:-1] * 2 + host[1:])])
    with pytest.raises(lay.LayoutError, match=r"axpy: out has shape \(9,\), the result \(10,\)"):
        generated(backend)(x, x, out=part)


def test_a_generated_kernel_is_not_called_for_nothing(backend: FlatBackend) -> None:
    plain_calls.clear()
    empty = put(backend, floats(0, 3))
    assert generated(backend)(empty, put(backend, floats(3))).shape == (0, 3) and not plain_calls
