"""Storage calls: layouts, views of storages of every kind, copies, constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.backends.cpu.storage import owner
from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from tests.backends.cpu.arrays import BACKEND, kernel, layouts, same, values


@pytest.mark.parametrize("dtype", dt.ALL, ids=lambda d: d.name)
def test_as_strided_undoes_layout(dtype: DType) -> None:
    for x in layouts(values((3, 4), dtype)):
        for view in (x, x[1:, ::2], x.T, x[2, 1:3], x[::-1, ::-1], x[1, 2, ...]):
            shape, strides, offset = BACKEND.layout(view)
            again = BACKEND.as_strided(x, shape, strides, offset)
            same(again, view)
            assert np.shares_memory(again, view) and BACKEND.storage_id(again) == BACKEND.storage_id(x)


def test_as_strided_reaches_the_whole_storage_from_any_view() -> None:
    x = np.arange(12.0).reshape(3, 4)
    same(BACKEND.as_strided(x[2:, 3:], (12,), (1,), 0), np.arange(12.0))
    same(BACKEND.as_strided(x[1], (2, 2), (-1, -4), 11), [[11, 7], [10, 6]])


def test_as_strided_as_another_dtype() -> None:
    x = np.arange(4, dtype=np.int32)
    seen = BACKEND.as_strided(x, (4,), (2,), 0, dt.int16)
    seen[...] = 7
    same(x, [7, 7, 7, 7])


def test_as_strided_stays_inside() -> None:
    with pytest.raises((ValueError, TypeError)):
        BACKEND.as_strided(np.zeros(4), (5,), (1,), 0)
    with pytest.raises((ValueError, TypeError)):
        BACKEND.as_strided(np.zeros(4), (2,), (1,), 3)


def test_an_owner_whose_axes_are_permuted() -> None:
    x = np.exp(np.zeros((2, 3, 4)).transpose(0, 2, 1))  # numpy keeps the operand's order of axes
    assert x.base is None and not x.flags.forc
    x[...] = np.arange(24.0).reshape(2, 4, 3)
    assert BACKEND.layout(x).offset == 0
    same(BACKEND.as_strided(x, (24,), (1,), 0), np.arange(24.0).reshape(2, 4, 3).transpose(0, 2, 1).reshape(-1))
    same(kernel("expand")(x[:, :1], shape=(5, 2, 4, 3)), np.broadcast_to(x[:, :1], (5, 2, 4, 3)))


def test_foreign_memory_with_gaps() -> None:
    class Foreign:
        def __init__(self: Any, source: Any) -> Any:
            self.source = source
            self.__array_interface__ = source[::2].__array_interface__

    x = np.asarray(Foreign(np.arange(10.0)))
    assert owner(x) is x and not x.flags.forc
    view = BACKEND.as_strided(x, (2,), (4,), 2)
    same(view, [2.0, 6.0])
    view[...] = -1
    same(x, [0, -1, 4, -1, 8])
    with pytest.raises(ValueError, match="leaves the storage"):
        BACKEND.as_strided(x, (2,), (8,), 2)


@pytest.mark.parametrize("source", dt.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("target", dt.ALL, ids=lambda d: d.name)
def test_copy_into_casts(source: DType, target: DType) -> None:
    x = values((3, 4), source, low=0, high=3)
    drops_imaginary = source.is_complex and not target.is_complex and target is not dt.bool_
    expected = (x.real if drops_imaginary else x).astype(target.numpy)
    for dst in layouts(np.zeros((2, 3, 4), target.numpy)):
        BACKEND.copy_into(dst, x)
        same(dst, np.broadcast_to(expected, (2, 3, 4)))
    same(kernel("cast", source)(x, dtype=target), expected)


def test_copy_into_overlapping_memory() -> None:
    x = np.arange(6.0)
    BACKEND.copy_into(x[1:], x[:-1])
    same(x, [0, 0, 1, 2, 3, 4])


def test_copy_into_does_not_take_what_does_not_broadcast() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        BACKEND.copy_into(np.zeros(3), np.zeros(4))


def test_from_host_copies_to_row_major_memory() -> None:
    host = np.arange(6.0).reshape(2, 3).T
    made = BACKEND.from_host(host, dt.float64)
    assert made.flags.c_contiguous and not np.shares_memory(made, host)
    same(made, host)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (300, dt.uint8, 44), (-1, dt.uint16, 65535), (2**63, dt.int64, -(2**63)), (2**64 - 1, dt.uint64, 2**64 - 1),
        (1.5, dt.float16, 1.5), (2.5, dt.bfloat16, 2.5), (1 + 2j, dt.complex64, 1 + 2j), (True, dt.bool_, True),
    ],
)  # fmt: skip
def test_constants_are_shared_and_so_read_only(value: Any, dtype: DType, expected: Any) -> None:
    made = BACKEND.constant(value, dtype)
    assert made.shape == () and made.dtype == dtype.numpy and made.item() == expected
    with pytest.raises(ValueError, match="read-only"):
        made[...] = 0


def test_a_negative_zero_stays_one() -> None:
    assert np.signbit(BACKEND.constant(-0.0, dt.float32))


def test_wrap_makes_arrays_of_scalars() -> None:
    made = BACKEND.wrap(np.float32(2.5), dt.float32)
    assert type(made) is np.ndarray and made.shape == () and made == 2.5
    assert BACKEND.wrap(np.float32(2.5), dt.bfloat16).dtype == dt.bfloat16.numpy


# -- views and copies ------------------------------------------------------------------------------
def test_views_alias() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    for name, params in (
        ("basic_index", dict(index=(1, 2, 3))),
        ("basic_index", dict(index=(slice(0, 2, 1), None, 1, slice(3, 0, -2)))),
        ("permute", dict(axes=(2, 0, 1))),
        ("view", dict(shape=(4, 6))),
        ("expand", dict(shape=(5, 2, 3, 4))),
        ("as_strided", dict(shape=(2, 2), strides=(1, 5), offset=3)),
        ("diagonal", dict(offset=1, axis1=0, axis2=2)),
        ("unfold", dict(axis=1, size=2, step=1)),
        ("view_dtype", dict(dtype=dt.int64)),
    ):
        view = kernel(name)(x, **params)
        assert type(view) is np.ndarray and view.flags.writeable and np.shares_memory(view, x), name


def test_view_values() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    same(kernel("diagonal")(x, offset=1, axis1=1, axis2=2), np.diagonal(x, 1, 1, 2))
    same(kernel("unfold")(x, axis=2, size=2, step=2), x.reshape(2, 3, 2, 2))
    same(kernel("unfold")(x, axis=0, size=2, step=1), x.transpose(1, 2, 0)[None])
    same(kernel("expand")(x[:, :1], shape=(2, 3, 4)), np.repeat(x[:, :1], 3, 1))
    same(kernel("expand")(x.T[:1], shape=(4, 3, 2)), np.repeat(x.T[:1], 4, 0))
    same(kernel("permute")(x, axes=(1, 2, 0)), x.transpose(1, 2, 0))


def test_a_view_that_would_need_a_copy() -> None:
    with pytest.raises(ValueError, match="copy"):
        kernel("view")(np.zeros((3, 4)).T, shape=(12,))
    assert kernel("view")(np.zeros((3, 4))[:, :2].T, shape=(2, 1, 3)).shape == (2, 1, 3)


def test_expand_says_what_does_not_broadcast() -> None:
    with pytest.raises(ValueError, match=r"\(3,\) does not broadcast to \(4,\)"):
        kernel("expand")(np.zeros(3), shape=(4,))
    with pytest.raises(ValueError, match="more dimensions"):
        kernel("expand")(np.zeros((3, 1)), shape=(4,))


def test_complex_numbers_as_pairs_and_back() -> None:
    x = values((3, 4), dt.complex64)
    for z in layouts(x):
        pairs = kernel("view_as_real", dt.complex64)(z)
        same(pairs, np.stack([x.real, x.imag], -1))
        assert np.shares_memory(pairs, z)
        same(kernel("view_as_complex", dt.float32)(pairs), x)


def test_clone_keeps_the_order_of_axes_unless_asked_not_to() -> None:
    x = np.arange(6.0).reshape(2, 3).T
    assert kernel("clone")(x, order="K").strides == x.strides
    assert kernel("clone")(x, order="C").flags.c_contiguous
    same(kernel("clone")(x), x)


def test_copies() -> None:
    x = np.arange(6.0).reshape(2, 3)
    same(kernel("full", dt.uint8)(shape=(2,), value=257, dtype=dt.uint8, index=0), [1, 1])
    same(kernel("full")(shape=(), value=2.5, dtype=dt.float64, index=0), 2.5)
    same(kernel("cat")(x, x + 6, axis=1), np.concatenate([x, x + 6], 1))
    same(kernel("pad")(x, widths=((1, 0), (-1, 2)), value=9.0), [[9, 9, 9, 9], [1, 2, 9, 9], [4, 5, 9, 9]])
    same(kernel("flip")(x, axes=(0, 1)), x[::-1, ::-1])
    assert kernel("flip")(x, axes=(0,)).flags.writeable
    dst = np.zeros((2, 3))
    assert kernel("setitem")(dst, np.array([1.0, 2.0]), index=(slice(0, 2, 1), 1)) is dst
    same(dst, [[0, 1, 0], [0, 2, 0]])


@pytest.mark.parametrize("dtype", [d for d in dt.ALL if d is not dt.bool_], ids=lambda d: d.name)
def test_arange(dtype: DType) -> None:
    made = kernel("arange", dtype)(2, 3, length=5, dtype=dtype, index=0)
    assert made.dtype == dtype.numpy
    same(made, np.array([2, 5, 8, 11, 14], dtype.numpy))


def test_arange_has_no_growing_error() -> None:
    made = kernel("arange", dt.float32)(0.0, 0.1, length=100_001, dtype=dt.float32, index=0)
    assert made[-1] == np.float32(10_000.0)
