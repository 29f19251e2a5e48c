"""Activations."""

from __future__ import annotations

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import Tensor
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op, same

same({"Mish": F.mish, "Softplus": F.softplus, "Softsign": F.softsign})


@op("Relu")
def relu(call: Call, x: Tensor) -> Tensor:
    return F.relu(x) if x.is_floating_point() else x.clamp(min=0)


@op("LeakyRelu")
def leaky_relu(call: Call, x: Tensor) -> Tensor:
    return F.leaky_relu(x, call["alpha"])


@op("Elu")
def elu(call: Call, x: Tensor) -> Tensor:
    return F.elu(x, call["alpha"])


@op("Celu")
def celu(call: Call, x: Tensor) -> Tensor:
    return F.celu(x, call["alpha"])


@op("Selu")
def selu(call: Call, x: Tensor) -> Tensor:
    """scale · (max(x, 0) + alpha · (exp(min(x, 0)) − 1)), with the two numbers of the file."""
    alpha, gamma = call["alpha"], call["gamma"]
    below: Tensor = fb.expm1(x.clamp(max=0)) * (alpha * gamma)
    return below + x.clamp(min=0) * float(gamma)


@op("ThresholdedRelu")
def thresholded_relu(call: Call, x: Tensor) -> Tensor:
    return fb.where(x > call["alpha"], x, fb.zeros_like(x))


@op("HardSigmoid")
def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    line: Tensor = x * call["alpha"] + call["beta"]
    return line.clamp(0, 1)


@op("HardSwish")
def hard_swish(call: Call, x: Tensor) -> Tensor:
    return F.hardswish(x)


@op("Swish")
def swish(call: Call, x: Tensor) -> Tensor:
    return F.silu(x) if call["alpha"] == 1 else x * fb.sigmoid(call["alpha"] * x)


@op("Gelu")
def gelu(call: Call, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=call["approximate"])


@op("PRelu", since=1)
def prelu_first(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    """Before version 7 one slope a channel."""
    if slope.ndim == 1 and x.ndim > 1 and slope.shape[0] == x.shape[1]:
        slope = slope.reshape((-1, *(1,) * (x.ndim - 2)))
    return fb.where(x < 0, x * slope, x)


@op("PRelu", since=7)
def prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    return fb.where(x < 0, x * slope, x)


@op("Shrink")
def shrink(call: Call, x: Tensor) -> Tensor:
    bias, edge, zero = call["bias"], call["lambd"], fb.zeros_like(x)
    return fb.where(x < -edge, x + bias, fb.where(x > edge, x - bias, zero)).to(x.dtype)


@op("Softmax", "LogSoftmax", "Hardmax", since=1)
def softmax_first(call: Call, x: Tensor) -> Tensor:
    """Before version 13 over all axes from ``axis`` on, as one."""
    axis = call["axis"] % max(x.ndim, 1)
    rows = x.reshape((-1 if axis else 1, *x.shape[axis:])).flatten(1) if x.numel() else x
    return _softmax(call, rows, -1).reshape(x.shape)


@op("Softmax", "LogSoftmax", "Hardmax", since=13)
def softmax(call: Call, x: Tensor) -> Tensor:
    return _softmax(call, x, call["axis"])


def _softmax(call: Call, x: Tensor, axis: int) -> Tensor:
    if call.step.op_type == "Softmax":
        return F.softmax(x, axis)
    if call.step.op_type == "LogSoftmax":
        return F.log_softmax(x, axis)
    best = x.argmax(axis, keepdim=True)
    return fb.zeros_like(x).scatter(axis, best, fb.ones_like(best, dtype=x.dtype))
