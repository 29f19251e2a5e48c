"""A graph in parts, each a module of its own."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule
from flambeau.fx.node import Node, map_arg
from flambeau.nn import Module

__all__ = ["Partition", "split_module"]


class Partition:
    """One part: its nodes, what it reads from others, and what others read of it."""

    def __init__(self, name: str):
        self.name, self.submod_name = name, f"submod_{name}"
        self.nodes: list[Node] = []
        self.inputs: dict[Node, None] = {}
        self.outputs: dict[Node, None] = {}
        self.depends: dict[Partition, None] = {}

    def __repr__(self) -> str:
        return f"name: {self.name}, nodes: {self.nodes}, inputs: {list(self.inputs)}, outputs: {list(self.outputs)}"


def split_module(
    m: GraphModule, root_m: Module, split_callback: Callable[[Node], int | str],
    qualname_map: dict[str, str] | None = None, keep_original_order: bool = False,
    keep_original_node_name: bool = False, *, partition_affix: str | None = None,
) -> GraphModule:  # fmt: skip
    """A module that calls a submodule ``submod_N`` for each part; ``split_callback`` says in which part a node is.

    Inputs and attributes stay outside, and are handed to the parts that read them. ``qualname_map`` takes the names in
    ``root_m`` of the parts' own modules. RuntimeError where parts depend on each other in a circle.

    >>> traced = fb.fx.symbolic_trace(lambda x: (x + 1).relu())
    >>> parts = fb.fx.passes.split_module.split_module(traced, traced, lambda n: 0 if n.name == "add" else 1)
    >>> [name for name, _ in parts.named_children()], parts(fb.tensor([-3.0]))
    (['submod_0', 'submod_1'], tensor([0.]))
    """
    nodes = [n for n in m.graph.nodes if n.op not in ("placeholder", "get_attr", "output")]
    parts: dict[str, Partition] = {}
    home: dict[Node, Partition] = {}
    for node in nodes:
        name = str(split_callback(node))
        home[node] = parts.setdefault(name, Partition(name if partition_affix is None else f"{partition_affix}_{name}"))
        home[node].nodes.append(node)
    for node in m.graph.nodes:
        mine = home.get(node)
        for read in node.all_input_nodes:
            theirs = home.get(read)
            if theirs is mine:
                continue
            if theirs is not None:
                theirs.outputs[read] = None
            if mine is not None:
                mine.inputs[read] = None
                if theirs is not None:
                    mine.depends[theirs] = None
    order = list(parts.values()) if keep_original_order else _ordered(parts.values())
    return _assembled(m, root_m, order, home, qualname_map, keep_original_node_name)


def _ordered(parts: Any) -> list[Partition]:  # Any: the values of a dict
    """Parts after those that they read from."""
    waiting, done = list(parts), dict[Partition, None]()
    while waiting:
        ready = next((p for p in waiting if all(d in done for d in p.depends)), None)
        if ready is None:
            raise RuntimeError("cycle exists between partitions!")
        waiting.remove(ready)
        done[ready] = None
    return list(done)


def _part_module(part: Partition, root_m: Module, qualname_map: dict[str, str] | None, keep_names: bool) -> GraphModule:
    graph = Graph()
    own: dict[Node, Any] = {}
    for read in part.inputs:
        own[read] = graph.placeholder(read.name, read.type)
        own[read].meta = dict(read.meta)
    found: dict[str, Any] = {}
    for node in part.nodes:
        target = node.target
        if node.op == "call_module":
            inner: Any = root_m
            for step in str(target).split("."):
                inner = getattr(inner, step)
            name = str(target) if keep_names else str(target).replace(".", "_")
            found[name] = inner
            if qualname_map is not None:
                qualname_map[f"{part.submod_name}.{name}"] = str(target)
            target = name
        args, kwargs = map_arg(node.args, lambda n: own[n]), map_arg(node.kwargs, lambda n: own[n])
        own[node] = graph.create_node(node.op, target, args, kwargs, node.name, node.type)
        own[node].meta = dict(node.meta)
    results = tuple(own[n] for n in part.outputs)
    if results:
        graph.output(results[0] if len(results) == 1 else results)
    return GraphModule(found, graph)


def _assembled(
    m: GraphModule, root_m: Module, order: list[Partition], home: dict[Node, Partition],
    qualname_map: dict[str, str] | None, keep_names: bool,
) -> GraphModule:  # fmt: skip
    graph = Graph()
    own: dict[Node, Any] = {}
    found: dict[str, Any] = {}
    for node in m.graph.nodes:
        if node.op in ("placeholder", "get_attr"):
            own[node] = graph.node_copy(node)
            if node.op == "get_attr":
                found[str(node.target)] = _attribute(m, str(node.target))
    for part in order:
        found[part.submod_name] = _part_module(part, root_m, qualname_map, keep_names)
        call = graph.call_module(part.submod_name, tuple(own[n] for n in part.inputs))
        outputs = list(part.outputs)
        each = [graph.call_function(operator.getitem, (call, i)) for i in range(len(outputs)) if len(outputs) > 1]
        own |= dict(zip(outputs, each or [call], strict=bool(outputs)))
    last = m.graph.output_node()
    graph.output(map_arg(last.args[0], lambda n: own[n]), last.type)
    return GraphModule(found, graph)


def _attribute(module: Module, path: str) -> Any:
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part)
    return found
