"""Modules of packages that are written for PyTorch, and compiled for it, which flambeau has in Python."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
from types import ModuleType
from typing import Final

__all__ = ["SEAMS", "find"]

#: A package's module, and the one that has its names here; the rest of the package is its own.
SEAMS: Final = {
    "torchcodec._internally_replaced_utils": "flambeau.compat.codec",
    "torchtext._torchtext": "flambeau.compat.text",
}


class _Loader(importlib.abc.Loader):
    """Fills a module with the names of ours; who does not import it does not wait for it."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        ours = importlib.import_module(SEAMS[module.__name__])
        module.__dict__.update({name: getattr(ours, name) for name in ours.__all__})


def find(fullname: str) -> importlib.machinery.ModuleSpec:
    """Where one of ``SEAMS`` comes from."""
    return importlib.machinery.ModuleSpec(fullname, _Loader(), origin=SEAMS[fullname])
