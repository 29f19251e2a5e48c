"""The graph of an exported program: values, and nodes that each are one op of flambeau's records.

A graph is functional: each value is given once, by an input or a node, and nothing is written to. What the program
wrote in place stands in it as new values, and those of buffers and inputs are outputs beside the program's own.

What stands in a node for a number that depends on the sizes of the inputs is a
:class:`~flambeau.export.laws.Law`. Beside the ops of the records there are those of :data:`SPECIAL`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from flambeau.core.dtype import DType
from flambeau.core.record import OPS, Op
from flambeau.export.laws import Law

#: A size, or a number among the arguments of a node.
Size: TypeAlias = "int | Law"

#: Ops that no record is of, with what they do.
SPECIAL: Final[Mapping[str, str]] = {
    "detach": "the same values, to which no gradient flows",
    "write_view": "the first operand with the second in the place of a view of it, the steps of `views` one by one",
    "cond": "the outputs of the first of `branches` where the operand is true, else those of the second",
}


class ExportError(RuntimeError):
    """A program that cannot be exported, a call that an exported program is not for, or a file that is none."""


class Raised(ExportError):
    """A branch of a program that raises was taken; ``text`` is what it raises."""

    def __init__(self, text: str):
        super().__init__(f"the exported program raised {text}")
        self.text = text


class RunDevice(enum.Enum):
    """In the place of a device: that of the inputs and parameters with which the program runs."""

    RUN_DEVICE = enum.auto()

    def __repr__(self) -> str:
        return self.name


RUN_DEVICE: Final = RunDevice.RUN_DEVICE


class Value:
    """A tensor of a graph: a name, a shape whose sizes are ints or laws, and a dtype.

    ``node`` is the node that gives it as output ``index``; None for inputs.
    """

    __slots__ = ("dtype", "index", "name", "node", "requires_grad", "shape")

    def __init__(
        self, name: str, shape: tuple[Size, ...], dtype: DType, node: Node | None = None, index: int = 0,
        requires_grad: bool = False,
    ):  # fmt: skip
        self.name, self.shape, self.dtype, self.node, self.index = name, shape, dtype, node, index
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return f"%{self.name}: {self.dtype.name}[{', '.join(map(str, self.shape))}]"


#: What an argument of a node may be: a value, a number, a law, None, or a list of these.
Arg: TypeAlias = Any  # Any: recursive, and params hold dtypes, slices and texts too


class Node:
    """One op of a graph.

    Attributes:
        op: the name of the op, one of the records or of :data:`SPECIAL`.
        args: its operands, in the order of the schema.
        params: its params by name.
        outs: the values that it gives; None for results that are None.
        several: whether the op gives a list or tuple.
        grad: whether it ran with gradients on; with them off no gradient flows through it.
        place: the line of the program that called it, such as ``model.py:12``.
        module: the path of the module that called it.
        branches: of a ``cond``, the two graphs; they read the values of the graph around them.
    """

    __slots__ = ("args", "branches", "grad", "module", "op", "outs", "params", "place", "several")

    def __init__(
        self, op: str, args: tuple[Arg, ...], params: Mapping[str, Arg], outs: tuple[Value | None, ...] = (), *,
        several: bool = False, grad: bool = True, place: str = "", module: str = "", branches: tuple[Graph, ...] = (),
    ):  # fmt: skip
        self.op, self.args, self.params, self.outs = op, args, dict(params), outs
        self.several, self.grad, self.place, self.module, self.branches = several, grad, place, module, branches

    @property
    def record(self) -> Op | None:
        """The record of the op; None of a special one."""
        return OPS.get(self.op)

    @property
    def out(self) -> Value:
        """The first value that it gives."""
        return next(v for v in self.outs if v is not None)

    @property
    def name(self) -> str:
        """The name of its first value."""
        return self.out.name

    @property
    def inputs(self) -> list[Value]:
        """The values that it reads, also those that its branches read of the graph around them."""
        found = list(values_of((self.args, list(self.params.values()))))
        for branch in self.branches:
            found += branch.captured()
        return list(dict.fromkeys(found))

    def where(self) -> str:
        """Where it came from, for errors."""
        of = f" in {self.module}" if self.module else ""
        return f"{self.op} at {self.place}{of}" if self.place else f"{self.op}{of}"

    def __repr__(self) -> str:
        outs = ", ".join("_" if v is None else repr(v) for v in self.outs)
        params = "".join(f", {n}={_text(p)}" for n, p in self.params.items())
        return f"{outs} = {self.op}({', '.join(map(_text, self.args))}{params})"


class Graph:
    """Inputs, nodes in the order in which they run, and outputs: values, numbers, laws, None or texts.

    ``failure`` is the text of the error that a branch of a program ends in, "" for one that ends.

    >>> from flambeau.export import export
    >>> program = export(fb.nn.ReLU(), (fb.ones(2),))
    >>> print(program.graph)
    graph(%input: float32[2]):
        %relu: float32[2] = relu(%input)
        return %relu
    """

    def __init__(self, inputs: Iterable[Value] = (), nodes: Iterable[Node] = (), outputs: Iterable[Arg] = ()):
        self.inputs, self.nodes, self.outputs = list(inputs), list(nodes), list(outputs)
        self.failure = ""

    def values(self) -> Iterator[Value]:
        """All values, but those inside branches."""
        yield from self.inputs
        for node in self.nodes:
            yield from (v for v in node.outs if v is not None)

    def users(self) -> dict[Value, list[Node]]:
        """Which nodes read each value."""
        found: dict[Value, list[Node]] = {v: [] for v in self.values()}
        for node in self.nodes:
            for v in node.inputs:
                found.setdefault(v, []).append(node)
        return found

    def captured(self) -> list[Value]:
        """The values of the graph around it that a branch reads."""
        own: set[Value] = set(self.inputs)
        found: dict[Value, None] = {}
        for node in self.nodes:
            found |= dict.fromkeys(v for v in node.inputs if v not in own)
            own.update(v for v in node.outs if v is not None)
        found |= dict.fromkeys(v for v in values_of(self.outputs) if v not in own)
        return list(found)

    def all_nodes(self) -> Iterator[Node]:
        """All nodes, also those inside branches."""
        for node in self.nodes:
            yield node
            for branch in node.branches:
                yield from branch.all_nodes()

    def prune(self) -> None:
        """Drop the nodes whose values nobody reads; what draws random numbers moves the generator, and stays."""
        alive = set(values_of(self.outputs))
        kept: list[Node] = []
        for node in reversed(self.nodes):
            for branch in node.branches:
                branch.prune()
            if draws(node) or any(v in alive for v in node.outs):
                kept.append(node)
                alive.update(node.inputs)
        self.nodes = kept[::-1]

    def __str__(self) -> str:
        return "\n".join(_lines(self, ""))


def draws(node: Node) -> bool:
    """Whether a node draws from the generator, or has a branch that does."""
    return is_random(node.op) or any(draws(n) for b in node.branches for n in b.nodes)


def is_random(op: str) -> bool:
    """Whether an op draws from a generator: its first operands are a seed and an offset."""
    record = OPS.get(op)
    return record is not None and [a.name for a in record.schema.operands[:2]] == ["seed", "offset"]


def values_of(tree: Arg) -> Iterator[Value]:
    """The values in a nesting of lists, tuples and slices."""
    if isinstance(tree, Value):
        yield tree
    elif isinstance(tree, (list, tuple)):
        for part in tree:
            yield from values_of(part)


def map_values(fn: Callable[[Value], Arg], tree: Arg) -> Arg:
    """A nesting with ``fn`` of each value in its place."""
    if isinstance(tree, Value):
        return fn(tree)
    if isinstance(tree, (list, tuple)):
        return type(tree)([map_values(fn, part) for part in tree])
    return tree


def _lines(graph: Graph, indent: str) -> Iterator[str]:
    yield f"{indent}graph({', '.join(map(repr, graph.inputs))}):"
    for node in graph.nodes:
        yield f"{indent}    {node!r}"
        for branch in node.branches:
            yield from _lines(branch, indent + "        ")
    end = f"raise {graph.failure!r}" if graph.failure else f"return {', '.join(map(_text, graph.outputs))}"
    yield f"{indent}    {end}"


def _text(value: Arg) -> str:
    if isinstance(value, Value):
        return f"%{value.name}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, slice):
        return ":".join("" if v is None else _text(v) for v in (value.start, value.stop, value.step))
    if isinstance(value, DType):
        return value.name
    return str(value) if isinstance(value, Law) else repr(value)
