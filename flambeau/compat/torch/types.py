"""The names that torch's own annotations have for builtins and classes."""

from __future__ import annotations

import builtins

from flambeau.core.device import device as _device
from flambeau.core.dtype import DType as _dtype
from flambeau.core.memory_format import Layout as _layout
from flambeau.core.size import Size

__all__: list[str] = []

_int, _float, _bool, _complex = builtins.int, builtins.float, builtins.bool, builtins.complex
_size = Size | list[int] | tuple[int, ...]
_reexported = (_device, _dtype, _layout)
