"""Parts of a graph exchanged for others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from flambeau.fx.graph import Graph
from flambeau.fx.graph_module import GraphModule, _copy_attr
from flambeau.fx.node import Node
from flambeau.fx.passes.utils.matcher_utils import InternalMatch, SubgraphMatcher
from flambeau.fx.tracer import symbolic_trace
from flambeau.nn import Module

__all__ = ["Match", "ReplacedPatterns", "replace_pattern", "replace_pattern_with_filters"]

Program = Callable[..., Any] | Graph | GraphModule
Filter = Callable[[InternalMatch, Graph, Graph], bool]


class Match(NamedTuple):
    """A place that was exchanged: the node at which the pattern ended, and the nodes of the pattern's nodes."""

    anchor: Node
    nodes_map: dict[Node, Node]


@dataclass
class ReplacedPatterns:
    """A place that was exchanged, with the nodes that stand there now."""

    anchor: Node
    nodes_map: dict[Node, Node]
    replacements: list[Node]


def replace_pattern(gm: GraphModule, pattern: Program, replacement: Program) -> list[Match]:
    """Exchange each part of a graph that is ``pattern`` for ``replacement``, in place; returns where it stood.

    Both are functions, or graphs, of the same inputs, which stand for anything. Parts do not overlap: of those that
    do the first is exchanged.

    >>> traced = fb.fx.symbolic_trace(lambda x: (x * 2).relu() + 1)
    >>> len(fb.fx.replace_pattern(traced, lambda x: x.relu(), lambda x: x.abs()))
    1
    >>> traced(fb.tensor([-3.0]))
    tensor([7.])
    """
    return [Match(r.anchor, r.nodes_map) for r in _replace(gm, pattern, replacement)]


def replace_pattern_with_filters(
    gm: GraphModule, pattern: Program, replacement: Program | None = None, match_filters: list[Filter] | None = None,
    ignore_literals: bool = False, replacement_callback: Callable[[InternalMatch, Graph, Graph], Graph] | None = None,
    node_name_match: str = "",
) -> list[ReplacedPatterns]:  # fmt: skip
    """:func:`replace_pattern` where all of ``match_filters`` say True of the match, the graph and the pattern.

    ``replacement_callback`` makes the replacement for each match; ``ignore_literals`` lets numbers be others.
    """
    return _replace(
        gm, pattern, replacement, match_filters or [], ignore_literals, replacement_callback, node_name_match
    )


def _graph_of(program: Program) -> Graph:
    if isinstance(program, GraphModule):
        return program.graph
    return program if isinstance(program, Graph) else symbolic_trace(program).graph


def _replace(
    gm: GraphModule, pattern: Program, replacement: Program | None, filters: list[Filter] | None = None,
    ignore_literals: bool = False, callback: Any = None, name: str = "",
) -> list[ReplacedPatterns]:  # fmt: skip
    graph, wanted = gm.graph, _graph_of(pattern)
    matcher = SubgraphMatcher(wanted, False, False, True, ignore_literals)
    matches = [m for m in matcher.match(graph, name) if all(f(m, graph, wanted) for f in filters or ())]
    if replacement is None and callback is None:
        raise AssertionError("Must provide either replacement GraphModule or replacement callback")
    common = None if replacement is None else _graph_of(replacement)
    done: list[ReplacedPatterns] = []
    moved: dict[Node, Node] = {}  # what an earlier exchange put in a node's place
    for match in matches:
        new = callback(match, graph, wanted) if common is None else common
        done.append(_exchange(graph, wanted, new, match, moved))
    gm.recompile()
    source = new.owning_module if matches and isinstance(new.owning_module, Module) else None
    if source is not None:
        _take_attributes(gm, source)
    return done


def _exchange(
    graph: Graph, pattern: Graph, new: Graph, match: InternalMatch, moved: dict[Node, Node]
) -> ReplacedPatterns:
    inputs = [n for n in new.nodes if n.op == "placeholder"]
    if len(inputs) != len(match.placeholder_nodes):
        raise AssertionError(
            f"replace_pattern: the pattern has {len(match.placeholder_nodes)} inputs, the replacement {len(inputs)}"
        )
    values: dict[Node, Any] = {
        mine: moved.get(given, given) if isinstance(given, Node) else given
        for mine, given in zip(inputs, match.placeholder_nodes, strict=True)
    }
    users = {user for n in match.returning_nodes for user in n.users}
    last = next(n for n in reversed(graph.nodes) if n in match.returning_nodes)
    first = next((n for n in graph.nodes if n in users), last.next)
    before = set(graph.nodes)
    with graph.inserting_before(first):
        results: Any = graph.graph_copy(new, values)
    results = (results,) if isinstance(results, Node) else tuple(results)
    added = [n for n in graph.nodes if n not in before]
    if len(results) != len(match.returning_nodes):
        raise AssertionError("replace_pattern: pattern and replacement must return the same number of results")
    for old, result in zip(match.returning_nodes, results, strict=True):
        old.replace_all_uses_with(result)
        moved[old] = result
    for pn in reversed(pattern.nodes):
        gn = match.nodes_map.get(pn)
        if pn.op not in ("placeholder", "output") and isinstance(gn, Node):
            graph.erase_node(gn)
    return ReplacedPatterns(match.anchors[0], match.nodes_map, added)


def _take_attributes(gm: GraphModule, source: Module) -> None:
    """Give a module what the new nodes name in the replacement's, and take away what none names any more."""
    gm.delete_all_unused_submodules()
    for node in gm.graph.nodes:
        if node.op not in ("call_module", "get_attr"):
            continue
        path = str(node.target)
        if _has(gm, path):
            continue
        if not _has(source, path):
            raise RuntimeError(f"replace_pattern: {node.op} {path!r} is neither in the module nor in the replacement")
        _copy_attr(source, gm, path)
    gm.graph.lint()


def _has(module: Module, path: str) -> bool:
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True
