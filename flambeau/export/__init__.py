"""Programs without their Python: ``export`` makes one, ``save`` and ``load`` keep it in a file."""

from flambeau.export.calls import CallSpec, Range
from flambeau.export.decompose import default_decompositions, unflatten
from flambeau.export.dynamic import Dim, DimHint, dims
from flambeau.export.exporting import export
from flambeau.export.file import load, save
from flambeau.export.graph import ExportError, Graph, Node, Value
from flambeau.export.program import ExportedProgram
from flambeau.export.signature import ExportGraphSignature, InputKind, InputSpec, OutputKind, OutputSpec
from flambeau.utils._pytree import register_dataclass

__all__ = [
    "CallSpec", "Dim", "DimHint", "ExportError", "ExportGraphSignature", "ExportedProgram", "Graph", "InputKind",
    "InputSpec", "Node", "OutputKind", "OutputSpec", "Range", "Value", "default_decompositions", "dims", "export",
    "load", "register_dataclass", "save", "unflatten",
]  # fmt: skip
