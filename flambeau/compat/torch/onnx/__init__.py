"""torch.onnx: ``export`` writes through :mod:`flambeau.onnx`; registrations of symbolics are kept, not used."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flambeau import onnx
from flambeau.compat.unchanged import no

if TYPE_CHECKING:
    from flambeau.onnx.onnx_program import ONNXProgram

__all__ = [
    "OnnxExporterError", "OperatorExportTypes", "TrainingMode", "export", "is_in_onnx_export",
    "register_custom_op_symbolic", "unregister_custom_op_symbolic",
]  # fmt: skip

is_in_onnx_export = no
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


def export(
    model: Any, args: Any = (), f: str | os.PathLike[str] | None = None, *, kwargs: dict[str, Any] | None = None,
    input_names: Sequence[str] | None = None, output_names: Sequence[str] | None = None,
    opset_version: int | None = None, dynamic_axes: Mapping[str, Any] | None = None, dynamic_shapes: Any = None,
    external_data: bool | None = None, do_constant_folding: bool = True, verify: bool = False, dynamo: bool = True,
    training: TrainingMode = TrainingMode.EVAL, **others: object,
) -> ONNXProgram | None:  # fmt: skip
    """:func:`flambeau.onnx.export` under torch's names; a program is returned with ``dynamo`` only.

    Of the other options of torch only their own defaults have a meaning here; they are taken and let be.
    """
    if training is not TrainingMode.EVAL:
        raise RuntimeError("torch.onnx.export: models are exported in evaluation mode")
    if others.get("custom_translation_table") or others.get("custom_opsets"):
        raise RuntimeError("torch.onnx.export: ops of one's own have no translation")
    made = onnx.export(
        model, args if isinstance(args, tuple) else (args,), f, kwargs=kwargs, dynamic_shapes=dynamic_shapes,
        dynamic_axes=dynamic_axes, opset_version=18 if opset_version is None else opset_version,
        input_names=input_names or (), output_names=output_names or (), external_data=external_data,
        do_constant_folding=do_constant_folding, verify=verify,
    )  # fmt: skip
    return made if dynamo or f is None else None
