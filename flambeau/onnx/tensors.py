"""Tensors in ONNX files: their bytes, in the file or beside it, checked before memory is taken for them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

import flambeau as fb
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.values import DTYPES, KINDS, MOST, STRING, Ints, Value, element_name, from_array

#: Numbers in a sparse tensor, zeros counted, at most: few bytes of a file ask for them.
LARGEST_SPARSE: Final = 1 << 28
#: Whole numbers of at most so many elements stay on the host: they describe shapes.
FEW: Final = 256

#: Fields of TensorProto that hold numbers one by one, by element type.
_FIELDS: Final[dict[int, str]] = {
    1: "float_data", 14: "float_data", 7: "int64_data", 8: "string_data", 11: "double_data", 15: "double_data",
    12: "uint64_data", 13: "uint64_data",
}  # fmt: skip


def array_of(proto: onnx.TensorProto, folder: Path | None) -> np.ndarray[Any, Any]:
    """The array of a tensor in a file; OnnxError says what is wrong with it, and names the tensor."""
    try:
        return _array(proto, folder)
    except OnnxError:
        raise
    except Exception as e:  # whatever numpy says about bytes that do not fit
        raise OnnxError(f"tensor {proto.name!r}: {e}") from e


def _array(proto: onnx.TensorProto, folder: Path | None) -> np.ndarray[Any, Any]:
    name, number = proto.name, proto.data_type
    if number not in DTYPES and number not in KINDS and number != STRING:
        raise OnnxError(f"tensor {name!r} has element type {number}, which is not known")
    if proto.HasField("segment"):
        raise OnnxError(f"tensor {name!r} is one segment of a larger one, which is not supported")
    shape = tuple(proto.dims)
    if any(n < 0 for n in shape) or math.prod(shape) > MOST:
        raise OnnxError(f"tensor {name!r} cannot have the shape {shape}")
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        return _unpacked(name, number, shape, external(proto, folder))
    if proto.HasField("raw_data"):
        return _unpacked(name, number, shape, proto.raw_data)
    data = getattr(proto, _FIELDS.get(number, "int32_data"))
    if number == STRING:
        return _checked(name, np.array([s.decode("utf-8") for s in data], dtype=object), shape)
    return _listed(name, number, shape, data)


def _checked(name: str, array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    if array.size != math.prod(shape):
        raise OnnxError(f"tensor {name!r} of shape {shape} has {array.size} numbers")
    return array.reshape(shape)


def _listed(name: str, number: int, shape: tuple[int, ...], data: Any) -> np.ndarray[Any, Any]:
    """Numbers given one by one; of types narrower than 32 bits the field holds the bits, or two to four at once."""
    if number in KINDS:
        return _unpacked(name, number, shape, np.array(data, np.int64).astype(np.uint8).tobytes())
    dtype = DTYPES[number].numpy
    if number in (10, 16):  # the bits of 16-bit floats
        return _checked(name, np.array(data, np.int64).astype(np.uint16).view(dtype), shape)
    if number in (14, 15):  # real and imaginary parts by turns
        return _checked(name, np.array(data, dtype.type(0).real.dtype).view(dtype), shape)
    return _checked(name, np.array(data).astype(dtype), shape)


def _unpacked(name: str, number: int, shape: tuple[int, ...], raw: bytes) -> np.ndarray[Any, Any]:
    if number == STRING:
        raise OnnxError(f"tensor {name!r} of texts cannot be given as bytes")
    count = math.prod(shape)
    kind = KINDS.get(number)
    bits = DTYPES[number].bits if kind is None else int(kind.name[-1]) if not kind.floating else _bits(kind.name)
    wanted = (count * bits + 7) // 8
    if len(raw) != wanted:
        raise OnnxError(
            f"tensor {name!r} of shape {shape} and {element_name(number)} takes {wanted} bytes, and has {len(raw)}"
        )
    if kind is None:
        dtype = DTYPES[number].numpy
        return np.frombuffer(raw, dtype).reshape(shape)
    if bits == 8:
        return np.frombuffer(raw, kind.numpy).reshape(shape)
    return _numbers(_small(np.frombuffer(raw, np.uint8), bits, count), kind.numpy, bits).reshape(shape)


def _bits(name: str) -> int:
    return 4 if name.startswith("float4") else 8


def _small(packed: np.ndarray[Any, Any], bits: int, count: int) -> np.ndarray[Any, Any]:
    """Two or four numbers of a byte, the lowest bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((packed[:, None] >> shifts) & ((1 << bits) - 1)).reshape(-1)[:count].astype(np.uint8)


def _numbers(codes: np.ndarray[Any, Any], dtype: np.dtype[Any], bits: int) -> np.ndarray[Any, Any]:
    if dtype.name.startswith("float"):
        return codes.view(dtype)
    if dtype.name.startswith("int"):
        half = 1 << (bits - 1)
        return ((codes.astype(np.int8) ^ half) - half).astype(dtype)
    return codes.astype(dtype)


def external(proto: onnx.TensorProto, folder: Path | None) -> bytes:
    """The bytes of a tensor that are kept in a file beside the model; no path leads out of the model's folder."""
    name = proto.name
    entries = {e.key: e.value for e in proto.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise OnnxError(f"tensor {name!r} is in the file {location!r} beside the model: load the model by its path")
    root = folder.resolve()
    path = (root / location).resolve()  # follows links
    if not location or Path(location).is_absolute() or not path.is_relative_to(root):
        raise OnnxError(f"tensor {name!r} names the file {location!r}, which is not in the model's folder")
    if not path.is_file():
        raise OnnxError(f"tensor {name!r} is in the file {location!r}, which is not there")
    try:
        offset, size = int(entries.get("offset", 0)), path.stat().st_size
        length = int(entries["length"]) if "length" in entries else size - offset
    except ValueError:
        raise OnnxError(f"tensor {name!r}: offset and length must be whole numbers") from None
    if offset < 0 or length < 0 or offset + length > size:
        raise OnnxError(f"tensor {name!r} reaches past the end of the file {location!r}")
    with path.open("rb") as file:
        file.seek(offset)
        data: bytes = file.read(length)
    return data


def constant(proto: onnx.TensorProto, folder: Path | None, device: fb.device) -> Value:
    """The value of a tensor in a file: few whole numbers stay on the host."""
    array = array_of(proto, folder)
    if array.dtype == np.int64 and array.ndim <= 1 and array.size <= FEW:
        return Ints(tuple(array.reshape(-1).tolist()), scalar=array.ndim == 0)
    return from_array(array, device)


def dense(proto: onnx.SparseTensorProto, folder: Path | None, device: fb.device) -> Value:
    """The value of a sparse tensor in a file, made dense."""
    values = array_of(proto.values, folder)
    indices = array_of(proto.indices, folder)
    shape = tuple(proto.dims)
    if any(n < 0 for n in shape) or math.prod(shape) > LARGEST_SPARSE or indices.dtype != np.int64 or values.ndim != 1:
        raise OnnxError(f"sparse tensor {proto.values.name!r} of shape {shape} is not well formed")
    places = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
    if len(places) != len(values) or places.size and (places.min() < 0 or places.max() >= math.prod(shape)):
        raise OnnxError(f"sparse tensor {proto.values.name!r} has indices outside of its shape {shape}")
    full = np.zeros(math.prod(shape), values.dtype)
    full[places] = values
    return from_array(full.reshape(shape), device)
