"""Sequences: lists of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

import flambeau as fb
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.ops import indexing, layout
from flambeau.onnx.ops.conversion import like
from flambeau.onnx.plan import Call, apply
from flambeau.onnx.registry import Op, op
from flambeau.onnx.values import Ints, Value, as_ints, described, shape_of

_CONCAT = Op(layout.concat, layout=True)
_SLICE = Op(indexing.slice_by_inputs, ints=(1, 2, 3, 4), layout=True)


def listed(value: Value) -> list[Value]:
    """The sequence in a value."""
    if not isinstance(value, list):
        raise OnnxError(f"a sequence is wanted, not {described(value)}")
    return value


def _place(sequence: list[Value], position: Value, most: int) -> int:
    (at,) = as_ints(position)
    if not -len(sequence) <= at <= most:
        raise OnnxError(f"there is no place {at} in a sequence of {len(sequence)}")
    return at + len(sequence) if at < 0 else at


@op("SequenceEmpty", raw=True)
def empty(call: Call) -> list[Value]:
    return []


@op("SequenceConstruct", raw=True)
def construct(call: Call, *values: Value) -> list[Value]:
    return list(values)


@op("SequenceInsert", raw=True)
def insert(call: Call, sequence: Value, value: Value, position: Value = None) -> list[Value]:
    made = list(listed(sequence))
    made.insert(len(made) if position is None else _place(made, position, len(made)), value)
    return made


@op("SequenceErase", raw=True)
def erase(call: Call, sequence: Value, position: Value = None) -> list[Value]:
    made = list(listed(sequence))
    del made[len(made) - 1 if position is None else _place(made, position, len(made) - 1)]
    return made


@op("SequenceAt", raw=True)
def at(call: Call, sequence: Value, position: Value) -> Value:
    made = listed(sequence)
    return made[_place(made, position, len(made) - 1)]


@op("SequenceLength", raw=True)
def length(call: Call, sequence: Value) -> Ints:
    return Ints((len(listed(sequence)),), scalar=True)


@op("ConcatFromSequence", raw=True)
def concat(call: Call, sequence: Value) -> Value:
    values = [like(v, call.device) for v in listed(sequence)]
    if not call["new_axis"]:
        return apply(_CONCAT, call, list(values))[0]
    if not all(isinstance(v, Tensor) for v in values):
        raise call.refuse("a new axis for such elements")
    return fb.stack([v for v in values if isinstance(v, Tensor)], call["axis"])


@op("SplitToSequence", raw=True)
def split(call: Call, x: Value, sizes: Value = None) -> list[Value]:
    """Pieces of the sizes given, of one size with a smaller last one, or single slices, whose axis may go."""
    axis = call["axis"]
    x = like(x, call.device)
    total = shape_of(x)[axis]
    if sizes is None:
        parts, drop = (1,) * total, not call["keepdims"]
    else:
        drop = False
        given = as_ints(sizes)
        each = given[0] if given else 0
        if shape_of(sizes) == ():
            if each < 1:
                raise OnnxError(f"no pieces of size {each} can be made")
            parts = tuple(min(each, total - i) for i in range(0, total, each))
        else:
            parts = given
    made, start = [], 0
    for size in parts:
        (piece,) = apply(_SLICE, call, [x, Ints((start,)), Ints((start + size,)), Ints((axis,))])
        made.append(_without(piece, axis) if drop else piece)
        start += size
    return made


def _without(value: Value, axis: int) -> Any:  # Any: what squeeze gives of a tensor or an array
    if isinstance(value, np.ndarray):
        return value.squeeze(axis)
    if isinstance(value, Tensor):
        return value.squeeze(axis)
    raise OnnxError(f"no axis can be dropped from {described(value)}")


@op("SequenceMap", raw=True)
def sequence_map(call: Call, *inputs: Value) -> tuple[Value, ...]:
    """The body for each place of the first sequence; other sequences go along, other values stay."""
    first = listed(inputs[0])
    results: list[list[Value]] = [[] for _ in call.step.outputs]
    for i in range(len(first)):
        given = [v[i] if isinstance(v, list) else v for v in inputs]
        for into, value in zip(results, call.graph("body", *given), strict=True):
            into.append(value)
    return tuple(results)
