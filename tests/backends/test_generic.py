"""The views and copies that every backend has, over numpy's arrays and over strided ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flambeau.backends import layout as lay
from flambeau.backends.base import Backend, Kernel
from flambeau.backends.cpu.backend import CpuBackend
from flambeau.backends.generic import generic_table, host_scalar
from flambeau.core import dtype as dt
from tests.backends.flat import FlatBackend
from tests.backends.hosts import floats, put

VIEWS = {"basic_index", "permute", "view", "expand", "as_strided", "diagonal", "unfold", "view_dtype", "view_as_real",
         "view_as_complex", "slices"}  # fmt: skip
COPIES = {"cast", "clone", "full", "cat", "pad", "flip", "setitem"}


class Device:
    """A backend and its generic kernels, with numpy arrays in and out."""

    def __init__(self, backend: Backend):
        self.backend, self.table = backend, generic_table(backend)

    def put(self, values: Any) -> Any:
        return put(self.backend, values)

    def get(self, array: Any) -> np.ndarray:
        return self.backend.to_host(array)

    def __getattr__(self, name: str) -> Kernel:
        kernel = self.table.find(name, dt.float32)
        assert kernel is not None
        return kernel


@pytest.fixture(params=[CpuBackend, FlatBackend], ids=["numpy", "strided"])
def device(request: pytest.FixtureRequest) -> Device:
    return Device(request.param())


def test_the_table_is_whole(device: Device) -> None:
    assert set(device.table.names()) == VIEWS | COPIES


# -- views -------------------------------------------------------------------------------------------
ALL = slice(None)
VIEW_CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("basic_index", dict(index=(slice(1, 3), 2, None, ALL)), lambda x: x[1:3, 2, None]),
    ("basic_index", dict(index=(slice(None, None, -1), slice(3, 0, -2), ALL)), lambda x: x[::-1, 3:0:-2]),
    ("permute", dict(axes=(2, 0, 1)), lambda x: x.transpose(2, 0, 1)),
    ("view", dict(shape=(12, 5)), lambda x: x.reshape(12, 5)),
    ("expand", dict(shape=(2, 3, 4, 5)), lambda x: np.broadcast_to(x, (2, 3, 4, 5))),
    ("as_strided", dict(shape=(2, 2), strides=(7, 3), offset=1), lambda x: x.ravel()[[[1, 4], [8, 11]]]),
    ("diagonal", dict(offset=1, axis1=1, axis2=2), lambda x: np.diagonal(x, 1, 1, 2)),
    (
        "unfold",
        dict(axis=2, size=3, step=2),
        lambda x: np.lib.stride_tricks.sliding_window_view(x, 3, 2)[:, :, ::2],
    ),
    ("view_dtype", dict(dtype=dt.int16), lambda x: x.view(np.int16)),
]


@pytest.mark.parametrize("name, params, reference", VIEW_CASES, ids=[c[0] for c in VIEW_CASES])
def test_views_alias(device: Device, name: str, params: dict[str, Any], reference: Any) -> None:
    host = floats(3, 4, 5)
    x = device.put(host)
    view = getattr(device, name)(x, **params)
    assert device.backend.storage_id(view) == device.backend.storage_id(x)
    np.testing.assert_array_equal(device.get(view), reference(host))
    device.backend.copy_into(x, device.put(-host))
    np.testing.assert_array_equal(device.get(view), reference(-host))


def test_slices_alone_take_the_index_by_position(device: Device) -> None:
    x = device.put(floats(3, 4))
    view = device.slices(x, (slice(1, 3), slice(None)))
    assert device.backend.storage_id(view) == device.backend.storage_id(x)
    np.testing.assert_array_equal(device.get(view), floats(3, 4)[1:3])


def test_views_of_views(device: Device) -> None:
    x = device.put(floats(4, 6))
    view = device.permute(device.basic_index(x, index=(slice(3, None, -2), slice(1, 5))), axes=(1, 0))
    window = device.unfold(view, axis=0, size=2, step=2)
    expected = np.lib.stride_tricks.sliding_window_view(floats(4, 6)[3::-2, 1:5].T, 2, 0)[::2]
    np.testing.assert_array_equal(device.get(window), expected)


def test_complex_views(device: Device) -> None:
    z = np.array([[1 + 2j, 3 - 4j]], np.complex64)
    x = device.put(z)
    parts = device.view_as_real(x)
    np.testing.assert_array_equal(device.get(parts), [[[1, 2], [3, -4]]])
    again = device.view_as_complex(parts)
    assert device.backend.dtype_of(again) is dt.complex64
    np.testing.assert_array_equal(device.get(again), z)
    real = device.basic_index(parts, index=(ALL, ALL, 0))
    device.backend.copy_into(real, device.put(np.float32(9)))
    np.testing.assert_array_equal(device.get(x), [[9 + 2j, 9 - 4j]])


def test_views_that_need_a_copy_or_leave_the_storage(device: Device) -> None:
    x = device.put(floats(2, 3))
    with pytest.raises(ValueError, match="without a copy"):
        device.view(device.permute(x, axes=(1, 0)), shape=(6,))
    with pytest.raises(ValueError, match="outside of a storage of 6"):
        device.as_strided(x, shape=(2,), strides=(6,), offset=0)


# -- copies ------------------------------------------------------------------------------------------
def test_clone_keeps_the_order_of_the_axes_or_not(device: Device) -> None:
    x = device.permute(device.put(floats(2, 3, 4)), axes=(2, 0, 1))
    kept, plain = device.clone(x, order="K"), device.clone(x, order="C")
    assert device.backend.layout(kept) == ((4, 2, 3), (1, 12, 4), 0)
    assert device.backend.layout(plain) == ((4, 2, 3), (6, 3, 1), 0)
    for copy in (kept, plain):
        assert device.backend.storage_id(copy) != device.backend.storage_id(x)
        np.testing.assert_array_equal(device.get(copy), floats(2, 3, 4).transpose(2, 0, 1))
    spread = device.expand(device.put(floats(3)), shape=(2, 3))
    assert device.backend.layout(device.clone(spread)).strides == (3, 1)


@pytest.mark.parametrize("target", dt.ALL, ids=lambda d: d.name)
def test_cast(device: Device, target: dt.DType) -> None:
    values = np.array([[0, 1.5], [2, 100]], np.float64)
    out = device.cast(device.permute(device.put(values), axes=(1, 0)), dtype=target)
    assert device.backend.dtype_of(out) is target
    assert device.backend.layout(out).strides == (1, 2)
    np.testing.assert_array_equal(device.get(out), values.T.astype(target.numpy))


def test_cast_of_complex_keeps_the_real_part_and_no_warning(device: Device) -> None:
    z = device.put(np.array([1.5 + 2j, 0 + 1j], np.complex128))
    assert device.get(device.cast(z, dtype=dt.float32)).tolist() == [1.5, 0]
    assert device.get(device.cast(z, dtype=dt.bool_)).tolist() == [True, True]


@pytest.mark.parametrize(
    "value, dtype, expected",
    [(1.5, dt.float32, 1.5), (-1, dt.uint8, 255), (2**63, dt.uint64, 2**63), (2.9, dt.int32, 2), (3, dt.bool_, True),
     (1 + 2j, dt.complex64, 1 + 2j), (1e40, dt.float32, np.inf), (300, dt.int8, 44)],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(), (2, 3), (0,)])
def test_full(device: Device, shape: Any, value: Any, dtype: dt.DType, expected: Any) -> None:
    out = device.full(shape=shape, value=value, dtype=dtype, index=0)
    assert device.backend.dtype_of(out) is dtype
    np.testing.assert_array_equal(device.get(out), np.full(shape, expected, dtype.numpy))


def test_host_scalar_of_what_no_number_is() -> None:
    with pytest.raises(TypeError):
        host_scalar("3", dt.int32)  # type: ignore[arg-type]


def test_cat(device: Device) -> None:
    a, b = floats(2, 3), -floats(2, 1)
    arrays = [device.put(a), device.put(np.empty(0, np.float32)), device.permute(device.put(b.T), axes=(1, 0))]
    for given in (arrays, [arrays]):
        np.testing.assert_array_equal(device.get(device.cat(*given, axis=1)), np.concatenate([a, b], 1))
    empty = device.cat(device.put(np.empty(0, np.float32)), axis=0)
    assert device.get(empty).shape == (0,)
    with pytest.raises(ValueError, match="differ outside of axis 0"):
        device.cat(*arrays, axis=0)


@pytest.mark.parametrize(
    "widths", [((1, 2), (0, 0)), ((0, 1), (3, 0)), ((-1, 2), (1, -2)), ((-1, -1), (0, -1)), ((-2, 0), (-3, 5))]
)
def test_pad(device: Device, widths: Any) -> None:
    host = floats(2, 3)
    cut = host[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(host.shape, widths, strict=True))]
    expected = np.pad(cut, [(max(a, 0), max(b, 0)) for a, b in widths], constant_values=7)
    np.testing.assert_array_equal(device.get(device.pad(device.put(host), widths=widths, value=7)), expected)


def test_pad_that_takes_too_much(device: Device) -> None:
    with pytest.raises(ValueError, match="negative size"):
        device.pad(device.put(floats(2)), widths=((-1, -2),), value=0)


def test_flip(device: Device) -> None:
    x = device.put(floats(2, 3, 4))
    out = device.flip(x, axes=(0, 2))
    assert device.backend.storage_id(out) != device.backend.storage_id(x)
    assert device.backend.layout(out) == ((2, 3, 4), (12, 4, 1), 0)
    np.testing.assert_array_equal(device.get(out), floats(2, 3, 4)[::-1, :, ::-1])


def test_setitem_writes_in_place(device: Device) -> None:
    host = floats(3, 4)
    x = device.put(host)
    result = device.setitem(x, device.put(np.array([[7], [8]])), index=(slice(0, None, 2), slice(1, 3)))
    host[::2, 1:3] = [[7], [8]]
    assert result is x
    np.testing.assert_array_equal(device.get(x), host)
    device.setitem(x, device.permute(x, axes=(0, 1)), index=(slice(None, None, -1), ALL))
    np.testing.assert_array_equal(device.get(x), host[::-1])


# -- out ---------------------------------------------------------------------------------------------
def test_layout_errors_are_value_errors() -> None:
    assert issubclass(lay.CopyNeededError, lay.LayoutError) and issubclass(lay.LayoutError, ValueError)
