"""The table of the exporter: by the name of an op record, the function that writes it as nodes of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from flambeau.onnx.writer import Call

#: ``function(call, *operands)`` gives the name of the result, or a tuple of names with None for what nobody may read.
Rule = Callable[..., Any]


class Mapping(NamedTuple):
    """A mapping and the first opset that has the nodes that it writes."""

    function: Rule
    opset: int


#: By op, its mappings, those of the newest opset first.
RULES: Final[dict[str, list[Mapping]]] = {}


def maps(*names: str, opset: int = 18) -> Callable[[Rule], Rule]:
    """Register the decorated function as the mapping of the ops ``names``."""

    def register(function: Rule) -> Rule:
        for name in names:
            row = RULES.setdefault(name, [])
            row.append(Mapping(function, opset))
            row.sort(key=lambda entry: -entry.opset)
        return function

    return register


def nodes(names: dict[str, str], opset: int = 18) -> None:
    """Register ops that are one node of ONNX with the same operands."""
    for name, kind in names.items():
        maps(name, opset=opset)(_plain(kind))


def _plain(kind: str) -> Rule:
    def rule(call: Call, *operands: str) -> str:
        return str(call.emit(kind, *operands))

    return rule


def mapped(name: str, opset: int) -> Rule | None:
    """The mapping of an op in this opset."""
    return next((m.function for m in RULES.get(name, ()) if m.opset <= opset), None)
