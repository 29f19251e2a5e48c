"""What a group does for a node: the steps that the node becomes, what they read, and what they make."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from flambeau.backends.group import Head, Operand, Step
from flambeau.backends.layout import broadcast_shapes
from flambeau.core import dtype as dt
from flambeau.core import registry
from flambeau.core.capture.trace import Kind, Node, Value, values_in
from flambeau.core.dtype import DType
from flambeau.core.expr import Expr, parse
from flambeau.core.keys import Key, expression
from flambeau.core.record import ELEMENTWISE

#: Kernels that a group may begin with, where the backend serves that.
_HEADS = frozenset({"linear", "matmul", "conv", "conv_grad_input"})
Shape: TypeAlias = tuple[int, ...]


class Part(NamedTuple):
    """A step of a node: its operands are values, or numbers of parts before it."""

    name: str
    expr: Expr
    operands: tuple[Value | int, ...]
    dtype: DType
    axes: int = 0


@dataclass(eq=False, slots=True)
class Call:
    """A node as a group sees it: ``result`` is what it gives, the memory of ``target`` where it writes there.

    ``shape`` is that of the group: of the result, or of what is reduced.
    """

    parts: tuple[Part, ...]
    operands: tuple[Value, ...]
    result: Value
    writes: bool
    shape: Shape
    axes: int = 0
    #: whether the result lacks the axes that were reduced, so that no step reads it as it is
    drops: bool = False
    #: a source that no group made is better copied by itself
    follows: bool = False


@dataclass(eq=False, slots=True)
class Start:
    """A node that a group may begin with."""

    node: Node
    name: str
    operands: tuple[Value | None, ...]
    result: Value

    @property
    def read(self) -> tuple[Value, ...]:
        return tuple([x for x in self.operands if x is not None])

    def head(self, numbers: dict[Value, int], kept: bool) -> Head:
        """What a backend is told, with the numbers of the group's inputs."""
        operands = tuple([None if x is None else numbers[x] for x in self.operands])
        return Head(self.name, operands, tuple(sorted(self.node.params.items())), kept)


def key_of(value: Value) -> Key:
    """The key of an array."""
    assert value.key is not None
    return value.key


# -- elementwise nodes -----------------------------------------------------------------------------
def call_of(node: Node) -> Call | None:
    """What a group would do for a node; None where it can't."""
    if node.kind is Kind.WRITE:
        call = _write(node)
    elif node.kind is Kind.KERNEL:
        call = _kernel(node)
    else:
        return None
    return call if call is not None and accepted(call) else None


def accepted(call: Call) -> bool:
    """Whether a call's arrays are what groups serve, and its steps what the backend does."""
    return _fits(call) and _served(call)


def _served(call: Call) -> bool:
    """Whether the backend fuses each part of a call; what is left of rows is computed beside them."""
    backend = key_of(call.result).backend
    made: list[Operand] = []
    if call.axes and math.prod(rows_of(call.shape, call.axes)) == math.prod(call.shape):
        return False
    for part in call.parts:
        operands = [made[x] if x.__class__ is int else _operand(x) for x in part.operands]
        step = Step(part.name, part.expr, tuple(range(len(operands))), part.dtype, part.axes)
        if part.operands and not (backend.fuses_rows if call.axes else backend.fuses)(step, operands, call.shape):
            return False
        made.append(Operand(part.dtype, call.shape if part.operands else ()))
    return True


def _operand(value: Value | int) -> Operand:
    assert isinstance(value, Value)
    return Operand(key_of(value).dtype, value.shape)


def rows_of(shape: Shape, axes: int) -> Shape:
    """The shape of what is left of rows."""
    return (*shape[: len(shape) - axes], *[1] * axes)


def _write(node: Node) -> Call | None:
    target, source = node.args
    if target.__class__ is not Value or source.__class__ is not Value or not source.is_array or node.outs:
        return None
    return _cast((source,), target, True, follows=True)


def _cast(operands: Sequence[Value], result: Value, writes: bool, follows: bool = False) -> Call:
    part = Part("cast", parse("x", ("x",)), tuple(operands), key_of(result).dtype)
    return Call((part,), tuple(operands), result, writes, result.shape, follows=follows)


