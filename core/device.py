"""The ``device`` object: a type and an index, interned, comparable to nothing but itself."""

from __future__ import annotations

import builtins
import re
import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, ClassVar, Final, Self, TypeAlias

from flambeau.core.errors import InvalidDeviceError
from flambeau.core.naming import shown

_SINGLE = ("cpu", "meta")  # there is only ever one
_PATTERN = re.compile(r"([a-z_][a-z0-9_]*?)(?::(\d+))?")


@shown()
class device:
    """Where a tensor lives: ``device("opencl:1")``, ``device("cpu")``, ``device("cuda", 0)``, ``device(1)``.

    ``type`` is the name under which a backend registered; ``index`` counts that backend's devices from 0 and is None
    where none was given. Interned: two devices are equal exactly when they are the same object, so that ``cpu`` and
    ``cpu:0`` differ. A tensor's own device has an index where there can be several of its type; without one, the
    thread's current device of the type is meant. A number stands for that device of the accelerator. Using it as a
    context manager sets the default device of the constructors inside.

    >>> device("cpu").index, device("cpu") == device("cpu:0"), fb.ones(1, device="cpu:0").device
    (None, False, device(type='cpu'))
    """

    __slots__ = ("__weakref__", "_home", "backend", "index", "number", "type")
    type: str
    index: int | None
    number: int  # the index, or 0
    _home: device  # where tensors are unless this thread chose another current device of the type
    backend: Any  # the Backend once resolved; the registry sets it, None before

    #: What stands for another type of device, by the setting ``device_alias``; the floor of backends sets it.
    aliases: ClassVar[Callable[[], Mapping[str, str]] | None] = None
    _interned: ClassVar[dict[tuple[str, int | None], device]] = {}
    #: The type that a number alone stands for; the floor of accelerators sets it.
    accelerator: ClassVar[Callable[[], str] | None] = None

    def __new__(cls, type: str | int | device, index: int | None = None) -> device:
        if isinstance(type, device):
            return type
        if isinstance(type, int) and not isinstance(type, bool) and cls.accelerator is not None:
            if type < 0:
                raise ValueError(f"device: the index must not be negative, got {type}")
            return device(cls.accelerator(), type)
        if not isinstance(type, str):
            raise TypeError(
                f"device: expected a name such as 'cpu' or 'opencl:0', got {type!r} ({type.__class__.__name__})"
            )
        match = _PATTERN.fullmatch(type)
        if match is None:
            raise InvalidDeviceError(
                f"device: invalid device string {type!r}; expected 'type' or 'type:index', as in 'opencl:0'"
            )
        name, tail = match.groups()
        name = name if cls.aliases is None else cls.aliases().get(name, name)
        if tail is not None and index is not None:
            raise InvalidDeviceError(f"device: {type!r} already has an index, so index={index} is one too many")
        if index is not None and not isinstance(index, int):
            raise TypeError(f"device: the index must be an int, got {index!r} ({index.__class__.__name__})")
        number = int(tail) if tail is not None else index
        if number is not None and number < 0:
            raise InvalidDeviceError(f"device: the index must not be negative, got {number}")
        return cls._interned.get((name, number)) or cls._new(name, number)

    @classmethod
    def _new(cls, type: str, index: int | None) -> device:
        self = object.__new__(cls)
        self.type, self.index, self.number, self.backend = type, index, index or 0, None
        home = (index or None) if type in _SINGLE else (index or 0)
        self._home = self if index == home else device(type, home)
        return cls._interned.setdefault((type, index), self)

    @property
    def located(self) -> device:
        """The same place as tensors there have it: without an index, this thread's current device of the type."""
        if self.index is None:
            chosen: int | None = current.__dict__.get(self.type)
            if chosen is not None:
                return device(self.type, chosen)._home
        return self._home

    def __repr__(self) -> str:
        return (
            f"device(type={self.type!r})" if self.index is None else f"device(type={self.type!r}, index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple[builtins.type[device], tuple[str] | tuple[str, int]]:
        return device, (self.type,) if self.index is None else (self.type, self.index)

    def __enter__(self) -> Self:
        _entered.set((*_entered.get(), self))
        return self

    def __exit__(
        self, kind: builtins.type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        _entered.set(_entered.get()[:-1])


#: By device type, the index that this thread chose; ``core.accelerator`` sets it.
current: Final = threading.local()
_entered: ContextVar[tuple[device, ...]] = ContextVar("flambeau_devices", default=())


def innermost() -> device | None:
    """The device of the innermost ``with device`` block of this thread or task; None outside of any."""
    stack = _entered.get()
    return stack[-1].located if stack else None


def located(where: DeviceLike, index: int | None = None) -> device:
    """The device that tensors have which are made on ``where``.

    >>> located("cpu:0")
    device(type='cpu')
    """
    found: Any = where  # Any: not None, whose meaning is the caller's
    return device(found, index).located


#: What stands for a device where one is asked for: itself or its name; None is the default of the place.
DeviceLike: TypeAlias = device | str | int | None
