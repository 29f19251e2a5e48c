"""What ``flambeau.onnx.export`` does: a module, function or program as a model of ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
from onnx import helper

import flambeau as fb
from flambeau.core.dispatch import compute_dtype
from flambeau.core.record import ELEMENTWISE, OPS
from flambeau.export.calls import TensorInput, sizes_of
from flambeau.export.decompose import example_of, run_decompositions
from flambeau.export.dynamic import Dim
from flambeau.export.exporting import export as export_program
from flambeau.export.graph import ExportError, Graph, Node, Value, draws, map_values
from flambeau.export.laws import Law
from flambeau.export.program import ExportedProgram
from flambeau.export.run import Run, device_of
from flambeau.export.signature import InputKind, OutputKind
from flambeau.nn import Module
from flambeau.onnx import mappings  # noqa: F401  # fills the table
from flambeau.onnx.branching import alive, reads, rename
from flambeau.onnx.errors import OnnxError, Unmapped, UnsupportedOpError
from flambeau.onnx.onnx_program import ONNXProgram
from flambeau.onnx.table import mapped
from flambeau.onnx.writer import ELEMENT, Call, Writer, element, has_law, host, initialiser

#: The opsets that can be written.
OPSETS = range(18, 24)
#: Tensors that are known before the program runs are worked out up to this many elements.
_FOLDED = 1 << 22
#: Composites whose body gives another result than they do: what a gradient reads is left out.
_KEPT = frozenset({"lstm_sequence"})


def export_model(
    model: Module | Callable[..., Any] | ExportedProgram, args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None, *, dynamic_shapes: Any = None,
    dynamic_axes: Mapping[str, Any] | None = None, opset_version: int = 23, input_names: Sequence[str] = (),
    output_names: Sequence[str] = (), do_constant_folding: bool = True,
) -> ONNXProgram:  # Any: the model's own arguments, and nestings of dimensions  # fmt: skip
    """The ONNX model of a module, function or exported program; :func:`flambeau.onnx.export` says of what."""
    if opset_version not in OPSETS:
        raise ValueError(f"onnx.export: opset_version must be of {OPSETS[0]} to {OPSETS[-1]}, got {opset_version!r}")
    if isinstance(model, ExportedProgram):
        made = model
    else:
        made = _traced(model, tuple(args), kwargs or {}, dynamic_shapes, dynamic_axes, input_names)
    _check(made)
    made, refused = _expanded(made, opset_version, do_constant_folding)
    if refused:
        raise UnsupportedOpError("onnx.export: these ops have no form in ONNX:\n  " + "\n  ".join(refused))
    names = [*input_names, *output_names]
    if len(set(names)) < len(names):
        raise ValueError(f"onnx.export: one name for several inputs or outputs: {', '.join(names)}")
    conversion = _Conversion(made, opset_version, do_constant_folding, names)
    proto = conversion.model(list(input_names), list(output_names))
    return ONNXProgram(proto, made)


def _traced(
    model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], shapes: Any, axes: Mapping[str, Any] | None,
    names: Sequence[str],
) -> ExportedProgram:  # fmt: skip
    """A program of a module in evaluation mode, or of a function."""
    if not isinstance(model, Module) or not model.training:
        plain = export_program(model, args, kwargs) if axes else None
        shapes = _of_axes(axes, plain, names, kwargs) if plain is not None and axes else shapes
        with fb.no_grad():
            return export_program(model, args, kwargs, dynamic_shapes=shapes)
    modes = [(m, m.training) for m in model.modules()]
    try:
        return _traced(model.eval(), args, kwargs, shapes, axes, names)
    finally:
        for m, training in modes:
            m.training = training


def _of_axes(axes: Mapping[str, Any], plain: ExportedProgram, names: Sequence[str], kwargs: Mapping[str, Any]) -> Any:
    """``dynamic_axes``, which goes by the names of inputs and outputs, as ``dynamic_shapes``."""
    tensors = [i.name for i in plain.inputs if isinstance(i, TensorInput)]
    given = dict(zip(names, tensors, strict=False)) | {n: n for n in tensors}
    dims: dict[str, Dim] = {}
    found: dict[str, dict[int, Dim]] = {}
    for name, entry in axes.items():
        if name not in given:
            continue  # of an output, whose sizes follow
        by_axis = entry if isinstance(entry, Mapping) else {a: f"{name}_dim_{a}" for a in entry}
        found[given[name]] = {a: dims.setdefault(d, Dim(d, min=1)) for a, d in by_axis.items()}
    if len(plain.inputs) != len(tensors):
        raise ValueError("onnx.export: dynamic_axes is for tensors as arguments; give dynamic_shapes")
    return tuple(found.get(i.name) for i in plain.inputs)


def _check(made: ExportedProgram) -> None:
    """OnnxError for what no ONNX model does."""
    for spec in made.graph_signature.output_specs:
        if spec.kind is not OutputKind.USER_OUTPUT:
            raise OnnxError(
                f"onnx.export: the model writes to {spec.target!r}, which no ONNX model can; return it instead"
            )
    for node in made.graph.all_nodes():
        if draws(node):
            raise UnsupportedOpError(f"onnx.export: random numbers have no form in ONNX: {node.where()}")


def _expanded(made: ExportedProgram, opset: int, fold: bool) -> tuple[ExportedProgram, list[str]]:
    """A program whose ops all have nodes, composites in the place of those that have none; and what is left."""
    wanted: set[str] = set()
    while True:
        _, misses = _Conversion(made, opset, fold).run()
        more = {n.op for n, why in misses if n.op in OPS and OPS[n.op].decomposes and n.op not in _KEPT} - wanted
        if not misses or not more:
            return made, _lines(misses)
        wanted |= more
        try:
            made = run_decompositions(made, wanted)
        except ExportError as error:
            return made, [f"{line}: {error}" for line in _lines(misses)]


def _lines(misses: list[tuple[Node, str]]) -> list[str]:
    return list(dict.fromkeys(node.where() + (f": {why}" if why else "") for node, why in misses))


class _Conversion:
    """One pass over a program."""

    def __init__(self, made: ExportedProgram, opset: int, fold: bool, reserved: Sequence[str] = ()):
        args, kwargs = example_of(made)
        leaves = made.call_spec.in_spec.flatten_up_to((args, kwargs))
        self.made, self.graph, self.opset = made, made.graph, opset
        self.writer = Writer(opset, made.inputs, sizes_of(made.inputs, leaves))
        self.writer.fold = fold
        for name in reserved:
            self.writer.fresh(name)
        self.misses: list[tuple[Node, str]] = []
        self.known: dict[Value, Any] = {}
        self.run_known = Run({}, device_of(made.held()))
        self.users: dict[Value, list[Node | None]] = {v: list(u) for v, u in made.graph.users().items()}
        for out in made.graph.outputs:
            if isinstance(out, Value):
                self.users.setdefault(out, []).append(None)
        self._hold()

    def _hold(self) -> None:
        """Names for the inputs, and initialisers for what the program holds."""
        kinds = [s for s in self.made.graph_signature.input_specs if s.arg.name in {v.name for v in self.graph.inputs}]
        by_name = {s.arg.name: s for s in kinds}
        for value in self.graph.inputs:
            spec = by_name[value.name]
            if spec.kind is InputKind.USER_INPUT:
                name = self.writer.fresh(value.name)
                self.writer.input_names[value.name] = name
            else:
                tensor = self.made.tensor(str(spec.target))
                name = self.writer.fresh(str(spec.target))
                self.known[value] = tensor
                self.writer.reads[name] = len(self.users.get(value, ()))
                if self.users.get(value) and value.dtype in ELEMENT:
                    self.writer.held[name] = host(tensor)
            self.writer.names[value] = name

    def run(self) -> tuple[Writer, list[tuple[Node, str]]]:
        """Write all nodes; and which have no mapping, with the reason."""
        self._write_all(self.graph)
        return self.writer, self.misses

    def _write_all(self, graph: Graph) -> None:
        for node in graph.nodes:
            if self.writer.fold and self._folded(node):
                continue
            why = self._if(node) if node.op == "cond" else self._write(node)
            if why is not None:
                self.misses.append((node, why))
                for v in node.outs:
                    if v is not None:
                        self.writer.names[v] = self.writer.fresh("missing")

    def _if(self, node: Node) -> str | None:
        """A choice between two graphs, which read the values around them."""
        if any(branch.failure for branch in node.branches):
            return "a branch that raises"
        if any(not isinstance(o, Value) for branch in node.branches for o in branch.outputs):
            return "a branch that gives other than tensors"
        condition = self.writer.names[node.args[0]]
        parts = [self._branch(branch, f"branch_{k}") for k, branch in enumerate(node.branches)]
        self.writer.scope = node.module
        found = self.writer.emit("If", condition, count=len(node.outs), then_branch=parts[0], else_branch=parts[1])
        for v, name in zip(node.outs, found if len(node.outs) > 1 else (found,), strict=True):
            if v is not None:
                self.writer.names[v] = name
        return None

    def _branch(self, branch: Graph, title: str) -> onnx.GraphProto:
        """A graph inside the graph; what it computes of sizes is seen in it only."""
        for value, users in branch.users().items():
            self.users.setdefault(value, []).extend(users)
        for value in branch.outputs:
            self.users.setdefault(value, []).append(None)
        results = []
        with self.writer.inside() as nodes:
            self._write_all(branch)
            for value in branch.outputs:
                name = str(self.writer.emit("Identity", self.writer.names[value]))
                results.append(helper.make_tensor_value_info(name, element(value.dtype), _sizes(value)))
        return helper.make_graph(alive(nodes, {r.name for r in results}), title, [], results)

    def _folded(self, node: Node) -> bool:
        """Work out a node whose operands are known; False for others."""
        outs = [v for v in node.outs if v is not None]
        if not all(v in self.known for v in node.inputs) or node.branches or has_law(_numbers(node)):
            return False
        if node.op in ("permute", "view") or any(_count(v.shape) > _FOLDED for v in outs):
            return False
        self.run_known.env.update(self.known)
        with fb.no_grad():
            self.run_known.run_node(node)
        try:
            arrays = {v: host(self.run_known.env[v]) for v in outs}
        except Unmapped:
            return False
        for v, array in arrays.items():
            self.known[v] = self.run_known.env[v]
            self.writer.names[v] = self.writer.constant(array, v.name)
        return True

    def _write(self, node: Node) -> str | None:
        """Write a node; the reason where that can't be."""
        rule = mapped(node.op, self.opset)
        if rule is None:
            return ""
        self.writer.scope = node.module
        call = Call(self.writer, node, self.users)
        try:
            for v in (*node.inputs, *node.outs):
                if v is not None:
                    element(v.dtype)
            found = rule(call, *self._operands(node))
        except Unmapped as reason:
            return str(reason)
        names = found if isinstance(found, tuple) else (found,)
        for v, name in zip(node.outs, names, strict=False):
            if v is not None and name is not None:
                self.writer.names[v] = name
        return None

    def _operands(self, node: Node) -> list[Any]:
        """The operands by name: numbers as constants, and elementwise ones in the dtype in which the op computes."""
        record, writer = OPS.get(node.op), self.writer
        dtype = node.out.dtype
        elementwise = record is not None and record.family is ELEMENTWISE
        if elementwise and record is not None:
            dtype = compute_dtype(record, [_probe(a) for a in node.args])
        found: list[Any] = []
        for i, arg in enumerate(node.args):
            if isinstance(arg, Value):
                cast = elementwise and record is not None and record.kind_of(record.schema.operands[i]) == "same"
                name = writer.names[arg]
                found.append(writer.cast(name, dtype) if cast and arg.dtype is not dtype else name)
            elif isinstance(arg, (list, tuple)):
                found.append(map_values(lambda v: writer.names[v], arg))
            elif arg is None or isinstance(arg, str):
                found.append(arg)
            else:
                found.append(writer.number(arg, dtype))
        return found

    # -- the model -------------------------------------------------------------------------------
    def model(self, input_names: list[str], output_names: list[str]) -> onnx.ModelProto:
        """The whole model."""
        writer, _ = self.run()
        given = [v for v in self.graph.inputs if v.name in writer.input_names]
        outs = [(i, o) for i, o in enumerate(self.graph.outputs) if isinstance(o, Value)]
        if len(input_names) > len(given) or len(output_names) > len(outs):
            raise ValueError(f"onnx.export: {len(input_names)} input_names and {len(output_names)} output_names for "
                             f"{len(given)} inputs and {len(outs)} outputs")  # fmt: skip
        renamed = {writer.names[v]: n for v, n in zip(given, input_names, strict=False)}
        default = ["output"] if len(outs) == 1 else [f"output_{k}" for k in range(len(outs))]
        results, produced = [], {o for n in writer.nodes for o in n.output}
        writer.scope = ""
        for k, (_, value) in enumerate(outs):
            name = writer.names[value]
            wanted = output_names[k] if k < len(output_names) else writer.fresh(default[k])
            if name not in produced or name in renamed:
                name = str(writer.emit("Identity", name))
                produced.add(name)
            renamed[name] = wanted
            results.append(helper.make_tensor_value_info(wanted, element(value.dtype), _sizes(value)))
        nodes = alive(writer.nodes, {k for k, v in renamed.items() if k in produced})
        rename(nodes, renamed)
        read = {n for node in nodes for n in reads(node)}
        called = {v: renamed.get(writer.names[v], writer.names[v]) for v in given}
        inputs = [helper.make_tensor_value_info(called[v], element(v.dtype), _sizes(v)) for v in given]
        held = [initialiser(n, a) for n, a in writer.held.items() if n in read]
        graph = helper.make_graph(nodes, "main", inputs, results, held)
        versions = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=versions, ir_version=helper.find_min_ir_version_for(versions),
                                 producer_name="flambeau", producer_version=fb.__version__)  # fmt: skip


def _probe(arg: Any) -> Any:
    """What promotes as an operand does."""
    if isinstance(arg, Value):
        return fb.empty([1] * len(arg.shape), dtype=arg.dtype)
    return 1.0 if isinstance(arg, Law) and arg.form != "linear" else 1 if isinstance(arg, Law) else arg


def _sizes(value: Value) -> list[int | str]:
    return [n if isinstance(n, int) else str(n) for n in value.shape]


def _numbers(node: Node) -> list[Any]:
    """All that may depend on sizes in a node."""
    return [*node.args, *node.params.values(), *(v.shape for v in node.outs if v is not None)]


def _count(shape: Sequence[Any]) -> int:
    found = 1
    for n in shape:
        found *= n if isinstance(n, int) else 1
    return found
