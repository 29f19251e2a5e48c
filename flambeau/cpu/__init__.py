"""The host as a device, under PyTorch's names: one device, one stream, on which everything is done at once."""

from __future__ import annotations

import os
import platform
from typing import Any

from flambeau.accelerator.of_type import StreamContext
from flambeau.core import streams
from flambeau.core.device import DeviceLike
from flambeau.cpu import amp as amp

__all__ = [
    "Event", "Stream", "StreamContext", "amp", "current_device", "current_stream", "device_count", "get_capabilities",
    "is_available", "is_initialized", "set_device", "stream", "synchronize",
]  # fmt: skip


class Stream(streams.Stream):
    """The queue of work on the host; it is always empty."""

    __slots__ = ()

    def __init__(self, priority: int = -1):
        super().__init__("cpu", priority)


class Event(streams.Event):
    """A point in the host's work; it is over at once."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__("cpu")


def is_available() -> bool:
    """Whether the host computes; it does.

    >>> fb.cpu.is_available()
    True
    """
    return True


is_initialized = is_available


def device_count() -> int:
    """How many hosts there are; 1.

    >>> fb.cpu.device_count()
    1
    """
    return 1


def current_device() -> str:
    """Its name.

    >>> fb.cpu.current_device()
    'cpu'
    """
    return "cpu"


def set_device(device: DeviceLike) -> None:
    """There is one, so nothing changes.

    >>> fb.cpu.set_device("cpu")
    """


def synchronize(device: DeviceLike = None) -> None:
    """Everything is done when a call returns.

    >>> fb.cpu.synchronize()
    """


def current_stream(device: DeviceLike = None) -> Stream:
    """The stream.

    >>> fb.cpu.current_stream().query()
    True
    """
    return Stream()


def stream(stream: Stream | None) -> StreamContext:
    """A block on a stream.

    >>> with fb.cpu.stream(None):
    ...     pass
    """
    return StreamContext(stream)


def get_capabilities() -> dict[str, Any]:
    """What the processor is: its architecture and its number of cores.

    >>> fb.cpu.get_capabilities()["num_cores"] >= 1
    True
    """
    return {"architecture": platform.machine().lower(), "num_cores": os.cpu_count() or 1}
