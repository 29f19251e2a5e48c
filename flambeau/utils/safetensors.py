"""The safetensors file format, on host arrays: a JSON header, then the arrays' bytes one after another.

Layout: 8 bytes of header length (little-endian), the header, the data. The header maps each name to its
dtype, shape and byte range; ``__metadata__`` maps strings to strings. Reading believes nothing: whatever is
wrong with a file raises :class:`CheckpointError` before an array is made of it.

The format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.utils.host import HostArray
from flambeau.utils.strict_json import Reader, shortened

HEADER_LIMIT: Final = 100_000_000  # bytes, as in the reference implementation
MAX_DIMENSIONS: Final = 64  # numpy's
_MAX_TEXTS: Final = 100_000  # members of the metadata
_LENGTH: Final = 8  # bytes that hold the header's length
METADATA: Final = "__metadata__"
_ENTRY_KEYS: Final = {"dtype", "shape", "data_offsets"}

_NAMES: Final[dict[DType, str]] = {
    dt.bool_: "BOOL", dt.uint8: "U8", dt.int8: "I8", dt.uint16: "U16", dt.int16: "I16", dt.uint32: "U32",
    dt.int32: "I32", dt.uint64: "U64", dt.int64: "I64", dt.float16: "F16", dt.bfloat16: "BF16",
    dt.float32: "F32", dt.float64: "F64", dt.complex64: "C64",
    dt.float8_e4m3fn: "F8_E4M3", dt.float8_e5m2: "F8_E5M2", dt.float8_e8m0fnu: "F8_E8M0",
    dt.float8_e4m3fnuz: "F8_E4M3FNUZ", dt.float8_e5m2fnuz: "F8_E5M2FNUZ",
}  # fmt: skip
_DTYPES: Final = {name: dtype for dtype, name in _NAMES.items()}


class CheckpointError(RuntimeError):
    """A file that cannot be read as a checkpoint; the text names the file and says what is wrong with it."""


class Entry(NamedTuple):
    """Where one array stands; ``start`` counts bytes from the beginning of the file."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    start: int
    nbytes: int


class Header(NamedTuple):
    """What a file says of itself."""

    metadata: dict[str, str]
    entries: dict[str, Entry]
    data_start: int

    def members(self) -> Iterator[tuple[str, Any]]:
        """What :func:`plan` makes of a file like this, sorted by name."""
        for name in sorted([METADATA, *self.entries] if self.metadata else self.entries):
            if name == METADATA:
                yield name, self.metadata
            else:
                entry = self.entries[name]
                start = entry.start - self.data_start
                where = [start, start + entry.nbytes]
                yield name, {"dtype": _NAMES[entry.dtype], "shape": list(entry.shape), "data_offsets": where}


# -- writing -----------------------------------------------------------------------------------------


def storable(dtype: DType) -> bool:
    """Whether the format has a name for ``dtype`` (all but complex128)."""
    return dtype in _NAMES


