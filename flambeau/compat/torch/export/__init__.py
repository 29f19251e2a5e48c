"""torch.export on :mod:`flambeau.export`."""

from __future__ import annotations

from flambeau.export import (
    Dim,
    ExportedProgram,
    ExportGraphSignature,
    default_decompositions,
    dims,
    export,
    load,
    register_dataclass,
    save,
    unflatten,
)

__all__ = [
    "Dim", "ExportGraphSignature", "ExportedProgram", "default_decompositions", "dims", "export",
    "load", "register_dataclass", "save", "unflatten",
]  # fmt: skip
