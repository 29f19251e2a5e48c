"""Constants of ``torch.serialization``: what stands in PyTorch's files; the type of an argument of ``torch.load``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from flambeau.core.device import device

__all__ = [
    "DEFAULT_PROTOCOL",
    "INT_SIZE",
    "IS_WINDOWS",
    "LONG_SIZE",
    "MAGIC_NUMBER",
    "MAP_LOCATION",
    "MAP_PRIVATE",
    "MAP_SHARED",
    "PROTOCOL_VERSION",
    "SHORT_SIZE",
    "STORAGE_KEY_SEPARATOR",
]

MAP_LOCATION: TypeAlias = Callable[[Any, str], Any] | device | str | dict[str, str] | None  # Any: a storage
IS_WINDOWS: Final = sys.platform == "win32"
#: How the system maps a file into memory; None where it has no such flags.
MAP_SHARED: Final = None if IS_WINDOWS else 1
MAP_PRIVATE: Final = None if IS_WINDOWS else 2
#: The pickle protocol of PyTorch's files, and what the older form of them begins with and says of its integers.
DEFAULT_PROTOCOL: Final = 2
MAGIC_NUMBER: Final = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION: Final = 1001
SHORT_SIZE: Final = 2
INT_SIZE: Final = 4
LONG_SIZE: Final = 4
STORAGE_KEY_SEPARATOR: Final = ","
