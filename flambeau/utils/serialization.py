"""Files of tensors and nested state, without pickle: loading a file can run nothing.

:func:`save` writes a safetensors file whose metadata holds, as JSON, how the arrays and plain values are
nested; :func:`load` gives the same objects back. Other programs can read the arrays of such a file, and
:func:`load_file` reads those of theirs. :func:`load` also reads what ``torch.save`` wrote, as far as it is tensors
and plain data (:mod:`flambeau.utils.pickled`).
"""

from __future__ import annotations

import inspect
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any, BinaryIO, Final, cast

import numpy as np

from flambeau.core.blame import explain_functions, plain
from flambeau.core.device import DeviceLike
from flambeau.core.device import device as Device
from flambeau.core.from_data import resolve_device
from flambeau.core.tensor import Tensor
from flambeau.utils import safetensors, strict_json, trusted
from flambeau.utils.files import atomic_write
from flambeau.utils.host import host_array, tensor_from_host
from flambeau.utils.pickled import archive
from flambeau.utils.pickled.archive import is_torch_file
from flambeau.utils.safetensors import CheckpointError, Header
from flambeau.utils.structure import Decoder, Encoder, Locate
from flambeau.utils.trusted import StoredElsewhere, default_restore_location

__all__ = ["CheckpointError", "load", "load_file", "save", "save_file"]

_FORMAT: Final = 1
_MAX_CONTAINERS: Final = 4_000_000
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STRUCTURE, _CHECKSUM, _VERSION = "flambeau.structure", "flambeau.crc32", "flambeau.format"

PathOrFile = str | os.PathLike[str] | BinaryIO
MapLocation = DeviceLike | Mapping[Any, DeviceLike] | Callable[[str], DeviceLike] | Callable[[Any, str], Any]


def save(
    obj: object, f: PathOrFile, pickle_module: object = None, pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True, _disable_byteorder_record: bool = False,
) -> None:  # fmt: skip
    """Write ``obj`` to a file that :func:`load` reads back.

    Args:
        obj: tensors, sparse ones too, and parameters in any nesting of dict, OrderedDict, list, tuple and set, with
            None, bool, int, float, complex, str, bytes, Size, dtypes, devices and numpy arrays. Tensors that share
            storage and dtype share it again when loaded; an object that stands in several places is one. A module
            is saved as its class's name and what it is made of; so are constraints of distributions, members of
            enums, and objects that have nothing but attributes.
        f: a path, which is replaced in one step when all is written (a device or a pipe is written to), or a file
            open for writing bytes.
        pickle_module, pickle_protocol: accepted for PyTorch's sake, as are the last two; nothing is pickled.

    Raises:
        TypeError: for an object of another type; the text says where in ``obj`` it stands. Optimizers are saved by
            their ``state_dict()``.

    >>> import io
    >>> file = io.BytesIO()
    >>> fb.save({"weight": fb.ones(2), "epoch": 3}, file)
    >>> fb.load(file)
    {'weight': tensor([1., 1.]), 'epoch': 3}
    """
    encoder = Encoder()
    root = encoder.encode(obj)
    arrays, descriptions = encoder.finish()
    if trusted.Settings.skip_data:
        arrays = {name: np.zeros_like(array) for name, array in arrays.items()}
    for description in descriptions:
        description["crc32"] = safetensors.checksum(arrays[description["array"]])
    structure = json.dumps({"root": root, "arrays": descriptions}, allow_nan=False, separators=(",", ":"))
    if _has_too_many_members(structure):
        raise ValueError(
            f"save: obj has more than {_MAX_CONTAINERS} lists, tuples, dicts and members of dicts; put numbers into "
            "tensors"
        )
    header = safetensors.plan(arrays, {_VERSION: str(_FORMAT), _STRUCTURE: structure})
    header[safetensors.METADATA][_CHECKSUM] = _fingerprint(sorted(header.items(), key=itemgetter(0)))
    _write(f, lambda file: safetensors.write(file, arrays, header))


