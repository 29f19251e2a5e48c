"""Storages read buffers and files, convert, and have the old names of PyTorch's."""

from __future__ import annotations

import pathlib
import sys
from typing import Any

import pytest

import flambeau as fb
from flambeau.core import storage_methods
from flambeau.core.storage_methods import LEGACY, storage_types

DATA = bytes([0, 1, 2, 3])
OTHER = "big" if sys.byteorder == "little" else "little"


def test_elements_from_a_buffer() -> None:
    assert fb.ShortStorage.from_buffer(DATA, "big").tolist() == [1, 515]
    assert fb.ShortStorage.from_buffer(DATA, "little", count=1, offset=2).tolist() == [770]
    assert fb.TypedStorage.from_buffer(DATA, "big", dtype=fb.int16).dtype is fb.int16
    assert fb.ByteStorage.from_buffer(DATA).tolist() == [0, 1, 2, 3]
    assert fb.UntypedStorage.from_buffer(DATA, "native", dtype=fb.int16).tolist() == [0, 1, 2, 3]
    assert fb.UntypedStorage.from_buffer(DATA, OTHER, dtype=fb.int16).tolist() == [1, 0, 3, 2]
    assert fb.UntypedStorage.from_buffer(bytearray(8), OTHER, dtype=fb.complex64).nbytes() == 8


def test_a_storage_of_a_buffer_is_a_copy() -> None:
    data = bytearray(DATA)
    storage = fb.ByteStorage.from_buffer(data)
    data[0] = 9
    assert storage[0] == 0


@pytest.mark.parametrize(
    ("kind", "args", "kwargs", "error", "says"),
    [
        ("UntypedStorage", (DATA,), {}, RuntimeError, "'dtype' cannot be None"),
        ("ShortStorage", (DATA,), {}, RuntimeError, "missing required argument 'byte_order'"),
        ("ShortStorage", (DATA, "middle"), {}, ValueError, "invalid byte_order 'middle'"),
        ("ShortStorage", (DATA[:3], "big"), {}, ValueError, r"\(3\) must be a multiple of element size \(2\)"),
        ("ShortStorage", (DATA, "big"), {"offset": 5}, ValueError, "offset must be non-negative"),
        ("ShortStorage", (DATA, "big"), {"count": 5}, ValueError, "only 2 elements after offset 0"),
        ("ShortStorage", (DATA, "big"), {"dtype": fb.int8}, RuntimeError, "'dtype' can only be specified"),
        ("ShortStorage", ("abcd", "big"), {}, TypeError, "bytes-like"),
    ],
)
def test_wrong_buffers(kind: str, args: Any, kwargs: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        getattr(fb, kind).from_buffer(*args, **kwargs)


def test_elements_from_a_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "numbers"
    storage = fb.FloatStorage.from_file(str(path), True, 3)
    storage.fill_(1.5)
    assert fb.FloatStorage.from_file(str(path), False, 2).tolist() == [1.5, 1.5]
    with pytest.raises(RuntimeError, match="only be called on derived classes"):
        fb.TypedStorage.from_file(str(path), False, 2)


def test_storages_of_quantized_numbers_hold_integers() -> None:
    for name, kind in (("QInt8", fb.qint8), ("QUInt8", fb.quint8), ("QInt32", fb.qint32), ("QUInt4x2", fb.quint4x2)):
        storage = LEGACY[f"{name}Storage"]([1, 2])
        assert storage.dtype is kind and storage.tolist() == [1, 2] and isinstance(storage, LEGACY[f"{name}Storage"])
        assert storage.type() == f"flambeau.{name}Storage"
    assert LEGACY["QUInt2x4Storage"].dtype is fb.quint2x4


def test_storages_convert_to_eight_bits() -> None:
    for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"):
        for storage in (fb.FloatStorage([1, 2]), fb.UntypedStorage([1, 2])):
            found = getattr(storage, name)()
            assert found.tolist() == [1.0, 2.0] and found.dtype is getattr(fb, name)
            assert found.type() == "flambeau.storage.TypedStorage"


def test_classes_of_one_device() -> None:
    classes = storage_types("cuda")
    assert classes["FloatStorage"].dtype is fb.float32 and not isinstance(fb.FloatStorage(2), classes["FloatStorage"])
    assert isinstance(fb.FloatStorage(2), fb.FloatStorage) and len(classes) == 12
    with pytest.raises(ValueError, match="no classes are of 'strict' alone; cuda has some"):
        storage_types("strict")


def test_classes_of_one_device_have_its_storages_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    there = fb.TypedStorage([1.0], dtype=fb.float32, device="strict")
    assert isinstance(there, fb.FloatStorage) and not isinstance(there, fb.DoubleStorage)
    monkeypatch.setattr(storage_methods, "_OWNING", ("cuda", "strict"))
    own = storage_types.__wrapped__("strict")
    assert isinstance(there, own["FloatStorage"]) and not isinstance(there, own["DoubleStorage"])
    assert not isinstance(there, fb.FloatStorage) and not isinstance(fb.FloatStorage(2), own["FloatStorage"])
    assert own["FloatStorage"]([2.0]).device.type == "strict"


@pytest.mark.parametrize("kind", ["cuda", "hpu", "mps"])
def test_storages_go_to_devices_that_are_there(kind: str) -> None:
    if kind == "mps":
        with pytest.raises(RuntimeError):
            fb.UntypedStorage(4).mps()
        return
    for storage in (fb.UntypedStorage(4), fb.FloatStorage(4)):
        with pytest.raises(RuntimeError):
            getattr(storage, kind)()
