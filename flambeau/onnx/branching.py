"""Nodes of ONNX that have graphs in them, and what these read of the graphs around them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from onnx import GraphProto, NodeProto


def graphs(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs in a node."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g


def reads(node: NodeProto) -> set[str]:
    """What a node reads, also in the graphs in it."""
    found = set(node.input)
    for graph in graphs(node):
        found |= {o.name for o in graph.output}.union(*map(reads, graph.node))
    return found


def alive(nodes: Sequence[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """The nodes that are needed for the values wanted."""
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted = wanted | reads(node)
    return kept[::-1]


def rename(nodes: Sequence[NodeProto], names: Mapping[str, str]) -> None:
    """Give values other names."""
    for node in nodes:
        for own in (node.input, node.output):
            own[:] = [names.get(n, n) for n in own]
        for graph in graphs(node):
            rename(graph.node, names)
