"""Helpers of torch's own Python that packages call."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from flambeau.core import accelerator
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType
from flambeau.core.ops.joining import cat
from flambeau.core.tensor import Tensor

__all__ = ["ExceptionWrapper", "KeyErrorMessage"]


class KeyErrorMessage(str):
    """The text of a KeyError that shows its line breaks."""

    def __repr__(self) -> str:
        return str(self)


class ExceptionWrapper:
    """An error with the text of its traceback, to be raised again in another thread or process."""

    def __init__(
        self, exc_info: tuple[type[BaseException], BaseException, TracebackType | None] | None = None,
        where: str = "in background",
    ):  # fmt: skip
        given: Any = sys.exc_info() if exc_info is None else exc_info
        self.exc_type: type[BaseException] = given[0]
        self.exc_msg, self.where = "".join(traceback.format_exception(*given)), where

    def reraise(self) -> None:
        """Raise an error of the same class, with the traceback in its text."""
        message = f"Caught {self.exc_type.__name__} {self.where}.\nOriginal {self.exc_msg}"
        if self.exc_type is KeyError:
            raise KeyError(KeyErrorMessage(message))
        try:
            error = self.exc_type(message)
        except Exception:
            raise RuntimeError(message) from None  # a class whose objects are not made of a text
        raise error


def _element_size(dtype: DType) -> int:
    return dtype.itemsize


def _get_available_device_type() -> str | None:
    found = accelerator.current_accelerator()
    return None if found is None else found.type


def _get_all_device_indices() -> list[int]:
    return list(range(accelerator.device_count()))


def _get_device_index(device: Any, optional: bool = False, allow_cpu: bool = False) -> int:
    """The index that a device, its name or a number names."""
    if isinstance(device, int):
        return device
    if device is None:
        if not optional:
            raise ValueError("_get_device_index: expected a device or an index, got None")
        return 0
    found = Device(device)
    if found.type == "cpu" and not allow_cpu:
        raise ValueError(f"_get_device_index: expected an accelerator, got {found}")
    return -1 if found.type == "cpu" else found.index or 0


def _flatten_dense_tensors(tensors: Sequence[Tensor]) -> Tensor:
    return cat([t.reshape(-1) for t in tensors])


def _unflatten_dense_tensors(flat: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    parts = flat.split([t.numel() for t in tensors])
    return tuple(part.view(t.shape) for part, t in zip(parts, tensors, strict=True))


def _chunk_or_narrow_cat(t: Tensor, num_chunks: int, narrow_dim: int, cat_dim: int) -> Tensor:
    return cat(list(t.chunk(num_chunks, narrow_dim)), cat_dim)
