"""Reading of an ONNX model: the file, its inputs and outputs, and its weights."""

from __future__ import annotations

import os
from pathlib import Path

import onnx

from flambeau.onnx.build import Scope, domain_of, initialisers, plan_graph, versions_of
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.module import Entry, OnnxModule
from flambeau.onnx.values import element_name


def load_model(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> OnnxModule:
    """The module of a model; see :func:`flambeau.onnx.load`."""
    folder = None
    if isinstance(source, onnx.ModelProto):
        model = source
    elif isinstance(source, (bytes, bytearray, memoryview)):
        model = _parsed(bytes(source), "the bytes given")
    else:
        path = Path(source)
        model, folder = _parsed(path.read_bytes(), str(path)), path.parent
    try:
        return _module(model, folder)
    except OnnxError:
        raise
    except RecursionError:
        raise OnnxError("graphs of the model stand in one another too deeply") from None
    except Exception as e:  # whatever protobuf or onnx say about fields that make no sense
        raise OnnxError(f"the model is not well formed: {type(e).__name__}: {e}") from e


def _parsed(data: bytes, what: str) -> onnx.ModelProto:
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except Exception as e:  # DecodeError, RecursionError and others, by the build of protobuf
        raise OnnxError(
            f"{what} are no ONNX model: {e}" if what.endswith("n") else f"{what} is no ONNX model: {e}"
        ) from e
    if not model.HasField("graph"):
        raise OnnxError(f"no graph is in {what}")
    return model


def _module(model: onnx.ModelProto, folder: Path | None) -> OnnxModule:
    versions = versions_of(model.opset_import)
    functions = {(domain_of(f.domain), f.name): f for f in model.functions}
    scope = Scope(versions or {"": 1}, functions, folder)
    graph = model.graph
    values = initialisers(graph, scope)
    declared = [i.name for i in graph.input]
    if len(set(declared)) != len(declared):
        raise OnnxError(f"graph {graph.name!r} has two inputs of one name")
    plan = plan_graph(graph, scope, frozenset(values), {})
    inputs = tuple(_entry(i) for i in graph.input if i.name not in values)
    return OnnxModule(plan, inputs, tuple(_entry(o) for o in graph.output), values)


def _entry(info: onnx.ValueInfoProto, *, optional: bool = False) -> Entry:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        return Entry(info.name, (kind or "unknown").removesuffix("_type"), 0, None, optional or kind == "optional_type")
    tensor = info.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(
            d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in tensor.shape.dim
        )  # fmt: skip
    return Entry(info.name, element_name(tensor.elem_type), tensor.elem_type, shape, optional)
