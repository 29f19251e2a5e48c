"""What a node of a recording does to memory, by the numbers of storages, and what else it does beside its results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from types import BuiltinFunctionType
from typing import Final

from flambeau.core import registry
from flambeau.core.capture.trace import Kind, Node, Value, values_in
from flambeau.core.random import Philox
from flambeau.core.record import CREATE, ELEMENTWISE, REDUCE, VIEW, Op

#: Ops that write to their first operand, whatever their results say.
_WRITING = frozenset({"setitem", "copy"})
#: Elementwise ops that raise for some integers.
_DIVIDING: Final = frozenset({"floor_divide", "fmod", "idiv", "div_trunc", "remainder", "pow"})
#: General ops whose errors depend on shapes and dtypes alone: once they ran, they run on any values.
_STEADY: Final = frozenset({
    "cast", "clone", "cat", "pad", "flip", "conj", "sgn", "cumsum", "cumprod", "tril", "triu", "embed_diagonal",
    "matmul", "linear", "addmm", "baddbmm", "addbmm", "addmv", "addr", "conv", "conv_grad_input", "conv_grad_weight",
    "attention", "attention_grad", "softmax", "softmax_grad", "log_softmax", "log_softmax_grad", "layer_norm",
    "layer_norm_grad", "rms_norm", "rms_norm_grad", "group_norm", "group_norm_grad", "batch_norm", "batch_norm_given",
    "batch_norm_sums", "resample", "max_pool", "max_pool_grad", "avg_pool", "avg_pool_grad", "lstm_layer",
    "lstm_layer_grad", "lstm_sequence", "lstm_sequence_grad", "gru_layer", "gru_layer_grad", "rnn_layer",
    "rnn_layer_grad",
})  # fmt: skip


def read(node: Node) -> Iterator[Value]:
    """The values that a node gets, those of its params too."""
    return chain(node.values(), values_in(tuple(node.params.values())))


def is_opaque(node: Node) -> bool:
    """Whether a node may read or write memory that does not stand among its arguments."""
    if node.kind is not Kind.HOST or isinstance(node.fn, BuiltinFunctionType):
        return False
    return not isinstance(getattr(node.fn, "__self__", None), Philox)


def own(nodes: Iterable[Node]) -> frozenset[int]:
    """The storages that nodes make, as they were recorded: no other code reaches them while they run."""
    return frozenset(
        x.storage
        for n in nodes if n.kind in (Kind.KERNEL, Kind.MAKE)
        for x in n.made if x.is_array and x.storage == x.number and x not in read(n)
    )  # fmt: skip


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


# -- nodes that are known better ---------------------------------------------------------------------
def is_view(node: Node) -> bool:
    """Whether a node gives its operand's memory in another form, and reads nothing there."""
    if node.kind is not Kind.KERNEL or node.op is None or node.op.family is not VIEW or node.several:
        return False
    arrays = [x for x in read(node) if x.is_array]
    return len(arrays) == 1 and len(node.made) == 1 and node.out.storage == arrays[0].storage and not _writes(node)


def is_function(node: Node) -> bool:
    """Whether a node is a kernel that gives equal results for equal arguments, none of them in an argument's memory."""
    op, key = node.op, node.key
    if node.kind is not Kind.KERNEL or op is None or key is None or not _is_known(node, op):
        return False
    given = {x.storage for x in read(node) if x.is_array}
    apart = all(x.is_array and x.storage not in given for x in node.made)
    return apart and op.name != "empty" and not _writes(node)


def target(node: Node) -> tuple[Value, tuple[Value, ...]] | None:
    """For a node that only gives all elements of an array new values: the array, and the values that it reads."""
    if node.kind is Kind.WRITE:
        into, source = node.args
        both = into.__class__ is Value and source.__class__ is Value
        return (into, (source,)) if both and not node.outs else None
    op = node.op
    if node.kind is not Kind.KERNEL or op is None or op.family is not ELEMENTWISE or not _is_known(node, op):
        return None
    count = len(op.schema.operands)
    into = [*node.args[count:], *([node.params["out"]] if "out" in node.params else [])]
    if len(into) != 1 or into[0].__class__ is not Value or node.outs not in ((), (into[0],)):
        return None
    others = [v for k, v in node.params.items() if k != "out"]
    return into[0], (*values_in(node.args[:count]), *values_in(others))


def _is_known(node: Node, op: Op) -> bool:
    """Whether an op's record says all that its kernel does."""
    key = node.key
    if key is None or key.level is not None or op.random or op.functional is not None or op.infer is None:
        return False
    return not registry.overlays.get((key.device.type, op.name))


def may_raise(node: Node) -> bool:
    """Whether a node that ran once may raise when it runs on other values."""
    op, key = node.op, node.key
    if node.kind in (Kind.MAKE, Kind.CONSTANT, Kind.WRITE):
        return False
    if node.kind is not Kind.KERNEL or op is None or key is None or key.stored is not key.dtype:
        return True
    if op.family is ELEMENTWISE:
        return op.name in _DIVIDING and not (key.dtype.is_floating_point or key.dtype.is_complex)
    return op.family not in (VIEW, CREATE, REDUCE) and op.name not in _STEADY
