"""torch.export without an exporter: exporting raises RuntimeError."""

from __future__ import annotations

from flambeau.compat.unchanged import lacking, nothing

__all__ = ["Dim", "ExportedProgram", "export", "load", "register_dataclass", "save"]

_WHY = "flambeau does not export programs yet"

export, save, load = lacking("export.export", _WHY), lacking("export.save", _WHY), lacking("export.load", _WHY)
register_dataclass = nothing


class ExportedProgram:
    """A program that was exported; there are none."""


class Dim:
    """An axis whose size may change between calls of an exported program."""

    def __init__(self, name: str, *, min: int | None = None, max: int | None = None):
        self.__name__, self.min, self.max = name, min, max

    def __repr__(self) -> str:
        return f"Dim({self.__name__!r}, min={self.min}, max={self.max})"
