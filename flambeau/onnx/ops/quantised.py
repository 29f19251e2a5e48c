"""Quantisation: numbers as whole or narrow ones with a scale, and products of these."""

from __future__ import annotations

import flambeau as fb
from flambeau import Tensor
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.ops.conversion import converted
from flambeau.onnx.ops.convolution import convolved
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import DTYPES, KINDS, Ints, Narrow, Value, element


def _numbers(value: Value, call: Call) -> Tensor:
    if isinstance(value, Narrow):
        return value.tensor
    if isinstance(value, Ints):
        return value.tensor(call.device)
    if isinstance(value, Tensor):
        return value
    raise OnnxError("a tensor is wanted")


def stretched(value: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """One scale or zero point for all, one for each place on ``axis``, or one for each block of ``block`` places."""
    if value.ndim == 0 or value.numel() == 1 and not block:
        return value.reshape(())
    if not block:
        shape = [1] * x.ndim
        shape[axis] = -1
        return value.reshape(shape)
    return value.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])


@op("QuantizeLinear", raw=True)
def quantize(call: Call, x: Value, scale: Value, zero: Value = None) -> Value:
    """x / scale, rounded to even, plus the zero point, kept within the type."""
    data, factor = _numbers(x, call), _numbers(scale, call)
    number = element(zero) if zero is not None else call["output_dtype"] or 2
    axis, block = (1 if call["axis"] is None else call["axis"]), call["block_size"] or 0
    wide = fb.float64 if data.dtype in (fb.float64, fb.int32) else fb.float32
    divided = data.to(wide) / stretched(factor.to(wide), data, axis, block)
    if number in KINDS and KINDS[number].floating:
        return converted(call, divided, number)
    least, most = (
        KINDS[number].range if number in KINDS else (fb.iinfo(DTYPES[number]).min, fb.iinfo(DTYPES[number]).max)
    )
    rounded = fb.round(divided)
    if zero is not None:
        rounded = rounded + stretched(_numbers(zero, call).to(wide), data, axis, block)
    made = rounded.clamp(least, most)
    return Narrow(made.to(KINDS[number].carrier), KINDS[number]) if number in KINDS else made.to(DTYPES[number])


@op("DequantizeLinear", raw=True)
def dequantize(call: Call, x: Value, scale: Value, zero: Value = None) -> Tensor:
    """(x − zero point) · scale."""
    data, factor = _numbers(x, call), _numbers(scale, call)
    axis, block = (1 if call["axis"] is None else call["axis"]), call["block_size"] or 0
    number = call["output_dtype"] or element(scale)
    wide = data.to(fb.float32)
    if zero is not None:
        point = stretched(_numbers(zero, call), data, axis, block)
        wide = (
            wide - point.to(fb.float32)
            if data.is_floating_point()
            else (data.to(fb.int32) - point.to(fb.int32)).to(fb.float32)
        )
    return (wide * stretched(factor.to(fb.float32), data, axis, block)).to(DTYPES[number])


@op("MatMulInteger")
def matmul_integer(
    call: Call, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
) -> Tensor:
    return fb.matmul(_moved(a, a_zero, rows=True), _moved(b, b_zero, rows=False))


def _moved(x: Tensor, zero: Tensor | None, *, rows: bool) -> Tensor:
    """A matrix less its zero point, which is one for all, one a row of the left or one a column of the right."""
    wide = x.to(fb.int32)
    if zero is None:
        return wide
    point = zero.to(fb.int32)
    return wide - (point.unsqueeze(-1) if rows and point.ndim == 1 and point.shape[0] > 1 else point)


@op("ConvInteger")
def conv_integer(
    call: Call, x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None
) -> Tensor:
    """In int32, which holds the sums exactly."""
    left, right = x.to(fb.int32), w.to(fb.int32)
    if x_zero is not None:
        left = left - x_zero.to(fb.int32)
    if w_zero is not None:
        right = right - w_zero.to(fb.int32).reshape((-1, *(1,) * (w.ndim - 1)))
    return convolved(call, left, right)


@op("QLinearConv")
def qlinear_conv(
    call: Call,
    x: Tensor,
    x_scale: Tensor,
    x_zero: Tensor,
    w: Tensor,
    w_scale: Tensor,
    w_zero: Tensor,
    y_scale: Tensor,
    y_zero: Tensor,
    bias: Tensor | None = None,
) -> Tensor:
    out = conv_integer(call, x, w, x_zero, w_zero)
    by_channel = (-1, *(1,) * (x.ndim - 2))
    if bias is not None:
        out = out + bias.reshape(by_channel)
    factor = x_scale.to(fb.float32) * w_scale.to(fb.float32).reshape(by_channel) / y_scale.to(fb.float32)
    return _rounded(out.to(fb.float32) * factor, y_zero)


def _rounded(x: Tensor, zero: Tensor) -> Tensor:
    info = fb.iinfo(zero.dtype)
    return (fb.round(x) + zero.to(fb.float32)).clamp(info.min, info.max).to(zero.dtype)


@op("QLinearMatMul", raw=True)
def qlinear_matmul(
    call: Call,
    a: Value,
    a_scale: Value,
    a_zero: Value,
    b: Value,
    b_scale: Value,
    b_zero: Value,
    y_scale: Value,
    y_zero: Value,
) -> Value:
    """Whole numbers multiply in int32, narrow floating ones in float32."""
    left, right = _numbers(a, call), _numbers(b, call)
    if left.is_floating_point():
        product = fb.matmul(left - _column(_numbers(a_zero, call)), right - _numbers(b_zero, call))
    else:
        product = matmul_integer(call, left, right, _numbers(a_zero, call), _numbers(b_zero, call)).to(fb.float32)
    left_scale, right_scale, scale = (_numbers(v, call).to(fb.float32) for v in (a_scale, b_scale, y_scale))
    out = product * (_column(left_scale) * right_scale / _column(scale))
    if isinstance(y_zero, Narrow):
        return converted(call, out, element(y_zero))
    return _rounded(out, _numbers(y_zero, call))


def _column(value: Tensor) -> Tensor:
    """One number for each row of a matrix, or one for all."""
    return value.unsqueeze(-1) if value.ndim == 1 and value.shape[0] > 1 else value
