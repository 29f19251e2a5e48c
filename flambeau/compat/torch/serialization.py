"""The type of an argument of ``torch.load``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from flambeau.core.device import device

__all__ = ["MAP_LOCATION"]

MAP_LOCATION: TypeAlias = Callable[[Any, str], Any] | device | str | dict[str, str] | None  # Any: a storage
