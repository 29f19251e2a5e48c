"""Batching rules: what an op does when its operands carry a batch as their first axis.

A rule gets the level, the op, payloads (or numbers, None, lists) and the logical params, and returns
tensors one level down with the batch in front. An op without a rule runs its body at the level; a
primitive without one is a loop over the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flambeau.core.dispatch import call
from flambeau.core.record import ELEMENTWISE, OPS, REDUCE, Op

Rule = Callable[[Any, Op, list[Any], dict[str, Any]], Any]


class Batched:
    """A payload of vmap: ``value`` one level down, with the batch as its first axis if ``batched``."""

    __slots__ = ("batched", "shape", "value")

    def __init__(self, value: Any, batched: bool):
        self.value, self.batched = value, batched
        self.shape = value._array.shape[1:] if batched else value._array.shape

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def rule_for(op: Op) -> Rule | None:
    """The record's own rule, its family's, the table's, or the loop; None where a body stands in."""
    if op.batch is not None:
        return NAMED[op.batch] if isinstance(op.batch, str) else op.batch
    if op.name in _RULES:
        return _RULES[op.name]
    if op.family is ELEMENTWISE:
        return aligned
    if op.body is not None:
        return None
    if op.family is REDUCE:
        return reduced
    return looped


def explain(op: Op) -> str:
    """How the op runs under vmap, in words."""
    rule = rule_for(op)
    return "its body" if rule is None else "a loop over the batch" if rule is looped else f"the rule `{rule.__name__}`"


def batched_value(level: Any, a: Any) -> Any:
    """The operand with the batch in front, expanded if it had none."""
    if isinstance(a, (list, tuple)):
        return [batched_value(level, v) for v in a]
    if not isinstance(a, Batched):
        return a
    if a.batched:
        return a.value
    return call(OPS["expand"], (a.value,), {"shape": (level.size, *a.shape)})


def with_rank(a: Any, rank: int) -> Any:
    """A batched value with its logical rank raised to ``rank`` by axes of size 1 after the batch."""
    if not isinstance(a, Batched):
        return a
    missing = rank - len(a.shape)
    if not a.batched or missing <= 0:
        return a.value
    index = (_all(a.value.shape[0]), *(None,) * missing, *(_all(n) for n in a.shape))
    return call(OPS["basic_index"], (a.value,), {"index": index})


def _all(n: int) -> slice:
    return slice(0, n, 1)


def aligned(level: Any, op: Op, args: list[Any], params: dict[str, Any]) -> Any:
    """Elementwise ops and matmul: ranks aligned from the last axis, then broadcasting does the rest."""
    rank = max(len(a.shape) for a in args if isinstance(a, Batched))
    return call(op, [with_rank(a, rank) for a in args], params)


def reduced(level: Any, op: Op, args: list[Any], params: dict[str, Any]) -> Any:
    """Reductions: the axes move by one; all means all but the batch."""
    x, *others = args
    axis = params["axis"]
    value = batched_value(level, x)
    if not x.shape:  # 0-d elements: a batch of one-element vectors
        value = call(OPS["view"], (value,), {"shape": (level.size, 1)})
        return call(op, (value, *others), params | {"axis": 1 if isinstance(axis, int) else (1,), "keepdims": False})
    if axis is None:
        moved: Any = tuple(range(1, len(x.shape) + 1))
    else:
        moved = axis + 1 if isinstance(axis, int) else tuple(a + 1 for a in axis)
    return call(op, (value, *others), params | {"axis": moved})


def along_axis(level: Any, op: Op, args: list[Any], params: dict[str, Any]) -> Any:
    """Ops along one ``axis`` with operands of equal rank (gather, scatter, sort, scans, softmax)."""
    flat = all(not a.shape for a in args if isinstance(a, Batched))
    values = [batched_value(level, a) for a in args]
    if flat:
        values = [call(OPS["view"], (v,), {"shape": (level.size, 1)}) if isinstance(a, Batched) else v
                  for a, v in zip(args, values, strict=True)]  # fmt: skip
    out = call(op, values, params | {"axis": params["axis"] + 1})
    if not flat:
        return out
    outs = out if isinstance(out, tuple) else (out,)
    done = tuple(call(OPS["view"], (o,), {"shape": (level.size,)}) for o in outs)
    return done if isinstance(out, tuple) else done[0]


def same_op(level: Any, op: Op, args: list[Any], params: dict[str, Any]) -> Any:
    """Ops that do not look at axes (cast, clone, view_as_real)."""
    return call(op, [batched_value(level, a) for a in args], params)


