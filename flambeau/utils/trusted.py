"""What the user told the readers of files: classes to trust, byte orders, whose devices a storage may go to."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterable
from functools import cache
from types import TracebackType
from typing import Any, TypeAlias

from flambeau.core.device import DeviceLike
from flambeau.core.device import device as Device
from flambeau.nn.module import Module

SafeGlobal: TypeAlias = Callable[..., Any] | tuple[Callable[..., Any], str]

_globals: list[SafeGlobal] = []
_restorers: list[tuple[int, Callable[..., Any], Callable[..., Any]]] = []


class LoadEndianness(enum.Enum):
    """The byte order of files that do not say theirs."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


class Settings:
    """How files are read where a call does not say it."""

    order: LoadEndianness | None = None
    mmap: int | None = None
    crc32 = True
    skip_data = False

    @classmethod
    def byte_order(cls) -> str | None:
        """The byte order in Python's words; None if nothing was chosen."""
        if cls.order is None:
            return None
        return sys.byteorder if cls.order is LoadEndianness.NATIVE else cls.order.name.lower()


def add_safe_globals(safe_globals: Iterable[SafeGlobal]) -> None:
    """Trust classes and functions, or pairs of one and the name that it has in files, for all files that are read.

    Whatever a file says of them is done: a class is made with the arguments in the file, and gets its state.

    >>> import fractions
    >>> fb.serialization.add_safe_globals([fractions.Fraction])
    >>> fb.serialization.get_safe_globals()
    [<class 'fractions.Fraction'>]
    >>> fb.serialization.clear_safe_globals()
    """
    for entry in safe_globals:
        if not callable(entry) and not (isinstance(entry, tuple) and len(entry) == 2 and callable(entry[0])):
            raise TypeError(f"add_safe_globals: expected classes, functions, or pairs of one and a name, got {entry!r}")
        if entry not in _globals:
            _globals.append(entry)


def get_safe_globals() -> list[SafeGlobal]:
    """What :func:`add_safe_globals` was told.

    >>> fb.serialization.get_safe_globals()
    []
    """
    return list(_globals)


def clear_safe_globals() -> None:
    """Trust nothing any more.

    >>> fb.serialization.clear_safe_globals()
    """
    _globals.clear()


class safe_globals:
    """Trust classes and functions inside a block.

    >>> with fb.serialization.safe_globals([complex]):
    ...     fb.serialization.get_safe_globals()
    [<class 'complex'>]
    """

    def __init__(self, safe_globals: Iterable[SafeGlobal]):
        self._more = list(safe_globals)

    def __enter__(self) -> None:
        self._before = get_safe_globals()
        add_safe_globals(self._more)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _globals[:] = self._before


def by_name() -> dict[str, Any]:
    """What is trusted, by the names that it may have in files."""
    found = {}
    for entry in _globals:
        value, name = entry if isinstance(entry, tuple) else (entry, full_name(entry))
        found[name] = value
        if name.startswith("builtins."):
            found[f"__builtin__.{name.removeprefix('builtins.')}"] = value
    return found


def derived() -> dict[str, type]:
    """The classes of this program for modules, distributions and their transforms, by their names in files.

    They are found among the classes that there are: no file makes one, and nothing is imported.
    """
    from flambeau.distributions import Distribution, Transform  # large: at first need

    found: dict[str, type] = {}
    waiting: list[type] = [Module, Distribution, Transform]
    while waiting:
        cls = waiting.pop()
        if full_name(cls) not in found:
            waiting += type.__subclasses__(cls)
        found[full_name(cls)] = cls
    return found


@cache
def constraints() -> dict[str, type]:
    """The classes of the constraints of distributions, by their names in files: they are known, and made by their own
    constructors, which look at their arguments."""
    from flambeau.distributions import constraints as own  # large: at first need

    found = {n: c for n, c in vars(own).items() if isinstance(c, type) and issubclass(c, own.Constraint)}
    return {n: c for n, c in found.items() if c.__name__ == n and not issubclass(c, property)}


def full_name(value: Any) -> str:  # Any: a class or function
    """The module and name of a class or function."""
    return f"{value.__module__}.{value.__qualname__}"


# -- devices -------------------------------------------------------------------------------------------------
class StoredElsewhere:
    """What a ``map_location`` function gets as its storage: it tells where it was, and can be sent elsewhere.

    >>> from flambeau.utils.trusted import StoredElsewhere
    >>> StoredElsewhere("cpu").device
    device(type='cpu')
    """

    def __init__(self, where: DeviceLike):
        self.where = where

    @property
    def device(self) -> Device:
        """Where it goes."""
        return Device("cpu" if self.where is None else self.where)

    @property
    def is_cuda(self) -> bool:
        """Whether it goes to a device of type cuda."""
        return self.device.type == "cuda"

    def to(self, device: DeviceLike, non_blocking: bool = False) -> StoredElsewhere:
        """The same, for another device."""
        return StoredElsewhere(device)

    def cpu(self) -> StoredElsewhere:
        """The same, for host memory."""
        return StoredElsewhere("cpu")

    def cuda(self, device: int | DeviceLike = None, non_blocking: bool = False) -> StoredElsewhere:
        """The same, for a device of type cuda."""
        return StoredElsewhere(f"cuda:{device}" if isinstance(device, int) else device or "cuda")


def register_package(priority: int, tagger: Callable[..., Any], deserializer: Callable[..., Any]) -> None:
    """Tell where storages of some devices go when they are read.

    Args:
        priority: the lowest is asked first.
        tagger: accepted for PyTorch's sake; files name devices as they are called.
        deserializer: from a storage and the name of the device that it was on to the storage or its device; None is
            for "not mine".

    >>> fb.serialization.register_package(50, lambda s: None, lambda s, place: s.cpu() if place == "npu:0" else None)
    >>> fb.serialization.default_restore_location(None, "npu:0").device
    device(type='cpu')
    """
    _restorers.append((priority, tagger, deserializer))
    _restorers.sort(key=lambda entry: entry[0])


def default_restore_location(storage: Any, location: str) -> Any:  # Any: a storage, by whatever class
    """Where a storage goes without ``map_location``: what a registered function says, else where it was.

    >>> fb.serialization.default_restore_location(None, "cpu").device
    device(type='cpu')
    """
    here = StoredElsewhere(location) if storage is None else storage
    for _, _, deserializer in _restorers:
        found = deserializer(here, location)
        if found is not None:
            return found
    return here.to(location)
