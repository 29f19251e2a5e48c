"""Normalisation, in torch's signatures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flambeau.core import dtype as dt
from flambeau.core.autocast import autocasting
from flambeau.core.errors import DTypeError, ShapeError
from flambeau.core.ops.nn import norm as ops
from flambeau.core.ops.nn.rules import low_with_float32, per_channel
from flambeau.core.ops.padding import pad
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import settled
from flambeau.nn.functional import domain
from flambeau.nn.functional.guard import keeps_format, quick
from flambeau.nn.functional.pooling import avg_pool1d


@quick
def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, whose sizes are ``normalized_shape``.

    >>> fb.nn.functional.layer_norm(fb.tensor([[1.0, 3.0]]), (2,))
    tensor([[-1.0000,  1.0000]])
    """
    try:
        shape = tuple(normalized_shape)
    except TypeError:
        raise TypeError(f"layer_norm: normalized_shape must be a sequence of ints, got {normalized_shape!r}") from None
    return ops.layer_norm_p(input, weight, bias, shape, eps)


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x²) + eps) * weight over the last axes; ``eps`` defaults to the machine epsilon of the dtype.

    >>> fb.nn.functional.rms_norm(fb.tensor([[1.0, 7.0]]), (2,))
    tensor([[0.2000, 1.4000]])
    """
    least = dt.finfo(input._key.stored).eps if eps is None else eps
    if input.is_complex():  # of the squares as they are, as in torch
        return ops.by_rms(input, weight, tuple(normalized_shape), least)
    out: Tensor = ops.rms_norm_p(input, weight, tuple(normalized_shape), least)
    return out


def _check_counts(name: str, input: Tensor, per: str, count: int) -> None:
    if count == 1:
        raise ValueError(
            f"{name}: expected more than 1 value per {per} when training, got input of shape {tuple(input.shape)}"
        )


def _check_channels(name: str, input: Tensor, given: dict[str, Tensor | None]) -> None:
    """One value per channel, in the input's dtype, or in float32 where that has a low precision."""
    channels = input.shape[1]
    for which, t in given.items():
        if t is not None and tuple(t.shape) != (channels,):
            raise ShapeError(
                f"{name}: {which} of shape {tuple(t.shape)} must be ({channels},), one per channel of input of shape "
                f"{tuple(input.shape)}"
            )
        if t is not None and t.dtype is not input.dtype and not low_with_float32(input.dtype, t.dtype):
            raise DTypeError(f"{name}: {which} of dtype {t.dtype.name} must have the input's, {input.dtype.name}")


def _of_nothing(input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """An input without elements, with the edges of what was computed of it."""
    out = input.clone()
    if input.ndim < 2:
        return out
    out = out if weight is None else out * per_channel(weight, input.ndim)
    return out if bias is None else out + per_channel(bias, input.ndim)


@keeps_format
@autocasting("first")
def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
    bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """The input (N, C, ...) normalised per channel: by its own statistics in training, by the running ones else.

    Training moves the running statistics, in place, by ``momentum`` towards the batch's mean and unbiased variance.

    >>> fb.nn.functional.batch_norm(fb.ones(2, 3), fb.zeros(3), fb.ones(3)).shape
    flambeau.Size([2, 3])
    """
    if input.ndim < 2 and input.numel():
        raise ShapeError(f"batch_norm: input must be (N, C, ...), got shape {tuple(input.shape)}")
    if not input.numel():
        return _of_nothing(input, weight, bias)
    given = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    _check_channels("batch_norm", input, given)
    domain.check_floating("batch_norm", input=input)
    if eps < 0 or training and eps == 0:
        raise ValueError(f"batch_norm: eps must be positive during training, and never negative, got {eps}")
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("batch_norm: expected running_mean and running_var to be given when training=False")
        one = all(v is None or v.dtype is input.dtype for v in given.values())
        by = ops.batch_norm_given_p if one else ops.normalised_by
        return by(input, running_mean, running_var, weight, bias, eps=eps)
    count = input.numel() // max(input.shape[1], 1)
    _check_counts("batch_norm", input, "channel", count)
    out, mean, var = ops.batch_norm_p(input, weight, bias, eps)
    if running_mean is not None or running_var is not None:
        with no_grad():
            if running_mean is not None:
                running_mean.lerp_(settled(mean.detach(), running_mean), momentum)
            if running_var is not None:
                running_var.lerp_(settled(var.detach() * (count / (count - 1)), running_var), momentum)
    return out


@autocasting("first")
def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """The input (N, C, ...) normalised per channel and example; running statistics average over the batch.

    >>> fb.nn.functional.instance_norm(fb.ones(2, 3, 8)).shape
    flambeau.Size([2, 3, 8])
    """
    if not use_input_stats:
        running_mean, running_var = (t if t is None else t.to(input.dtype) for t in (running_mean, running_var))
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if input.ndim < 3:
        raise ShapeError(f"instance_norm: input must be (N, C, ...), got shape {tuple(input.shape)}")
    channels = input.shape[1]
    count = math.prod(input.shape[2:])
    _check_counts("instance_norm", input, "spatial element", count)
    _check_channels("instance_norm", input, {"weight": weight, "bias": bias})
    if not input.numel():
        return _of_nothing(input, weight, bias)
    if running_mean is not None or running_var is not None:
        with no_grad():
            rows = input.detach().flatten(2)
            if running_mean is not None:
                running_mean.lerp_(settled(rows.mean(-1).mean(0), running_mean), momentum)
            if running_var is not None:
                running_var.lerp_(settled(rows.var(-1).mean(0), running_var), momentum)
    return group_norm(input, channels, weight, bias, eps)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """The input (N, C, ...) normalised over each of ``num_groups`` groups of channels. Wu and He, arXiv:1803.08494.

    >>> fb.nn.functional.group_norm(fb.ones(1, 4, 8), 2).shape
    flambeau.Size([1, 4, 8])
    """
    if input.ndim < 2 or num_groups < 1 or input.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm: the channels of input (N, C, ...) of shape {tuple(input.shape)} must divide by "
            f"num_groups={num_groups}"
        )
    _check_channels("group_norm", input, {"weight": weight, "bias": bias})
    if not input.numel():
        return _of_nothing(input, weight, bias)
    _check_counts("group_norm", input, "group", input.numel() // num_groups)
    return ops.group_norm(input, num_groups, weight, bias, eps)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha * mean of the squares of ``size`` neighbouring channels) ** beta.

    >>> fb.nn.functional.local_response_norm(fb.ones(1, 4, 8), 2).shape
    flambeau.Size([1, 4, 8])
    """
    if input.ndim < 3:
        raise ValueError(
            f"local_response_norm: expected 3D or higher dimensionality input, got shape {tuple(input.shape)}"
        )
    if input.numel() == 0:
        return input
    channels_last = input.square().movedim(1, -1)
    rows = channels_last.reshape(-1, 1, input.shape[1])
    if rows.dtype.category != dt.FLOATING:
        rows = rows.to(dt.int64)
    means = avg_pool1d(pad(rows, (size // 2, (size - 1) // 2)), size, 1)
    means = means.reshape(tuple(channels_last.shape)).movedim(-1, 1)
    return input / (means * alpha + k).pow(beta)
