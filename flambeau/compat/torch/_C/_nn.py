"""Functions of layers that torch keeps in C++, and the reading of the arguments of ``Module.to``."""

from __future__ import annotations

from typing import Any

from flambeau.core.device import device as device_type
from flambeau.core.dtype import DType
from flambeau.core.memory_format import MemoryFormat
from flambeau.core.tensor import Tensor
from flambeau.nn.functional import gelu

__all__ = ["_parse_to", "gelu"]


def _parse_to(
    *args: Any, device: Any = None, dtype: DType | None = None, non_blocking: bool = False,
    memory_format: MemoryFormat | None = None, **others: Any,
) -> tuple[device_type | None, DType | None, bool, MemoryFormat | None]:  # fmt: skip  # Any: as Module.to takes them
    """The device, dtype, flag and memory format that a call of ``Module.to`` names."""
    booleans = [a for a in args if isinstance(a, bool)]
    for given in args:
        if isinstance(given, Tensor):
            device, dtype = given.device, given.dtype
        elif isinstance(given, DType):
            dtype = given
        elif given is not None and not isinstance(given, bool):
            device = given
    return (
        None if device is None else device_type(device),
        dtype,
        booleans[0] if booleans else non_blocking,
        memory_format,
    )
