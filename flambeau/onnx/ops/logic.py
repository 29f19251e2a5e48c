"""Comparison, logic, and bits."""

from __future__ import annotations

from typing import Any

import flambeau as fb
from flambeau import Tensor
from flambeau.core.dtype import bool_
from flambeau.onnx.ops.maths import aligned
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op, same

same(
    {
        "Not": fb.logical_not, "BitwiseAnd": fb.bitwise_and, "BitwiseOr": fb.bitwise_or, "BitwiseXor": fb.bitwise_xor,
        "BitwiseNot": fb.bitwise_not, "GreaterOrEqual": fb.ge, "LessOrEqual": fb.le,
    }
)  # fmt: skip


def _binary(name: str, function: Any, *, layout: bool = False) -> None:
    @op(name, since=1)
    def first(call: Call, x: Tensor, y: Tensor) -> Tensor:
        return function(*aligned(call, x, y))  # type: ignore[no-any-return]  # the functions below give tensors

    @op(name, since=7, layout=layout)
    def later(call: Call, x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)  # type: ignore[no-any-return]


_binary("And", fb.logical_and)
_binary("Or", fb.logical_or)
_binary("Xor", fb.logical_xor)
_binary("Greater", fb.gt)
_binary("Less", fb.lt)
_binary("Equal", fb.eq, layout=True)  # texts compare by their places in one list


@op("Where", layout=True)
def where(call: Call, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return fb.where(condition, x, y)


@op("BitShift")
def shift(call: Call, x: Tensor, y: Tensor) -> Tensor:
    return x << y if call["direction"] == "LEFT" else x >> y


@op("IsInf")
def isinf(call: Call, x: Tensor) -> Tensor:
    if call["detect_positive"] and call["detect_negative"]:
        return fb.isinf(x)
    if call["detect_positive"]:
        return fb.isposinf(x)
    return fb.isneginf(x) if call["detect_negative"] else fb.zeros_like(x, dtype=bool_)