def load(
    f: PathOrFile, map_location: MapLocation = None, pickle_module: object = None, *, weights_only: bool | None = None,
    mmap: bool | None = None, encoding: str = "utf-8", **pickle_load_args: object,
) -> Any:  # Any: what was saved  # fmt: skip
    """Read what :func:`save` wrote, or PyTorch's ``torch.save``.

    Of PyTorch's files, in the form of a zip archive or the older one, tensors, parameters, containers and plain values
    are read, and objects of the classes given to :func:`flambeau.serialization.add_safe_globals`. Whatever else is in
    them is an error that names it: nothing in a file is run. A module that :func:`save` wrote comes back if its class
    is one of ``flambeau.nn``, or trusted in the same way, or by ``weights_only=False``.

    Args:
        f: a path, or a file open for reading bytes (it is read from its beginning).
        map_location: the device for the tensors: None for the one each was saved from, a device or its
            name for all, a dict from saved to wanted names ("cuda" stands for all of "cuda:0", "cuda:1" that are
            not named themselves), or a function from the saved name to a device, or, as in PyTorch, from a
            storage and that name to a storage or a device.
        pickle_module: accepted for PyTorch's sake.
        weights_only: False trusts what this program has imported of classes of modules, distributions and their
            transforms, for a file that :func:`save` wrote: objects of them come back without a call of their
            constructors. Nothing is imported or unpickled either way.
        mmap: leave the arrays in the file until they are read; needs a path, is for the CPU, and skips
            the check of the arrays' sums. The file must not be changed in place meanwhile (``save``
            never does that).
        encoding: of the strings in files that Python 2 wrote; "bytes" leaves them bytes.

    Raises:
        flambeau.utils.safetensors.CheckpointError: the file is of another kind, holds what is not read, or is
            damaged; nothing else comes of a bad file.
        OSError: the file cannot be opened.

    >>> fb.save([fb.ones(2), {"lr": 0.1}], "run.safetensors")
    >>> fb.load("run.safetensors")
    [tensor([1., 1.]), {'lr': 0.1}]
    """
    del pickle_module, pickle_load_args
    file, where = _open(f, "load", bool(mmap))
    with file:
        if is_torch_file(_beginning(file)):
            return archive.read(
                file, where, _locator(map_location), mmap=bool(mmap), trusted=trusted.by_name(), encoding=encoding,
                order=trusted.Settings.byte_order(),
            )  # fmt: skip
        header = safetensors.read_header(file, where)
        structure = _checked_structure(header, where)
        known = trusted.by_name() if weights_only is not False else trusted.derived() | trusted.by_name()
        decoder = Decoder(file, header, where, _locator(map_location), bool(mmap), known)
        return decoder.decode(structure)


def names_in(f: PathOrFile) -> list[str]:
    """The names in a file of PyTorch's of what is not read; none in a file by :func:`save`."""
    file, where = _open(f, "names_in", False)
    with file:
        return archive.unknown_names(file, where) if is_torch_file(_beginning(file)) else []


def _beginning(file: BinaryIO) -> bytes:
    head = file.read(9)
    file.seek(0)
    return head


def save_file(tensors: Mapping[str, Tensor], filename: PathOrFile, metadata: Mapping[str, str] | None = None) -> None:
    """Write a dict of tensors as a plain ``.safetensors`` file, for any program that reads the format.

    Args:
        tensors: names and tensors, of any dtype but complex128. Shared storage is written once for each.
        filename: a path, which is replaced in one step, or a file open for writing bytes.
        metadata: strings by name that are stored beside them.

    >>> fb.utils.serialization.save_file({"a": fb.ones(2)}, "a.safetensors")
    >>> fb.utils.serialization.load_file("a.safetensors")
    {'a': tensor([1., 1.])}
    """
    arrays = {}
    if not isinstance(tensors, Mapping):
        raise TypeError(f"save_file: tensors must map names to tensors, got {type(tensors).__name__}; save() takes it")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise TypeError(
                f"save_file: tensors must map names to tensors, got {name!r}: {type(tensor).__name__}; "
                "save() takes nested state"
            )
        if name == safetensors.METADATA:
            raise ValueError(
                f"save_file: no tensor can have the name {name!r}, under which the format keeps metadata; rename it"
            )
        _check_text("a tensor's name", name)
        if not safetensors.storable(tensor.dtype):
            raise TypeError(
                f"save_file: {name!r} has dtype {tensor.dtype}, which the format lacks; use view_as_real or save()"
            )
        arrays[name] = host_array(tensor)
    if not isinstance(metadata or {}, Mapping):
        raise TypeError(f"save_file: metadata must map strings to strings, got {type(metadata).__name__}")
    for name, text in (metadata or {}).items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"save_file: metadata must map strings to strings, got {name!r}: {text!r}")
        _check_text("a name of metadata", name)
        _check_text(f"metadata {name!r}", text)
    header = safetensors.plan(arrays, metadata)
    _write(filename, lambda file: safetensors.write(file, arrays, header))


def load_file(filename: PathOrFile, device: DeviceLike = "cpu", *, mmap: bool = False) -> dict[str, Tensor]:
    """Read all tensors of any ``.safetensors`` file, whoever wrote it, in the order of the file.

    Raises:
        flambeau.utils.safetensors.CheckpointError: the file is damaged, or of another format.

    >>> fb.utils.serialization.save_file({"a": fb.ones(2)}, "a.safetensors")
    >>> fb.utils.serialization.load_file("a.safetensors")["a"]
    tensor([1., 1.])
    """
    file, where = _open(filename, "load_file", mmap)
    with file:
        header, goal = safetensors.read_header(file, where), resolve_device(device)
        return {
            name: tensor_from_host(safetensors.read_array(file, entry, where, mmap), goal)
            for name, entry in header.entries.items()
        }


def _check_text(what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"save_file: {what} is {text!r}, which has half of a surrogate pair and cannot be written as UTF-8; "
            "rename it, for example by text.encode(errors='replace').decode()"
        ) from None


