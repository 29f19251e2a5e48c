"""One program of several that were recorded at different sizes: the numbers that differ become laws of the sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from flambeau.core.dtype import DType
from flambeau.core.tensor import Tensor
from flambeau.export.calls import Range, TensorInput
from flambeau.export.graph import RUN_DEVICE, ExportError, Graph, Node, Value, map_values
from flambeau.export.laws import Law, fit, fit_product, of_dim
from flambeau.export.program import ExportedProgram
from flambeau.export.signature import ConstantArgument, InputKind

Points: TypeAlias = Sequence[Mapping[str, int]]


def merge(programs: Sequence[ExportedProgram], points: Points, ranges: Mapping[str, Range]) -> ExportedProgram:
    """The program that is each of ``programs`` at each of ``points``; ExportError where there is none."""
    merger = _Merger(points)
    first = programs[0]
    merger.graph([p.graph for p in programs])
    merger.constants(programs)
    outputs = [
        spec if isinstance(value, Value) else replace(spec, arg=ConstantArgument("", value))
        for spec, value in zip(first.graph_signature.output_specs, first.graph.outputs, strict=True)
    ]
    first.graph_signature.output_specs[:] = outputs
    inputs = []
    for specs in zip(*(p.inputs for p in programs), strict=True):
        one = specs[0]
        if isinstance(one, TensorInput):
            shapes = [s.shape for s in specs if isinstance(s, TensorInput)]
            shape = tuple(merger.number(n, f"a size of {one.name}") for n in zip(*shapes, strict=True))
            one = replace(one, shape=shape)
        inputs.append(one)
    return replace(first, inputs=inputs, range_constraints=dict(ranges))


class _Merger:
    """Changes the first graph to one that holds at all points."""

    def __init__(self, points: Points):
        self.points = points
        self.known: dict[Law, None] = {}  # laws of whole numbers that were found

    def graph(self, graphs: Sequence[Graph]) -> None:
        """Graphs of the same nodes."""
        first = graphs[0]
        for i, node in enumerate(first.nodes):
            for graph, point in zip(graphs[1:], self.points[1:], strict=True):
                other = graph.nodes[i] if i < len(graph.nodes) else None
                if other is None or (other.op, len(other.outs)) != (node.op, len(node.outs)):
                    there = "nothing" if other is None else other.where()
                    raise self.differs(f"{node.where()} is {there}", point)
        for graph, point in zip(graphs[1:], self.points[1:], strict=True):
            if len(graph.nodes) > len(first.nodes):
                raise self.differs(f"there is {graph.nodes[len(first.nodes)].where()} beside", point)
        for values in zip(*(g.inputs for g in graphs), strict=True):
            self.value(values, f"input {values[0].name}")
        for nodes in zip(*(g.nodes for g in graphs), strict=True):
            self.node(nodes)
        first.outputs = [self.tree(o, "an output") for o in zip(*(g.outputs for g in graphs), strict=True)]

    def differs(self, what: str, point: Mapping[str, int]) -> ExportError:
        sizes, first = (", ".join(f"{n} = {v}" for n, v in p.items()) for p in (point, self.points[0]))
        return ExportError(
            f"the program is another one for other sizes: at {sizes} {what}, as it was at {first}. A loop or a branch "
            "depends on a size; make that dimension static, or write the loop as an op on whole tensors"
        )

    def node(self, nodes: Sequence[Node]) -> None:
        """One op at all points."""
        first, where = nodes[0], nodes[0].where()
        first.args = self.tree([n.args for n in nodes], where)
        first.params = {k: self.tree([n.params.get(k) for n in nodes], f"{k} of {where}") for k in first.params}
        for outs in zip(*(n.outs for n in nodes), strict=True):
            if outs[0] is not None:
                self.value(outs, where)
        for branches in zip(*(n.branches for n in nodes), strict=True):
            self.graph(branches)

    def value(self, values: Sequence[Any], where: str) -> None:
        first = values[0]
        if any(len(v.shape) != len(first.shape) or v.dtype is not first.dtype for v in values):
            raise ExportError(f"the rank or dtype of a result of {where} depends on the sizes")
        sizes = zip(*(v.shape for v in values), strict=True)
        first.shape = tuple(self.number(n, f"a size of the result of {where}") for n in sizes)

    def tree(self, parts: Sequence[Any], where: str) -> Any:
        """An argument of a node at all points."""
        first = parts[0]
        if isinstance(first, Value):
            if any(not isinstance(p, Value) or p.name != first.name for p in parts):
                raise ExportError(f"{where} reads other values at other sizes")
            return first
        if isinstance(first, (list, tuple)):
            if any(type(p) is not type(first) or len(p) != len(first) for p in parts):
                raise ExportError(f"{where} has other arguments at other sizes")
            return type(first)([self.tree(p, where) for p in zip(*parts, strict=True)])
        if isinstance(first, dict):
            return {k: self.tree([p[k] for p in parts], where) for k in first}
        if isinstance(first, slice):
            ends = [self.tree([getattr(p, e) for p in parts], where) for e in ("start", "stop", "step")]
            return slice(*ends)
        if isinstance(first, (int, float)) and not isinstance(first, bool):
            return self.number(parts, where)
        known = isinstance(first, (DType, str, bool, complex, type(None))) or first is RUN_DEVICE
        if known and any(p != first for p in parts):
            raise ExportError(f"{where} is {first!r} at some sizes, and something else at others")
        return first

    def number(self, numbers: Sequence[Any], where: str) -> Any:
        """A number, or the law that it follows."""
        if all(type(n) is int for n in numbers):
            for name in self.points[0]:
                column = [p[name] for p in self.points]
                if len(set(column)) > 1 and list(numbers) == column:
                    self.known.setdefault(law := of_dim(name))
                    return law
        found = fit(self.points, list(numbers))
        if found is None:
            found = fit_product(self.points, list(numbers), list(self.known))
        elif isinstance(found, Law) and found.form == "linear":
            self.known.setdefault(found)
        if found is None:
            told = "; ".join(
                f"{n} at {', '.join(f'{d} = {v}' for d, v in p.items())}"
                for n, p in zip(numbers, self.points, strict=True)
            )
            raise ExportError(f"no law was found for a number of {where}: it is {told}")
        return found

    def constants(self, programs: Sequence[ExportedProgram]) -> None:
        """Tensors that the programs hold: equal, or single numbers that follow a law."""
        first = programs[0]
        for spec in list(first.graph_signature.input_specs):
            if spec.kind is not InputKind.CONSTANT_TENSOR:
                continue
            tensors = [p.constants[str(spec.target)] for p in programs]
            if all(_equal(t, tensors[0]) for t in tensors):
                continue
            if tensors[0].numel() != 1 or any(t.shape != tensors[0].shape for t in tensors):
                raise ExportError(
                    f"a tensor of shape {tuple(tensors[0].shape)} that the program makes from numbers is another one "
                    "at other sizes; make it with arange, full or another op"
                )
            law = self.number([t.item() for t in tensors], "a tensor that the program makes from a number")
            value = next(v for v in first.graph.inputs if v.name == spec.arg.name)
            params = {"shape": tuple(tensors[0].shape), "value": law, "dtype": value.dtype, "device": RUN_DEVICE}
            _compute(first, value, params)
            first.graph_signature.input_specs.remove(spec)
            del first.constants[str(spec.target)]


def _compute(program: ExportedProgram, value: Value, params: dict[str, Any]) -> None:
    """Put a node in the place of an input."""
    node = Node("full", (), params)
    node.outs = (Value(value.name, value.shape, value.dtype, node),)
    program.graph.inputs.remove(value)
    replace_value(program.graph, value, node.out)
    program.graph.nodes.insert(0, node)


def replace_value(graph: Graph, old: Value, new: Value) -> None:
    """Read ``new`` wherever ``old`` is read."""

    def swapped(v: Value) -> Value:
        return new if v is old else v

    for node in graph.all_nodes():
        map_node(node, swapped)
        for branch in node.branches:
            branch.outputs = map_values(swapped, branch.outputs)
    graph.outputs = map_values(swapped, graph.outputs)


def map_node(node: Node, fn: Callable[[Value], Any]) -> None:
    """Change what a node reads."""
    node.args = map_values(fn, node.args)
    node.params = {k: map_values(fn, p) for k, p in node.params.items()}


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype is b.dtype and a.numpy(force=True).tobytes() == b.numpy(force=True).tobytes()


__all__ = ["Law", "map_node", "merge", "replace_value"]
