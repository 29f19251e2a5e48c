"""Reductions."""

from __future__ import annotations

import math
from collections.abc import Callable

import flambeau as fb
from flambeau import Tensor
from flambeau.core.dtype import DType, bool_
from flambeau.onnx.ops import hosted
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op

Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _reduction(name: str, function: Reduce, later: int = 18) -> None:
    """Axes are an attribute, from version ``later`` on an input."""
    host = hosted.prod if name == "ReduceProd" else None

    @op(name, since=1, host=host)
    def first(call: Call, x: Tensor) -> Tensor:
        return _reduced(call, x, call["axes"], function)

    @op(name, since=later, ints=(1,), host=host)
    def second(call: Call, x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
        return _reduced(call, x, axes, function)


def _reduced(call: Call, x: Tensor, axes: tuple[int, ...] | None, function: Reduce) -> Tensor:
    if not axes:
        if call["noop_with_empty_axes"]:
            return function(x.unsqueeze(0), (0,), False)
        axes = tuple(range(x.ndim))
    if x.ndim == 0:
        return function(x.reshape(1), (0,), False)
    return function(x, axes, bool(call["keepdims"]))


def _sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return x.sum(axes, keepdim=keep, dtype=x.dtype)


def _mean(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keepdim=keep)
    return fb.div(_sum(x, axes, keep), math.prod(x.shape[a] for a in axes), rounding_mode="trunc")


def _prod(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    for axis in sorted((a % x.ndim for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keep, dtype=x.dtype)
    return x


def _extreme(x: Tensor, axes: tuple[int, ...], keep: bool, *, most: bool) -> Tensor:
    """Of nothing, the greatest is the least number there is, and the other way round."""
    if any(x.shape[a] == 0 for a in axes):
        sides = [2 * (x.ndim - 1 - a % x.ndim) + 1 for a in axes]
        x = fb.nn.functional.pad(x, [int(i in sides) for i in range(2 * x.ndim)], value=_bound(x.dtype, most=most))
    if x.dtype is bool_:
        return _extreme(x.to(fb.uint8), axes, keep, most=most).to(bool_)
    return fb.amax(x, axes, keepdim=keep) if most else fb.amin(x, axes, keepdim=keep)


def _bound(dtype: DType, *, most: bool) -> float:
    if dtype.is_floating_point:
        return -fb.inf if most else fb.inf
    if dtype is bool_:
        return 0 if most else 1
    return fb.iinfo(dtype).min if most else fb.iinfo(dtype).max


def _max(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return _extreme(x, axes, keep, most=True)


def _min(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return _extreme(x, axes, keep, most=False)


def _l2(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    wide = x if x.is_floating_point() else x.to(fb.float64)
    return fb.sqrt(_sum(wide * wide, axes, keep)).to(x.dtype)


def _log_sum(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    return fb.log(_sum(x, axes, keep)).to(x.dtype)


def _log_sum_exp(x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
    if any(x.shape[a] == 0 for a in axes):
        return fb.log(_sum(x, axes, keep))
    return fb.logsumexp(x, axes, keepdim=keep).to(x.dtype)


_reduction("ReduceSum", _sum, later=13)
_reduction("ReduceMean", _mean)
_reduction("ReduceProd", _prod)
_reduction("ReduceMax", _max)
_reduction("ReduceMin", _min)
_reduction("ReduceL1", lambda x, axes, keep: _sum(fb.abs(x), axes, keep))
_reduction("ReduceL2", _l2)
_reduction("ReduceSumSquare", lambda x, axes, keep: _sum(x * x, axes, keep))
_reduction("ReduceLogSum", _log_sum)
_reduction("ReduceLogSumExp", _log_sum_exp)


@op("ArgMax", "ArgMin")
def arg_extreme(call: Call, x: Tensor) -> Tensor:
    axis, keep = call["axis"], bool(call["keepdims"])
    find: Callable[..., Tensor] = fb.argmax if call.step.op_type == "ArgMax" else fb.argmin
    if not call["select_last_index"]:
        return find(x, axis, keepdim=keep)
    from_end = find(x.flip(axis), axis, keepdim=keep)
    return fb.sub(x.shape[axis] - 1, from_end)
