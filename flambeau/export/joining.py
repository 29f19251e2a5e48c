"""The results of branches, as those of one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flambeau.export.graph import ExportError, Node, Value


def joined(node: Node, name: Callable[[str], str]) -> list[Any]:
    """The outputs of a ``cond``, which get values where a branch gives one; ExportError where branches do not agree."""
    ends = [b.outputs for b in node.branches if not b.failure]
    if not ends:
        raise ExportError(f"the program raises whatever it decides at {node.place}")
    if len({len(e) for e in ends}) > 1:
        raise ExportError(f"the branches of {node.where()} give different numbers of results")
    outs: list[Value | None] = []
    found: list[Any] = []
    for i, parts in enumerate(zip(*ends, strict=True)):
        if not any(isinstance(p, Value) for p in parts):
            if any(p != parts[0] or type(p) is not type(parts[0]) for p in parts):
                raise ExportError(f"the branches of {node.where()} give {parts[0]!r} and {parts[1]!r}: return tensors")
            found.append(parts[0])
            outs.append(None)
            continue
        one, *more = parts
        if any(not isinstance(p, Value) for p in parts) or any(
            (p.shape, p.dtype) != (one.shape, one.dtype) for p in more
        ):
            raise ExportError(f"the branches of {node.where()} give {' and '.join(map(repr, parts))}, which differ")
        grad = any(p.requires_grad for p in parts)
        outs.append(Value(name("cond"), one.shape, one.dtype, node, i, grad))
        found.append(outs[-1])
    node.outs = tuple(outs)
    return found


__all__ = ["joined"]
