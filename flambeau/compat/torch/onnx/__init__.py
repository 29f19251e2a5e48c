"""torch.onnx without an exporter: registrations are kept, and exporting raises RuntimeError."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from flambeau.compat.unchanged import lacking, no

__all__ = [
    "OnnxExporterError", "OperatorExportTypes", "TrainingMode", "export", "is_in_onnx_export",
    "register_custom_op_symbolic", "unregister_custom_op_symbolic",
]  # fmt: skip

is_in_onnx_export = no
export = lacking("onnx.export", "flambeau does not write ONNX yet")
_symbolics: dict[tuple[str, int], Callable[..., Any]] = {}


class OnnxExporterError(RuntimeError):
    """What an exporter raises."""


class TrainingMode(enum.Enum):
    """In which mode a module would be exported."""

    EVAL = 0
    PRESERVE = 1
    TRAINING = 2


class OperatorExportTypes(enum.Enum):
    """What would become of ops that ONNX lacks."""

    ONNX = 0
    ONNX_ATEN = 1
    ONNX_ATEN_FALLBACK = 2
    ONNX_FALLTHROUGH = 3


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Callable[..., Any], opset_version: int) -> None:
    """Keep how a custom op would be exported."""  # Any: of the exporter's graph
    _symbolics[symbolic_name, opset_version] = symbolic_fn


def unregister_custom_op_symbolic(symbolic_name: str, opset_version: int) -> None:
    """Forget it."""
    _symbolics.pop((symbolic_name, opset_version), None)
