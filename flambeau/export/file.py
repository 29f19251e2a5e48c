"""A program as one file: its tensors as safetensors and its graph as JSON beside them, nothing that could be run.

The file is one that :func:`flambeau.save` writes, with its checksums, and is replaced in one step.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

from flambeau.core.device import DeviceLike
from flambeau.core.record import OPS
from flambeau.core.tensor import Tensor
from flambeau.export import encoding
from flambeau.export.calls import CallSpec, ConstantInput, Input, Range, TensorInput
from flambeau.export.decoding import Decoder, dtype, flag, items, members, text, whole, wrong
from flambeau.export.graph import ExportError, Graph, Value
from flambeau.export.program import ExportedProgram
from flambeau.export.signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)
from flambeau.utils import _pytree as pytree
from flambeau.utils import serialization, strict_json
from flambeau.utils.safetensors import CheckpointError

FORMAT: Final = 1
_FILE: Final = {"flambeau.program", "graph", "tensors", "files"}
_PROGRAM: Final = {"ranges", "held", "aliases", "inputs", "outputs", "in_spec", "out_spec", "graph", "ops"}

PathOrFile: TypeAlias = str | os.PathLike[str] | BinaryIO
Json: TypeAlias = Any  # Any: recursive


def save(
    ep: ExportedProgram, f: PathOrFile, *, extra_files: Mapping[str, str | bytes] | None = None,
    opset_version: Mapping[str, int] | None = None, pickle_protocol: int = 2,
) -> None:  # fmt: skip
    """Write a program to one file, by convention with the suffix ``.fbp``.

    Args:
        ep: the program.
        f: a path, which is replaced in one step, or a file open for writing bytes.
        extra_files: texts by name that are kept beside.
        opset_version, pickle_protocol: for PyTorch's sake: the file has its own version, and nothing is pickled.

    Raises:
        TypeError: for what is no program.
        ExportError: for arguments of a class that is not registered under a name.

    >>> import io
    >>> from flambeau import export
    >>> file = io.BytesIO()
    >>> export.save(export.export(fb.nn.ReLU(), (fb.ones(2),)), file)
    >>> export.load(file)(fb.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if not isinstance(ep, ExportedProgram):
        raise TypeError(f"save: ep must be an ExportedProgram, got {type(ep).__name__}; make one with export()")
    files = {n: t if isinstance(t, str) else bytes(t).decode() for n, t in (extra_files or {}).items()}
    specs = [s for s in ep.graph_signature.input_specs if s.kind is not InputKind.USER_INPUT]
    tensors = {str(s.target): ep.tensor(str(s.target)) for s in specs}
    written = json.dumps(_program(ep), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    serialization.save({"flambeau.program": FORMAT, "graph": written, "tensors": tensors, "files": files}, f)


def _program(ep: ExportedProgram) -> Json:
    signature = ep.graph_signature
    held = [[s.kind.name, s.arg.name, s.target, s.persistent] for s in signature.input_specs
            if s.kind is not InputKind.USER_INPUT]  # fmt: skip
    return {
        "ranges": {n: [r.lower, r.upper] for n, r in ep.range_constraints.items()},
        "held": held,
        "aliases": ep.aliases,
        "inputs": [_input(i) for i in ep.inputs],
        "outputs": [[s.kind.name, s.target] for s in signature.output_specs],
        "in_spec": _spec(ep.call_spec.in_spec, "arguments"),
        "out_spec": _spec(ep.call_spec.out_spec, "results"),
        "graph": encoding.graph(ep.graph),
        "ops": {n.op: OPS[n.op].text for n in ep.graph.all_nodes() if n.op in OPS},
    }


def _input(spec: Input) -> Json:
    if isinstance(spec, ConstantInput):
        return {"name": spec.name, "value": encoding.arg(spec.value)}
    return {"name": spec.name, "shape": [encoding.arg(n) for n in spec.shape], "dtype": spec.dtype.name}


def _spec(spec: pytree.TreeSpec, what: str) -> str:
    try:
        return pytree.treespec_dumps(spec)
    except (NotImplementedError, TypeError) as error:
        raise ExportError(
            f"save: the {what} of the program are of a class that has no name in a file: {error}; give "
            "register_dataclass or register_pytree_node a serialized_type_name"
        ) from error


# -- reading -----------------------------------------------------------------------------------------
def load(
    f: PathOrFile, *, extra_files: dict[str, Any] | None = None, expected_opset_version: object = None,
    device: DeviceLike | None = None,
) -> ExportedProgram:  # fmt: skip
    """Read a program that :func:`save` wrote; nothing that is in the file is run, and each part of it is checked.

    Args:
        f: a path, or a file open for reading bytes.
        extra_files: a dict whose values become the texts that the file keeps under its keys.
        expected_opset_version: for PyTorch's sake.
        device: where its tensors go, and so where it runs; the CPU unless given.

    Raises:
        ExportError: for a file that is damaged, is none of a program, or is of a newer version.
    """
    where = os.fspath(f) if isinstance(f, (str, os.PathLike)) else "the file"
    try:
        found = serialization.load(f, map_location="cpu" if device is None else device)
    except CheckpointError as error:
        raise ExportError(f"load: {error}") from error
    if not isinstance(found, dict) or "flambeau.program" not in found:
        raise ExportError(f"load: {where} holds no program: flambeau.load reads it")
    if found["flambeau.program"] != FORMAT:
        raise ExportError(
            f"load: {where} has the format {strict_json.shortened(found['flambeau.program'])}, this flambeau reads "
            f"{FORMAT}: a newer one may have written it"
        )
    try:
        program, files = _read(found)
    except ExportError as error:
        raise ExportError(f"load: {where}: {error}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise ExportError(f"load: {where}: the program in the file is damaged: {error}") from error
    for name in extra_files or {}:
        if name in files:
            extra_files[name] = files[name]  # type: ignore[index]
    return program


def _read(found: dict[str, Any]) -> tuple[ExportedProgram, dict[str, Any]]:
    parts = members(found, "the file", _FILE)
    tensors = members(parts["tensors"], "the tensors")
    files = members(parts["files"], "the texts")
    for name, value in files.items():
        text(value, f"the text {strict_json.shortened(name)}")
    written = members(strict_json.parse(text(parts["graph"], "the graph")), "the program", _PROGRAM)
    ranges = {n: _range(r) for n, r in members(written["ranges"], "the dimensions").items()}
    for name, schema in members(written["ops"], "the schemas of ops").items():
        if name not in OPS or OPS[name].text != schema:
            raise ExportError(f"the program has the op {strict_json.shortened(schema)}, which this flambeau has not so")
    decoder = Decoder(ranges)
    graph = decoder.graph(written["graph"])
    inputs = [_read_input(i, decoder) for i in items(written["inputs"], "the inputs")]
    spec = CallSpec(_read_spec(written["in_spec"]), _read_spec(written["out_spec"]))
    _check_in_spec(spec.in_spec, len(inputs))
    specs = _held(written["held"], tensors, graph)
    signature = ExportGraphSignature([*specs, *_user(inputs, graph.inputs[len(specs) :])], [])
    aliases = members(written["aliases"], "the further paths")
    for name, target in aliases.items():
        _check_path(name)
        if text(target, "a path") not in tensors or name in tensors:
            wrong("a further path must be of a tensor of the program", target)
    signature.output_specs = _outputs(written["outputs"], graph, signature, spec)
    program = ExportedProgram(graph, signature, {}, {}, ranges, spec, inputs, None, dict(aliases))
    hidden = {*signature.lifted_tensor_constants, *signature.non_persistent_buffers}
    for name, tensor in [*tensors.items(), *((a, tensors[t]) for a, t in aliases.items())]:
        (program.constants if aliases.get(name, name) in hidden else program.state_dict)[name] = tensor
    for node in graph.all_nodes():
        if node.op in OPS and node.op not in written["ops"]:
            wrong("each op must have its schema in the file", node.op)
    return program, files


def _range(found: Json) -> Range:
    lower, upper = items(found, "the sizes of a dimension", 2)
    low = whole(lower, "the least size of a dimension", 0)
    return Range(low, None if upper is None else whole(upper, "the largest size of a dimension", low))


def _read_input(found: Json, decoder: Decoder) -> Input:
    parts = members(found, "an input")
    if "value" in parts:
        parts = members(found, "an input", ["name", "value"])
        value = decoder.arg(parts["value"])
        if not isinstance(value, (bool, int, float, complex, str, type(None))):
            wrong("an input that is no tensor must be a constant", found)
        return ConstantInput(text(parts["name"], "the name of an input"), value)
    parts = members(found, "an input", ["name", "shape", "dtype"])
    shape = tuple([decoder.size(n) for n in items(parts["shape"], "a shape")])
    return TensorInput(text(parts["name"], "the name of an input"), shape, dtype(parts["dtype"]))


def _read_spec(found: Json) -> pytree.TreeSpec:
    try:
        spec = pytree.treespec_loads(text(found, "a nesting"))
        spec.unflatten([None] * spec.num_leaves)
        return spec
    except NotImplementedError as error:
        raise ExportError(f"{error}; register the class as it was when the program was saved") from error
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"the program in the file is damaged: a nesting is none: {error}") from error


def _check_in_spec(spec: pytree.TreeSpec, count: int) -> None:
    good = spec.type is tuple and spec.num_children == 2 and spec.num_leaves == count
    if not good or spec.child(0).type is not tuple or spec.child(1).type is not dict:
        wrong("the arguments must be a tuple and a dict, of as many leaves as there are inputs", str(spec))


def _check_path(name: str) -> None:
    if not name or any(not part for part in name.split(".")):
        wrong("the path of a tensor must be names with dots between", name)


def _held(found: Json, tensors: Mapping[str, Any], graph: Graph) -> list[InputSpec]:
    specs: list[InputSpec] = []
    rows = [items(r, "a tensor of the program", 4) for r in items(found, "the tensors of the program")]
    if (
        len(rows) > len(graph.inputs)
        or {text(r[2], "a path") for r in rows} != set(tensors)
        or len(rows) != len(tensors)
    ):
        wrong("each tensor of the file must be an input of the graph", [r[2] for r in rows])
    for (kind, name, target, persistent), value in zip(rows, graph.inputs, strict=False):
        tensor = tensors[target]
        _check_path(target)
        if kind not in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR") or name != value.name:
            wrong("a tensor of the program must have a kind that is known, and the name of its input", [kind, name])
        if not isinstance(tensor, Tensor) or tuple(tensor.shape) != value.shape or tensor.dtype is not value.dtype:
            wrong(f"{target} must be a tensor as the graph says", type(tensor).__name__)
        if kind == "PARAMETER" and not (tensor.is_floating_point() or tensor.is_complex()) and tensor.requires_grad:
            wrong(f"{target} can't have a gradient", tensor.dtype.name)
        kept = None if persistent is None else flag(persistent, "persistent")
        specs.append(InputSpec(InputKind[kind], TensorArgument(name), target, kept))
    return specs


def _user(inputs: list[Input], values: list[Value]) -> list[InputSpec]:
    tensors = [i for i in inputs if isinstance(i, TensorInput)]
    if [(i.name, i.shape, i.dtype) for i in tensors] != [(v.name, v.shape, v.dtype) for v in values]:
        wrong("the inputs of the graph must be those of a call", [v.name for v in values])
    return [
        InputSpec(InputKind.USER_INPUT, TensorArgument(i.name) if isinstance(i, TensorInput)
                  else ConstantArgument(i.name, i.value))
        for i in inputs
    ]  # fmt: skip


def _outputs(found: Json, graph: Graph, signature: ExportGraphSignature, spec: CallSpec) -> list[OutputSpec]:
    rows = [items(r, "an output", 2) for r in items(found, "the outputs", len(graph.outputs))]
    known = {
        "BUFFER_MUTATION": set(signature.buffers), "PARAMETER_MUTATION": set(signature.parameters),
        "USER_INPUT_MUTATION": {s.arg.name for s in signature.input_specs if s.kind is InputKind.USER_INPUT},
    }  # fmt: skip
    specs = []
    for (kind, target), value in zip(rows, graph.outputs, strict=True):
        if text(kind, "the kind of an output") == "USER_OUTPUT":
            if target is not None:
                wrong("an output of the program has no target", target)
        elif not isinstance(target, str) or target not in known.get(kind, ()) or not isinstance(value, Value):
            wrong("what is written must be a parameter, a buffer or an input", [kind, target])
        arg = TensorArgument(value.name) if isinstance(value, Value) else ConstantArgument("", value)
        specs.append(OutputSpec(OutputKind[kind], arg, target))
    if sum(s.kind is OutputKind.USER_OUTPUT for s in specs) != spec.out_spec.num_leaves:
        wrong("the results must have as many leaves as there are outputs", spec.out_spec.num_leaves)
    return specs


def is_program(path: str | os.PathLike[str]) -> bool:
    """Whether a path is meant to be a program's file: by its suffix."""
    return Path(path).suffix == ".fbp"


__all__ = ["FORMAT", "is_program", "load", "save"]
