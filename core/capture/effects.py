"""What a node of a recording does to memory, by the numbers of storages."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from types import BuiltinFunctionType

from flambeau.core.capture.trace import Kind, Node, Value, values_in
from flambeau.core.random import Philox
from flambeau.core.record import VIEW

#: Ops that write to their first operand, whatever their results say.
_WRITING = frozenset({"setitem", "copy"})


def read(node: Node) -> Iterator[Value]:
    """The values that a node gets, those of its params too."""
    return chain(node.values(), values_in(tuple(node.params.values())))


def is_opaque(node: Node) -> bool:
    """Whether a node may read or write memory that does not stand among its arguments."""
    if node.kind is not Kind.HOST or isinstance(node.fn, BuiltinFunctionType):
        return False
    return not isinstance(getattr(node.fn, "__self__", None), Philox)


def written(node: Node) -> frozenset[int]:
    """The storages that a node may write to: too many rather than too few."""
    if node.kind is Kind.WRITE:
        return frozenset(x.storage for x in values_in(node.args[:1]))
    if node.kind is Kind.CALL and not node.outs:
        return frozenset(x.storage for x in read(node) if x.is_array)
    if node.kind is not Kind.KERNEL or not _writes(node):
        return frozenset()
    return frozenset(x.storage for x in read(node) if x.is_array)


def _writes(node: Node) -> bool:
    op = node.op
    if op is None or not node.outs or "out" in node.params or op.functional is not None or op.name in _WRITING:
        return True
    if len(node.args) > len(op.schema.operands) or op.name.endswith("_"):
        return True
    given = {x.storage for x in read(node) if x.is_array}
    return op.family is not VIEW and any(x.storage in given for x in node.made if x.is_array)
