"""Arithmetic and the functions of one number."""

from __future__ import annotations

from functools import reduce
from typing import Any

import flambeau as fb
from flambeau import Tensor
from flambeau.onnx.ops import hosted
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op, same

same(
    {
        "Abs": fb.abs, "Acos": fb.acos, "Acosh": fb.acosh, "Asin": fb.asin, "Asinh": fb.asinh, "Atan": fb.atan,
        "Atanh": fb.atanh, "Ceil": fb.ceil, "Cos": fb.cos, "Cosh": fb.cosh, "Erf": fb.erf, "Exp": fb.exp,
        "Floor": fb.floor, "Log": fb.log, "Neg": fb.neg, "Reciprocal": fb.reciprocal, "Round": fb.round,
        "Sign": fb.sign, "Sin": fb.sin, "Sinh": fb.sinh, "Sqrt": fb.sqrt, "Tan": fb.tan, "Tanh": fb.tanh,
        "Sigmoid": fb.sigmoid, "IsNaN": fb.isnan, "Det": fb.linalg.det,
    }
)  # fmt: skip


def aligned(call: Call, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The operands of an op before version 7, whose attributes say whether and from which axis ``y`` is stretched."""
    if not call["broadcast"]:
        return x, y
    axis = call["axis"]
    if axis is None:
        axis = x.ndim - y.ndim
    axis = axis % max(x.ndim, 1)
    return x, y.reshape((*y.shape, *(1,) * (x.ndim - axis - y.ndim)))


def _divided(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() or x.is_complex() else fb.div(x, y, rounding_mode="trunc")


def _binary(name: str, function: Any, host: Any = None) -> None:
    @op(name, since=1)
    def first(call: Call, x: Tensor, y: Tensor) -> Tensor:
        return function(*aligned(call, x, y))  # type: ignore[no-any-return]  # the functions below give tensors

    @op(name, since=7, host=host)
    def later(call: Call, x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)  # type: ignore[no-any-return]


_binary("Add", fb.add, hosted.add)
_binary("Sub", fb.sub, hosted.sub)
_binary("Mul", fb.mul, hosted.mul)
_binary("Div", _divided, hosted.div)


@op("Pow", since=1)
def pow_first(call: Call, x: Tensor, y: Tensor) -> Tensor:
    return fb.pow(*aligned(call, x, y))


@op("Pow", since=7)
def pow(call: Call, x: Tensor, y: Tensor) -> Tensor:
    """The result has the base's type: a whole base with a broken exponent is computed in floats."""
    if y.is_floating_point() and not x.is_floating_point():
        return fb.pow(x.to(fb.float64 if y.dtype is fb.float64 else fb.float32), y).to(x.dtype)
    if x.is_floating_point():
        return fb.pow(x, y.to(x.dtype))
    power = fb.pow(x, y.to(x.dtype).clamp(min=0) if y.dtype.is_signed else y.to(x.dtype))
    return fb.where(y < 0, fb.where(x * x == 1, x, fb.zeros_like(x)), power) if y.dtype.is_signed else power


@op("Mod")
def mod(call: Call, x: Tensor, y: Tensor) -> Tensor:
    """The remainder has the divisor's sign, with ``fmod`` the dividend's."""
    return fb.fmod(x, y) if call["fmod"] else fb.remainder(x, y)


@op("Max", "Min", since=1, host=hosted.extreme)
def extreme(call: Call, *values: Tensor) -> Tensor:
    return reduce(fb.maximum if call.step.op_type == "Max" else fb.minimum, values)


@op("Sum")
def sum(call: Call, *values: Tensor) -> Tensor:
    return reduce(fb.add, values)


@op("Mean")
def mean(call: Call, *values: Tensor) -> Tensor:
    return reduce(fb.add, values) / len(values)


@op("Clip", since=1)
def clip_first(call: Call, x: Tensor) -> Tensor:
    """The bounds are attributes before version 11."""
    least, most = call["min"], call["max"]
    return x if least is None and most is None else x.clamp(least, most)


@op("Clip", since=11)
def clip(call: Call, x: Tensor, least: Tensor | None = None, most: Tensor | None = None) -> Tensor:
    if least is not None:
        x = fb.maximum(x, least)
    return x if most is None else fb.minimum(x, most)


@op("CumSum")
def cumsum(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    return _scan(call, x, axis, fb.cumsum, fb.zeros_like)


@op("CumProd")
def cumprod(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    return _scan(call, x, axis, fb.cumprod, fb.ones_like)


def _scan(call: Call, x: Tensor, axis: Tensor, scan: Any, start: Any) -> Tensor:
    """With ``exclusive`` each sum leaves its own element out; with ``reverse`` it runs from the end."""
    along = int(axis.reshape(-1)[0].item())
    if call["reverse"]:
        x = x.flip(along)
    out = scan(x, along)
    if call["exclusive"]:
        first = start(x.narrow(along, 0, 1))
        out = fb.cat([first, out.narrow(along, 0, x.shape[along] - 1)], along)
    out = out.to(x.dtype)
    return out.flip(along) if call["reverse"] else out  # type: ignore[no-any-return]  # as the scan gives it


@op("Einsum")
def einsum(call: Call, *values: Tensor) -> Tensor:
    return fb.einsum(call["equation"], *values)
