"""Batches in pinned memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flambeau.core.tensor import Tensor

__all__ = ["pin_memory"]


def pin_memory(data: Any, device: Any = None) -> Any:  # Any: the structure of the batch decides; a device of any kind
    """A batch whose tensors are in pinned memory, of the same structure."""
    if isinstance(data, Tensor) or not isinstance(data, (str, bytes)) and hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, Mapping):
        return type(data)({name: pin_memory(value) for name, value in data.items()})  # type: ignore[call-arg]
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(pin_memory, data))
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return type(data)(map(pin_memory, data))  # type: ignore[call-arg]
    return data
