"""Where a small graph stands in a larger one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from flambeau.core.tensor import Tensor
from flambeau.fx.graph import Graph
from flambeau.fx.node import Node
from flambeau.nn import Module

__all__ = ["InternalMatch", "SubgraphMatcher"]


@dataclass
class InternalMatch:
    """A place where the pattern stands: ``nodes_map`` has the graph's node of each of the pattern's."""

    anchors: list[Node]
    nodes_map: dict[Node, Any] = field(default_factory=dict)  # a Node; of an input of the pattern also a number
    placeholder_nodes: list[Any] = field(default_factory=list)
    returning_nodes: list[Node] = field(default_factory=list)
    name_node_map: dict[str, Node] = field(default_factory=dict)

    def __copy__(self) -> InternalMatch:
        return InternalMatch(
            self.anchors, self.nodes_map.copy(), self.placeholder_nodes.copy(), self.returning_nodes.copy()
        )


class SubgraphMatcher:
    """Finds the graph ``pattern`` in others: its inputs stand for anything, its results are all that others may read.

    With ``match_output`` the graph's output must be the pattern's; with ``match_placeholder`` inputs must be inputs;
    with ``ignore_literals`` numbers may be others. Places that overlap are left out but the first, unless
    ``remove_overlapping_matches`` is False.
    """

    def __init__(
        self, pattern: Graph, match_output: bool = False, match_placeholder: bool = False,
        remove_overlapping_matches: bool = True, ignore_literals: bool = False,
    ):  # fmt: skip
        if len(pattern.nodes) == 0:
            raise ValueError("SubgraphMatcher cannot be initialized with an empty pattern")
        for node in pattern.nodes:
            if node.op not in ("placeholder", "output") and not node.users:
                raise ValueError(f"SubgraphMatcher: the result of {node} in the pattern is used by nothing")
        self.pattern, self.match_output, self.match_placeholder = pattern, match_output, match_placeholder
        self.remove_overlapping_matches, self.ignore_literals = remove_overlapping_matches, ignore_literals
        self.pattern_placeholder_nodes = [n for n in pattern.nodes if n.op == "placeholder"]
        output = pattern.output_node()
        self.pattern_returning_nodes: list[Node] = output.all_input_nodes
        ends = [n for n in output.all_input_nodes if len(n.users) == 1]
        self.pattern_anchors: list[Node] = [output] if match_output else ends

    # -- one node ---------------------------------------------------------------------------------------------
    def _same_attribute(self, pn: Node, gn: Node) -> bool:
        a, b = _attribute(pn), _attribute(gn)
        if isinstance(a, Module):
            return type(a) is type(b)
        return isinstance(a, Tensor) and isinstance(b, Tensor)

    def _nodes_are_equal(self, pn: Node, gn: Node, node_name_match: str = "") -> bool:
        if not self.match_placeholder and pn.op == "placeholder":
            return True
        if node_name_match and node_name_match in gn.name:
            return True
        if pn.op != gn.op:
            return False
        if pn.op in ("placeholder", "output"):
            return True
        if pn.op in ("get_attr", "call_module"):
            return self._same_attribute(pn, gn)
        return pn.target == gn.target

    def _match_literals(self, pn: Any, gn: Any, match: InternalMatch) -> bool:
        if isinstance(pn, Node):  # an input of the pattern stands for a literal
            if pn.op != "placeholder":
                return False
            if pn in match.nodes_map:
                return bool(match.nodes_map[pn] == gn)
            match.nodes_map[pn] = gn
            return True
        if isinstance(gn, Node):
            return False
        return type(gn) is type(pn) if self.ignore_literals else type(gn) is type(pn) and bool(gn == pn)

    def _match_args(self, pattern: Any, graph: Any, match: InternalMatch, name: str) -> bool:
        if isinstance(pattern, Node) and isinstance(graph, Node):
            return self._match_nodes(pattern, graph, match, name)
        if isinstance(pattern, (tuple, list)):
            if type(pattern) is not type(graph) or len(pattern) != len(graph):
                return False
            return all(self._match_args(p, g, match, name) for p, g in zip(pattern, graph, strict=True))
        if isinstance(pattern, dict):
            if not isinstance(graph, dict) or pattern.keys() != graph.keys():
                return False
            return all(self._match_args(p, graph[k], match, name) for k, p in pattern.items())
        if isinstance(pattern, slice) and isinstance(graph, slice):
            mine, theirs = ((p.start, p.stop, p.step) for p in (pattern, graph))
            return self._match_args(mine, theirs, match, name)
        return self._match_literals(pattern, graph, match)

    def _match_nodes(self, pn: Node, gn: Node, match: InternalMatch, node_name_match: str = "") -> bool:
        if pn in match.nodes_map:
            return match.nodes_map[pn] is gn
        if any(gn is g for g in match.nodes_map.values()):
            return False
        if not self._nodes_are_equal(pn, gn, node_name_match):
            return False
        saved = dict(match.nodes_map)
        match.nodes_map[pn] = gn
        if pn.op == "placeholder":
            return True
        if self._match_args(pn.args, gn.args, match, node_name_match) and self._match_args(
            pn.kwargs, gn.kwargs, match, node_name_match
        ):
            return True
        match.nodes_map.clear()
        match.nodes_map.update(saved)
        return False

    # -- the whole --------------------------------------------------------------------------------------------
    def _is_contained(self, nodes_map: dict[Node, Any]) -> bool:
        """Whether nothing outside reads what the pattern does not return."""
        inside = {gn for gn in nodes_map.values() if isinstance(gn, Node)}
        for pn, gn in nodes_map.items():
            if pn.op == "placeholder" or pn in self.pattern_returning_nodes or not isinstance(gn, Node):
                continue
            if any(user not in inside for user in gn.users):
                return False
        return True

    def _remove_overlapping_matches(self, matches: list[InternalMatch]) -> list[InternalMatch]:
        kept, taken = [], set[Node]()
        for match in matches:
            own = {gn for pn, gn in match.nodes_map.items() if pn.op not in ("placeholder", "output")}
            if not own & taken:
                kept.append(match)
                taken |= own
        return kept

    def match(self, graph: Graph, node_name_match: str = "") -> list[InternalMatch]:
        """All places in a graph, in the order of the nodes at which they end."""
        candidates = [
            [(pn, gn) for gn in graph.nodes if self._nodes_are_equal(pn, gn, node_name_match)]
            for pn in self.pattern_anchors
        ]
        matches: list[InternalMatch] = []
        for chosen in itertools.product(*candidates):
            match = InternalMatch([pn for pn, _ in chosen])
            if not chosen or not all(self._match_nodes(pn, gn, match, node_name_match) for pn, gn in chosen):
                continue
            match.returning_nodes = [match.nodes_map[pn] for pn in self.pattern_returning_nodes]
            match.placeholder_nodes = [match.nodes_map.get(pn) for pn in self.pattern_placeholder_nodes]
            if self._is_contained(match.nodes_map):
                matches.append(match)
        return self._remove_overlapping_matches(matches) if self.remove_overlapping_matches else matches


def _attribute(node: Node) -> Any:
    found: Any = node.graph.owning_module
    for part in str(node.target).split("."):
        found = getattr(found, part, None)
    return found