def _write(target: PathOrFile, write: Callable[[BinaryIO], None]) -> None:
    text = isinstance(cast(object, target), io.TextIOBase)
    if isinstance(target, (str, os.PathLike)):
        with atomic_write(target) as file:
            write(file)
    elif hasattr(target, "write") and not text:
        write(target)
    else:
        how = " (open it with 'wb')" if text else ""
        raise TypeError(f"save: expected a path or a file open for writing bytes, got {type(target).__name__}{how}")


def _open(source: PathOrFile, caller: str, mmap: bool) -> tuple[BinaryIO, str]:
    """An open file of its own, and its name for errors."""
    if isinstance(source, (str, os.PathLike)):
        where, file = os.fspath(source), open(source, "rb")  # noqa: SIM115 (the caller closes it)
        if mmap or file.seekable():
            return file, where
        with file:  # a pipe
            return _whole(file, where), where
    if not hasattr(source, "read"):
        raise TypeError(f"{caller}: expected a path or a file open for reading bytes, got {type(source).__name__}")
    if mmap:
        raise ValueError(f"{caller}: mmap=True needs a path, got {type(source).__name__}")
    if hasattr(source, "seek"):
        source.seek(0)
    where = str(getattr(source, "name", f"<{type(source).__name__}>"))
    return _whole(source, where, caller), where


def _whole(source: BinaryIO, where: str, caller: str = "load") -> BinaryIO:
    try:
        data = source.read()
    except MemoryError:
        raise CheckpointError(f"{where}: is longer than this machine has memory for") from None
    if not isinstance(data, bytes):
        raise TypeError(f"{caller}: the file must be open for reading bytes ('rb'), it gives {type(data).__name__}")
    return io.BytesIO(data)


def _fingerprint(members: Iterable[tuple[str, Any]]) -> str:
    """A checksum of everything in the header but itself, of its members sorted by name: as JSON of the whole."""
    crc = zlib.crc32(b"{")
    for i, (name, value) in enumerate(members):
        known = {k: v for k, v in value.items() if k != _CHECKSUM} if name == safetensors.METADATA else value
        text = f"{', ' if i else ''}{json.dumps(name)}: {json.dumps(known, sort_keys=True)}"
        crc = zlib.crc32(text.encode(), crc)
    return f"{zlib.crc32(b'}', crc):08x}"


def _has_too_many_members(structure: str) -> bool:
    """Whether JSON has so many lists and objects that they would fill the memory, each many times its text."""

    def count(text: str) -> int:
        return text.count("[") + text.count("{")

    return count(structure) > _MAX_CONTAINERS and count(_STRING.sub("", structure)) > _MAX_CONTAINERS


def _checked_structure(header: Header, where: str) -> dict[str, Any]:
    version = header.metadata.get(_VERSION)
    if version is None or _STRUCTURE not in header.metadata:
        raise CheckpointError(
            f"{where}: a safetensors file, but not written by flambeau.save: read it with "
            "flambeau.utils.serialization.load_file"
        )
    if version != str(_FORMAT):
        raise CheckpointError(
            f"{where}: has format {version!r}, this flambeau reads {_FORMAT}: a newer one may have written it"
        )
    if header.metadata.get(_CHECKSUM) != _fingerprint(header.members()):
        raise CheckpointError(f"{where}: damaged: the header's checksum is wrong")
    if _has_too_many_members(header.metadata[_STRUCTURE]):
        raise CheckpointError(f"{where}: damaged: the structure has more than {_MAX_CONTAINERS} lists and objects")
    try:
        structure = strict_json.parse(header.metadata[_STRUCTURE])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: damaged: the structure is not valid JSON: {error}") from None
    if not isinstance(structure, dict) or set(structure) != {"root", "arrays"}:
        raise CheckpointError(f"{where}: damaged: the structure must have a root and arrays")
    return structure


def _restored(saved: str) -> DeviceLike:
    """Where tensors of a device go when nobody says it."""
    found = default_restore_location(None, saved)
    return found.where if isinstance(found, StoredElsewhere) else getattr(found, "device", found)


def _takes_two(fn: Callable[..., Any]) -> bool:
    """Whether a function wants a storage and a name, as PyTorch's do, and not the name alone."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # one that is written in C
        return False
    wanted = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(wanted) >= 2


def _locator(map_location: MapLocation) -> Locate:
    """From the name of the device a tensor was saved from to the device it goes to."""
    if map_location is None:
        return _restored
    if isinstance(map_location, Mapping):
        wanted = {str(k): v for k, v in map_location.items()}

        def chosen_for(saved: str) -> DeviceLike:
            kind = saved.partition(":")[0]
            return next((wanted[n] for n in (saved, f"{kind}:0" if saved == kind else kind) if n in wanted), saved)

        return chosen_for
    if callable(map_location) and not isinstance(map_location, type):
        takes_storage = _takes_two(map_location)

        def asked(saved: str) -> DeviceLike:
            ask: Callable[..., Any] = map_location
            if not takes_storage:
                return ask(saved) or saved
            found = ask(StoredElsewhere("cpu"), saved)
            return _restored(saved) if found is None else getattr(found, "device", found)

        return asked
    chosen = Device(map_location)  # type: ignore[arg-type]  # a class is refused there
    return lambda saved: chosen


explain_functions(globals(), wrap=plain)
