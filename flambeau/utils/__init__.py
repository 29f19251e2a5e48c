"""Helpers beside the framework itself: data loading, and files of tensors."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flambeau.utils import checkpoint as checkpoint
    from flambeau.utils import data as data
    from flambeau.utils import serialization as serialization

_MODULES = frozenset({"checkpoint", "data", "serialization"})


def __getattr__(name: str) -> ModuleType:
    """Modules are imported when they are first named."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
