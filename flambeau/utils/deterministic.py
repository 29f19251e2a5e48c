"""Whether memory that nobody has written to is filled, so that a program that reads it does the same each time."""

from __future__ import annotations

import sys
import types

__all__ = ["fill_uninitialized_memory"]

#: Accepted for PyTorch's sake: new memory is zeros here wherever ops are deterministic, which they all are.
fill_uninitialized_memory: bool = True


class _Module(types.ModuleType):
    """The module, whose one setting must be a bool."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "fill_uninitialized_memory" and not isinstance(value, bool):
            raise RuntimeError(f"expected a bool, but got {type(value).__name__}")
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Module
