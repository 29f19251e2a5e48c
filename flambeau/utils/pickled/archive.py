"""The two forms of PyTorch's files: a zip archive with a record for each storage, and the older stream of pickles."""

from __future__ import annotations

import io
import pickletools
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, Final

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.creation import empty
from flambeau.core.device import DeviceLike
from flambeau.core.dtype import DType
from flambeau.core.tensor import Tensor
from flambeau.utils.host import HostArray, tensor_from_host
from flambeau.utils.pickled.machine import Machine, Wrong
from flambeau.utils.pickled.names import Names, StorageClass, Stored
from flambeau.utils.safetensors import CheckpointError
from flambeau.utils.strict_json import shortened

#: From a storage's location in the file to the device of its tensors.
Locate = Callable[[str], DeviceLike]

_MAGIC: Final = 0x1950A86A20F9469CFC6C  # of the older form
_PROTOCOL: Final = 1001
_ORDERS: Final = ("little", "big")


def is_torch_file(head: bytes) -> bool:
    """Whether a file that begins so can be one of PyTorch's: a zip archive or a pickle."""
    if head[8:9] == b"{" and head[2:8] == bytes(6):  # safetensors, whose header has 0x0280 bytes or the like
        return False
    return head.startswith(b"PK\x03\x04") or head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")


def read(
    file: BinaryIO, where: str, locate: Locate, *, mmap: bool = False, trusted: dict[str, Any] | None = None,
    encoding: str = "utf-8", order: str | None = None,
) -> Any:  # Any: what was saved  # fmt: skip
    """The object in a file of PyTorch's; CheckpointError for every other, and for a damaged one."""
    reader = _Reader(file, where, locate, mmap, trusted or {}, encoding, order)
    try:
        file.seek(0)
        return reader.zipped() if file.read(4) == b"PK\x03\x04" else reader.stream()
    except Wrong as error:
        raise CheckpointError(f"{where}: cannot be read: {error}") from error.__cause__
    except MemoryError:
        raise CheckpointError(f"{where}: takes more memory than there is; mmap=True leaves it in the file") from None
    except _Callers as error:
        raise error.error from None


class _Callers(BaseException):
    """An error of the caller's map_location, which no damage of the file is; none of the handlers inside sees it."""

    def __init__(self, error: Exception):
        super().__init__(error)
        self.error = error