def _kernel(node: Node) -> Call | None:
    op, key, params = node.op, node.key, dict(node.params)
    if op is None or key is None or op.functional is not None or node.several:
        return None
    count = len(op.schema.operands)
    operands, rest = node.args[:count], [*node.args[count:], *([params.pop("out")] if "out" in params else [])]
    if len(operands) < count or len(rest) > 1 or any(x.__class__ is not Value or not x.is_array for x in node.args):
        return None
    result = rest[0] if rest else node.outs[0] if len(node.outs) == 1 else None
    if result.__class__ is not Value or (rest and node.outs not in ((), (result,))):
        return None
    if op.name == "cast":
        if not result.is_array or params != {"dtype": key_of(result).dtype}:
            return None
        return _cast(operands, result, bool(rest))
    if op.family is not ELEMENTWISE or op.expr is None or params or key.level is not None:
        return None
    kinds = {"bool": dt.bool_, "index": dt.int64}
    expected = [kinds.get(op.kind_of(a), key.dtype) for a in op.schema.operands]
    if [key_of(x).dtype for x in operands] != expected or not result.is_array:
        return None
    if key_of(result).dtype is not op.dtype.out(0, key.dtype, {}) or has_overlay(node):
        return None
    part = Part(op.name, expression(op, key.dtype), tuple(operands), key_of(result).dtype)
    return Call((part,), tuple(operands), result, bool(rest), result.shape)


def has_overlay(node: Node) -> bool:
    """Whether another kernel than the backend's own may serve a node."""
    assert node.key is not None and node.op is not None
    return bool(registry.overlays.get((node.key.device.type, node.op.name)))


def _fits(call: Call) -> bool:
    """Whether arrays are of one device, of shapes that give the result's, and the result's memory is its own."""
    result, shape = call.result, call.shape
    if not all(_is_plain(x, result) for x in (*call.operands, result)):
        return False
    if any(broadcast_shapes(x.shape, shape) != shape for x in call.operands if x.shape != shape):
        return False
    if call.writes:
        return _apart(shape, result.strides)
    return _packed(result.shape, result.strides) and all(x.storage != result.storage for x in call.operands)


def _is_plain(x: Value, result: Value) -> bool:
    """Whether an array of real numbers is of a result's device."""
    key = key_of(x)
    plain = key.level is None and key.device == key_of(result).device and key.stored is key.dtype
    return plain and not key.dtype.is_complex


def _apart(shape: Shape, strides: Shape) -> bool:
    """Whether no two indices name one element, as far as a look at the axes tells."""
    reach = 1
    for stride, n in sorted((abs(s), n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride < reach:
            return False
        reach = stride * n
    return True


def _packed(shape: Shape, strides: Shape) -> bool:
    """Whether the elements lie side by side, the axes in any order."""
    reach = 1
    if 0 in shape:
        return True
    for stride, n in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if stride != reach:
            return False
        reach *= n
    return True


# -- heads -----------------------------------------------------------------------------------------
def start_of(node: Node) -> Start | None:
    """A node as the begin of a group; None where it can't be."""
    op = node.op
    if node.kind is not Kind.KERNEL or op is None or node.key is None or op.name not in _HEADS or node.several:
        return None
    if len(node.outs) != 1 or node.key.level is not None or has_overlay(node):
        return None
    (result,), count = node.outs, len(op.schema.operands)
    if result is None or not result.is_array or len(node.args) > count or "out" in node.params:
        return None
    if any(x is not None and (x.__class__ is not Value or not x.is_array) for x in node.args):
        return None
    start = Start(node, op.name, node.args, result)
    if not all(_is_plain(x, result) for x in (*start.read, result)) or not _packed(result.shape, result.strides):
        return None
    if any(x.storage == result.storage for x in start.read) or not _is_fixed(node):
        return None
    numbers = {x: i for i, x in enumerate(start.read)}
    inputs = [_operand(x) for x in start.read]
    served = key_of(result).backend.fuses_head(start.head(numbers, False), inputs, _operand(result))
    return start if served else None


def _is_fixed(node: Node) -> bool:
    """Whether a node's params are always the same, and can stand in a group."""
    if any(True for _ in values_in(tuple(node.params.values()))):
        return False
    try:
        hash(tuple(node.params.values()))
    except TypeError:
        return False
    return True
