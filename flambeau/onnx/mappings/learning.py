"""Layers: products, convolutions, pools, normalisations, attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from flambeau.export.graph import Value
from flambeau.onnx.errors import Unmapped
from flambeau.onnx.table import maps, nodes
from flambeau.onnx.writer import Call

nodes({"matmul": "MatMul", "det": "Det"})


# -- products ----------------------------------------------------------------------------------------
@maps("linear")
def linear(call: Call, x: str, weight: str, bias: str | None) -> str:
    """``x @ weight.T + bias``."""
    if call.rank() == 2 and call.rank(1) == 2 and call.dtype.is_floating_point:
        return str(call.emit("Gemm", x, weight, bias, transB=1))
    if not call.rank() or call.rank(1) != 2:
        raise Unmapped("a weight that is no matrix")
    product = call.emit("MatMul", x, call.transposed(weight, [1, 0]))
    return str(product if bias is None else call.emit("Add", product, bias))


@maps("addmm")
def addmm(call: Call, x: str, first: str, second: str, beta: str, alpha: str) -> str:
    """``beta * x + alpha * first @ second``."""
    if not call.dtype.is_floating_point:
        raise Unmapped("whole numbers")
    return str(call.emit("Gemm", first, second, x, alpha=call.scalar(4), beta=call.scalar(3)))


# -- convolutions ------------------------------------------------------------------------------------
def _window(call: Call) -> dict[str, Any]:
    if not call.dtype.is_floating_point:
        raise Unmapped("whole numbers")
    p = call.params
    found = {"strides": list(p["stride"]), "pads": [*p["padding"], *p["padding"]]}
    return found | ({"dilations": list(p["dilation"])} if "dilation" in p else {})


@maps("conv")
def conv(call: Call, x: str, weight: str, bias: str | None) -> str:
    """A convolution."""
    if call.rank() < 3:
        raise Unmapped("no dimension to move along")
    return str(call.emit("Conv", x, weight, bias, group=call.params["groups"], **_window(call)))


@maps("conv_grad_input")
def transposed_conv(call: Call, grad: str, weight: str) -> str:
    """A transposed convolution, which is the gradient of one."""
    p, axes = call.params, range(2, call.rank())
    if call.rank() < 3:
        raise Unmapped("no dimension to move along")
    given, kernel = call.shape(0), call.shape(1)
    extra = []
    for i, axis in enumerate(axes):
        least = (call.at_example(given[axis]) - 1) * p["stride"][i] - 2 * p["padding"][i]
        least += p["dilation"][i] * (call.at_example(kernel[axis]) - 1) + 1
        extra.append(call.at_example(p["shape"][axis]) - least)
    if any(n < 0 or n >= max(s, d) for n, s, d in zip(extra, p["stride"], p["dilation"], strict=True)):
        raise Unmapped("an output with more space than a stride")
    return str(call.emit("ConvTranspose", grad, weight, group=p["groups"], output_padding=extra, **_window(call)))


# -- pools -------------------------------------------------------------------------------------------
@maps("max_pool")
def max_pool(call: Call, x: str) -> tuple[str, str | None]:
    """The largest of each window, and its place in the plane."""
    p, read = call.params, bool(call.users(1))
    found = call.emit("MaxPool", x, count=2 if read else 1, kernel_shape=list(p["kernel"]), ceil_mode=int(p["ceil"]),
                      **_window(call))  # fmt: skip
    if not read:
        return str(found), None
    plane = [n for n in call.shape()[2:] if isinstance(n, int)]
    if len(plane) != call.rank() - 2:
        raise Unmapped("places in planes whose sizes may change")
    return str(found[0]), str(call.emit("Mod", found[1], call.ints([int(np.prod(plane))])))


@maps("avg_pool")
def avg_pool(call: Call, x: str) -> str:
    """The mean of each window."""
    p = call.params
    if p["ceil"] or p["divisor"] is not None:
        raise Unmapped("ceil_mode or a divisor")
    if list(p["kernel"]) == list(call.shape()[2:]) and not any(p["padding"]):
        return str(call.emit("GlobalAveragePool", x))
    return str(call.emit("AveragePool", x, kernel_shape=list(p["kernel"]), **_window(call),
                         count_include_pad=int(p["count_include_pad"])))  # fmt: skip


# -- normalisations ----------------------------------------------------------------------------------
def _filled(call: Call, name: str | None, number: float, shape: Any) -> str:
    """A parameter that was given, or a number everywhere."""
    if name is not None:
        return name
    like = call.writer.number(number, call.dtype)
    if any(not isinstance(n, int) for n in shape):
        raise Unmapped("sizes that may change")
    return call.constant(np.full(tuple(shape), call.writer.held[like]))


@maps("layer_norm")
def layer_norm(call: Call, x: str, weight: str | None, bias: str | None) -> str:
    """Over the last dimensions."""
    shape = call.params["normalized_shape"]
    return str(call.emit("LayerNormalization", x, _filled(call, weight, 1, shape), bias, axis=-len(shape),
                         epsilon=float(call.params["eps"])))  # fmt: skip


@maps("rms_norm", opset=23)
def rms_norm(call: Call, x: str, weight: str | None) -> str:
    """By the root of the mean square of the last dimensions."""
    shape = call.params["normalized_shape"]
    return str(call.emit("RMSNormalization", x, _filled(call, weight, 1, shape), axis=-len(shape),
                         epsilon=float(call.params["eps"])))  # fmt: skip


@maps("group_norm", opset=21)
def group_norm(call: Call, x: str, weight: str | None, bias: str | None) -> str:
    """Over groups of channels."""
    channels = call.shape()[1:2]
    if call.rank() < 3:
        raise Unmapped("planes without dimensions")
    return str(call.emit("GroupNormalization", x, _filled(call, weight, 1, channels), _filled(call, bias, 0, channels),
                         num_groups=call.params["groups"], epsilon=float(call.params["eps"])))  # fmt: skip


@maps("batch_norm_given")
def batch_norm(call: Call, x: str, mean: str, var: str, weight: str | None, bias: str | None) -> str:
    """By given means and variances of the channels; folded into the convolution before it where there is one."""
    channels, eps = call.shape()[1:2], float(call.params["eps"])
    scale, shift = _filled(call, weight, 1, channels), _filled(call, bias, 0, channels)
    folded = _into_conv(call, [mean, var, scale, shift], eps)
    return folded or str(call.emit("BatchNormalization", x, scale, shift, mean, var, epsilon=eps))


def _into_conv(call: Call, statistics: list[str], eps: float) -> str | None:
    """The convolution with the scale and shift of a batch norm in its weight and bias."""
    source = call.value(0).node
    held = [call.array(n) for n in statistics]
    if not call.writer.fold or source is None or source.op != "conv" or len(call.users_of(call.value(0))) != 1:
        return None
    inputs = [call.writer.names[a] if isinstance(a, Value) else None for a in source.args]
    weight = call.array(str(inputs[1]))
    given = None if inputs[2] is None else call.array(inputs[2])
    if weight is None or any(h is None for h in held) or (inputs[2] is not None and given is None):
        return None
    if call.writer.reads.get(str(inputs[1]), 0) > 1 or (given is not None and call.writer.reads[str(inputs[2])] > 1):
        return None
    mean, var, scale, shift = (np.asarray(h, np.float64) for h in held)
    factor = scale / np.sqrt(var + eps)
    first = 0.0 if given is None else np.asarray(given, np.float64)
    moved = ((first - mean) * factor + shift).astype(weight.dtype)
    scaled = np.asarray(weight, np.float64) * factor.reshape(-1, *[1] * (weight.ndim - 1))
    call.writer.held[str(inputs[1])] = scaled.astype(weight.dtype)
    stem = str(inputs[1]).removesuffix("weight") + "bias"
    bias = inputs[2] if inputs[2] is not None else call.writer.fresh(stem)
    call.writer.held[bias] = moved
    whole = Call(call.writer, source, {})
    return str(call.emit("Conv", inputs[0], inputs[1], bias, group=source.params["groups"], **_window(whole)))


# -- attention ---------------------------------------------------------------------------------------
@maps("softmax", "log_softmax")
def softmax(call: Call, x: str) -> str:
    """Along a dimension."""
    if not call.rank():
        raise Unmapped("a tensor without dimensions")
    return str(
        call.emit({"softmax": "Softmax", "log_softmax": "LogSoftmax"}[call.node.op], x, axis=call.params["axis"])
    )


@maps("attention", opset=23)
def attention(call: Call, query: str, key: str, value: str, mask: str | None) -> tuple[str, None]:
    """Scaled products of queries and keys, and the values weighted by them."""
    if call.rank() != 4 or call.users(1):
        raise Unmapped("other than four dimensions, or its logarithms")
    if call.params["causal"] and call.shape(0)[2] != call.shape(1)[2]:
        raise Unmapped("a causal mask that is not square")
    if not all(call.rank(i) == 4 and call.shape(i)[:2] == call.shape()[:2] for i in (1, 2)):
        raise Unmapped("heads that broadcast")
    if mask is not None:
        whole = [*call.shape()[:3], call.shape(1)[2]]
        mask = mask if list(call.shape(3)) == whole else str(call.emit("Expand", mask, call.ints(whole)))
    found = call.emit("Attention", query, key, value, mask, is_causal=int(call.params["causal"]) or None,
                      scale=float(call.params["scale"]))  # fmt: skip
    return str(found), None


@maps("grid_sample")
def grid_sample(call: Call, x: str, grid: str) -> str:
    """Read between pixels."""
    p, names = call.params, {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
    if call.rank() != 4 and call.opset < 20:
        raise Unmapped("three dimensions of space")
    mode = names[p["mode"]] if call.opset >= 20 else p["mode"]
    return str(call.emit("GridSample", x, grid, mode=mode, padding_mode=p["padding"], align_corners=int(p["corner"])))
