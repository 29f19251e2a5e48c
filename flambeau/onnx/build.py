"""Plans of the graphs and functions in a file: names resolved, ops looked up, attributes read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import onnx
from onnx import AttributeProto, defs

import flambeau as fb
from flambeau.onnx import ops as _mappings  # noqa: F401  # fills the table
from flambeau.onnx.errors import OnnxError, UnsupportedOpError
from flambeau.onnx.plan import Call, Constants, Plan, Step, execute
from flambeau.onnx.registry import KNOWN, TRAINING, Op, find
from flambeau.onnx.tensors import constant, dense
from flambeau.onnx.values import Value, element, shape_of

HOST: Final[fb.device] = fb.device("cpu")

#: onnx.defs.OpSchema; Any: onnx's own stubs lack what it says of bodies.
Schema: TypeAlias = Any

#: Functions and graphs inside one another, at most: files that call in a circle end here.
DEEPEST: Final = 60


@dataclass(frozen=True)
class Scope:
    """What a graph stands in: versions of the domains, the file's functions and folder, and attributes of a call."""

    versions: Mapping[str, int]
    functions: Mapping[tuple[str, str], onnx.FunctionProto]
    folder: Path | None
    given: Mapping[str, AttributeProto] | None = None
    depth: int = 0
    calls: tuple[tuple[str, str], ...] = ()


def domain_of(name: str) -> str:
    return "" if name == "ai.onnx" else name


