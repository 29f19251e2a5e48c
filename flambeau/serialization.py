"""Files of tensors, with PyTorch's names; :mod:`flambeau.utils.serialization` writes and reads them."""

from __future__ import annotations

import contextlib
import mmap
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

from flambeau.core.blame import users_level
from flambeau.core.device import device as Device
from flambeau.core.registry import get_backend
from flambeau.utils.serialization import CheckpointError, load, load_file, names_in, save, save_file
from flambeau.utils.trusted import (
    LoadEndianness,
    Settings,
    add_safe_globals,
    clear_safe_globals,
    default_restore_location,
    get_safe_globals,
    register_package,
    safe_globals,
)  # fmt: skip

__all__ = [
    "CheckpointError", "LoadEndianness", "SourceChangeWarning", "add_safe_globals",
    "check_module_version_greater_or_equal", "clear_safe_globals", "default_restore_location", "get_crc32_options",
    "get_default_load_endianness", "get_default_mmap_options", "get_safe_globals", "get_unsafe_globals_in_checkpoint",
    "load", "load_file", "location_tag", "mkdtemp", "register_package", "safe_globals", "save", "save_file",
    "set_crc32_options", "set_default_load_endianness", "set_default_mmap_options", "skip_data", "validate_cuda_device",
]  # fmt: skip


class SourceChangeWarning(Warning):
    """A saved class has another source today; no class is ever saved here, so nothing warns so."""


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:  # Any: as for load
    """The names in a file of PyTorch's that are not read, unless they are trusted.

    >>> import io, pickle
    >>> fb.serialization.get_unsafe_globals_in_checkpoint("model.pt")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'model.pt'
    """
    return names_in(f)


def get_crc32_options() -> bool:
    """Whether files that are written get checksums; they always do.

    >>> fb.serialization.get_crc32_options()
    True
    """
    return Settings.crc32


def set_crc32_options(compute_crc32: bool) -> None:
    """Remember a choice for :func:`get_crc32_options`; the checksums are written all the same, they cost nothing.

    >>> fb.serialization.set_crc32_options(True)
    """
    Settings.crc32 = bool(compute_crc32)


def get_default_load_endianness() -> LoadEndianness | None:
    """The byte order of files of PyTorch's that do not say theirs; None is little.

    >>> fb.serialization.get_default_load_endianness()
    """
    return Settings.order


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """Set it.

    >>> fb.serialization.set_default_load_endianness(None)
    """
    if not isinstance(endianness, LoadEndianness | None):
        raise TypeError(f"set_default_load_endianness: expected a LoadEndianness or None, got {endianness!r}")
    Settings.order = endianness


def get_default_mmap_options() -> int | None:
    """The flags of mmap that were chosen; what is written to memory never gets to the file, whichever they are.

    >>> fb.serialization.get_default_mmap_options() == 2
    True
    """
    return getattr(mmap, "MAP_PRIVATE", None) if Settings.mmap is None else Settings.mmap


class set_default_mmap_options:
    """Choose flags of mmap, for good or inside a block; ``MAP_PRIVATE`` is the one that there is.

    >>> import mmap
    >>> with fb.serialization.set_default_mmap_options(mmap.MAP_PRIVATE):
    ...     pass
    """

    def __init__(self, flags: int):
        allowed = {getattr(mmap, "MAP_PRIVATE", None), getattr(mmap, "MAP_SHARED", None)} - {None}
        if flags not in allowed:
            raise ValueError(f"set_default_mmap_options: expected mmap.MAP_PRIVATE or mmap.MAP_SHARED, got {flags!r}")
        if flags == getattr(mmap, "MAP_SHARED", None):
            words = "set_default_mmap_options: tensors never write to the file that they were read from"
            warnings.warn(words, stacklevel=users_level())
        self._before, Settings.mmap = Settings.mmap, flags

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        Settings.mmap = self._before


class skip_data:
    """A block in which ``save`` writes tensors without what is in them: the file has their places, filled with zeros.

    ``materialize_fake_tensors`` is accepted for PyTorch's sake.

    >>> import io
    >>> file = io.BytesIO()
    >>> with fb.serialization.skip_data():
    ...     fb.save(fb.ones(2), file)
    >>> fb.load(file)
    tensor([0., 0.])
    """

    def __init__(self, materialize_fake_tensors: bool = False):
        self.materialize_fake_tensors = materialize_fake_tensors

    def __enter__(self) -> None:
        self._before, Settings.skip_data = Settings.skip_data, True

    def __exit__(self, *exc: object) -> None:
        Settings.skip_data = self._before


@contextlib.contextmanager
def mkdtemp() -> Iterator[str]:
    """A folder that is gone after the block.

    >>> with fb.serialization.mkdtemp() as folder:
    ...     pass
    """
    path = tempfile.mkdtemp()
    try:
        yield path
    finally:
        shutil.rmtree(path)


def location_tag(storage: Any) -> str:  # Any: a storage or tensor
    """The name of a storage's device, as files have it.

    >>> fb.serialization.location_tag(fb.ones(1, device="cpu"))
    'cpu'
    """
    return str(storage.device)


def validate_cuda_device(location: str) -> int:
    """The number of the device of type cuda that ``location`` names; RuntimeError where it is not there.

    >>> fb.serialization.validate_cuda_device("cuda:99")
    Traceback (most recent call last):
    RuntimeError: ...
    """
    where = Device(location)
    backend = get_backend(where.type)
    reason = backend.unavailable_reason()
    if reason is not None or where.number >= backend.device_count():
        raise RuntimeError(
            f"validate_cuda_device: {location!r} is not there ({reason or 'it has fewer devices'}); load with "
            "map_location='cpu'"
        )
    return where.number


def check_module_version_greater_or_equal(
    module: Any, req_version_tuple: tuple[int, ...], error_if_malformed: bool = True
) -> bool:
    """Whether the version of a module is this one or a later one.

    >>> import numpy
    >>> fb.serialization.check_module_version_greater_or_equal(numpy, (1, 0, 0))
    True
    """
    parts = re.findall(r"\d+", getattr(module, "__version__", "").split("+")[0])
    found = tuple(map(int, parts[: len(req_version_tuple)]))
    if len(found) < len(req_version_tuple):
        if error_if_malformed:
            raise RuntimeError(f"{module.__name__} has the malformed version {module.__version__!r}")
        warnings.warn(f"{module.__name__} has the malformed version {module.__version__!r}", stacklevel=users_level())
        return True
    return found >= tuple(req_version_tuple)


def validate_hpu_device(location: str) -> int:
    """The same for a device of type hpu.

    >>> fb.serialization.validate_hpu_device("hpu:0")
    Traceback (most recent call last):
    flambeau.core.errors.UnknownDeviceError: ...
    """
    return validate_cuda_device(location)
