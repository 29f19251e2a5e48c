"""The file format: against its reference implementation, and against damaged files of every kind."""

import io
import json
import math
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import deserialize
from safetensors import numpy as reference

from flambeau.core import dtype as dt
from flambeau.utils import safetensors as fst
from flambeau.utils.safetensors import CheckpointError

STORABLE = [d for d in dt.ALL if fst.storable(d)]


def example(dtype, shape=(2, 3)):
    return (np.arange(math.prod(shape)).reshape(shape) % 2).astype(dtype.numpy)


def written(arrays, metadata=None):
    file = io.BytesIO()
    fst.write(file, arrays, fst.plan(arrays, metadata))
    return file.getvalue()


def read(data, where="some.file"):
    file = io.BytesIO(data)
    header = fst.read_header(file, where)
    return {name: fst.read_array(file, entry, where) for name, entry in header.entries.items()}, header.metadata


def packed(header, data=b""):
    """A file of a header (a dict or text) and data, of which nothing need be right."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype="U8", shape=(4,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_the_reference_reads_ours():
    arrays = {d.name: example(d) for d in STORABLE} | {"scalar": np.float32(2.5).reshape(()), "empty": np.zeros((0, 3))}
    found = dict(deserialize(written(arrays, {"made by": "us"})))
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert tuple(found[name]["shape"]) == array.shape
        assert bytes(found[name]["data"]) == array.tobytes()
        if array.dtype != dt.bfloat16.numpy:
            assert reference.load(written({name: array}))[name].dtype == array.dtype


def test_we_read_the_references():
    arrays = {d.name: example(d) for d in STORABLE} | {"transposed": np.arange(6.0).reshape(2, 3).T.copy()}
    found, metadata = read(reference.save(arrays, {"a": "b"}))
    assert metadata == {"a": "b"}
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_strided_arrays_are_written_by_value():
    array = np.arange(24.0).reshape(2, 3, 4)
    found, _ = read(written({"a": array.transpose(2, 0, 1), "b": array[:, ::-1]}))
    np.testing.assert_array_equal(found["a"], array.transpose(2, 0, 1))
    np.testing.assert_array_equal(found["b"], array[:, ::-1])


def test_arrays_stand_aligned_and_own_their_memory():
    data = written({"bytes": np.zeros(3, np.uint8), "wide": np.zeros(2), "half": np.zeros(5, np.float16)})
    header = fst.read_header(io.BytesIO(data), "f")
    assert all(e.start % e.dtype.itemsize == 0 for e in header.entries.values())
    found, _ = read(data)
    found["wide"][0] = 1
    assert read(data)[0]["wide"][0] == 0


def test_big_endian_machines_swap(monkeypatch):
    raw = np.array([1, 258], np.uint16).view(np.uint8)
    monkeypatch.setattr(sys, "byteorder", "big")
    assert fst.little_endian(raw, np.dtype(np.uint16)).tolist() == [0, 1, 1, 2]
    twice = np.array([1 + 2j], np.complex64).view(np.uint8)
    parts = fst.little_endian(twice, np.dtype(np.complex64)).view(">f4")
    assert parts.tolist() == [1.0, 2.0]


def test_mmap_reads_pages_that_are_copied_on_write(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(written({"a": np.arange(4.0), "none": np.zeros(0)}))
    with path.open("rb") as file:
        header = fst.read_header(file, "a")
        a, none = (fst.read_array(file, header.entries[n], "a", mmap=True) for n in ("a", "none"))
    a[0] = 7
    assert (a.tolist(), none.shape, type(a)) == ([7, 1, 2, 3], (0,), np.ndarray)
    assert read(path.read_bytes())[0]["a"][0] == 0


DAMAGED = {
    "empty": (b"", "0 bytes, too few for a header"),
    "short": (b"\1\0\0", "3 bytes, too few for a header"),
    "header longer than the file": (packed({})[:8] + b"{", "truncated: the header should have 2 bytes, 1 are there"),
    "header beyond the limit": ((10**9).to_bytes(8, "little") + b"{}", "1000000000 bytes, 100000000 is the limit"),
    "no JSON": (packed("hello"), "header is not valid JSON"),
    "no UTF-8": (b"\2\0\0\0\0\0\0\0\xff\xfe", "header is not valid JSON"),
    "a list": (packed("[]"), "header is a JSON list, not an object"),
    "nested without end": (packed("[" * 100_000), "header is not valid JSON"),
    "a number too long": (packed('{"a": ' + "1" * 5000 + "}"), "header is not valid JSON"),
    "NaN": (packed('{"a": NaN}'), "NaN is not a number"),
    "key twice": (packed('{"a": %s, "a": %s}' % (2 * (json.dumps(entry()),)), b"1234"), "the key 'a' stands twice"),
    "key twice inside": (packed('{"a": {"dtype": 1, "shape": 2, "dtype": 1}}'), "the key 'dtype' stands twice"),
    "key twice in metadata": (packed('{"__metadata__": {"a": "b", "a": "b"}}'), "the key 'a' stands twice"),
    "metadata twice": (packed('{"__metadata__": {}, "__metadata__": {}}'), "the key '__metadata__' stands twice"),
    "more behind the header": (packed("{} {}"), "more follows at character 3"),
    "a comma too many": (packed('{"__metadata__": {},}'), "a string is expected at character 20, got '}'"),
    "metadata of numbers": (packed({"__metadata__": {"a": 1}}), "__metadata__ must map strings to strings"),
    "metadata list": (packed({"__metadata__": []}), "__metadata__ must map strings to strings"),
    "no entry": (packed({"a": 1}), "array 'a' must have dtype, shape and data_offsets"),
    "extra key": (packed({"a": entry() | {"x": 1}}, b"1234"), "array 'a' must have dtype"),
    "unknown dtype": (packed({"a": entry("F8_E9M9")}, b"1234"), "dtype 'F8_E9M9', which flambeau does not have"),
    "dtype of another type": (packed({"a": entry(["U8"])}, b"1234"), "dtype"),
    "negative size": (packed({"a": entry(shape=(-1,))}, b"1234"), r"has shape \[-1\]"),
    "size is a float": (packed({"a": entry(shape=(4.0,))}, b"1234"), r"has shape \[4.0\]"),
    "size is a bool": (packed({"a": entry(shape=(True,), offsets=(0, 1))}, b"1"), r"has shape \[True\]"),
    "too many sizes": (packed({"a": entry(shape=[1] * 65, offsets=(0, 1))}, b"1"), "at most 64 sizes"),
    "product overflows": (packed({"a": entry(shape=(2**40, 2**40, 0), offsets=(0, 0))}), "more than fits"),
    "one offset": (packed({"a": entry(offsets=(0,))}, b"1234"), "a begin and an end are expected"),
    "offsets backwards": (packed({"a": entry(offsets=(4, 0))}, b"1234"), "a begin and an end are expected"),
    "wrong size": (packed({"a": entry(shape=(5,))}, b"1234"), r"takes 5 bytes, its data_offsets \[0, 4\] say 4"),
    "gap before the first": (packed({"a": entry(offsets=(1, 5))}, b"12345"), "'a' leaves a gap before it"),
    "gap": (packed({"a": entry(), "b": entry(offsets=(5, 9))}, b"123456789"), "'b' leaves a gap before it"),
    "overlap": (packed({"a": entry(), "b": entry(offsets=(3, 7))}, b"1234567"), "'b' overlaps the array before it"),
    "truncated data": (packed({"a": entry()}, b"123"), "truncated: the arrays end at byte"),
    "bytes behind": (packed({"a": entry()}, b"12345"), "bytes follow the last array"),
    "bool": (packed({"a": entry("BOOL")}, b"\0\1\2\1"), "'a' is BOOL and has bytes other than 0 and 1"),
    "pickle": (pickle.dumps({"weight": [1.0] * 30}, 2), "this is a pickle.*flambeau loads no pickles"),
    "pickle 4": (pickle.dumps({"weight": [1.0] * 30}, 4), "this is a pickle.*flambeau loads no pickles"),
    "torch zip": (
        b"PK\3\4\0\0\x08\x08" + b"\0" * 22 + b"archive/data.pkl" + b"\0" * 99,
        "zip file, such as torch.save",
    ),
    "npz": (b"PK\3\4\x2d\0\0\0" + b"\0" * 22 + b"x.npy" + b"\0" * 99, "numpy .npz file; read it with numpy.load"),
    "npy": (b"\x93NUMPY\1\0v\0{'descr'", "numpy .npy file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, "HDF5 file"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(name):
    data, words = DAMAGED[name]
    with pytest.raises(CheckpointError, match=words) as caught:
        read(data)
    assert str(caught.value).startswith("some.file: ")


def test_a_header_that_looks_like_a_pickle_is_read():
    """The length 0x280 begins with the bytes of pickle protocol 2."""
    text = '{"__metadata__":{"a":"b"}}'.ljust(0x280)
    assert read(packed(text)) == ({}, {"a": "b"})


def test_a_header_beyond_the_limit_is_not_written(monkeypatch):
    monkeypatch.setattr(fst, "HEADER_LIMIT", 50)
    with pytest.raises(ValueError, match="the format allows 50"):
        written({"a" * 100: np.zeros(1)})


GOOD = written({"weight": np.arange(6.0).reshape(2, 3), "mask": np.array([True, False])}, {"k": "v"})


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_changed_bytes_raise_nothing_else(data):
    changed = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(GOOD) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(GOOD)) | st.just(len(GOOD)))
    try:
        read(bytes(changed[:end]))
    except CheckpointError as error:
        assert str(error).startswith("some.file: ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
offsets = st.lists(st.integers(0, 20), min_size=2, max_size=2)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "BOOL", "X"]) | json_values,
        "shape": st.lists(st.integers(-1, 5), max_size=3) | json_values,
        "data_offsets": offsets | json_values,
    }
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.text(max_size=4) | st.just("__metadata__"), entries | json_values, max_size=3),
    st.binary(max_size=40),
)
def test_nonsense_headers_raise_nothing_else(header, data):
    try:
        read(packed(header, data))
    except CheckpointError as error:
        assert str(error).startswith("some.file: ")