def looped(level: Any, op: Op, args: list[Any], params: dict[str, Any]) -> Any:
    """Element by element, then stacked."""
    values = [batched_value(level, a) for a in args]

    def pick(v: Any, a: Any, i: int) -> Any:
        if isinstance(v, list):
            return [pick(w, b, i) for w, b in zip(v, a, strict=True)]
        if not isinstance(a, Batched):
            return v
        return call(OPS["basic_index"], (v,), {"index": (i, *(_all(n) for n in a.shape))})

    outs = [call(op, [pick(v, a, i) for v, a in zip(values, args, strict=True)], params) for i in range(level.size)]
    if isinstance(outs[0], (tuple, list)):
        return tuple(stacked(column) for column in zip(*outs, strict=True))
    return stacked(outs)


def stacked(items: Any) -> Any:
    """Tensors of one shape along a new first axis."""
    fronted = [call(OPS["basic_index"], (t,), {"index": (None, *(_all(n) for n in t._array.shape))}) for t in items]
    return call(OPS["cat"], (fronted,), {"axis": 0})


# -- views and copies: the params move by one axis -----------------------------------------------------
def _viewed(change: Callable[..., dict[str, Any]]) -> Rule:
    def rule(level: Any, op: Op, args: list[Any], params: dict[str, Any]) -> Any:
        value = batched_value(level, args[0])
        return call(op, (value,), change(value._array.shape[0], **params))

    rule.__name__ = "shifted"
    return rule


def _view_shape(level: Any, op: Op, args: list[Any], params: dict[str, Any]) -> Any:
    """Raises where it would need a copy, as it must: a copy that counted as a view would follow later writes."""
    return call(op, (batched_value(level, args[0]),), {"shape": (level.size, *params["shape"])})


def _expanded(level: Any, op: Op, args: list[Any], params: dict[str, Any]) -> Any:
    shape = params["shape"]
    value = with_rank(Batched(batched_value(level, args[0]), True), len(shape))
    return call(op, (value,), {"shape": (level.size, *shape)})


def _strided(level: Any, op: Op, args: list[Any], params: dict[str, Any]) -> Any:
    """Strides and offset count in an element of the batch as if it stood alone, contiguous at the storage's start."""
    x = args[0]
    value = batched_value(level, x)
    if value._key.level is None and not (value.is_contiguous() and value.storage_offset() == 0):
        value = call(OPS["clone"], (value,), {"order": "C"})
    return call(
        op, (value,), params | {"shape": (level.size, *params["shape"]), "strides": (x.size, *params["strides"])}
    )


def _joined(level: Any, op: Op, args: list[Any], params: dict[str, Any]) -> Any:
    return call(op, (batched_value(level, args[0]),), {"axis": params["axis"] + 1})


def _copied(level: Any, op: Op, args: list[Any], params: dict[str, Any]) -> Any:
    x, source = args
    rank = len(x.shape)
    return call(op, (batched_value(level, x), with_rank(source, rank)), params)


_RULES: dict[str, Rule] = {
    "basic_index": _viewed(lambda n, index: {"index": (_all(n), *index)}),
    "permute": _viewed(lambda n, axes: {"axes": (0, *(a + 1 for a in axes))}),
    "diagonal": _viewed(lambda n, offset, axis1, axis2: {"offset": offset, "axis1": axis1 + 1, "axis2": axis2 + 1}),
    "unfold": _viewed(lambda n, axis, size, step: {"axis": axis + 1, "size": size, "step": step}),
    "flip": _viewed(lambda n, axes: {"axes": tuple(a + 1 for a in (axes or ()))}),
    "pad": _viewed(lambda n, widths, value: {"widths": ((0, 0), *widths), "value": value}),
    "index_back": lambda level, op, args, p: call(
        op,
        (batched_value(level, args[0]),),
        {"x_shape": (level.size, *p["x_shape"]), "index": (_all(level.size), *p["index"])},
    ),
    "view": _view_shape,
    "as_strided": _strided,
    "expand": _expanded,
    "cat": _joined,
    "copy": _copied,
    "matmul": aligned,
    **dict.fromkeys(("cast", "clone", "to_device", "view_as_real", "view_as_complex", "view_dtype"), same_op),
    **dict.fromkeys(("gather", "scatter", "argsort"), along_axis),
}
NAMED: dict[str, Rule] = dict(aligned=aligned, along_axis=along_axis, reduced=reduced, same=same_op, loop=looped)
