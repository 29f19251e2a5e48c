"""Normalisation."""

from __future__ import annotations

import flambeau as fb
import flambeau.nn.functional as F
from flambeau import Tensor
from flambeau.core.dtype import bool_
from flambeau.onnx.errors import OnnxError
from flambeau.onnx.plan import Call
from flambeau.onnx.registry import op
from flambeau.onnx.values import DTYPES


def _by_channel(value: Tensor, x: Tensor) -> Tensor:
    return value.reshape((1, -1, *(1,) * (x.ndim - 2)))


@op("BatchNormalization", since=1)
def batch_norm_first(
    call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor
) -> Tensor | tuple[Tensor, ...]:
    """Before version 14 the number of outputs says whether it trains; ``spatial`` 0 has statistics for each place."""
    if call.wants(1):
        raise call.refuse("training in the form before version 14")
    if call["spatial"] == 0:
        return (x - mean) / fb.sqrt(var + call["epsilon"]) * scale + bias
    return _normalised(call, x, scale, bias, mean, var)


@op("BatchNormalization", since=14)
def batch_norm(
    call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor
) -> Tensor | tuple[Tensor, ...]:
    if not call["training_mode"]:
        return _normalised(call, x, scale, bias, mean, var)
    axes = tuple(i for i in range(x.ndim) if i != 1)
    wide = x.to(mean.dtype)
    now, spread = wide.mean(axes), wide.var(axes, correction=0)
    keep = call["momentum"]
    out = F.batch_norm(wide, now, spread, scale.to(mean.dtype), bias.to(mean.dtype), False, 0.0, call["epsilon"])
    return out.to(x.dtype), mean * keep + now * (1 - keep), var * keep + spread * (1 - keep)


def _normalised(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    if call.run.training:
        return F.batch_norm(x, mean, var, scale, bias, True, 1 - call["momentum"], call["epsilon"])
    if mean.dtype is not x.dtype or scale.dtype is not x.dtype:
        scale, bias, wide = scale.to(mean.dtype), bias.to(mean.dtype), x.to(mean.dtype)
        return F.batch_norm(wide, mean, var, scale, bias, False, 0.0, call["epsilon"]).to(x.dtype)
    return F.batch_norm(x, mean, var, scale, bias, False, 0.0, call["epsilon"])


@op("InstanceNormalization")
def instance_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    axes = tuple(range(2, x.ndim))
    centred = x - x.mean(axes, keepdim=True)
    spread = (centred * centred).mean(axes, keepdim=True)
    return centred / fb.sqrt(spread + call["epsilon"]) * _by_channel(scale, x) + _by_channel(bias, x)


@op("LayerNormalization")
def layer_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
    """Over the axes from ``axis`` on; the other outputs are the mean and one over the deviation."""
    axis = call["axis"] % x.ndim
    shape = tuple(x.shape[axis:])
    if (
        not call.wants(1)
        and not call.wants(2)
        and tuple(scale.shape) == shape
        and (bias is None or bias.shape == scale.shape)
    ):
        return F.layer_norm(x, shape, scale, bias, call["epsilon"])
    axes = tuple(range(axis, x.ndim))
    wide = x.to(DTYPES[call["stash_type"]])
    mean = wide.mean(axes, keepdim=True)
    centred = wide - mean
    inverse = fb.rsqrt((centred * centred).mean(axes, keepdim=True) + call["epsilon"])
    out = (centred * inverse).to(x.dtype) * scale
    return out if bias is None else out + bias, mean, inverse


@op("RMSNormalization")
def rms_norm(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    axis = call["axis"] % x.ndim
    if tuple(scale.shape) == tuple(x.shape[axis:]):
        return F.rms_norm(x, tuple(scale.shape), scale, call["epsilon"])
    wide = x.to(DTYPES[call["stash_type"]])
    mean = (wide * wide).mean(tuple(range(axis, x.ndim)), keepdim=True)
    return (wide * fb.rsqrt(mean + call["epsilon"])).to(x.dtype) * scale


@op("GroupNormalization", since=18)
def group_norm_first(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """In version 18 scale and bias are one a group."""
    each = x.shape[1] // call["num_groups"]
    scale, bias = (v.reshape((-1, 1)).expand((-1, each)).reshape(-1) for v in (scale, bias))
    return F.group_norm(x, call["num_groups"], scale, bias, call["epsilon"])


@op("GroupNormalization", since=21)
def group_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.group_norm(x, call["num_groups"], scale, bias, call["epsilon"])


@op("LRN")
def lrn(call: Call, x: Tensor) -> Tensor:
    """x / (bias + alpha / size · the sum of squares over ``size`` neighbouring channels) ** beta."""
    size = call["size"]
    before = (size - 1) // 2
    edges = [0, 0] * (x.ndim - 2) + [before, size - 1 - before]
    total = F.pad(x * x, edges).unfold(1, size, 1).sum(-1)
    base: Tensor = total * (call["alpha"] / size) + call["bias"]
    return x / base ** float(call["beta"])


@op("LpNormalization")
def lp_norm(call: Call, x: Tensor) -> Tensor:
    """A vector of norm 0 stays 0."""
    p, axis = call["p"], call["axis"]
    if p not in (1, 2):
        raise OnnxError(f"p is 1 or 2, not {p}")
    size = x.abs().sum(axis, keepdim=True) if p == 1 else fb.sqrt((x * x).sum(axis, keepdim=True))
    return fb.where(size == 0, fb.zeros_like(x), x / fb.where(size == 0, fb.ones_like(size), size))


@op("MeanVarianceNormalization")
def mean_variance(call: Call, x: Tensor) -> Tensor:
    axes = call["axes"]
    centred = x - x.mean(axes, keepdim=True)
    return centred / (fb.sqrt((centred * centred).mean(axes, keepdim=True)) + 1e-9)


@op("Dropout", since=1)
def dropout_first(call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    """Before version 12 the ratio is an attribute."""
    return _dropped(call, x, call["ratio"], train=False)


@op("Dropout", since=12)
def dropout(
    call: Call, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    train = training is not None and bool(training.item())
    return _dropped(call, x, 0.5 if ratio is None else float(ratio.item()), train=train)


def _dropped(call: Call, x: Tensor, ratio: float, *, train: bool) -> tuple[Tensor, Tensor]:
    if not (train or call.run.training) or ratio == 0:
        kept = fb.ones_like(x, dtype=bool_) if call.wants(1) else x
        return x, kept.to(x.dtype) if call.version < 10 else kept
    kept = fb.rand(x.shape, device=x.device) >= ratio
    return fb.where(kept, x / (1 - ratio), fb.zeros_like(x)), kept
