"""Graphs of nodes, in the order in which they run."""

from __future__ import annotations

import builtins
import keyword
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from flambeau.fx.node import Argument, Node, Target, map_arg, name_of
from flambeau.fx.source import PythonCode, program
from flambeau.nn import Module

__all__ = ["CodeGen", "Graph"]

Transform = Callable[[list[str]], list[str]]
_RESERVED: Final = frozenset({*dir(builtins), *keyword.kwlist, "self", "torch", "flambeau", "inf", "nan", "device"})


class _Names:
    """Names of variables, each given once."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def new(self, candidate: str) -> str:
        base = re.sub(r"[^0-9a-zA-Z_]+", "_", candidate) or "_unnamed"
        base = f"_{base}" if base[0].isdigit() else base
        name, count = base, 0
        ending = re.fullmatch(r"(.*)_(\d+)", base)
        stem = ending[1] if ending else base
        count = int(ending[2]) if ending else 0
        while name in self._used or name in _RESERVED:
            count += 1
            name = f"{stem}_{count}"
        self._used.add(name)
        return name


class _InsertPoint:
    """Where nodes are added from now on; after a with statement, where they were added before."""

    def __init__(self, graph: Graph, insert: Callable[[Node], None]):
        self._graph, self._before = graph, graph._insert
        graph._insert = insert

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._graph._insert = self._before


class CodeGen:
    """How inputs and outputs of a graph are passed: as they are."""

    def process_inputs(self, *args: Any) -> Any:  # Any: a graph's inputs
        """The inputs of the graph."""
        return args

    def process_outputs(self, outputs: Any) -> Any:  # Any: a graph's outputs
        """What the module returns."""
        return outputs


class _NodeList:
    """The nodes of a graph, in order; ``reversed`` and ``len`` work."""

    def __init__(self, graph: Graph):
        self._graph = graph

    def __iter__(self) -> Iterator[Node]:
        node = self._graph._root._next
        while node is not self._graph._root:
            following = node._next
            if not node._erased:
                yield node
            node = following if node._erased else node._next

    def __reversed__(self) -> Iterator[Node]:
        return reversed(list(iter(self)))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Graph:
    """A program: nodes that call functions, methods and modules on the results of others.

    >>> graph = fb.fx.Graph()
    >>> x = graph.placeholder("x")
    >>> _ = graph.output(graph.call_function(fb.relu, (x,)))
    >>> print(graph)
    graph():
        %x : [num_users=1] = placeholder[target=x]
        %relu : [num_users=1] = call_function[target=flambeau.relu](args = (%x,), kwargs = {})
        return relu
    """

    def __init__(self, owning_module: Any = None, tracer_cls: type | None = None):  # Any: the GraphModule
        self._root = Node(self, "", "root", "")
        self._names = _Names()
        self._insert: Callable[[Node], None] = self._root.prepend
        self._codegen = CodeGen()
        self._transform: Transform | None = None
        self.owning_module, self._tracer_cls = owning_module, tracer_cls

    @property
    def nodes(self) -> _NodeList:
        """The nodes in order."""
        return _NodeList(self)

    def create_node(
        self, op: str, target: Target, args: tuple[Argument, ...] | None = None,
        kwargs: dict[str, Argument] | None = None, name: str | None = None, type_expr: Any = None,
    ) -> Node:  # fmt: skip  # Any: an annotation
        """Add a node where nodes are inserted, at the end if nothing else was said."""
        node = Node(
            self,
            self._names.new(_candidate(target) if name is None else name),
            op,
            target,
            args or (),
            kwargs,
            type_expr,
        )
        self._insert(node)
        return node

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = ...) -> Node:
        """Add an input."""  # Any: an annotation; a default of any type
        args = () if default_value is ... else (default_value,)
        return self.create_node("placeholder", name, args, type_expr=type_expr, name=name)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:  # Any: an annotation
        """Add the reading of a parameter or another attribute of the module."""
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_function(
        self, the_function: Callable[..., Any], args: tuple[Argument, ...] | None = None,
        kwargs: dict[str, Argument] | None = None, type_expr: Any = None, name: str | None = None,
    ) -> Node:  # fmt: skip
        """Add the call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, name, type_expr)

    def call_method(
        self, method_name: str, args: tuple[Argument, ...] | None = None, kwargs: dict[str, Argument] | None = None,
        type_expr: Any = None,
    ) -> Node:  # fmt: skip
        """Add the call of a method of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_module(
        self, module_name: str, args: tuple[Argument, ...] | None = None, kwargs: dict[str, Argument] | None = None,
        type_expr: Any = None,
    ) -> Node:  # fmt: skip
        """Add the call of a submodule."""
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def create_size_node(self, tensor_node: Node, dim: int) -> Node:
        """Add the length of a dimension of a tensor."""
        return self.call_method("size", (tensor_node, dim))

    def create_stride_node(self, tensor_node: Node, dim: int) -> Node:
        """Add the stride of a dimension of a tensor."""
        return self.call_method("stride", (tensor_node, dim))

    def create_storage_offset_node(self, tensor_node: Node) -> Node:
        """Add the place of a tensor's first element in its storage."""
        return self.call_method("storage_offset", (tensor_node,))

    def materialize_symint(self, value: int) -> Node | int:
        """What stands in the graph for a size: numbers are known here, and stand for themselves."""
        return self.materialize_symints([value])[0]

    def materialize_symints(self, values: Sequence[int]) -> list[Node | int]:
        """The same for several sizes."""
        return [int(value) for value in values]

    def output(self, result: Argument, type_expr: Any = None) -> Node:  # Any: an annotation
        """Add what the graph returns."""
        return self.create_node("output", "output", (result,), type_expr=type_expr)

    def output_node(self) -> Node:
        """The node of what it returns; AssertionError where there is none."""
        last = self._root._prev
        if last.op != "output":
            raise AssertionError("Graph.output_node: the graph has no output")
        return last

    def find_nodes(self, *, op: str, target: Target | None = None, sort: bool = True) -> list[Node]:
        """The nodes of one kind, those of one target if it is given."""
        return [n for n in self.nodes if n.op == op and (target is None or n.target == target)]

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Argument] = lambda x: x) -> Node:
        """Add a copy of another graph's node, its arguments mapped by ``arg_transform``."""
        args, kwargs = map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform)
        copied = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        copied.meta = dict(node.meta)
        return copied

    def graph_copy(self, g: Graph, val_map: dict[Node, Node], return_output_node: bool = False) -> Argument:
        """Add copies of all nodes of a graph but the output, whose mapped argument is returned."""
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                found = map_arg(node.args[0], lambda n: val_map[n])
                return (found, node) if return_output_node else found
            val_map[node] = self.node_copy(node, lambda n: val_map[n])
        return None

    def erase_node(self, to_erase: Node) -> None:
        """Take a node out; RuntimeError while others use it."""
        if to_erase.users:
            raise RuntimeError(f"Graph.erase_node: {to_erase} is used by {', '.join(map(str, to_erase.users))}")
        if to_erase.graph is not self:
            raise RuntimeError(f"Graph.erase_node: {to_erase} is a node of another graph")
        if to_erase._erased:
            warnings.warn(f"Graph.erase_node: {to_erase} was erased already", stacklevel=2)
            return
        to_erase._unlink()
        to_erase._erased = True
        to_erase._set((), {})

    def inserting_before(self, n: Node | None = None) -> _InsertPoint:
        """Add nodes before a node, or at the beginning; in a with statement while it lasts."""
        if n is None:
            return self.inserting_after(self._root)
        return _InsertPoint(self, self._own(n).prepend)

    def inserting_after(self, n: Node | None = None) -> _InsertPoint:
        """Add nodes right after a node, the last one first, or at the end; in a with statement while it lasts."""
        if n is None:
            return self.inserting_before(self._root)
        return _InsertPoint(self, self._own(n).append)

    def _own(self, n: Node) -> Node:
        if n.graph is not self:
            raise AssertionError(f"Graph: {n}, at which nodes are to be added, is a node of another graph")
        return n

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Take out what nothing uses; whether there was any."""
        self.lint()
        keeps = is_impure_node or Node.is_impure
        dead = False
        for node in reversed(self.nodes):
            if not node.users and not keeps(node):
                self.erase_node(node)
                dead = True
        return dead

    def lint(self) -> None:
        """RuntimeError where a node is read before it runs, a name stands twice, or the module lacks a target."""
        seen: set[Node] = set()
        names: set[str] = set()
        for node in self.nodes:
            for read in node.all_input_nodes:
                if read not in seen:
                    raise RuntimeError(f"Graph.lint: {node} reads {read}, which has not run before it in this graph")
            if node.name in names:
                raise RuntimeError(f"Graph.lint: two nodes are called {node.name}")
            seen.add(node)
            names.add(node.name)
            if self.owning_module is not None and node.op in ("get_attr", "call_module"):
                self._check_target(node)

    def _check_target(self, node: Node) -> None:
        found = self.owning_module
        for part in str(node.target).split("."):
            found = getattr(found, part, None)
            if found is None or node.op == "call_module" and not isinstance(found, Module):
                raise RuntimeError(f"Graph.lint: {node} is {node.op} of {node.target}, which the module has not")

    def python_code(self, root_module: str = "self") -> PythonCode:
        """The program as Python: ``src`` is its text, ``globals`` are the objects that the text names."""
        code = program(list(self.nodes), root_module)
        if self._transform is not None:
            code.src = "".join(self._transform(code.src.splitlines(keepends=True)))
        return code

    def print_tabular(self) -> None:
        """Print the nodes, a line each, in columns."""
        rows = [("opcode", "name", "target", "args", "kwargs")]
        rows += [(n.op, n.name, name_of(n.target), str(n.args), str(n.kwargs)) for n in self.nodes]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        rows.insert(1, tuple("-" * w for w in widths))  # type: ignore[arg-type]  # five columns
        for row in rows:
            print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())

    @contextmanager
    def on_generate_code(self, make_transformer: Callable[[Transform | None], Transform]) -> Iterator[None]:
        """Inside, and from there on in :meth:`python_code`, lines of code go through ``make_transformer(before)``.

        ``before`` is what they went through until then, or None; after the block that is so again.
        """
        before = self._transform
        self._transform = make_transformer(before)
        try:
            yield
        finally:
            self._transform = before

    def process_inputs(self, *args: Any) -> Any:  # Any: what the program is called with
        """The inputs of the graph, of the arguments."""
        return self._codegen.process_inputs(*args)

    def process_outputs(self, out: Any) -> Any:  # Any: what the graph gives
        """What the module returns, of the graph's result."""
        return self._codegen.process_outputs(out)

    def set_codegen(self, codegen: CodeGen) -> None:
        """Pass inputs and outputs otherwise."""
        self._codegen = codegen

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        copied = Graph(tracer_cls=self._tracer_cls)
        values: dict[Node, Node] = {}
        output = next((n for n in self.nodes if n.op == "output"), None)
        result = copied.graph_copy(self, values)
        if output is not None:
            copied.output(result, output.type).meta = dict(output.meta)
        return copied

    def __str__(self) -> str:
        return "graph():" + "".join(f"\n    {node.format_node()}" for node in self.nodes)


def _candidate(target: Target) -> str:
    """A name for the result of a target: that of the function in small letters, or the path of a module."""
    name = target if isinstance(target, str) else getattr(target, "__name__", type(target).__name__)
    name = name[2:-2] if re.fullmatch(r"__\w+__", name) else name
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().replace(".", "_")
