"""Normalisation in torch's own namespace: the affine parameters come before the running statistics.

``cudnn_enabled`` is taken and means nothing, as on a device without that library.
"""

from __future__ import annotations

from collections.abc import Sequence

from flambeau.core.errors import ShapeError
from flambeau.core.ops.nn.rules import per_channel
from flambeau.core.ops.shape import axis_of
from flambeau.core.out import deliver
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn import functional as F


def layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None,
    eps: float = 1e-5, cudnn_enable: bool = True,
) -> Tensor:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias over the last axes, whose sizes are ``normalized_shape``.

    >>> fb.layer_norm(fb.tensor([[1.0, 3.0]]), (2,))
    tensor([[-1.0000,  1.0000]])
    """
    return F.layer_norm(input, normalized_shape, weight, bias, eps)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:  # fmt: skip
    """The input (N, C, ...) normalised over each of ``num_groups`` groups of channels.

    >>> fb.group_norm(fb.tensor([[1.0, 3.0]]), 1)
    tensor([[-1.0000,  1.0000]])
    """
    return F.group_norm(input, num_groups, weight, bias, eps)


def batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """:func:`flambeau.nn.functional.batch_norm` of (N, C, ...).

    >>> fb.batch_norm(fb.tensor([[1.0], [3.0]]), None, None, None, None, True, 0.1, 1e-5, False)
    tensor([[-1.0000],
            [ 1.0000]])
    """
    return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)


def instance_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, use_input_stats: bool, momentum: float, eps: float, cudnn_enabled: bool,
) -> Tensor:  # fmt: skip
    """:func:`flambeau.nn.functional.instance_norm` of (N, C, ...).

    >>> fb.instance_norm(fb.tensor([[[1.0, 3.0]]]), None, None, None, None, True, 0.1, 1e-5, False)
    tensor([[[-1.0000,  1.0000]]])
    """
    return F.instance_norm(input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)


# -- with the statistics -------------------------------------------------------------------------------
def _statistics(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """Mean and one over the standard deviation; the axes stay, of size 1."""
    return x.mean(axes, keepdim=True), (x.var(axes, correction=0, keepdim=True) + eps).rsqrt()


def native_layer_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`layer_norm`, the means and one over the standard deviations, (*lead, 1, ...), which have no gradient.

    >>> fb.native_layer_norm(fb.tensor([[1.0, 3.0]]), (2,), None, None, 1e-5)[1:]
    (tensor([[2.]]), tensor([[1.0000]]))
    """
    out = F.layer_norm(input, normalized_shape, weight, bias, eps)
    return out, *_statistics(input.detach(), tuple(range(-len(normalized_shape), 0)), eps)


def native_group_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, N: int, C: int, HxW: int, group: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`group_norm` of N * C * HxW elements, the means and one over the standard deviations (N, group).

    >>> fb.native_group_norm(fb.tensor([[1.0, 3.0]]), None, None, 1, 2, 1, 1, 1e-5)[1:]
    (tensor([[2.]]), tensor([[1.0000]]))
    """
    if input.numel() != N * C * HxW or input.ndim < 2 or tuple(input.shape[:2]) != (N, C):
        raise ShapeError(
            f"native_group_norm: input of shape {tuple(input.shape)} must be ({N}, {C}, ...) of {N * C * HxW} elements"
        )
    out = F.group_norm(input, group, weight, bias, eps)
    mean, rstd = _statistics(input.reshape(N, group, C // group * HxW), (-1,), eps)
    return out, mean.squeeze(-1), rstd.squeeze(-1)


def native_batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Tensor | None,
    running_var: Tensor | None, training: bool, momentum: float, eps: float, *,
    out: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """:func:`batch_norm`, and in training the means and one over the standard deviations (C,), without gradient.

    >>> fb.native_batch_norm(fb.tensor([[1.0], [3.0]]), None, None, None, None, True, 0.1, 1e-5)[1:]
    (tensor([2.]), tensor([1.0000]))
    """
    made = F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    stats = batch_norm_stats(input.detach(), eps) if training else (input.new_empty((0,)), input.new_empty((0,)))
    return deliver("native_batch_norm", (made, *stats), out)


# -- in parts, for statistics of several processes -----------------------------------------------------
def batch_norm_stats(input: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The mean and one over the standard deviation (C,) of each channel of (N, C, ...).

    >>> fb.batch_norm_stats(fb.tensor([[1.0], [3.0]]), 0.0)
    (tensor([2.]), tensor([1.]))
    """
    mean, rstd = _statistics(input, (0, *range(2, input.ndim)), eps)
    return mean.flatten(), rstd.flatten()


def batch_norm_elemt(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, invstd: Tensor, eps: float
) -> Tensor:
    """(x - mean) * invstd * weight + bias per channel of (N, C, ...); ``eps`` is in ``invstd`` already.

    >>> fb.batch_norm_elemt(fb.tensor([[5.0]]), None, None, fb.tensor([1.0]), fb.tensor([0.5]), 0.0)
    tensor([[2.]])
    """
    n = input.ndim
    scale = invstd if weight is None else invstd * weight
    out = (input - per_channel(mean, n)) * per_channel(scale, n)
    return out if bias is None else out + per_channel(bias, n)


def batch_norm_gather_stats_with_counts(
    input: Tensor, mean: Tensor, invstd: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    momentum: float, eps: float, counts: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Of the statistics (P, C) of P processes, which saw ``counts`` (P,) values, those of all; moves the running ones.

    >>> one = fb.ones(2, 1)
    >>> fb.batch_norm_gather_stats_with_counts(one, fb.tensor([[1.0], [3.0]]), one, None, None, 0.1, 0.0, fb.ones(2))
    (tensor([2.]), tensor([0.7071]))
    """
    weights = (counts / counts.sum()).to(mean.dtype).reshape(-1, 1)
    whole = (mean * weights).sum(0)
    variance = ((invstd.square().reciprocal() - eps + (mean - whole).square()) * weights).sum(0)
    with no_grad():
        total = counts.sum().to(mean.dtype)
        if running_mean is not None:
            running_mean.lerp_(whole.to(running_mean.dtype), momentum)
        if running_var is not None:
            running_var.lerp_((variance * (total / (total - 1))).to(running_var.dtype), momentum)
    return whole, (variance + eps).rsqrt()


def batch_norm_gather_stats(
    input: Tensor, mean: Tensor, invstd: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    momentum: float, eps: float, count: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """:func:`batch_norm_gather_stats_with_counts` where each process saw ``count`` values.

    >>> one = fb.ones(2, 1)
    >>> fb.batch_norm_gather_stats(one, fb.tensor([[1.0], [3.0]]), one, None, None, 0.1, 0.0, 1)
    (tensor([2.]), tensor([0.7071]))
    """
    counts = mean.new_full((mean.shape[0],), count)
    return batch_norm_gather_stats_with_counts(input, mean, invstd, running_mean, running_var, momentum, eps, counts)


def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The ``pow``-norm over all axes but ``dim``, which stay, of size 1; with ``dim`` -1 that of all elements.

    >>> fb.norm_except_dim(fb.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5.],
            [1.]])
    """
    if dim == -1:
        return v.norm(pow)
    axis = axis_of("norm_except_dim", v, dim)
    return v.norm(pow, [i for i in range(v.ndim) if i != axis], keepdim=True)