def plan(arrays: Mapping[str, HostArray], metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The header for ``arrays``, widest elements first, so that every array stands aligned."""
    header: dict[str, Any] = {}
    if metadata:
        header[METADATA] = dict(metadata)
    position = 0
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):
        shape, end = list(array.shape), position + array.nbytes
        header[name] = {"dtype": _NAMES[dt.from_numpy(array.dtype)], "shape": shape, "data_offsets": [position, end]}
        position = end
    return header


def write(file: BinaryIO, arrays: Mapping[str, HostArray], header: Mapping[str, Any]) -> None:
    """Write the header that :func:`plan` made (with whatever metadata was added since) and the data."""
    text = json.dumps(header, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > HEADER_LIMIT:
        raise ValueError(
            f"save: the header takes {len(text)} bytes; the format allows {HEADER_LIMIT}: save fewer names"
        )
    file.write(len(text).to_bytes(_LENGTH, "little"))
    file.write(text)
    for name in header:
        if name != METADATA:
            file.write(_stored(arrays[name]).data)


def raw_bytes(array: HostArray) -> HostArray:
    """The bytes of ``array`` in row-major order, one-dimensional; shared where it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def little_endian(raw: HostArray, dtype: np.dtype[Any]) -> HostArray:
    """Bytes of ``dtype`` in this machine's order to little-endian ones, or back."""
    if sys.byteorder == "little":
        return raw
    width = dtype.itemsize // (2 if dtype.kind == "c" else 1)
    return raw.view(f"u{width}").byteswap().view(np.uint8)


def _stored(array: HostArray) -> HostArray:
    return little_endian(raw_bytes(array), array.dtype)


def checksum(array: HostArray) -> int:
    """The CRC-32 of an array's bytes as they stand in a file."""
    return zlib.crc32(_stored(array).data)


# -- reading -----------------------------------------------------------------------------------------


def read_header(file: BinaryIO, where: str) -> Header:
    """Parse and check the header of an open, seekable file; ``where`` names it in errors."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(_LENGTH)
    if len(head) < _LENGTH:
        raise CheckpointError(f"{where}: not a safetensors file: it has {size} bytes, too few for a header")
    length = int.from_bytes(head, "little")
    if length > min(HEADER_LIMIT, size - _LENGTH):
        _refuse_other_formats(head, file, where)
    if length > HEADER_LIMIT:
        raise CheckpointError(
            f"{where}: not a safetensors file, or damaged: its header would take {length} bytes, "
            f"{HEADER_LIMIT} is the limit"
        )
    if size < _LENGTH:  # a device, which reads without end and has no size
        raise CheckpointError(f"{where}: not a safetensors file: it has no size")
    if length > size - _LENGTH:
        raise CheckpointError(f"{where}: truncated: the header should have {length} bytes, {size - _LENGTH} are there")
    header = _parse(file.read(length), _LENGTH + length, where)
    in_order = sorted(header.entries.values(), key=lambda e: (e.start, e.nbytes))
    _check_cover(in_order, header.data_start, size, where)
    return header


def read_array(file: BinaryIO, entry: Entry, where: str, mmap: bool = False) -> HostArray:
    """One array of an open file: its own memory, or (``mmap``) pages of the file, copied when written to."""
    try:
        if mmap and entry.nbytes:
            raw: HostArray = np.memmap(file, np.uint8, "c", entry.start, (entry.nbytes,))
        else:
            raw = np.empty(entry.nbytes, np.uint8)
    except (MemoryError, OSError):
        help = "" if mmap else "; mmap=True leaves it in the file"
        raise CheckpointError(
            f"{where}: array {shortened(entry.name)} takes {entry.nbytes} bytes, for which there is no memory{help}"
        ) from None
    if not mmap:
        file.seek(entry.start)
        if file.readinto(raw.data) != entry.nbytes:  # type: ignore[attr-defined]
            raise CheckpointError(f"{where}: truncated while it was read: array {shortened(entry.name)} ends early")
    if entry.dtype is dt.bool_ and not mmap and entry.nbytes and raw.max() > 1:
        raise _damaged(where, entry.name, "is BOOL and has bytes other than 0 and 1")
    array = little_endian(raw, entry.dtype.numpy).view(entry.dtype.numpy).reshape(entry.shape)
    return array.view(np.ndarray)


def _refuse_other_formats(head: bytes, file: BinaryIO, where: str) -> None:
    """Name the file formats that people try to load by mistake."""
    if head.startswith(b"PK\x03\x04"):
        start = head + file.read(1024)
        if b".npy" in start and b"data.pkl" not in start:
            raise CheckpointError(
                f"{where}: this is a numpy .npz file; read it with numpy.load and flambeau.from_numpy"
            )
        raise CheckpointError(f"{where}: this is a zip file, such as torch.save writes around a pickle. {_PICKLE_HELP}")
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        raise CheckpointError(f"{where}: this is a pickle, such as old versions of torch.save write. {_PICKLE_HELP}")
    if head.startswith(b"\x93NUMPY"):
        raise CheckpointError(f"{where}: this is a numpy .npy file; read it with numpy.load and flambeau.from_numpy")
    if head.startswith(b"\x89HDF"):
        raise CheckpointError(f"{where}: this is an HDF5 file; read it with h5py and flambeau.from_numpy")


_PICKLE_HELP: Final = (
    "flambeau loads no pickles, since loading one can run any program. Convert it where PyTorch is installed: "
    "safetensors.torch.save_file(torch.load(path, weights_only=True), 'new.safetensors'), and read that with "
    "flambeau.utils.serialization.load_file"
)


def _parse(text: bytes, data_start: int, where: str) -> Header:
    metadata: dict[str, str] = {}
    entries: dict[str, Entry] = {}
    try:
        reader = Reader(text.decode())
        if reader.peek() != "{":
            kind = type(reader.value()).__name__
            raise CheckpointError(f"{where}: damaged: the header is a JSON {kind}, not an object")
        for name in reader.names():
            if name == METADATA:
                metadata = _texts(reader, where)
            else:
                entries[name] = _entry(name, reader.value(), data_start, where)
        reader.end()
    except (ValueError, RecursionError) as error:  # bad UTF-8 and bad JSON are ValueErrors
        raise CheckpointError(
            f"{where}: not a safetensors file, or damaged: its header is not valid JSON: {error}"
        ) from None
    return Header(metadata, entries, data_start)


def _texts(reader: Reader, where: str) -> dict[str, str]:
    found = {}
    if reader.peek() == "{":
        for name in reader.names():
            found[name] = reader.value()
            if not isinstance(found[name], str):
                break
            if len(found) > _MAX_TEXTS:
                raise CheckpointError(f"{where}: {METADATA} has more than {_MAX_TEXTS} members")
        else:
            return found
    raise CheckpointError(f"{where}: damaged: {METADATA} must map strings to strings")


def _entry(name: str, value: Any, data_start: int, where: str) -> Entry:
    if not isinstance(value, dict) or set(value) != _ENTRY_KEYS:
        raise _damaged(where, name, "must have dtype, shape and data_offsets")
    dtype = _DTYPES.get(value["dtype"]) if isinstance(value["dtype"], str) else None
    if dtype is None:
        raise CheckpointError(
            f"{where}: array {shortened(name)} has dtype {shortened(value['dtype'])}, which flambeau does not have; "
            f"known: {', '.join(_DTYPES)}"
        )
    shape, offsets = value["shape"], value["data_offsets"]
    if not _are_sizes(shape) or len(shape) > MAX_DIMENSIONS:
        raise _damaged(
            where, name, f"has shape {shortened(shape)}; at most {MAX_DIMENSIONS} sizes below 2**63 are allowed"
        )
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _damaged(where, name, f"has data_offsets {shortened(offsets)}; a begin and an end are expected")
    if math.prod(filter(None, shape)) * dtype.itemsize >= 1 << 63:
        raise _damaged(where, name, f"has shape {shortened(shape)}, more than fits an address space")
    nbytes = math.prod(shape) * dtype.itemsize
    if offsets[1] - offsets[0] != nbytes:
        raise _damaged(
            where, name, f"of shape {tuple(shape)} and dtype {dtype.name} takes {nbytes} bytes, "
            f"its data_offsets {offsets} say {offsets[1] - offsets[0]}",
        )  # fmt: skip
    return Entry(name, dtype, tuple(shape), data_start + offsets[0], nbytes)


def _damaged(where: str, name: str, how: str) -> CheckpointError:
    return CheckpointError(f"{where}: damaged: array {shortened(name)} {how}")


def _are_sizes(values: object) -> bool:
    return isinstance(values, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in values)


def _check_cover(entries: list[Entry], data_start: int, size: int, where: str) -> None:
    """The arrays follow each other without gap or overlap, to the end of the file."""
    position = data_start
    for entry in entries:
        if entry.start != position:
            what = "overlaps the array before it" if entry.start < position else "leaves a gap before it"
            raise CheckpointError(
                f"{where}: damaged: array {shortened(entry.name)} {what}: it begins at byte {entry.start}, not at "
                f"{position}"
            )
        position += entry.nbytes
    if position != size:
        what = "truncated" if position > size else "damaged: bytes follow the last array"
        raise CheckpointError(f"{where}: {what}: the arrays end at byte {position}, the file has {size}")