def versions_of(imports: Sequence[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {domain_of(entry.domain): entry.version for entry in imports}


def plan_graph(graph: onnx.GraphProto, scope: Scope, outer: frozenset[str], made: Mapping[str, Value] | None) -> Plan:
    """The plan of a graph; ``outer`` are the names around it. ``made`` has initialisers that were read already."""
    if scope.depth > DEEPEST:
        raise OnnxError(f"graph {graph.name!r}: graphs stand in one another too deeply")
    constants = dict(made) if made is not None else initialisers(graph, scope)
    inputs = tuple(i.name for i in graph.input)
    steps = Builder(scope, outer, set(inputs) | constants.keys(), constants).steps(graph.node)
    outputs = tuple(o.name for o in graph.output)
    return finish(graph.name, inputs, outputs, steps, constants, outer)


def initialisers(graph: onnx.GraphProto, scope: Scope) -> dict[str, Value]:
    """The values that a graph brings with it, by name."""
    found = {proto.name: constant(proto, scope.folder, HOST) for proto in graph.initializer}
    return found | {p.values.name: dense(p, scope.folder, HOST) for p in graph.sparse_initializer}


def plan_function(
    function: onnx.FunctionProto, scope: Scope, given: Mapping[str, AttributeProto], *, lenient: bool = False
) -> Plan:
    """The plan of a function's body, for a call with the attributes ``given``.

    A ``lenient`` one may lack outputs: ONNX's own bodies leave out what the node does not ask for.
    """
    key = (domain_of(function.domain), function.name)
    if key in scope.calls or scope.depth > DEEPEST:
        raise OnnxError(f"function {function.name!r} of domain {function.domain!r} calls itself")
    versions = {**scope.versions, **versions_of(function.opset_import)}
    attributes = {a.name: a for a in function.attribute_proto} | dict(given)
    inner = replace(
        scope, versions=versions, given=attributes, depth=scope.depth + 1, calls=(*scope.calls, key)
    )  # fmt: skip
    constants: dict[str, Value] = {}
    builder = Builder(inner, frozenset(), set(function.input), constants)
    steps = builder.steps(function.node)
    outputs = tuple(o if o in builder.known or not lenient else "" for o in function.output)
    return finish(function.name, tuple(function.input), outputs, steps, constants, frozenset())


def finish(
    name: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    steps: list[Step],
    constants: dict[str, Value],
    outer: frozenset[str],
) -> Plan:
    """The plan of these steps: each name is dropped after its last use."""
    own = set(inputs) | constants.keys() | {o for s in steps for o in s.outputs}
    if missing := [o for o in outputs if o and o not in own and o not in outer]:
        raise OnnxError(f"graph {name!r}: nothing makes its output {missing[0]!r}")
    alive = set(outputs)
    for step in reversed(steps):
        used = {n for n in (*step.inputs, *step.captured, *step.outputs) if n}
        step.drop = tuple(sorted(used - alive))
        alive |= used
    captured = {n for s in steps for n in (*s.inputs, *s.captured) if n and n not in own}
    captured |= {o for o in outputs if o and o not in own}
    return Plan(name, inputs, outputs, steps, Constants(constants), frozenset(captured))


class Builder:
    """Makes the steps of one graph or function, in the order of the file."""

    def __init__(self, scope: Scope, outer: frozenset[str], known: set[str], constants: dict[str, Value]):
        self.scope = scope
        self.outer = outer
        self.known = known
        self.constants = constants
        self.later: set[str] = set()  # what this graph makes hides what is around it, before it is made too

    def steps(self, nodes: Sequence[onnx.NodeProto]) -> list[Step]:
        found: list[Step] = []
        self.later = {name for node in nodes for name in node.output if name}
        for node in nodes:
            step = self.step(node, found)
            if step is None:
                continue
            found.append(step)
        return found

    def step(self, node: onnx.NodeProto, before: list[Step]) -> Step | None:
        """The step of a node, or None for a constant."""
        domain = domain_of(node.domain)
        where = f"node {node.name!r} ({node.op_type} of {domain or 'ai.onnx'})"
        for name in node.input:
            if name and name not in self.known and (name not in self.outer or name in self.later):
                raise OnnxError(f"{where}: nothing before it makes its input {name!r}, or the graph goes in a circle")
        for name in filter(None, node.output):
            if name in self.known:
                raise OnnxError(f"{where}: the name {name!r} is made twice")
        self.known.update(filter(None, node.output))
        protos = self.attributes(node, where)
        if domain == "" and node.op_type == "Constant":
            self.constants[node.output[0]] = self.value_of_constant(protos, where)
            return None
        return self.make(node, domain, protos, where, before)

    def attributes(self, node: onnx.NodeProto, where: str) -> dict[str, AttributeProto]:
        """The node's attributes; those that refer to the function's own get the values of the call."""
        found = {}
        for proto in node.attribute:
            if not proto.ref_attr_name:
                found[proto.name] = proto
                continue
            if self.scope.given is None:
                raise OnnxError(f"{where}: the attribute {proto.name!r} refers to one of a function, outside of one")
            given = self.scope.given.get(proto.ref_attr_name)
            if given is not None:
                copy = AttributeProto()
                copy.CopyFrom(given)
                copy.name = proto.name
                found[proto.name] = copy
        return found

    def value_of_constant(self, protos: Mapping[str, AttributeProto], where: str) -> Value:
        if len(protos) != 1:
            raise OnnxError(f"{where}: a constant has one value, and this one {len(protos)}")
        ((name, proto),) = protos.items()
        if name in ("value", "sparse_value"):
            return cast("Value", self.read(proto, where))
        kinds: dict[str, int] = {
            "value_int": 7, "value_ints": 7, "value_float": 1, "value_floats": 1, "value_string": 8, "value_strings": 8,
        }  # fmt: skip
        if name not in kinds:
            raise OnnxError(f"{where}: {name!r} is not a form of a constant")
        value = onnx.helper.get_attribute_value(proto)
        listed = name.endswith("s")
        data = value if listed else [value]
        made = onnx.helper.make_tensor(where, kinds[name], [len(data)] if listed else [], data)
        return constant(made, None, HOST)

    def make(
        self, node: onnx.NodeProto, domain: str, protos: dict[str, AttributeProto], where: str, before: list[Step]
    ) -> Step:
        function = self.scope.functions.get((domain, node.op_type))
        version = self.scope.versions.get(domain)
        inputs, outputs = tuple(node.input), tuple(node.output)
        if function is not None:
            plan = plan_function(function, self.scope, protos)
            return Step(_call_of(plan), node.op_type, domain, version or 0, node.name, inputs, outputs, {})
        if version is None:
            raise UnsupportedOpError(f"{where}: the model imports no version of the domain {domain or 'ai.onnx'!r}")
        schema = self.schema(node, domain, version, where)
        since = schema.since_version
        step = Step(Op(_never), node.op_type, domain, since, node.name, inputs, outputs, {})
        self.count(step, schema)
        step.attributes = self.values(protos, schema, step)
        captured = {n for a in step.attributes.values() if isinstance(a, Plan) for n in a.captured}
        if domain == TRAINING and node.op_type == "Gradient":
            captured |= self.cut(step, before)
        step.captured = tuple(sorted(captured))
        step.op = find(domain, node.op_type, since) or self.body(node, protos, schema, version, step)
        if step.op.declines:
            step.body = self.body(node, protos, schema, version, step)
        return step

    def schema(self, node: onnx.NodeProto, domain: str, version: int, where: str) -> Schema:
        if domain not in KNOWN or version > max(KNOWN[domain], 1):
            raise UnsupportedOpError(f"{where}: version {version} of the domain is not known")
        try:
            schema = defs.get_schema(node.op_type, version, domain)
        except defs.SchemaError:
            raise UnsupportedOpError(f"{where}: version {version} of its domain has no such op") from None
        if schema.deprecated:
            raise UnsupportedOpError(f"{where}: the op is not part of version {version} any more")
        return schema

    @staticmethod
    def count(step: Step, schema: Schema) -> None:
        for what, names, least, most in (
            ("inputs", step.inputs, schema.min_input, schema.max_input),
            ("outputs", step.outputs, schema.min_output, schema.max_output),
        ):
            if not least <= len(names) <= most:
                raise OnnxError(f"{step} has {len(names)} {what}, where {least} to {most} are wanted")

    def values(self, protos: Mapping[str, AttributeProto], schema: Schema, step: Step) -> dict[str, Any]:
        """The attributes' values, those that the file leaves out by the op's definition."""
        found: dict[str, Any] = {}
        for name, proto in protos.items():
            known = schema.attributes.get(name)
            if known is None:
                raise OnnxError(f"{step} has no attribute {name!r}")
            if int(known.type.value) != proto.type:
                raise OnnxError(f"{step}: the attribute {name!r} has the wrong type")
            found[name] = self.read(proto, str(step))
        for name, known in schema.attributes.items():
            if name in found:
                continue
            if known.required:
                raise OnnxError(f"{step} lacks the attribute {name!r}")
            if known.default_value.type != AttributeProto.UNDEFINED:
                found[name] = self.read(known.default_value, str(step))
        return found

    def read(self, proto: AttributeProto, where: str) -> Any:
        kind = proto.type
        if kind == AttributeProto.GRAPH:
            names = self.outer | frozenset(self.known)
            return plan_graph(proto.g, replace(self.scope, depth=self.scope.depth + 1), names, None)
        if kind == AttributeProto.TENSOR:
            return constant(proto.t, self.scope.folder, HOST)
        if kind == AttributeProto.SPARSE_TENSOR:
            return dense(proto.sparse_tensor, self.scope.folder, HOST)
        if kind == AttributeProto.TYPE_PROTO:
            return proto.tp
        if kind == AttributeProto.STRING:
            return _decoded(proto.s, where)
        if kind == AttributeProto.STRINGS:
            return tuple(_decoded(s, where) for s in proto.strings)
        if kind == AttributeProto.TENSORS:
            return tuple(constant(t, self.scope.folder, HOST) for t in proto.tensors)
        if kind in (AttributeProto.INT, AttributeProto.FLOAT):
            return proto.i if kind == AttributeProto.INT else proto.f
        if kind in (AttributeProto.INTS, AttributeProto.FLOATS):
            return tuple(proto.ints if kind == AttributeProto.INTS else proto.floats)
        raise UnsupportedOpError(f"{where}: attributes like {proto.name!r} are not supported")

    def cut(self, step: Step, before: list[Step]) -> set[str]:
        """Give a Gradient node the plan from its inputs to the output that it differentiates; what that captures."""
        inputs = (*step.attributes["xs"], *step.attributes.get("zs", ()))
        target = step.attributes["y"]
        wanted, steps = {target}, []
        for earlier in reversed(before):
            if wanted.intersection(earlier.outputs) and not set(earlier.outputs) & set(inputs):
                steps.append(replace(earlier))
                wanted.update(n for n in (*earlier.inputs, *earlier.captured) if n)
        outer = (self.outer | frozenset(self.known)) - set(inputs)
        plan = finish("gradient", tuple(inputs), (target,), steps[::-1], {}, outer)
        step.attributes = {**step.attributes, "graph": plan}
        return set(plan.captured)

    def body(
        self,
        node: onnx.NodeProto,
        protos: Mapping[str, AttributeProto],
        schema: Schema,
        version: int,
        step: Step,
    ) -> Op:
        """An op that has no mapping runs by the body that ONNX defines for it."""
        inner = replace(self.scope, functions={})
        given = {n: a.default_value for n, a in schema.attributes.items() if a.default_value.type} | dict(protos)
        if schema.has_function:
            usable = [v for v in schema.function_opset_versions if v <= version] or schema.function_opset_versions
            function = onnx.FunctionProto.FromString(schema.get_function_with_opset_version(max(usable)))
            return _call_of(plan_function(function, inner, given))
        if schema.has_context_dependent_function:
            return _by_types(node, schema, version, inner, given)
        raise UnsupportedOpError(f"{step} has no mapping")


def _never(call: Call, *inputs: Value) -> Value:
    raise AssertionError(f"{call.step} was not given its op")


def _decoded(text: bytes, where: str) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise OnnxError(f"{where}: a text among the attributes is not UTF-8") from None


def _call_of(plan: Plan) -> Op:
    def function(call: Call, *inputs: Value) -> tuple[Value, ...]:
        return tuple(execute(plan, inputs, call.run, {}))

    return Op(function, raw=True)


def _by_types(
    node: onnx.NodeProto, schema: Schema, version: int, scope: Scope, given: Mapping[str, AttributeProto]
) -> Op:
    """An op whose body depends on the types of its inputs: it is made when they are known, once for each."""
    plans: dict[tuple[object, ...], Plan] = {}
    usable = [v for v in schema.context_dependent_function_opset_versions if v <= version]
    chosen = max(usable or schema.context_dependent_function_opset_versions)

    def function(call: Call, *inputs: Value) -> tuple[Value, ...]:
        key = tuple(_type_of(v) for v in inputs)
        plan = plans.get(key)
        if plan is None:
            made = schema.get_context_dependent_function_with_opset_version(chosen, node.SerializeToString(), list(key))
            plan = plan_function(onnx.FunctionProto.FromString(made), scope, given, lenient=True)
            plans[key] = plan
        return tuple(execute(plan, inputs, call.run, {}))

    return Op(function, raw=True)


def _type_of(value: Value) -> bytes:
    """The type of a value as ONNX writes it."""
    proto = onnx.TypeProto()
    if isinstance(value, list):
        inner = onnx.TypeProto.FromString(_type_of(value[0])) if value else proto
        proto = onnx.helper.make_sequence_type_proto(inner)
    elif value is not None:
        proto = onnx.helper.make_tensor_type_proto(element(value), shape_of(value))
    return bytes(proto.SerializeToString())
