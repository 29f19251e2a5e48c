"""What no backend here has, under PyTorch's names: functions and classes that say so when they are used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn

#: Why it is not there.
NO_GRAPHS: Final = "there are no graphs of recorded work"
ONE_POOL: Final = "there is one pool, the backend's own"
NO_SENSORS: Final = "the driver's own library of sensors is not used"
NOT_TAKEN_OVER: Final = "streams of other libraries are not taken over"

#: What PyTorch's graphs of recorded work can do, and its pools, on every type of device.
GRAPH: Final = "capture_begin capture_end debug_dump enable_debug_mode instantiate pool replay reset"
POOL: Final = "allocator id snapshot use_count"


class NoSensorsError(ModuleNotFoundError, RuntimeError):
    """Nothing reads a device's sensors. PyTorch raises the one or the other, for want of a library or of a device."""


def absent(
    name: str, why: str, error: type[Exception] = RuntimeError, first: Callable[[], object] = lambda: None
) -> Callable[..., NoReturn]:
    """A function that calls ``first``, which may raise, and then says why it cannot do anything."""

    def call(*args: object, **kwargs: object) -> NoReturn:
        first()
        raise error(f"{name}: {why}")

    call.__name__ = call.__qualname__ = name.rpartition(".")[2]
    call.__doc__ = f"Raises {error.__name__}: {why}."
    return call


def absent_class(name: str, why: str, members: str = "") -> type:
    """A class of which nothing can be made; for isinstance and for annotations. Its ``members`` say why, too."""

    def refuse(cls: type, *args: object, **kwargs: object) -> NoReturn:
        raise RuntimeError(f"{name}: {why}")

    short = name.rpartition(".")[2]
    own = {"__new__": refuse, "__doc__": f"Nothing is one: {why}.", "__module__": name[: -len(short) - 1]}
    return type(short, (), own | {member: absent(f"{name}.{member}", why) for member in members.split()})
