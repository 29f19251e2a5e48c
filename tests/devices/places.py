"""The modules of torch that are cases' subjects, of PyTorch itself and of flambeau."""

from __future__ import annotations

import importlib
from typing import Any

from flambeau.compat import namespace


class Ours:
    """A module of torch as ``import torch`` gives it on flambeau, without being imported."""

    def __init__(self, module: str):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        try:
            return namespace.look_up(self._module, name)
        except LookupError:
            return Ours(f"{self._module}.{name}")


def place(T: Any, module: str) -> Any:
    """``torch.MODULE`` of PyTorch, or of flambeau."""
    return importlib.import_module(f"torch.{module}") if T.__name__ == "torch" else Ours(module)
