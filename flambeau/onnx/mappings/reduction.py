"""Reductions, scans and order."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.core import dtype as dt
from flambeau.onnx.errors import Unmapped
from flambeau.onnx.table import maps
from flambeau.onnx.writer import Call


def _axes(call: Call) -> list[int] | None:
    axis = call.params.get("axis")
    return None if axis is None else [axis] if isinstance(axis, int) else list(axis)


def _reduced(call: Call, kind: str, x: str) -> str:
    axes = _axes(call)
    if axes == []:
        return x
    return str(call.emit(kind, x, None if axes is None else call.ints(axes), keepdims=int(call.params["keepdims"])))


@maps("sum", "mean", "prod")
def added(call: Call, x: str) -> str:
    """In the dtype of the result, which is wide for whole numbers."""
    kind = {"sum": "ReduceSum", "mean": "ReduceMean", "prod": "ReduceProd"}[call.node.op]
    if kind == "ReduceMean" and 0 in call.shape():  # ONNX leaves open what that is
        nothing = _reduced(call, "ReduceSum", call.same(0))
        return str(call.emit("Div", nothing, call.writer.number(0.0, call.dtype)))
    return _reduced(call, kind, call.same(0))


@maps("max", "min")
def extreme(call: Call, x: str) -> str:
    """The largest or least."""
    if call.dtype is dt.bool_:
        kind = {"max": "ReduceMax", "min": "ReduceMin"}[call.node.op]
        return call.cast(_reduced(call, kind, call.cast(x, dt.int32)), dt.bool_)
    return _reduced(call, {"max": "ReduceMax", "min": "ReduceMin"}[call.node.op], x)


@maps("all", "any")
def truths(call: Call, x: str) -> str:
    """Of truth values."""
    whole = call.cast(x if call.value(0).dtype is dt.bool_ else call.cast(x, dt.bool_), dt.int32)
    zero = call.writer.number(0, dt.int32)  # of nothing, the least is the largest number, and the largest the least
    return str(call.emit("Greater", _reduced(call, "ReduceMin" if call.node.op == "all" else "ReduceMax", whole), zero))


@maps("logsumexp")
def logsumexp(call: Call, x: str) -> str:
    """The logarithm of the sum of exponentials."""
    return _reduced(call, "ReduceLogSumExp", call.same(0))


@maps("argmax", "argmin")
def place(call: Call, x: str) -> str:
    """Where the largest or least stands, the first of several."""
    axes, keep = _axes(call), int(call.params["keepdims"])
    kind = {"argmax": "ArgMax", "argmin": "ArgMin"}[call.node.op]
    if axes is None:
        found = call.emit(kind, call.emit("Reshape", x, call.ints([-1])), axis=0, keepdims=0)
        return call.reshaped(found, [1] * call.rank()) if keep else found
    if len(axes) != 1 or not call.rank():
        raise Unmapped("several axes")
    return str(call.emit(kind, x, axis=axes[0], keepdims=keep))


@maps("cumsum")
def cumsum(call: Call, x: str) -> str:
    """Sums so far."""
    if not call.rank():
        return call.same(0)
    return str(call.emit("CumSum", call.same(0), call.constant(np.array(call.params["axis"], np.int64))))


def _ordered(call: Call, x: str, axis: int, k: Any, largest: bool) -> tuple[str, str]:
    values, places = call.emit("TopK", x, call.ints([k]), count=2, axis=axis, largest=int(largest), sorted=1)
    return str(values), str(places)


@maps("topk")
def topk(call: Call, x: str) -> tuple[str, str]:
    """The largest or least in order."""
    if not call.rank():
        raise Unmapped("a tensor without dimensions")
    return _ordered(call, x, call.params["axis"], call.params["k"], call.params["largest"])


@maps("sort", "argsort")
def sort(call: Call, x: str) -> Any:
    """All in order."""
    if not call.rank():
        raise Unmapped("a tensor without dimensions")
    axis = call.params["axis"]
    found = _ordered(call, x, axis, call.shape()[axis], call.params["descending"])
    return found[1] if call.node.op == "argsort" else found
