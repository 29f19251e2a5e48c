"""Exported programs."""

from __future__ import annotations

from flambeau.export import ExportedProgram, default_decompositions

__all__ = ["ExportedProgram", "default_decompositions"]
