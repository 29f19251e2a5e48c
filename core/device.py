"""The ``device`` object: a type and an index, interned, comparable to nothing but itself."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, ClassVar, Self, TypeAlias

_SINGLE = ("cpu", "meta")  # printed without an index, since there is only ever one
_PATTERN = re.compile(r"([a-z_][a-z0-9_]*?)(?::(\d+))?")


class device:
    """Where a tensor lives: ``device("opencl:1")``, ``device("cpu")``, ``device("cuda", 0)``.

    Interned: two devices are equal exactly when they are the same object. ``type`` is the name under
    which a backend registered, ``index`` counts that backend's devices from 0. Using it as a context
    manager sets the default device of the constructors inside.

    >>> device("cpu:0") is device("cpu")
    True
    """

    __slots__ = ("backend", "index", "type")
    type: str
    index: int
    backend: Any  # the Backend once resolved; the registry sets it, None before

    #: What stands for another type of device, by the setting ``device_alias``; the floor of backends sets it.
    aliases: ClassVar[Callable[[], Mapping[str, str]] | None] = None
    _interned: ClassVar[dict[tuple[str, int], device]] = {}

    def __new__(cls, type: str | int | device, index: int | None = None) -> device:
        if isinstance(type, device):
            return type
        if not isinstance(type, str):
            raise TypeError(
                f"device: expected a name such as 'cpu' or 'opencl:0', got {type!r} ({type.__class__.__name__})"
            )
        match = _PATTERN.fullmatch(type)
        if match is None:
            raise ValueError(
                f"device: invalid device string {type!r}; expected 'type' or 'type:index', as in 'opencl:0'"
            )
        name, tail = match.groups()
        name = name if cls.aliases is None else cls.aliases().get(name, name)
        if tail is not None and index is not None:
            raise ValueError(f"device: {type!r} already has an index, so index={index} is one too many")
        if index is not None and not isinstance(index, int):
            raise TypeError(f"device: the index must be an int, got {index!r} ({index.__class__.__name__})")
        number = int(tail) if tail is not None else index or 0
        if number < 0:
            raise ValueError(f"device: the index must not be negative, got {number}")
        found = cls._interned.get((name, number))
        if found is None:
            self = object.__new__(cls)
            self.type, self.index, self.backend = name, number, None
            found = cls._interned.setdefault((name, number), self)
        return found

    def __repr__(self) -> str:
        return f"device(type={self.type!r}, index={self.index})"

    def __str__(self) -> str:
        return self.type if self.index == 0 and self.type in _SINGLE else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple[builtins.type[device], tuple[str, int]]:
        return device, (self.type, self.index)

    def __enter__(self) -> Self:
        _entered.set((*_entered.get(), self))
        return self

    def __exit__(
        self, kind: builtins.type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        _entered.set(_entered.get()[:-1])


_entered: ContextVar[tuple[device, ...]] = ContextVar("flambeau_devices", default=())


def innermost() -> device | None:
    """The device of the innermost ``with device`` block of this thread or task; None outside of any."""
    stack = _entered.get()
    return stack[-1] if stack else None


#: What stands for a device where one is asked for: itself or its name; None is the default of the place.
DeviceLike: TypeAlias = device | str | None
