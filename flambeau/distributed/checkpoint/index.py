"""The index of a checkpoint: which file has which part of which tensor, and what the files must look like.

It is one JSON file beside the safetensors files of the ranks, written last. Reading believes nothing: whatever is
wrong raises CheckpointError before a tensor is changed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from flambeau.core import dtype as dt
from flambeau.distributed.checkpoint.flat import decode
from flambeau.distributed.pieces import Region
from flambeau.utils import safetensors
from flambeau.utils.safetensors import CheckpointError, Header
from flambeau.utils.strict_json import parse, shortened

NAME: Final = "index.json"
FORMAT: Final = "flambeau.checkpoint"
VERSION: Final = 1
_LIMIT: Final = 1 << 30  # bytes of an index
#: The dtypes that tensors in a checkpoint may have.
STORED: Final = {d.name: d for d in dt.STORABLE if safetensors.storable(d)} | {"complex128": dt.complex128}


@dataclass(frozen=True)
class File:
    """How long a file is, and the SHA-256 of its header."""

    nbytes: int
    header: str


@dataclass(frozen=True)
class Part:
    """A region of a tensor: the array ``key`` of a file."""

    file: str
    key: str
    region: Region


@dataclass(frozen=True)
class Entry:
    """A tensor."""

    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]


@dataclass
class Index:
    """What a checkpoint holds."""

    ranks: int
    files: dict[str, File] = field(default_factory=dict)
    tensors: dict[str, Entry] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)  # as they stand in the file, until they are read

    def text(self) -> str:
        """The index as it stands in the file."""
        tensors = {
            path: {
                "dtype": e.dtype,
                "shape": e.shape,
                "parts": [[p.file, p.key, p.region.offsets, p.region.shape] for p in e.parts],
            }
            for path, e in self.tensors.items()
        }
        files = {name: {"bytes": f.nbytes, "header_sha256": f.header} for name, f in self.files.items()}
        whole = {
            "format": FORMAT, "version": VERSION, "ranks": self.ranks, "files": files, "tensors": tensors,
            "values": self.values,
        }  # fmt: skip
        return json.dumps(whole, ensure_ascii=False, allow_nan=False)


def header_hash(file: BinaryIO) -> str:
    """The SHA-256 of the header of an open safetensors file, its length included."""
    file.seek(0)
    length = file.read(8)
    return hashlib.sha256(length + file.read(int.from_bytes(length, "little"))).hexdigest()


def covers(shape: tuple[int, ...], regions: list[Region]) -> bool:
    """Whether regions of a tensor make up the whole of it, each element once."""
    if sum(math.prod(r.shape) for r in regions) != math.prod(shape):
        return False
    some = sorted(r for r in regions if math.prod(r.shape))
    if not all(_inside(shape, r) for r in some):
        return False
    cut = [d for d in range(len(shape)) if any(r.shape[d] != shape[d] for r in some)]
    if len(cut) <= 1:  # along one dimension: each begins where the one before ends
        return all(overlap(a, b) is None for a, b in itertools.pairwise(some))
    return not any(overlap(a, b) for i, a in enumerate(some) for b in some[i + 1 :])


def _inside(shape: tuple[int, ...], r: Region) -> bool:
    return len(r.shape) == len(shape) and all(
        o >= 0 and o + n <= size for o, n, size in zip(r.offsets, r.shape, shape, strict=True)
    )


def overlap(a: Region, b: Region) -> Region | None:
    """What two regions have in common; None where that is nothing."""
    starts = [max(x, y) for x, y in zip(a.offsets, b.offsets, strict=True)]
    ends = [
        min(x + n, y + m) for x, n, y, m in zip(a.offsets, a.shape, b.offsets, b.shape, strict=True)
    ]  # fmt: skip
    if any(s >= e for s, e in zip(starts, ends, strict=True)):
        return None
    return Region(tuple(starts), tuple(e - s for s, e in zip(starts, ends, strict=True)))


# -- reading -----------------------------------------------------------------------------------------
def read(folder: Path) -> Index:
    """The index of a checkpoint, whose files are all there and as long as it says."""
    path = folder / NAME
    try:
        if not folder.is_dir():
            raise CheckpointError(f"{str(folder)!r}: there is no such checkpoint")
        if path.stat().st_size > _LIMIT:
            raise CheckpointError(f"{str(path)!r}: the index takes more than {_LIMIT} bytes")
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise CheckpointError(f"{str(folder)!r}: not a checkpoint, or not complete: it has no {NAME}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{str(path)!r}: cannot be read: {error}") from None
    try:
        found = _index(parse(text))
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise CheckpointError(f"{str(path)!r}: damaged: {type(error).__name__}: {error}") from None
    for name, file in found.files.items():
        _check_file(folder / name, file)
    return found


def _check_file(path: Path, file: File) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        raise CheckpointError(f"{str(path)!r}: the checkpoint's index names this file, and it is missing") from None
    if size != file.nbytes:
        raise CheckpointError(f"{str(path)!r}: it has {size} bytes, the checkpoint's index says {file.nbytes}")


def _index(found: Any) -> Index:
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"it is not a {FORMAT}")
    if found["version"] != VERSION:
        raise ValueError(f"its version is {shortened(found['version'])}; version {VERSION} can be read")
    index = Index(_size(found["ranks"]))
    for name, f in found["files"].items():
        if name != os.path.basename(name) or name in ("", ".", ".."):
            raise ValueError(f"the file name {shortened(name)} leads out of the folder")
        index.files[name] = File(_size(f["bytes"]), _text(f["header_sha256"]))
    for path, e in found["tensors"].items():
        parts = tuple(
            Part(_text(file), _text(key), Region(_sizes(offsets), _sizes(shape)))
            for file, key, offsets, shape in e["parts"]
        )
        entry = Entry(_text(e["dtype"]), _sizes(e["shape"]), parts)
        if entry.dtype not in STORED:
            raise ValueError(f"tensor {shortened(path)} has dtype {shortened(entry.dtype)}, which no checkpoint has")
        if lost := {p.file for p in parts} - index.files.keys():
            raise ValueError(f"tensor {shortened(path)} is in file {shortened(min(lost))}, which is not in the list")
        if not covers(entry.shape, [p.region for p in parts]):
            raise ValueError(f"the parts of tensor {shortened(path)} do not make up its shape {entry.shape}")
        index.tensors[path] = entry
    for path, value in found["values"].items():
        index.values[path] = decode(value)
    return index


def _size(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{shortened(value)} is no size")
    return value


def _sizes(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > safetensors.MAX_DIMENSIONS:
        raise ValueError(f"{shortened(value)} is no shape")
    return tuple(_size(v) for v in value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shortened(value)} is no text")
    return value


def open_file(folder: Path, name: str, index: Index) -> tuple[BinaryIO, Header]:
    """A file of a checkpoint and its header, which must be the one that was written."""
    path = folder / name
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{str(path)!r}: cannot be read: {error}") from None
    try:
        if header_hash(file) != index.files[name].header:
            raise CheckpointError(f"{str(path)!r}: its header is not the one that the checkpoint's index was made with")
        return file, safetensors.read_header(file, repr(str(path)))
    except BaseException:
        file.close()
        raise


def part_of(header: Header, part: Part, entry: Entry, where: str) -> safetensors.Entry:
    """Where a part stands in its file."""
    found = header.entries.get(part.key)
    stored = stored_dtype(entry.dtype)
    shape = (*part.region.shape, 2) if stored != entry.dtype else part.region.shape
    if found is None or found.dtype.name != stored or found.shape != shape:
        have = "missing" if found is None else f"{found.dtype.name} {list(found.shape)}"
        raise CheckpointError(f"{where}: array {shortened(part.key)} should be {stored} {list(shape)}, it is {have}")
    return found


def stored_dtype(name: str) -> str:
    """The dtype in which the file format holds another: complex128, which it lacks, as pairs of float64."""
    return "float64" if name == "complex128" else name