class _Reader:
    """One open file."""

    def __init__(
        self, file: BinaryIO, where: str, locate: Locate, mmap: bool, trusted: dict[str, Any], encoding: str,
        order: str | None,
    ):  # fmt: skip
        self.file, self.where, self.locate, self.mmap = file, where, locate, mmap
        self.encoding, self.order = encoding, order
        self.names = Names(self.tensor, trusted)
        self.fetch: Callable[[Stored], HostArray] | None = None  # None: only see what storages there are
        self.stored: dict[str, Stored] = {}
        self._hosts: dict[str, HostArray] = {}
        self._bases: dict[tuple[str, DType], Tensor] = {}
        self._places: dict[str, DeviceLike] = {}

    # -- the zip archive ---------------------------------------------------------------------------
    def zipped(self) -> Any:
        try:
            with zipfile.ZipFile(self.file) as archive:
                return self._archive(archive)
        except (Wrong, CheckpointError, MemoryError):
            raise
        except OSError as error:
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            raise Wrong(f"it is no whole zip archive ({error})") from error
        except Exception as error:  # zipfile says it in many ways
            raise Wrong(f"it is no whole zip archive ({type(error).__name__}: {str(error)[:100]})") from error

    def _archive(self, archive: zipfile.ZipFile) -> Any:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise Wrong("two records of the archive have one name")
        mains = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(mains) != 1:
            raise Wrong(_other_archive(names))
        top = mains[0].removesuffix("data.pkl")
        if f"{top}constants.pkl" in names or any(n.startswith(f"{top}code/") for n in names):
            raise Wrong("it is a TorchScript program; only state is read: save the state_dict() instead")
        self.order = self._byte_order(archive, f"{top}byteorder", names)
        self.fetch = lambda stored: self._record(archive, f"{top}data/{stored.key}", stored)
        with archive.open(self._plain(archive, mains[0])) as main:
            return Machine(self.names, self.persistent, self.encoding).run(_Whole(main.read()))  # type: ignore[arg-type]  # it has what is asked for

    def _byte_order(self, archive: zipfile.ZipFile, name: str, names: list[str]) -> str:
        if name not in names:
            return self.order or "little"
        order = archive.read(self._plain(archive, name)).decode("ascii", "replace")
        if order not in _ORDERS:
            raise Wrong(f"its byte order is {shortened(order)}")
        return order

    @staticmethod
    def _plain(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
        try:
            info = archive.getinfo(name)
        except KeyError:
            raise Wrong(f"the archive has no record {shortened(name)}") from None
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise Wrong(f"the record {shortened(name)} is compressed or encrypted, as PyTorch writes none")
        if info.file_size != info.compress_size:
            raise Wrong(f"the record {shortened(name)} has two sizes")
        return info

    def _record(self, archive: zipfile.ZipFile, name: str, stored: Stored) -> HostArray:
        info = self._plain(archive, name)
        if info.file_size != stored.nbytes:
            raise Wrong(f"storage {shortened(stored.key)} takes {stored.nbytes} bytes, its record has {info.file_size}")
        with archive.open(info) as record:  # it looks at the record's own head
            if not self.mmap or not stored.nbytes:
                return np.frombuffer(bytearray(record.read()), np.uint8)
        self.file.seek(info.header_offset + 26)
        lengths = self.file.read(4)
        start = info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        return np.memmap(self.file, np.uint8, "c", start, (stored.nbytes,)).view(np.ndarray)

    # -- the older stream ----------------------------------------------------------------------------
    def stream(self) -> Any:
        if self.mmap:
            raise Wrong("it has the older form, which mmap=True cannot read")
        self.file.seek(0)
        if self._plain_pickle() != _MAGIC:
            raise Wrong("it is a pickle, and none that torch.save wrote")
        if self._plain_pickle() != _PROTOCOL:
            raise Wrong("it has another version of the older form")
        system = self._plain_pickle()
        little = system.get("little_endian", True) if isinstance(system, dict) else True
        self.order = self.order or ("little" if little is True else "big")
        begins = self.file.tell()
        Machine(self.names, self.persistent, self.encoding).run(self.file)  # only to see the storages
        found = self._storages(self._plain_pickle())
        self.file.seek(begins)
        self.fetch = lambda stored: found[stored.key]
        return Machine(self.names, self.persistent, self.encoding).run(self.file)

    def _plain_pickle(self) -> Any:
        def none(_: Any) -> Any:
            raise Wrong("it speaks of a storage before its beginning")

        return Machine(lambda name: None, none).run(self.file)

    def _storages(self, keys: Any) -> dict[str, HostArray]:
        """The bytes of each storage, which stand one after the other, each behind its count of elements."""
        if not isinstance(keys, list) or not all(type(k) is str for k in keys) or len(set(keys)) != len(keys):
            raise Wrong("its list of storages is none")
        missing = set(self.stored) - set(keys)
        if missing:
            raise Wrong(f"storage {shortened(min(missing))} is not in it")
        found = {}
        for key in keys:
            stored = self.stored.get(key)
            if stored is None:
                raise Wrong(f"nothing stands on storage {shortened(key)}")
            head = self.file.read(8)
            count = int.from_bytes(head, "little" if self.order == "little" else "big", signed=True)
            if len(head) != 8 or count != stored.count:
                raise Wrong(f"storage {shortened(key)} has {count} elements and should have {stored.count}")
            data = self.file.read(stored.nbytes) if stored.nbytes <= self._left() else b""
            if len(data) != stored.nbytes:
                raise Wrong(f"it ends in the middle of storage {shortened(key)}")
            found[key] = np.frombuffer(bytearray(data), np.uint8)
        return found

    def _left(self) -> int:
        here = self.file.tell()
        end = self.file.seek(0, 2)
        self.file.seek(here)
        return end - here

    # -- storages and tensors ------------------------------------------------------------------------
    def persistent(self, description: Any) -> Stored:
        """The storage that a description in the stream speaks of."""
        if not isinstance(description, tuple) or len(description) not in (5, 6) or description[0] != "storage":
            raise Wrong("it speaks of something that is no storage outside of it")
        _, kind, key, location, count, *view = description
        if (
            not isinstance(kind, StorageClass)
            or type(key) is not str
            or type(location) is not str
            or type(count) is not int
            or not 0 <= count < 1 << 60
        ):
            raise Wrong("the description of a storage makes no sense")
        stored = Stored(key, kind.dtype, location, count)
        known = self.stored.setdefault(key, stored)
        if (known.dtype, known.location, known.count) != (stored.dtype, location, count):
            raise Wrong(f"storage {shortened(key)} is described in two ways")
        if not view or view[0] is None:
            return stored
        if not isinstance(view[0], tuple) or len(view[0]) != 3 or type(view[0][1]) is not int or view[0][1] < 0:
            raise Wrong("the description of a part of a storage makes no sense")
        return Stored(key, kind.dtype, location, count, view[0][1])

    def tensor(
        self, stored: Stored, dtype: DType, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
    ) -> Tensor:
        if self.fetch is None:
            return empty((0,), dtype=dtype, device="cpu")
        offset += stored.start
        available = stored.nbytes // dtype.itemsize
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if 0 not in shape and last >= available:
            raise Wrong(
                f"a tensor of {available} elements of storage {shortened(stored.key)} reaches to element {last}"
            )
        if 0 in shape:
            return empty(shape, dtype=dtype, device=self._place(stored.location))
        base = self._base(stored, dtype)
        view: Tensor = base.as_strided(shape, strides, offset)
        return view.detach()

    def _base(self, stored: Stored, dtype: DType) -> Tensor:
        known = self._bases.get((stored.key, dtype))
        if known is not None:
            return known
        raw = self._hosts.get(stored.key)
        if raw is None:
            assert self.fetch is not None
            raw = self._hosts[stored.key] = self.fetch(stored)
        if dtype is dt.bool_ and raw.size and raw.max() > 1:
            raise Wrong(f"storage {shortened(stored.key)} is of bools and has bytes other than 0 and 1")
        host = raw[: raw.size // dtype.itemsize * dtype.itemsize].view(dtype.numpy)
        if self.order != sys.byteorder:
            host = host.byteswap()
        place = self._place(stored.location)
        try:
            made = tensor_from_host(host, place)
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{self.where}: its tensors go to device {str(place)!r}, which cannot be used: {error}; "
                "map_location='cpu' loads them elsewhere"
            ) from error
        self._bases[stored.key, dtype] = made
        return made

    def _place(self, location: str) -> DeviceLike:
        if location not in self._places:
            try:
                self._places[location] = self.locate(location)
            except Exception as error:
                raise _Callers(error) from None
        return self._places[location]


class _Whole:
    """Bytes as the reader of opcodes wants them, which copies nothing that is not there."""

    def __init__(self, data: bytes):
        self._data, self._place = data, 0

    def read(self, count: int) -> bytes:
        piece = self._data[self._place : self._place + count]
        self._place += len(piece)
        return piece

    def readline(self) -> bytes:
        end = self._data.find(b"\n", self._place) + 1 or len(self._data)
        return self.read(end - self._place)

    def tell(self) -> int:
        return self._place


def unknown_names(file: BinaryIO, where: str) -> list[str]:
    """The names in a file that are not read; the file itself is not."""
    found: dict[str, None] = {}

    def note(name: str) -> Any:
        with suppress(Wrong):
            if names(name) is not None:
                return None
        found[name] = None
        return None

    reader = _Reader(file, where, lambda saved: saved, False, {}, "utf-8", None)
    names = reader.names
    file.seek(0)
    if file.read(4) == b"PK\x03\x04":
        with zipfile.ZipFile(file) as archive:
            (main,) = [n for n in archive.namelist() if n.count("/") == 1 and n.endswith("/data.pkl")]
            streams: list[BinaryIO] = [io.BytesIO(archive.read(main))]
    else:
        file.seek(0)
        for _ in range(3):
            for _ in pickletools.genops(file):
                pass
        streams = [file]
    for stream in streams:
        strings: list[str] = []
        for op, argument, _ in pickletools.genops(stream):
            if op.name == "GLOBAL":
                note(str(argument).replace(" ", ".", 1))
            elif op.name == "STACK_GLOBAL":
                note(".".join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
    return list(found)


def _other_archive(names: list[str]) -> str:
    if any(n.endswith(".npy") for n in names):
        return "it is a numpy .npz file; read it with numpy.load and flambeau.from_numpy"
    with suppress(StopIteration):
        found = next(n for n in names if n.endswith((".pt", ".pth")))
        return f"it is a zip archive around {shortened(found)}; unpack it first"
    return "it is a zip archive, and none that torch.save wrote (it has no data.pkl)"
